use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use fluent_bundle::{FluentArgs, FluentValue};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{
    AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter,
};

use crate::error::TextError;
use crate::files::{self, Files};
use crate::plain;
use crate::texts::Texts;
use crate::values;
use crate::{Mail, TemplateError};

/// A service name for trial renderings.
const SAMPLE_SERVICE: &str = "Example";

/// All mail templates in all languages, proved to render.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Templates {
    env: Arc<Environment<'static>>,
    texts: Arc<Texts>,
}

/// A mail that is ready to be sent.
///
/// `Debug` prints the subject only, because the parts hold a link with a one-time token.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line without user text.
    pub subject: String,
    /// The HTML part, a whole document.
    pub html: String,
    /// The plain text part.
    pub text: String,
}

/// The trial rendering of one mail in one language.
#[derive(Debug)]
pub struct Check {
    /// Name of the mail, as by [`Mail::name`].
    pub name: &'static str,
    /// Name of the language.
    pub locale: String,
    /// What is wrong, if anything.
    pub result: Result<(), TemplateError>,
}

impl Templates {
    /// The built-in templates.
    ///
    /// # Errors
    /// None in a released version: the same checks run as for overrides.
    pub fn builtin() -> Result<Self, TemplateError> {
        Self::load(files::builtin())
    }

    /// The built-in templates, with the files of `folder` in place of those of the same path.
    ///
    /// # Errors
    /// [`TemplateError`] names the file that cannot be read or parsed, or the template and language that
    /// cannot be rendered. [`TemplateError::UnknownFile`] stands for a template that would override
    /// nothing.
    ///
    /// # Security
    /// Templates are trusted: they can turn the escaping off. Keep the folder out of users' reach.
    pub fn with_overrides(folder: &Path) -> Result<Self, TemplateError> {
        Self::load(files::with_overrides(folder)?)
    }

    /// Names of the supported languages, such as `en`, which comes first.
    pub fn locales(&self) -> &[String] {
        self.texts.names()
    }

    /// The supported language that fits an `Accept-Language` header best, `en` when none does.
    ///
    /// Takes anything: malformed parts are skipped, and only the start of a huge value is read.
    pub fn negotiate(&self, accept_language: &str) -> String {
        self.texts.negotiate(accept_language).to_owned()
    }

    /// Makes subject and parts of a mail. An unsupported `locale` is read as `en`.
    ///
    /// # Errors
    /// [`TemplateError::Render`], [`TemplateError::Message`] or [`TemplateError::MissingMessage`] if a
    /// template depends on values in such a way that its trial rendering did not show the fault. The
    /// built-in ones do not.
    pub fn render(
        &self,
        locale: &str,
        service_name: &str,
        mail: &Mail,
    ) -> Result<Rendered, TemplateError> {
        let language = self.texts.position(locale);
        let locale = self
            .texts
            .names()
            .get(language)
            .map_or("en", String::as_str);
        let name = mail.name();

        let mut variables = BTreeMap::new();
        variables.insert(
            "service_name".to_owned(),
            plain::single_line(service_name).into(),
        );

        // The subject sees the service name only, so that no user text gets into a header.
        let subject_id = format!("{}-subject", name.replace('_', "-"));
        let subject = self
            .texts
            .format(language, &subject_id, &fluent_args(&variables))
            .map_err(|error| error.in_template(&format!("the subject of {name}"), locale))?;
        let subject = plain::single_line(&subject.replace('\n', " "));

        self.fields(language, mail, &mut variables)
            .map_err(|source| render_error(source, &format!("mail/{name}"), locale))?;
        let mut context = variables.clone();
        context.insert(
            "direction".to_owned(),
            self.texts.direction(language).into(),
        );
        context.insert("locale".to_owned(), locale.into());
        context.insert("subject".to_owned(), subject.as_str().into());
        context.insert("t".to_owned(), self.text_function(language, variables));
        let context = Value::from(context);

        let part = |extension: &str| {
            let template = format!("mail/{name}.{extension}");
            self.env
                .get_template(&template)
                .and_then(|it| it.render(context.clone()))
                .map_err(|source| render_error(source, &template, locale))
        };
        Ok(Rendered {
            html: part("html")?,
            text: plain::tidy(&part("txt")?),
            subject,
        })
    }

    /// Renders every mail in every language, from [`Mail::samples`]; what a mail may lack, with it and without.
    pub fn check(&self) -> Vec<Check> {
        let samples = Mail::samples();
        let mut checks = Vec::with_capacity(self.locales().len() * samples.len());
        for locale in self.locales() {
            for mail in &samples {
                let result = std::iter::once(mail.clone())
                    .chain(mail.without_options())
                    .try_for_each(|mail| self.render(locale, SAMPLE_SERVICE, &mail).map(drop));
                checks.push(Check {
                    name: mail.name(),
                    locale: locale.clone(),
                    result,
                });
            }
        }
        checks
    }

    fn load(files: Files) -> Result<Self, TemplateError> {
        let texts = Arc::new(Texts::load(files.messages)?);
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_formatter(format_value);
        env.add_filter("wrap", plain::wrap);
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        env.set_syntax(syntax.map_err(|source| syntax_error("mail", source))?);
        for file in files.templates {
            env.add_template_owned(file.path.clone(), file.text)
                .map_err(|source| syntax_error(&file.path, source))?;
        }
        let templates = Self {
            env: Arc::new(env),
            texts,
        };
        templates
            .check()
            .into_iter()
            .try_for_each(|check| check.result)?;
        Ok(templates)
    }

    /// Adds the fields of the mail. All text goes through one place, so no field can miss the cleaning.
    fn fields(
        &self,
        language: usize,
        mail: &Mail,
        into: &mut BTreeMap<String, Value>,
    ) -> Result<(), minijinja::Error> {
        let fields = Value::from(Serde(mail));
        for key in fields.try_iter()? {
            let value = fields.get_item(&key)?;
            let words = values::words(&value, &self.texts, language)
                .transpose()
                .map_err(no_text)?;
            let value = match words.as_deref().or(value.as_str()) {
                Some(text) => plain::single_line(text).into(),
                None => value,
            };
            into.insert(key.to_string(), value);
        }
        Ok(())
    }

    /// `t("id")` and `t("id", name=value)`: a message, with the fields of the mail and the given values.
    fn text_function(&self, language: usize, variables: BTreeMap<String, Value>) -> Value {
        let texts = Arc::clone(&self.texts);
        Value::from_function(move |id: &str, extra: Kwargs| {
            let mut all = variables.clone();
            for name in extra.args() {
                let value: Value = extra.get(name)?;
                if value.is_undefined() {
                    return Err(ErrorKind::UndefinedError.into());
                }
                all.insert(name.to_owned(), value);
            }
            texts
                .format(language, id, &fluent_args(&all))
                .map_err(no_text)
        })
    }
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates")
            .field("locales", &self.locales())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

fn fluent_args(variables: &BTreeMap<String, Value>) -> FluentArgs<'_> {
    variables
        .iter()
        .map(|(name, value)| (name.as_str(), fluent_value(value)))
        .collect()
}

fn fluent_value(value: &Value) -> FluentValue<'_> {
    if let Some(text) = value.as_str() {
        return text.into();
    }
    match f64::try_from(value.clone()) {
        Ok(number) if value.is_number() => number.into(),
        _ => value.to_string().into(),
    }
}

/// Escapes as minijinja does, but leaves slashes alone: mail scanners look for `https://` in the source.
fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let text = match (state.auto_escape(), value.as_str()) {
        (AutoEscape::Html, Some(text)) if !value.is_safe() => text,
        _ => return escape_formatter(out, state, value),
    };
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            _ => out.write_char(c)?,
        }
    }
    Ok(())
}

fn no_text(error: TextError) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "no text").with_source(error)
}

fn syntax_error(file: &str, source: minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        file: file.to_owned(),
        line: source.line(),
        source: source.into(),
    }
}

/// A fault of a message comes wrapped by the template that asked for it.
fn render_error(source: minijinja::Error, template: &str, locale: &str) -> TemplateError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        if let Some(text) = error.downcast_ref::<TextError>() {
            return text.clone().in_template(template, locale);
        }
        cause = error.source();
    }
    TemplateError::Render {
        template: template.to_owned(),
        locale: locale.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &str = "MARKER";

    /// What a user or a careless operator may type as a name.
    const HOSTILE: &[&str] = &[
        "<script>alert(1)</script>",
        "</p></td></table><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)",
        "' onmouseover='alert(1)",
        "&lt;b&gt; &amp; &#x3c;",
        "<!-- --> <![CDATA[ ]]> ]]>",
        "{{ 7 * 7 }} {% raw %} {# gone #}",
        "{% extends \"mail/layout.html\" %}{% block body %}x{% endblock %}",
        "{{ t('greeting') }} {{ link }}",
        "{ $link } { greeting } { \"x\" } { $username ->",
        "a\r\nBcc: eve@example.com\r\n\r\nbody",
        "a\nb\rc\0d\u{85}e\u{2028}f\u{2029}g\u{1b}[2Jh",
        "\u{202e}moc.elpmaxe\u{202c} \u{2067}x\u{2069} \u{200f}y",
        "שלום مرحبا",
        "👩\u{200d}💻 🇩🇪 e\u{301}\u{301}\u{301}",
        "\\ \\n \\u{0041} $1 %s %0d%0a",
        "\r\n",
        "",
    ];

    fn escaped(text: &str) -> String {
        plain::single_line(text)
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    }

    /// What somebody else than the service may have written.
    fn texts_of(mail: &mut Mail) -> Vec<&mut String> {
        match mail {
            Mail::Welcome { username, .. }
            | Mail::VerifyEmail { username, .. }
            | Mail::PasswordReset { username, .. }
            | Mail::PasswordChanged { username, .. }
            | Mail::EmailChangeVerify { username, .. }
            | Mail::AccountDeleted { username, .. }
            | Mail::AccountExists { username, .. } => vec![username],
            Mail::EmailChangeNotice {
                username,
                new_email,
                ..
            } => vec![username, new_email],
            Mail::GoogleLinked {
                username,
                provider,
                identity,
                ..
            } => vec![username, provider, identity],
            Mail::GoogleUnlinked {
                username, provider, ..
            } => vec![username, provider],
            Mail::CreditPurchase { username, item, .. } => vec![username, item],
            Mail::SubscriptionStarted { username, paid }
            | Mail::SubscriptionRenewed { username, paid } => vec![username, &mut paid.plan],
            Mail::SubscriptionCancelled { username, plan, .. }
            | Mail::PaymentFailed { username, plan, .. } => vec![username, plan],
            Mail::PlanUpgrade {
                username,
                old_plan,
                paid,
            } => vec![username, old_plan, &mut paid.plan],
            Mail::Test { .. } => vec![],
        }
    }

    /// One mail of each kind, with `text` in every place that a user can fill.
    fn mails_with(text: &str) -> Vec<Mail> {
        let mut mails = Mail::samples();
        for mail in &mut mails {
            for field in texts_of(mail) {
                text.clone_into(field);
            }
        }
        mails
    }

    /// Each mail with the marker as user text, and with the attack.
    fn attacked(attack: &str) -> Vec<(&'static str, Rendered, Rendered)> {
        let templates = Templates::builtin().unwrap();
        let render = |mail: &Mail| templates.render("en", SAMPLE_SERVICE, mail).unwrap();
        mails_with(MARKER)
            .iter()
            .zip(mails_with(attack))
            .map(|(plain, attack)| (plain.name(), render(plain), render(&attack)))
            .collect()
    }

    fn visible_words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    fn link(mail: &Mail) -> Option<String> {
        let json = serde_json::to_value(mail).unwrap();
        json.get("link")
            .map(|link| link.as_str().unwrap().to_owned())
    }

    #[test]
    fn a_username_with_markup_is_escaped_in_html() {
        for attack in HOSTILE {
            for (name, marked, attacked) in attacked(attack) {
                assert!(marked.html.contains(MARKER) || name == "test", "{name}");
                let want = marked.html.replace(MARKER, &escaped(attack));
                assert_eq!(attacked.html, want, "{name} {attack:?}");
            }
        }
    }

    #[test]
    fn a_username_appears_raw_but_on_one_line_in_plain_text() {
        for attack in HOSTILE {
            for (name, marked, attacked) in attacked(attack) {
                assert!(marked.text.contains(MARKER) || name == "test", "{name}");
                let want = marked.text.replace(MARKER, &plain::single_line(attack));
                assert_eq!(
                    visible_words(&attacked.text),
                    visible_words(&want),
                    "{name} {attack:?}"
                );
            }
        }
    }

    #[test]
    fn a_subject_never_holds_user_text() {
        for attack in HOSTILE {
            for (name, marked, attacked) in attacked(attack) {
                assert!(!marked.subject.contains(MARKER), "{name}");
                assert_eq!(attacked.subject, marked.subject, "{name} {attack:?}");
            }
        }
    }

    #[test]
    fn a_hostile_service_name_stays_on_one_line_and_is_escaped() {
        let templates = Templates::builtin().unwrap();
        for attack in HOSTILE {
            for mail in Mail::samples() {
                let marked = templates.render("en", MARKER, &mail).unwrap();
                let attacked = templates.render("en", attack, &mail).unwrap();
                let line = plain::single_line(attack);
                let name = mail.name();
                assert_eq!(
                    attacked.subject,
                    marked.subject.replace(MARKER, &line),
                    "{name}"
                );
                assert!(
                    !attacked.subject.contains(char::is_control),
                    "{name} {attack:?}"
                );
                assert_eq!(
                    attacked.html,
                    marked.html.replace(MARKER, &escaped(attack)),
                    "{name}"
                );
                let want = marked.text.replace(MARKER, &line);
                assert_eq!(
                    visible_words(&attacked.text),
                    visible_words(&want),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_link_cannot_leave_its_attribute() {
        let templates = Templates::builtin().unwrap();
        let mail = Mail::PasswordReset {
            username: "ada".to_owned(),
            link: "https://example.com/?a=1&b=\"><script>\r\n".to_owned(),
            valid_minutes: 30,
        };
        let rendered = templates.render("en", SAMPLE_SERVICE, &mail).unwrap();
        assert!(
            rendered
                .html
                .contains("href=\"https://example.com/?a=1&amp;b=&quot;&gt;&lt;script&gt;\"")
        );
        assert!(!rendered.html.contains("<script"));
        assert!(
            rendered
                .text
                .contains("\nhttps://example.com/?a=1&b=\"><script>\n")
        );
    }

    #[test]
    fn a_huge_username_is_no_reason_to_fail() {
        for (name, _, attacked) in attacked(&"<{{ x }} ".repeat(20_000)) {
            assert!(
                attacked.html.contains("&lt;{{ x }} &lt;") || name == "test",
                "{name}"
            );
        }
    }

    #[test]
    fn a_link_is_a_button_and_also_shown_as_text() {
        let templates = Templates::builtin().unwrap();
        for mail in Mail::samples() {
            let rendered = templates.render("en", SAMPLE_SERVICE, &mail).unwrap();
            let Some(link) = link(&mail) else {
                assert!(!rendered.html.contains("href"), "{}", mail.name());
                assert!(!rendered.text.contains("://"), "{}", mail.name());
                continue;
            };
            let html = &rendered.html;
            assert_eq!(
                html.matches(&format!("href=\"{link}\"")).count(),
                2,
                "{}",
                mail.name()
            );
            assert!(html.contains(&format!(">{link}</a>")), "{}", mail.name());
            assert!(
                rendered.text.lines().any(|line| line == link),
                "{}",
                mail.name()
            );
        }
    }

    #[test]
    fn html_loads_nothing_and_adapts_to_dark_and_narrow_screens() {
        let templates = Templates::builtin().unwrap();
        for mail in Mail::samples() {
            let html = templates.render("en", SAMPLE_SERVICE, &mail).unwrap().html;
            for wanted in [
                "<!doctype html>\n<html lang=\"en\" dir=\"ltr\">",
                "<meta name=\"color-scheme\" content=\"light dark\">",
                "@media (prefers-color-scheme: dark)",
                "@media (max-width: 600px)",
                "<meta name=\"viewport\"",
            ] {
                assert!(html.contains(wanted), "{} lacks {wanted}", mail.name());
            }
            for unwanted in [
                "<img", "<script", "<link", "src=", "url(", "@import", "{{", "{%",
            ] {
                assert!(!html.contains(unwanted), "{} has {unwanted}", mail.name());
            }
            let preheader = html.split("mso-hide: all;\">").nth(1).unwrap();
            assert!(
                !preheader.starts_with('<'),
                "{} has no preheader",
                mail.name()
            );
        }
    }

    #[test]
    fn plain_text_is_wrapped_and_free_of_markup() {
        let templates = Templates::builtin().unwrap();
        for mail in Mail::samples() {
            let text = templates.render("en", "Tom & Jerry's", &mail).unwrap().text;
            let greeted = text.starts_with("Hello username,\n\n");
            assert!(greeted || mail.name() == "test", "{text}");
            assert!(text.ends_with(".\n"), "{text}");
            assert!(text.contains("Tom & Jerry's"), "{text}");
            assert!(
                !text.contains("\n\n\n") && !text.contains(['<', '>', ';', '\r']),
                "{text}"
            );
            for line in text.lines() {
                assert!(
                    line.chars().count() <= 72 && line == line.trim_end(),
                    "{line:?}"
                );
            }
        }
    }

    #[test]
    fn a_whole_text_part_reads_like_a_letter() {
        let templates = Templates::builtin().unwrap();
        let mail = Mail::EmailChangeNotice {
            username: "ada".to_owned(),
            new_email: "ada+new@example.com".to_owned(),
            link: "https://example.com/cancel-email-change?token=abc".to_owned(),
            valid_hours: 1,
        };
        let rendered = templates.render("en", "Example", &mail).unwrap();
        assert_eq!(
            rendered.subject,
            "Your Example email address is about to change"
        );
        let want = "\
Hello ada,

Somebody, hopefully you, asked to change the email address of your
account at Example to:

    ada+new@example.com

If it was you, there is nothing to do here. If it was not you, cancel
the change and then reset your password.

Cancel the change:
https://example.com/cancel-email-change?token=abc

The link works for one hour.

You receive this message because this address was used at Example.
";
        assert_eq!(rendered.text, want);
    }

    #[test]
    fn each_mail_says_what_its_reader_must_know() {
        let templates = Templates::builtin().unwrap();
        for (name, words) in [
            (
                "welcome",
                "If you did not register, you can ignore this message. ",
            ),
            (
                "verify_email",
                "If you did not register, you can ignore this message. ",
            ),
            ("password_reset", "The link works for 30 minutes. "),
            (
                "password_changed",
                "If it was not you, reset your password at once: ",
            ),
            ("email_change_verify", "The link works for 24 hours. "),
            (
                "email_change_notice",
                "account at Example to: new@example.com ",
            ),
            (
                "account_deleted",
                "was deleted on 1 December 2025 at 09:05 UTC, and you can no longer sign in with it. ",
            ),
            (
                "account_exists",
                "already has an account, so no new one was made. ",
            ),
            (
                "google_linked",
                "Provider: Google Account there: username@example.com Date: 1 December 2025 at 09:05 UTC ",
            ),
            (
                "google_unlinked",
                "can no longer sign in to Example with Google. ",
            ),
            (
                "credit_purchase",
                "Purchase: Large Credits: 1,200.00 Price: 49.00 EUR Date: 1 December 2025 at 09:05 UTC Balance: 1,234.50 ",
            ),
            (
                "subscription_started",
                "Plan: Basic Credits: 120.00 Price: 9.00 EUR Balance: 120.00 Paid until: 1 December 2025 at 09:05 UTC ",
            ),
            ("subscription_renewed", "Balance: 151.25 "),
            (
                "subscription_cancelled",
                "End of the subscription: 1 December 2025 at 09:05 UTC ",
            ),
            ("plan_upgrade", "Plan before: Basic Plan: Professional "),
            (
                "payment_failed",
                "Next attempt: 1 December 2025 at 09:05 UTC It is tried again. ",
            ),
            ("test", "sent on 1 December 2025 at 09:05 UTC. "),
        ] {
            let mail = Mail::samples()
                .into_iter()
                .find(|mail| mail.name() == name)
                .unwrap();
            let text = templates.render("en", "Example", &mail).unwrap().text;
            assert!(
                visible_words(&text).join(" ").contains(words),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_payment_that_is_not_tried_again_is_told_so() {
        let templates = Templates::builtin().unwrap();
        let samples = Mail::samples();
        let last = samples.iter().find_map(Mail::without_options).unwrap();
        let rendered = templates.render("en", "Example", &last).unwrap();
        assert!(rendered.text.contains("It is not tried again."));
        assert!(!rendered.text.contains("Next attempt"));
        assert!(!rendered.html.contains("href"));
    }

    #[test]
    fn an_unknown_locale_is_read_as_english() {
        let templates = Templates::builtin().unwrap();
        let mail = &Mail::samples()[0];
        let english = templates.render("en", SAMPLE_SERVICE, mail).unwrap();
        for locale in ["", "EN", "tlh", "../en", "\" onload=\"", "en\r\nBcc: x"] {
            assert!(
                templates.render(locale, SAMPLE_SERVICE, mail).unwrap() == english,
                "{locale}"
            );
        }
    }

    #[test]
    fn every_mail_is_checked_in_every_language() {
        let templates = Templates::builtin().unwrap();
        let checks = templates.check();
        assert_eq!(
            checks.len(),
            templates.locales().len() * Mail::samples().len()
        );
        for check in checks {
            assert!(check.result.is_ok(), "{check:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_link() {
        let templates = Templates::builtin().unwrap();
        let rendered = templates
            .render("en", SAMPLE_SERVICE, &Mail::samples()[0])
            .unwrap();
        assert!(!format!("{rendered:?} {templates:?}").contains("token"));
    }

    #[test]
    fn templates_are_shared_between_threads() {
        fn shared<T: Clone + Send + Sync + fmt::Debug + 'static>() {}
        shared::<Templates>();
    }
}

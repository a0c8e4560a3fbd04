use std::collections::{BTreeMap, BTreeSet};
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
use crate::files::{self, File, Files};
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
    fallback: Option<Arc<Self>>,
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
    /// The built-in templates. Proving them takes longer than many mails: keep them, and clone.
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
        let mut templates = Self::load(files::with_overrides(folder)?)?;
        templates.fallback = Some(Arc::new(Self::builtin()?));
        Ok(templates)
    }

    /// The built-in ones, proved together with these, for a mail that these cannot show. `None` when these are the built-in ones.
    pub fn fallback(&self) -> Option<&Self> {
        self.fallback.as_deref()
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
    /// template depends on values in such a way that no trial rendering showed the fault. The built-in
    /// ones do not.
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
        let direction = self.texts.direction(language);
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
            .format(language, &subject_id, &fluent_args(&variables, direction))
            .map_err(|error| {
                let subject = format!("the subject of {name}");
                error.in_template(&subject, ("messages", None), locale)
            })?;
        let subject = plain::single_line(&subject.replace('\n', " "));

        self.fields(language, mail, &mut variables)
            .map_err(|source| render_error(source, &format!("mail/{name}"), locale))?;
        let mut context = variables.clone();
        context.insert("direction".to_owned(), direction.into());
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

    /// Renders every mail in every language, from [`Mail::samples`]: with links that live for several times, and with and without what a mail may lack.
    pub fn check(&self) -> Vec<Check> {
        let samples = Mail::samples();
        let mut checks = Vec::with_capacity(self.locales().len() * samples.len());
        for locale in self.locales() {
            for mail in &samples {
                let result = std::iter::once(mail.clone())
                    .chain(mail.variants())
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
        for file in &files.templates {
            env.add_template_owned(file.path.clone(), file.text.clone())
                .map_err(|source| syntax_error(&file.path, source))?;
        }
        check_variables(&env, &files.templates)?;
        let templates = Self {
            env: Arc::new(env),
            texts,
            fallback: None,
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
        let direction = texts.direction(language);
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
                .format(language, id, &fluent_args(&all, direction))
                .map_err(no_text)
        })
    }
}

/// What every template may name.
const COMMON: [&str; 5] = ["direction", "locale", "service_name", "subject", "t"];

/// Refuses a template that names what it never has, be it in a branch that no trial rendering takes. A mail's own template has the fields of the mail; a shared
/// one has those of all.
fn check_variables(env: &Environment<'_>, files: &[File]) -> Result<(), TemplateError> {
    let mails: Vec<_> = Mail::samples().iter().map(named_fields).collect();
    let mail_of = |file: &File| {
        let name = file.path.strip_prefix("mail/")?.split('.').next()?;
        mails.iter().find(|(mail, _)| *mail == name)
    };
    let is_set = |by: &dyn Fn(&File) -> bool, variable: &str| {
        let mut setters = files.iter().filter(|file| by(file));
        setters.any(|file| sets(env, &file.path, variable))
    };
    for file in files {
        let is_known = |variable: &String| {
            COMMON.contains(&variable.as_str())
                || env.globals().any(|(global, _)| global == variable)
                || match mail_of(file) {
                    // What a layout sets is known to the templates that extend it, and the other way round.
                    Some((_, fields)) => {
                        fields.contains(variable)
                            || is_set(&|other| mail_of(other).is_none(), variable)
                    }
                    None => {
                        mails.iter().any(|(_, fields)| fields.contains(variable))
                            || is_set(&|_| true, variable)
                    }
                }
        };
        let template = env
            .get_template(&file.path)
            .map_err(|source| syntax_error(&file.path, source))?;
        // By name, so that the same mistake is told first each time.
        let undeclared: BTreeSet<_> = template.undeclared_variables(false).into_iter().collect();
        if let Some(variable) = undeclared.into_iter().find(|variable| !is_known(variable)) {
            let mut lines = (1..).zip(template.source().lines());
            return Err(TemplateError::UnknownVariable {
                line: lines
                    .find(|(_, line)| words(line).any(|word| word == variable))
                    .map(|(number, _)| number),
                file: file.path.clone(),
                variable,
            });
        }
    }
    Ok(())
}

fn named_fields(mail: &Mail) -> (&'static str, BTreeSet<String>) {
    let fields = Value::from(Serde(mail));
    let names = fields.try_iter().into_iter().flatten();
    (mail.name(), names.map(|name| name.to_string()).collect())
}

/// Whether a template gives a variable a value for those that it extends, and that extend it: then naming it at the end leaves nothing undeclared.
fn sets(env: &Environment<'_>, path: &str, variable: &str) -> bool {
    env.get_template(path).is_ok_and(|template| {
        let named = format!("{}{{{{ {variable} }}}}", template.source());
        env.template_from_str(&named)
            .is_ok_and(|template| !template.undeclared_variables(false).contains(variable))
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
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

fn fluent_args<'a>(variables: &'a BTreeMap<String, Value>, direction: &str) -> FluentArgs<'a> {
    variables
        .iter()
        .map(|(name, value)| match value.as_str() {
            // A client that makes a link clickable would take the marks for a part of it.
            Some(text) if name == "link" => (name.as_str(), text.into()),
            Some(text) => (name.as_str(), plain::isolate(text, direction).into()),
            None => (name.as_str(), fluent_value(value)),
        })
        .collect()
}

fn fluent_value(value: &Value) -> FluentValue<'_> {
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

fn line_of(error: &minijinja::Error) -> Option<u32> {
    error.line()?.try_into().ok()
}

fn syntax_error(file: &str, source: minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        file: file.to_owned(),
        line: line_of(&source),
        source: source.into(),
    }
}

/// A fault of a message comes wrapped by the template that asked for it, a fault of a layout by the template that extends it.
fn render_error(source: minijinja::Error, template: &str, locale: &str) -> TemplateError {
    let mut file = (template, None);
    let mut cause: Option<&(dyn Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        if let Some(text) = error.downcast_ref::<TextError>() {
            return text.clone().in_template(template, file, locale);
        }
        if let Some(error) = error.downcast_ref::<minijinja::Error>() {
            file = error.name().map_or(file, |name| (name, line_of(error)));
        }
        cause = error.source();
    }
    TemplateError::Render {
        file: file.0.to_owned(),
        line: file.1,
        template: template.to_owned(),
        locale: locale.to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests;

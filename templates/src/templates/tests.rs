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

/// Each mail in each language, with the marker as user text and with the attack; without the marks that keep directions apart.
fn attacked(templates: &Templates, attack: &str) -> Vec<(String, Rendered, Rendered)> {
    let mut all = Vec::new();
    for locale in templates.locales() {
        let render = |mail: &Mail| {
            let rendered = templates.render(locale, SAMPLE_SERVICE, mail).unwrap();
            Rendered {
                html: unmarked(&rendered.html),
                text: unmarked(&rendered.text),
                ..rendered
            }
        };
        for (plain, attack) in mails_with(MARKER).iter().zip(mails_with(attack)) {
            let name = format!("{} in {locale}", plain.name());
            all.push((name, render(plain), render(&attack)));
        }
    }
    all
}

fn unmarked(text: &str) -> String {
    text.replace(['\u{2068}', '\u{2069}'], "")
}

fn is_about_nobody(name: &str) -> bool {
    name.starts_with("test")
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
    let templates = Templates::builtin().unwrap();
    for attack in HOSTILE {
        for (name, marked, attacked) in attacked(&templates, attack) {
            assert!(
                marked.html.contains(MARKER) || is_about_nobody(&name),
                "{name}"
            );
            let want = marked.html.replace(MARKER, &escaped(attack));
            assert_eq!(attacked.html, want, "{name} {attack:?}");
        }
    }
}

#[test]
fn a_username_appears_raw_but_on_one_line_in_plain_text() {
    let templates = Templates::builtin().unwrap();
    for attack in HOSTILE {
        for (name, marked, attacked) in attacked(&templates, attack) {
            assert!(
                marked.text.contains(MARKER) || is_about_nobody(&name),
                "{name}"
            );
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
    let templates = Templates::builtin().unwrap();
    for attack in HOSTILE {
        for (name, marked, attacked) in attacked(&templates, attack) {
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
                unmarked(&attacked.html),
                marked.html.replace(MARKER, &escaped(attack)),
                "{name}"
            );
            let want = marked.text.replace(MARKER, &line);
            assert_eq!(
                visible_words(&unmarked(&attacked.text)),
                visible_words(&want),
                "{name}"
            );
        }
    }
}

#[test]
fn a_name_of_the_other_direction_keeps_to_itself() {
    let templates = Templates::builtin().unwrap();
    for mail in mails_with("ada (\u{5e9}\u{5dc})") {
        for locale in templates.locales() {
            let rendered = templates.render(locale, SAMPLE_SERVICE, &mail).unwrap();
            for part in [&rendered.text, &rendered.html] {
                // A value on a line of its own has nothing around it; in HTML it has an element.
                let bare = part
                    .replace("\u{2068}ada (\u{5e9}\u{5dc})\u{2069}", "")
                    .replace("<bdi>ada (\u{5e9}\u{5dc})</bdi>", "")
                    .replace("\n    ada (\u{5e9}\u{5dc})\n", "");
                assert!(!bare.contains('\u{5e9}'), "{mail:?} in {locale}: {part}");
            }
        }
    }
}

#[test]
fn the_longest_names_and_addresses_reach_the_reader_whole() {
    let templates = Templates::builtin().unwrap();
    let address = format!("{}@{}.example", "a".repeat(64), "b".repeat(181));
    assert_eq!(address.len(), 254);
    for text in [&address, &"W".repeat(32)] {
        for (name, _, attacked) in attacked(&templates, text) {
            for part in [&attacked.text, &attacked.html] {
                assert!(part.contains(text) || is_about_nobody(&name), "{name}");
            }
        }
    }
}

#[test]
fn nothing_is_left_to_fill_in_any_language() {
    let templates = Templates::builtin().unwrap();
    for locale in templates.locales() {
        for mail in Mail::samples() {
            let rendered = templates.render(locale, SAMPLE_SERVICE, &mail).unwrap();
            let name = mail.name();
            assert!(rendered.subject.contains(SAMPLE_SERVICE), "{name} {locale}");
            let body = rendered.html.split("</style>").nth(1).unwrap();
            for part in [&rendered.subject, &rendered.text, body] {
                assert!(!part.contains(['{', '}', '$']), "{name} {locale}: {part}");
            }
            let start = format!("<html lang=\"{locale}\" dir=\"ltr\">");
            assert!(rendered.html.contains(&start), "{name} {locale}");
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
    let templates = Templates::builtin().unwrap();
    for (name, _, attacked) in attacked(&templates, &"<{{ x }} ".repeat(2_000)) {
        assert!(
            attacked.html.contains("&lt;{{ x }} &lt;") || is_about_nobody(&name),
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
        assert!(greeted || is_about_nobody(mail.name()), "{text}");
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
            "Provider: Google Linked account: username@example.com Date: 1 December 2025 at 09:05 UTC ",
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
            "Next attempt: 1 December 2025 at 09:05 UTC It will be tried again automatically. ",
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
    let failed = samples.iter().find(|mail| mail.name() == "payment_failed");
    let last = failed.unwrap().variants().pop().unwrap();
    let rendered = templates.render("en", "Example", &last).unwrap();
    assert!(rendered.text.contains("It will not be tried again."));
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

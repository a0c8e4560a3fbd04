//! A host's folder of templates: what it can change, and how its mistakes are reported.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use auth_templates::{Mail, Rendered, TemplateError, Templates, time::OffsetDateTime};

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, files: &[(&str, &str)]) -> io::Result<Self> {
        let folder = format!("overrides-{test}-{}", std::process::id());
        let folder = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        fs::create_dir_all(folder.0.join("mail"))?;
        for (path, text) in files {
            fs::write(folder.0.join(path), text)?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Outcome = Result<(), Box<dyn Error>>;

fn load(test: &str, files: &[(&str, &str)]) -> Result<Templates, Box<dyn Error>> {
    let folder = Folder::new(test, files)?;
    Ok(Templates::with_overrides(&folder.0)?)
}

/// Why the files are refused; `None` if they are not.
fn refusal(test: &str, files: &[(&str, &str)]) -> Option<TemplateError> {
    load(test, files).err()?.downcast().ok().map(|error| *error)
}

fn password_changed(templates: &Templates, locale: &str) -> Result<Rendered, TemplateError> {
    let mail = Mail::PasswordChanged {
        username: "<ada>".to_owned(),
        at: OffsetDateTime::UNIX_EPOCH.into(),
    };
    templates.render(locale, "Example", &mail)
}

#[test]
fn an_empty_folder_changes_nothing() -> Outcome {
    let templates = load("empty", &[])?;
    assert!(password_changed(&templates, "en")? == password_changed(&Templates::builtin()?, "en")?);
    Ok(())
}

#[test]
fn one_template_is_replaced_and_the_others_stay() -> Outcome {
    let html = "\u{feff}{% extends \"mail/layout.html\" %}\r\n{% block body %}<p>{{ username }}: new words</p>{% endblock %}\r\n";
    let templates = load("template", &[("mail/password_changed.html", html)])?;
    let rendered = password_changed(&templates, "en")?;
    assert!(rendered.html.contains("<p>&lt;ada&gt;: new words</p>"));
    assert!(!rendered.html.contains('\r') && !rendered.html.contains('\u{feff}'));
    assert_eq!(
        rendered.text,
        password_changed(&Templates::builtin()?, "en")?.text
    );
    Ok(())
}

#[test]
fn a_layout_is_replaced_for_all_mails() -> Outcome {
    let layout = "{% include \"mail/_logo.txt\" %} {% block body %}{% endblock %}{% block note %}{% endblock %}";
    let templates = load(
        "layout",
        &[
            ("mail/layout.txt", layout),
            ("mail/_logo.txt", "* {{ service_name }} *"),
        ],
    )?;
    for mail in Mail::samples() {
        let text = templates.render("en", "Example", &mail)?.text;
        assert!(text.starts_with("* Example * "), "{text}");
    }
    Ok(())
}

#[test]
fn single_messages_are_replaced_and_may_use_the_fields_of_the_mail() -> Outcome {
    let messages = "password-changed-subject = News from { $service_name }\ngreeting = Ahoy <b> { $username }!\n";
    let templates = load("messages", &[("en.ftl", messages)])?;
    let rendered = password_changed(&templates, "en")?;
    assert_eq!(rendered.subject, "News from Example");
    assert!(rendered.text.starts_with("Ahoy <b> <ada>!\n"));
    assert!(rendered.html.contains("<p>Ahoy &lt;b&gt; &lt;ada&gt;!</p>"));
    Ok(())
}

#[test]
fn a_new_language_falls_back_to_english_message_by_message() -> Outcome {
    let templates = load(
        "language",
        &[("ar.ftl", "greeting = مرحبا { $username }\n")],
    )?;
    assert_eq!(templates.locales(), ["en", "de", "it", "ar"]);
    assert_eq!(templates.negotiate("ar-EG, en;q=0.5"), "ar");
    let rendered = password_changed(&templates, "ar")?;
    assert!(rendered.text.starts_with("مرحبا \u{2068}<ada>\u{2069}\n"));
    assert!(rendered.html.contains("<html lang=\"ar\" dir=\"rtl\">"));
    assert_eq!(
        rendered.subject,
        password_changed(&templates, "en")?.subject
    );
    Ok(())
}

#[test]
fn extra_values_reach_a_message() -> Outcome {
    let files = [
        (
            "en.ftl",
            "signature = Yours, { $who } ({ $count ->\n    [one] one\n   *[other] many\n})\n",
        ),
        (
            "mail/password_changed.txt",
            "{{ t(\"signature\", who=service_name, count=1) }}",
        ),
    ];
    let templates = load("extra", &files)?;
    assert_eq!(
        password_changed(&templates, "en")?.text,
        "Yours, Example (one)\n"
    );
    Ok(())
}

#[test]
fn a_message_over_several_lines_gives_a_subject_of_one() -> Outcome {
    let messages =
        "password-changed-subject =\n    Your password\n    was { \"\\u000D\\u000A\" }changed\n";
    let templates = load("subject", &[("en.ftl", messages)])?;
    assert_eq!(
        password_changed(&templates, "en")?.subject,
        "Your password was  changed"
    );
    Ok(())
}

#[test]
fn a_subject_that_wants_user_text_is_refused() {
    let error = refusal(
        "subject-user",
        &[("en.ftl", "welcome-subject = Hi { $username }\n")],
    )
    .unwrap();
    assert!(
        matches!(&error, TemplateError::Message { template, locale, message, .. }
            if template == "the subject of welcome" && locale == "en" && message == "welcome-subject"),
        "{error:?}"
    );
    assert!(
        error
            .source()
            .is_some_and(|source| source.to_string().contains("username"))
    );
}

#[test]
fn a_missing_variable_is_reported_with_template_and_locale() {
    for text in [
        "{{ usernme }}",
        "{{ t(\"greeting\", username=usernme) }}",
        "{{ link }}",
    ] {
        let error = refusal("variable", &[("mail/account_deleted.txt", text)]).unwrap();
        assert!(
            matches!(&error, TemplateError::Render { template, locale, .. }
                if template == "mail/account_deleted.txt" && locale == "en"),
            "{text}: {error:?}"
        );
        assert!(error.source().is_some(), "{text}");
    }
}

#[test]
fn a_missing_message_is_reported_with_template_and_locale() {
    let layout = "{% block body %}{% endblock %}{{ t(\"nowhere\") }}";
    let error = refusal("message", &[("mail/layout.html", layout)]).unwrap();
    assert!(
        matches!(&error, TemplateError::MissingMessage { template, locale, message }
            if template == "mail/welcome.html" && locale == "en" && message == "nowhere"),
        "{error:?}"
    );
}

#[test]
fn a_fault_in_another_language_is_reported_for_that_language() {
    let error = refusal("de", &[("de.ftl", "greeting = Hallo { $benutzer }\n")]).unwrap();
    assert!(
        matches!(&error, TemplateError::Message { locale, message, .. }
            if locale == "de" && message == "greeting"),
        "{error:?}"
    );
}

#[test]
fn syntax_errors_name_file_and_line() {
    for (path, text, wanted_line) in [
        ("mail/welcome.html", "one\ntwo {% if %}\n", 2),
        ("mail/layout.txt", "{{ username", 1),
        ("en.ftl", "greeting = Hello\n\nthis is no message\n", 3),
        ("de.ftl", "greeting = Hallo { $username\n", 2),
    ] {
        let error = refusal("syntax", &[(path, text)]).unwrap();
        assert!(
            matches!(&error, TemplateError::Syntax { file, line: Some(line), .. }
                if file == path && *line == wanted_line),
            "{path}: {error:?}"
        );
        assert!(error.source().is_some(), "{path}");
    }
}

#[test]
fn a_misspelt_file_is_refused_and_a_foreign_one_ignored() -> Outcome {
    let error = refusal("misspelt", &[("mail/welcom.html", "")]).unwrap();
    assert!(
        matches!(&error, TemplateError::UnknownFile { path } if path.ends_with("mail/welcom.html")),
        "{error:?}"
    );
    let error = refusal("no-language", &[("messages of ours.ftl", "")]).unwrap();
    assert!(
        matches!(error, TemplateError::UnknownLanguage { .. }),
        "{error:?}"
    );

    let foreign = [
        ("README.md", "{{"),
        ("mail/welcome.html.orig", "{{"),
        ("mail/.welcome.txt", "{{"),
    ];
    load("foreign", &foreign)?;
    Ok(())
}

#[test]
fn a_file_or_folder_that_cannot_be_read_is_named() -> Outcome {
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nowhere");
    let error = Templates::with_overrides(&missing).expect_err("there is no such folder");
    assert!(matches!(&error, TemplateError::Unreadable { path, .. } if *path == missing));

    let folder = Folder::new("unreadable", &[])?;
    fs::write(folder.0.join("en.ftl"), b"greeting = \xff\n")?;
    let error = Templates::with_overrides(&folder.0).expect_err("this is not UTF-8");
    assert!(matches!(&error, TemplateError::Unreadable { path, .. } if path.ends_with("en.ftl")));
    Ok(())
}

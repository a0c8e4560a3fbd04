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
fn one_language_is_changed_and_the_others_stay() -> Outcome {
    let templates = load("one", &[("de.ftl", "greeting = Moin { $username },\n")])?;
    let builtin = Templates::builtin()?;
    for locale in ["en", "it"] {
        assert!(password_changed(&templates, locale)? == password_changed(&builtin, locale)?);
    }
    let german = password_changed(&templates, "de")?;
    assert!(german.text.starts_with("Moin <ada>,\n"));
    assert_eq!(german.subject, password_changed(&builtin, "de")?.subject);
    Ok(())
}

#[test]
fn what_a_layout_sets_is_known_to_its_mails() -> Outcome {
    let files = [
        (
            "mail/layout.txt",
            "{% set mark = \"*\" %}{% block body %}{% endblock %}{% block note %}{% endblock %}",
        ),
        (
            "mail/test.txt",
            "{% extends \"mail/layout.txt\" %}{% block body %}{{ mark }} {{ at }}{% endblock %}",
        ),
    ];
    let templates = load("set", &files)?;
    let at = OffsetDateTime::UNIX_EPOCH.into();
    let text = templates.render("en", "Example", &Mail::Test { at })?.text;
    assert_eq!(text, "* 1 January 1970 at 00:00 UTC\n");
    Ok(())
}

#[test]
fn a_subject_that_wants_user_text_is_refused() {
    let error = refusal(
        "subject-user",
        &[("en.ftl", "\nwelcome-subject = Hi { $username }\n")],
    )
    .unwrap();
    assert_eq!(
        error.to_string(),
        "en.ftl, line 2: the message `welcome-subject` of the subject of welcome cannot be formatted in `en`"
    );
    assert!(
        error
            .source()
            .is_some_and(|source| source.to_string().contains("username"))
    );
}

#[test]
fn an_unknown_variable_is_reported_with_file_and_line() {
    for (text, variable) in [
        ("{{ usernme }}", "usernme"),
        ("{{ t(\"greeting\", username=usernme) }}", "usernme"),
        (
            "{% if username == \"ada\" %}{{ nobody }}{% endif %}",
            "nobody",
        ),
        // Another mail's.
        ("{{ link }}", "link"),
    ] {
        let text = format!("one\ntwo\n{text}");
        let error = refusal("variable", &[("mail/account_deleted.txt", &text)]).unwrap();
        let want = format!(
            "mail/account_deleted.txt, line 3: `{variable}` is no variable of this template"
        );
        assert_eq!(error.to_string(), want, "{error:?}");
    }
}

#[test]
fn a_branch_that_no_trial_takes_hides_no_unknown_variable() {
    let hidden = "{% if username == \"ada\" %}{{ nobody }}{% endif %}";
    let row = format!("{{% macro row(name, value) %}}{hidden}{{% endmacro %}}");
    let included = [
        ("mail/_own.txt", hidden),
        (
            "mail/test.txt",
            "{% if at == \"never\" %}{% include \"mail/_own.txt\" %}{% endif %}",
        ),
    ];
    // A name is not set by prose, nor by a template that its mail never sees, nor in a branch.
    let prose = [(
        "mail/test.txt",
        "as nobody, set nobody, macro nobody {% raw %}{% set nobody = 1 %}{% endraw %} {% if at == \"never\" %}{{ nobody }}{% endif %}",
    )];
    let elsewhere = [
        ("mail/welcome.txt", "{% set nobody = 1 %}"),
        (
            "mail/test.txt",
            "{% if at == \"never\" %}{{ nobody }}{% endif %}",
        ),
    ];
    let branch = [(
        "mail/test.txt",
        "{% if at == \"never\" %}{% set nobody = 1 %}{% endif %}{% if at == \"later\" %}{{ nobody }}{% endif %}",
    )];
    let other_mail = [(
        "mail/test.txt",
        "{% if at == \"never\" %}{{ nobody }}{% endif %}{% with nobody = 1 %}{% endwith %}",
    )];
    for (test, files) in [
        ("hidden-layout", &[("mail/layout.html", hidden)][..]),
        ("hidden-layout-text", &[("mail/layout.txt", hidden)]),
        ("hidden-row", &[("mail/_row.html", &row)]),
        ("hidden-included", &included),
        ("hidden-prose", &prose),
        ("hidden-elsewhere", &elsewhere),
        ("hidden-branch", &branch),
        ("hidden-scope", &other_mail),
    ] {
        let error = refusal(test, files);
        assert!(
            matches!(&error, Some(TemplateError::UnknownVariable { variable, .. }) if variable == "nobody"),
            "{test}: {error:?}"
        );
    }
}

#[test]
fn what_a_mail_may_lack_is_tried_in_every_combination_and_links_with_several_times() {
    for (path, text) in [
        (
            "mail/payment_failed.txt",
            "{% if retry_at is defined %}{{ link }}{% endif %}",
        ),
        (
            "mail/payment_failed.txt",
            "{% if link is defined %}{{ retry_at }}{% endif %}",
        ),
        (
            "mail/password_reset.txt",
            "{% if valid_minutes == 1 %}{{ t(\"nowhere\") }}{% endif %}",
        ),
        (
            "mail/password_reset.txt",
            "{% if valid_minutes > 60 %}{{ t(\"nowhere\") }}{% endif %}",
        ),
        ("mail/password_reset.txt", "{{ 60 // valid_minutes }}"),
        (
            "mail/welcome.html",
            "{% if valid_hours == 1 %}{{ t(\"nowhere\") }}{% endif %}",
        ),
        (
            "mail/welcome.html",
            "{% if valid_hours > 24 %}{{ link | nofilter }}{% endif %}",
        ),
    ] {
        let error = refusal("combination", &[(path, text)]);
        assert!(
            matches!(&error, Some(TemplateError::Render { template, .. } | TemplateError::MissingMessage { template, .. }) if template == path),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn what_a_mail_sets_is_known_to_its_layout() -> Outcome {
    let files = [
        (
            "mail/layout.txt",
            "{% if mark is defined %}{{ mark }}{% endif %}{% block body %}{% endblock %}",
        ),
        (
            "mail/test.txt",
            "{% set mark = \"!\" %}{% extends \"mail/layout.txt\" %}",
        ),
    ];
    let templates = load("set-by-mail", &files)?;
    let at = OffsetDateTime::UNIX_EPOCH.into();
    assert_eq!(
        templates.render("en", "Example", &Mail::Test { at })?.text,
        "!\n"
    );
    Ok(())
}

#[test]
fn a_fault_of_a_layout_is_reported_with_its_file_and_line() {
    for (layout, said) in [
        (
            "\n{{ nothing }}",
            "mail/layout.html, line 2: `nothing` is no variable of this template",
        ),
        (
            "\n{{ username }}",
            "mail/layout.html, line 2: mail/test.html cannot be rendered in `en`",
        ),
    ] {
        let error = refusal("layout-fault", &[("mail/layout.html", layout)]).unwrap();
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_missing_message_is_reported_with_file_and_line() {
    let layout = "\n{% block body %}{% endblock %}{{ t(\"nowhere\") }}";
    let error = refusal("message", &[("mail/layout.html", layout)]).unwrap();
    assert_eq!(
        error.to_string(),
        "mail/layout.html, line 2: the message `nowhere` of mail/welcome.html is missing in `en` and in `en`"
    );
}

#[test]
fn a_fault_in_another_language_is_reported_for_that_language() {
    for (messages, line) in [
        ("greeting = Hallo { $benutzer }\n", 1),
        // All links of the trial live for more than one hour.
        (
            "\nvalid-hours = { $valid_hours ->\n    [one] { $eine } Stunde\n   *[other] mehr\n}\n",
            2,
        ),
    ] {
        let error = refusal("de", &[("de.ftl", messages)]).unwrap();
        assert!(
            matches!(&error, TemplateError::Message { file, line: Some(at), locale, .. }
                if file == "de.ftl" && *at == line && locale == "de"),
            "{error:?}"
        );
    }
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

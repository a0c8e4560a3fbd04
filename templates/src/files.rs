use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::TemplateError;

/// A template or message file, by its path relative to the folder it is in.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Files in the order they are loaded: a later one overrides an earlier.
pub(crate) struct Files {
    pub(crate) messages: Vec<File>,
    pub(crate) templates: Vec<File>,
}

macro_rules! builtin {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../builtin/", $path)))),*]
    };
}

// English stays first: it is the fallback. Another language is its file and one line here.
const MESSAGES: &[(&str, &str)] = builtin!["en.ftl", "de.ftl", "it.ftl"];

const TEMPLATES: &[(&str, &str)] = builtin![
    "mail/_row.html",
    "mail/layout.html",
    "mail/layout.txt",
    "mail/account_deleted.html",
    "mail/account_deleted.txt",
    "mail/account_exists.html",
    "mail/account_exists.txt",
    "mail/credit_purchase.html",
    "mail/credit_purchase.txt",
    "mail/email_change_notice.html",
    "mail/email_change_notice.txt",
    "mail/email_change_verify.html",
    "mail/email_change_verify.txt",
    "mail/google_linked.html",
    "mail/google_linked.txt",
    "mail/google_unlinked.html",
    "mail/google_unlinked.txt",
    "mail/password_changed.html",
    "mail/password_changed.txt",
    "mail/password_reset.html",
    "mail/password_reset.txt",
    "mail/payment_failed.html",
    "mail/payment_failed.txt",
    "mail/plan_upgrade.html",
    "mail/plan_upgrade.txt",
    "mail/subscription_cancelled.html",
    "mail/subscription_cancelled.txt",
    "mail/subscription_renewed.html",
    "mail/subscription_renewed.txt",
    "mail/subscription_started.html",
    "mail/subscription_started.txt",
    "mail/test.html",
    "mail/test.txt",
    "mail/verify_email.html",
    "mail/verify_email.txt",
    "mail/welcome.html",
    "mail/welcome.txt",
];

pub(crate) fn builtin() -> Files {
    let files = |all: &[(&str, &str)]| {
        all.iter()
            .map(|(path, text)| File::new((*path).to_owned(), text))
            .collect()
    };
    Files {
        messages: files(MESSAGES),
        templates: files(TEMPLATES),
    }
}

/// The built-in files, then those of `folder`.
///
/// Other files than templates and messages are left alone: a folder under version control holds some.
pub(crate) fn with_overrides(folder: &Path) -> Result<Files, TemplateError> {
    let mut files = builtin();
    for path in list(folder, &["ftl"])? {
        files.messages.push(File::read(folder, path)?);
    }
    let mail = folder.join("mail");
    if mail.try_exists().map_err(unreadable(&mail))? {
        for path in list(&mail, &["html", "txt"])? {
            let file = File::read(folder, path.clone())?;
            let known = file.path.starts_with("mail/_")
                || TEMPLATES.iter().any(|(builtin, _)| *builtin == file.path);
            if !known {
                return Err(TemplateError::UnknownFile { path });
            }
            files.templates.push(file);
        }
    }
    Ok(files)
}

impl File {
    fn new(path: String, text: &str) -> Self {
        // Editors on Windows leave both behind; neither belongs into a mail or parses as a message.
        let text = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .replace("\r\n", "\n");
        Self { path, text }
    }

    fn read(folder: &Path, path: PathBuf) -> Result<Self, TemplateError> {
        let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
        let parts: Option<Vec<_>> = path
            .strip_prefix(folder)
            .ok()
            .and_then(|relative| relative.iter().map(|part| part.to_str()).collect());
        match parts {
            Some(parts) => Ok(Self::new(parts.join("/"), &text)),
            None => Err(TemplateError::UnknownFile { path }),
        }
    }
}

fn list(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, TemplateError> {
    let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(unreadable(folder))?;
    paths.retain(|path| {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().and_then(|extension| extension.to_str());
        !hidden && extension.is_some_and(|extension| extensions.contains(&extension))
    });
    // The system lists in any order; errors and overrides must not depend on it.
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    let path = path.to_owned();
    move |source| TemplateError::Unreadable { path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Each message with the variables that it names.
    fn messages(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut messages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut current = "";
        for line in text.lines() {
            if line.starts_with(|c: char| c.is_ascii_lowercase()) {
                current = line.split_once(" = ").or(line.split_once(" =")).unwrap().0;
                assert!(!messages.contains_key(current), "{current} twice");
                messages.insert(current, BTreeSet::new());
            }
            let variables = line.split('$').skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            });
            if !line.starts_with('#') {
                messages.entry(current).or_default().extend(variables);
            }
        }
        messages.remove("");
        messages
    }

    #[test]
    fn every_language_has_the_same_messages_with_the_same_variables() {
        let files = builtin().messages;
        let english = messages(&files[0].text);
        assert!(english.len() > 90 && english["greeting"].contains("username"));
        for file in &files {
            let translated = messages(&file.text);
            for (id, variables) in &english {
                assert_eq!(translated.get(id), Some(variables), "{id} in {}", file.path);
            }
            assert_eq!(translated.len(), english.len(), "{}", file.path);
        }
    }
}

use std::error::Error;
use std::io;
use std::path::PathBuf;

use fluent_bundle::FluentError;

/// What is wrong with a template or message file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A message exists but cannot be formatted: most often it names a variable that its mail lacks.
    #[error("the message `{message}` of {template} cannot be formatted in `{locale}`")]
    Message {
        /// Template that asked for the message.
        template: String,
        /// Locale that was rendered.
        locale: String,
        /// Identifier of the message.
        message: String,
        /// What the message asked for in vain.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A message is missing, in English too.
    #[error("the message `{message}` of {template} is missing in `{locale}` and in `en`")]
    MissingMessage {
        /// Template that asked for the message.
        template: String,
        /// Locale that was rendered.
        locale: String,
        /// Identifier of the message.
        message: String,
    },
    /// A template cannot be rendered: most often it names a variable that its mail lacks.
    #[error("{template} cannot be rendered in `{locale}`")]
    Render {
        /// Template that was rendered.
        template: String,
        /// Locale that was rendered.
        locale: String,
        /// What failed, and on which line.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A template or message file breaks the rules of its syntax.
    #[error("{file} has a syntax error{}", line.map(|line| format!(" on line {line}")).unwrap_or_default())]
    Syntax {
        /// File, relative to its folder.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<usize>,
        /// What the parser says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file would override nothing, so its name is probably misspelt.
    #[error("{} overrides nothing", path.display())]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// A message file is not named after a language.
    #[error("{file} is not named after a language")]
    UnknownLanguage {
        /// File, relative to its folder.
        file: String,
    },
    /// A file or folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a message gives no text; the template that asked for it adds its name.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TextError {
    #[error("the message `{0}` cannot be formatted")]
    Format(String, #[source] FluentError),
    #[error("the message `{0}` is missing")]
    Missing(String),
}

impl TextError {
    pub(crate) fn in_template(self, template: &str, locale: &str) -> TemplateError {
        let (template, locale) = (template.to_owned(), locale.to_owned());
        match self {
            Self::Format(message, source) => TemplateError::Message {
                template,
                locale,
                message,
                source: source.into(),
            },
            Self::Missing(message) => TemplateError::MissingMessage {
                template,
                locale,
                message,
            },
        }
    }
}

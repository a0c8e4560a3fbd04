use std::error::Error;
use std::io;
use std::path::PathBuf;

use fluent_bundle::FluentError;

/// What is wrong with a template or message file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A message exists but cannot be formatted: most often it names a variable that its mail lacks.
    #[error("{}: the message `{message}` of {template} cannot be formatted in `{locale}`", place(file, *line))]
    Message {
        /// File of the message, relative to its folder.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<u32>,
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
    #[error("{}: the message `{message}` of {template} is missing in `{locale}` and in `en`", place(file, *line))]
    MissingMessage {
        /// File of the template that asks for it, relative to its folder.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<u32>,
        /// Template that asked for the message.
        template: String,
        /// Locale that was rendered.
        locale: String,
        /// Identifier of the message.
        message: String,
    },
    /// A template cannot be rendered: most often it names a variable that its mail lacks.
    #[error("{}: {template} cannot be rendered in `{locale}`", place(file, *line))]
    Render {
        /// File of the fault, relative to its folder: the template, or one that it extends or includes.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<u32>,
        /// Template that was rendered.
        template: String,
        /// Locale that was rendered.
        locale: String,
        /// What failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A template or message file breaks the rules of its syntax.
    #[error("{}: this breaks the rules of the syntax", place(file, *line))]
    Syntax {
        /// File, relative to its folder.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<u32>,
        /// What the parser says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file would override nothing, so its name is probably misspelt.
    #[error("{} overrides nothing", path.display())]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// A template names a variable that its mail does not have, perhaps only in a branch that no trial rendering takes.
    #[error("{}: `{variable}` is no variable of this template", place(file, *line))]
    UnknownVariable {
        /// File, relative to its folder.
        file: String,
        /// Line, counted from one, where it is known.
        line: Option<u32>,
        /// What the template asks for.
        variable: String,
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

/// Where somebody has to look.
fn place(file: &str, line: Option<u32>) -> String {
    match line {
        Some(line) => format!("{file}, line {line}"),
        None => file.to_owned(),
    }
}

/// Why a message gives no text; the template that asked for it adds its name.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TextError {
    #[error("the message `{message}` cannot be formatted")]
    Format {
        message: String,
        file: String,
        line: Option<u32>,
        source: Box<FluentError>,
    },
    #[error("the message `{0}` is missing")]
    Missing(String),
}

impl TextError {
    /// `asked` is where the template asks for the message.
    pub(crate) fn in_template(
        self,
        template: &str,
        asked: (&str, Option<u32>),
        locale: &str,
    ) -> TemplateError {
        let (template, locale) = (template.to_owned(), locale.to_owned());
        match self {
            Self::Format {
                message,
                file,
                line,
                source,
            } => TemplateError::Message {
                file,
                line,
                template,
                locale,
                message,
                source,
            },
            Self::Missing(message) => TemplateError::MissingMessage {
                file: asked.0.to_owned(),
                line: asked.1,
                template,
                locale,
                message,
            },
        }
    }
}

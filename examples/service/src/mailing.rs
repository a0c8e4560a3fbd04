//! Where mails go.

use std::{fmt, io, path::absolute};

use auth_core::{AuthBuilder, Links};

use crate::{
    mail_folder::MailFolder,
    settings::{Environment, Relay, Settings},
};

/// By SMTP where a server is set; else into a folder in development and tests, and nowhere where people wait for them.
pub(crate) enum Mailing {
    Folder(MailFolder),
    Off,
    Relay(Relay),
}

impl Mailing {
    pub(crate) fn of(settings: &Settings) -> io::Result<Self> {
        let mail = &settings.mail;
        if let Some(relay) = &mail.relay {
            return Ok(Self::Relay(relay.clone()));
        }
        match settings.environment {
            Environment::Development | Environment::Test => {
                let folder = absolute("auth-service-mail")?;
                Ok(Self::Folder(MailFolder::open(folder, mail.sender.clone())?))
            }
            Environment::Production | Environment::Staging => Ok(Self::Off),
        }
    }

    pub(crate) fn offer(&self, builder: AuthBuilder, links: Links) -> AuthBuilder {
        match self {
            Self::Folder(folder) => builder.mailer(folder.clone(), links),
            Self::Off => builder,
            Self::Relay(relay) => builder.mailer(relay.mailer.clone(), links),
        }
    }

    pub(crate) fn folder(&self) -> Option<&MailFolder> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Off | Self::Relay(_) => None,
        }
    }
}

/// For the operator.
impl fmt::Display for Mailing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => {
                write!(f, "not sent: files in {}", folder.path().display())
            }
            Self::Off => f.write_str(
                "off: verification, password reset and change of address are not offered",
            ),
            Self::Relay(relay) => relay.fmt(f),
        }
    }
}

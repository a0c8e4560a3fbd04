//! From a row of the outbox to a mail that left.

mod links;
mod worker;

use std::sync::Arc;

pub use links::{Links, LinksError};

use auth_templates::{Mail, Templates};

use crate::{
    error::Error,
    jwt::KeyRing,
    ports::{Mailer, OutgoingMail},
    types::{Letter, PendingToken, QueuedMail, Secret},
};

/// All that sending takes.
pub(crate) struct Post {
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) links: Links,
    pub(crate) templates: Templates,
    pub(crate) service_name: String,
}

impl Post {
    /// Signs the token of a queued mail and renders it.
    fn write(&self, queued: &QueuedMail, keys: &KeyRing) -> Result<OutgoingMail, Error> {
        let mail = self.fill(&queued.letter, keys)?;
        let rendered = self
            .templates
            .render(&queued.locale, &self.service_name, &mail)
            .map_err(|error| Error::Internal(error.into()))?;
        Ok(OutgoingMail {
            id: queued.id,
            to: queued.to.clone(),
            subject: rendered.subject,
            html: rendered.html,
            text: rendered.text,
        })
    }

    fn fill(&self, letter: &Letter, keys: &KeyRing) -> Result<Mail, Error> {
        let link = |token: &PendingToken| -> Result<String, Error> {
            let signed: Secret<String> = keys.sign_mailed(token)?;
            Ok(self.links.open(token.purpose, &signed))
        };
        let hours = |token: &PendingToken| lifetime(token) / 3600;
        let minutes = |token: &PendingToken| lifetime(token) / 60;
        Ok(match letter.clone() {
            Letter::AccountDeleted { username } => Mail::AccountDeleted { username },
            Letter::AccountExists { username, token } => Mail::AccountExists {
                username,
                link: link(&token)?,
                valid_minutes: minutes(&token),
            },
            Letter::EmailChangeNotice {
                username,
                new_email,
                token,
            } => Mail::EmailChangeNotice {
                username,
                new_email,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::EmailChangeVerify { username, token } => Mail::EmailChangeVerify {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::PasswordChanged { username } => Mail::PasswordChanged { username },
            Letter::PasswordReset { username, token } => Mail::PasswordReset {
                username,
                link: link(&token)?,
                valid_minutes: minutes(&token),
            },
            Letter::VerifyEmail { username, token } => Mail::VerifyEmail {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::Welcome { username, token } => Mail::Welcome {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
        })
    }
}

/// In seconds.
fn lifetime(token: &PendingToken) -> u32 {
    u32::try_from(token.expires_at - token.issued_at).unwrap_or(0)
}

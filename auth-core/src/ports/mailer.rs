use async_trait::async_trait;
use time::OffsetDateTime;

use crate::types::{Email, MailId};

/// A mail that is ready to go.
///
/// # Security
/// `html` and `text` may hold tokens: never log them.
#[derive(Clone)]
pub struct OutgoingMail {
    /// The same on each try, for the Message-ID.
    pub id: MailId,
    /// UTC, for the date; the same on each try.
    pub created_at: OffsetDateTime,
    /// The recipient.
    pub to: Email,
    /// One line.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The plain text part.
    pub text: String,
}

impl std::fmt::Debug for OutgoingMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutgoingMail")
            .field("id", &self.id)
            .field("to", &self.to)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Sends mails.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Hands one mail over for delivery.
    ///
    /// # Errors
    /// [`MailerError::Temporary`] is tried again; [`MailerError::Permanent`] makes the mail a dead letter.
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError>;
}

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailerError {
    /// It will never be accepted.
    #[error("the mail was refused for good")]
    Permanent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may be accepted later.
    #[error("the mail was not accepted now")]
    Temporary(#[source] Box<dyn std::error::Error + Send + Sync>),
}

use std::time::SystemTime;

use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue, MIME_VERSION_1_0},
    },
};

use crate::{
    ports::{MailerError, OutgoingMail},
    types::Email,
};

/// Who mails come from; writes them as internet messages (RFC 5322, MIME).
///
/// ```
/// use auth_core::adapters::Sender;
///
/// let sender = Sender::parse("Example <no-reply@example.org>")?;
/// assert_eq!(sender.email().as_str(), "no-reply@example.org");
/// # Ok::<(), auth_core::adapters::InvalidSender>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sender {
    email: Email,
    mailbox: Mailbox,
}

/// Why a sender is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address, or `Name <address>` in one line")]
pub struct InvalidSender;

impl Sender {
    /// Reads `address` or `Name <address>`.
    ///
    /// # Errors
    /// [`InvalidSender`].
    pub fn parse(raw: &str) -> Result<Self, InvalidSender> {
        // A line break in a name makes lettre panic.
        if raw.chars().any(char::is_control) {
            return Err(InvalidSender);
        }
        let raw = raw.trim();
        let (name, address) = match raw.strip_suffix('>').and_then(|raw| raw.rsplit_once('<')) {
            Some((name, address)) => (unquoted(name.trim()), address),
            None => ("", raw),
        };
        let email = Email::parse(address).map_err(|_| InvalidSender)?;
        let address: Address = email.as_str().parse().map_err(|_| InvalidSender)?;
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(Self {
            email,
            mailbox: Mailbox::new(name, address),
        })
    }

    /// The address.
    pub const fn email(&self) -> &Email {
        &self.email
    }

    /// A mail as it goes over the wire: text and HTML as alternatives. Its Message-ID and its date are the same each time it is written.
    ///
    /// # Errors
    /// [`MailerError::Permanent`] when it cannot be written.
    pub fn write(&self, mail: &OutgoingMail) -> Result<Vec<u8>, MailerError> {
        Ok(self.message(mail)?.formatted())
    }

    pub(super) fn message(&self, mail: &OutgoingMail) -> Result<Message, MailerError> {
        let to: Address = mail
            .to
            .as_str()
            .parse()
            .map_err(|error: lettre::address::AddressError| MailerError::Permanent(error.into()))?;
        Message::builder()
            .from(self.mailbox.clone())
            .to(Mailbox::new(None, to))
            .subject(&mail.subject)
            .date(SystemTime::from(mail.created_at))
            .message_id(Some(format!("<{}@{}>", mail.id, self.domain())))
            .header(AutoSubmitted)
            .header(MIME_VERSION_1_0)
            .multipart(MultiPart::alternative_plain_html(
                mail.text.clone(),
                mail.html.clone(),
            ))
            .map_err(|error| MailerError::Permanent(error.into()))
    }

    pub(super) fn domain(&self) -> &str {
        self.mailbox.email.domain()
    }
}

fn unquoted(name: &str) -> &str {
    name.strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .unwrap_or(name)
}

/// RFC 3834 §5: nobody's holiday notice need answer this.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

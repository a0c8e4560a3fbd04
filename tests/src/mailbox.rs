use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use auth_core::{
    ports::{Mailer, MailerError, OutgoingMail},
    types::Email,
};

/// A [`Mailer`] that keeps what is sent. Clones are one mailbox.
///
/// Mails arrive when the outbox is drained: the methods of [`App`](crate::App) do it.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<Vec<Mail>>>);

/// A mail that arrived.
#[derive(Clone)]
pub struct Mail {
    /// The same on each try.
    pub id: String,
    /// The recipient.
    pub to: Email,
    /// The name of its template.
    pub template: &'static str,
    /// One line.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The plain text part.
    pub text: String,
}

/// What the built-in English templates have as their subject.
const SUBJECTS: [(&str, &str); 17] = [
    ("account_deleted", "account was deleted"),
    ("account_exists", "You already have an account"),
    ("credit_purchase", "credits have arrived"),
    ("email_change_notice", "is about to change"),
    ("email_change_verify", "Confirm your new email address"),
    ("google_linked", "A new way to sign in"),
    ("google_unlinked", "A way to sign in"),
    ("password_changed", "password was changed"),
    ("password_reset", "Reset your"),
    ("payment_failed", "A payment to"),
    ("plan_upgrade", "plan was upgraded"),
    ("subscription_cancelled", "subscription was cancelled"),
    ("subscription_renewed", "subscription was renewed"),
    ("subscription_started", "subscription has started"),
    ("test", "Test message"),
    ("verify_email", "Confirm your email address"),
    ("welcome", "Welcome to"),
];

/// The name of the template that has this subject.
pub(crate) fn template_of(subject: &str) -> &'static str {
    SUBJECTS
        .iter()
        .find(|(_, part)| subject.contains(part))
        .map_or("unknown", |(template, _)| template)
}

impl Mailbox {
    /// Every mail, the oldest first.
    pub fn all(&self) -> Vec<Mail> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The mails to one address, the oldest first.
    pub fn to(&self, address: &str) -> Vec<Mail> {
        let mut mails = self.all();
        mails.retain(|mail| mail.to.as_str() == address);
        mails
    }

    /// The newest mail to an address.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn last_to(&self, address: &str) -> Mail {
        self.to(address)
            .pop()
            .unwrap_or_else(|| panic!("no mail arrived at {address}"))
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.template, self.to.as_str())
    }
}

impl Mail {
    /// The link in the text part.
    ///
    /// # Panics
    /// When there is none, or the HTML part has another one.
    #[track_caller]
    pub fn link(&self) -> &str {
        let link = self
            .text
            .split_whitespace()
            .find(|word| word.contains("token="))
            .unwrap_or_else(|| panic!("{self:?} has no link"));
        assert!(
            self.html.contains(&format!("\"{link}\"")),
            "the HTML part of {self:?} does not lead to the same page"
        );
        link
    }

    /// The token in the link.
    #[track_caller]
    pub fn token(&self) -> &str {
        self.link().split_once("token=").unwrap().1
    }
}

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Mail {
                id: mail.id.to_string(),
                to: mail.to.clone(),
                template: template_of(&mail.subject),
                subject: mail.subject.clone(),
                html: mail.html.clone(),
                text: mail.text.clone(),
            });
        Ok(())
    }
}

use auth_templates::Check;

use crate::{
    auth::Auth,
    error::Error,
    types::{Client, Email, Letter, MailId, QueuedMail},
};

/// What a trial rendering of one mail in one language said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateReport {
    /// The mail.
    pub name: &'static str,
    /// The language.
    pub locale: String,
    /// What is wrong; `None` when it renders.
    pub error: Option<String>,
}

impl Auth {
    /// Sends a mail to the address of [`test_mail_to`](crate::AuthBuilder::test_mail_to), at once and past the outbox: the answer is the mailer's.
    ///
    /// # Errors
    /// [`Error::MailFailed`] when it does not leave.
    ///
    /// # Security
    /// The address is never one of a request: nobody gets mails that they did not ask for by this.
    pub async fn send_test_mail(&self, client: &Client) -> Result<Email, Error> {
        let (Some(post), Some(to)) = (&self.shared.post, &self.shared.test_mail_to) else {
            return Err(Error::MailFailed("nobody is set to get test mails".into()));
        };
        let now = self.now();
        let mail = QueuedMail {
            id: MailId::generate(now, self.random()),
            user_id: None,
            to: to.clone(),
            locale: self.locale(client),
            letter: Letter::Test,
            created_at: now,
        };
        let outgoing = post.write(&mail, &self.shared.keys)?;
        post.hand_over(&outgoing)
            .await
            .map_err(|error| Error::MailFailed(error.into()))?;
        Ok(to.clone())
    }

    /// Renders every mail in every language with sample values; nothing without a mailer.
    pub fn check_mail_templates(&self) -> Vec<TemplateReport> {
        let Some(post) = &self.shared.post else {
            return Vec::new();
        };
        let report = |check: Check| TemplateReport {
            name: check.name,
            locale: check.locale,
            error: check.result.err().map(|error| error.to_string()),
        };
        post.templates.check().into_iter().map(report).collect()
    }
}

use crate::{
    auth::Auth,
    error::Error,
    types::{Client, UserId},
};

impl Auth {
    /// Sets the language of the mails to a user, as registration does from `Accept-Language`: `preferred` is such a value, or one language (`de-AT`).
    /// Gives the one that was set: the best of those that there are mails in, `en` when none fits. Mails that are queued stay as they are.
    /// Without a mailer nobody knows the languages here: what is set stays, and is given.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    ///
    /// # Security
    /// The caller decides who may do this; no endpoint does. Any text is taken.
    pub async fn set_language(&self, user: UserId, preferred: &str) -> Result<String, Error> {
        if !self.has_mailer() {
            return Ok(self.user(user).await?.locale);
        }
        let locale = self.best_locale(preferred);
        if self.store.set_locale(user, &locale, self.now()).await? {
            Ok(locale)
        } else {
            Err(Error::UserNotFound)
        }
    }

    /// Of the mails to a new user.
    pub(super) fn locale(&self, client: &Client) -> String {
        self.best_locale(client.accept_language.as_deref().unwrap_or_default())
    }

    /// Without a mailer there are no mails in any language.
    fn best_locale(&self, preferred: &str) -> String {
        self.shared.post.as_ref().map_or_else(
            || "en".to_owned(),
            |post| post.templates.negotiate(preferred),
        )
    }
}

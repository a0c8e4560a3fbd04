use crate::{
    auth::Auth,
    error::Error,
    ports::{Authenticated, Unlinked},
    types::{AuditEvent, Client, Letter, PasswordAttempt, ProviderName, User},
};

impl Auth {
    /// Takes from an identity at a provider what opens the account, unless nothing else does. Every other session ends. The provider may be one that is not configured any more.
    ///
    /// # Errors
    /// [`Error::NotLinked`]; [`Error::LastSignInMethod`]; [`Error::Invalid`], [`Error::CurrentPasswordInvalid`],
    /// [`Error::ReauthenticationRequired`] as for [`Auth::delete_account`].
    pub async fn unlink_identity(
        &self,
        who: &Authenticated,
        provider: &str,
        password: Option<PasswordAttempt>,
        client: &Client,
    ) -> Result<User, Error> {
        let name = ProviderName::parse(provider).map_err(|_| Error::NotLinked)?;
        if !who.user.providers.contains(&name) {
            return Err(Error::NotLinked);
        }
        if who.user.sign_in_methods().len() == 1 {
            return Err(Error::LastSignInMethod);
        }
        let account = self.prove_owner(who, password, client).await?;
        let now = self.now();
        let mut record = self.record(
            AuditEvent::IdentityUnlinked,
            Some(who.user.id),
            Some(who.session.id),
            client,
            now,
        );
        let title = self
            .shared
            .oauth
            .providers
            .get(&name)
            .map_or(name.as_str(), |provider| provider.port.title());
        let letter = Letter::GoogleUnlinked {
            username: account.user.username.to_string(),
            provider: title.to_owned(),
        };
        let user = &account.user;
        record
            .mails
            .extend(self.mail(user, &user.email, letter, now));
        // The look above spares a proof; this is what holds.
        match self
            .store
            .unlink_identity(user.id, account.version, who.session.id, &name, now, record)
            .await?
        {
            Unlinked::Done(user) => {
                self.shared.mail_queued.notify_one();
                Ok(*user)
            }
            Unlinked::LastMethod => Err(Error::LastSignInMethod),
            Unlinked::NotLinked => Err(Error::NotLinked),
            // The password or the session changed while this one was compared.
            Unlinked::Stale => Err(Error::InvalidToken),
        }
    }
}

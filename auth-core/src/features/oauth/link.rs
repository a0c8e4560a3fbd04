use time::Duration;

use super::{LinkFlow, SignIn, Spent};
use crate::{
    auth::Auth,
    error::Error,
    ports::Authenticated,
    types::{Client, PasswordAttempt, Secret, User},
};

/// How old an ID token may be when it is shown: it was got for this.
const FRESH: Duration = Duration::minutes(10);

/// A wish to open the own account through a provider, too.
#[derive(Debug)]
pub struct LinkIdentity {
    /// Proves the owner; for accounts without one, the session must be fresh.
    pub password: Option<PasswordAttempt>,
    /// From the provider's own button on a page of the host; without it, the browser is sent to the provider.
    pub id_token: Option<Secret<String>>,
    /// Where the browser ends then; one of the allowed addresses.
    pub redirect_to: Option<String>,
}

/// How linking goes on.
#[derive(Debug)]
pub enum Linking {
    /// It is done.
    Done(Box<User>),
    /// The browser has to go to the provider; [`Auth::oauth_callback`] links.
    Started(SignIn),
}

impl Auth {
    /// Lets an identity at a provider open the account of whoever is logged in.
    ///
    /// # Errors
    /// [`Error::OAuthNotConfigured`]; [`Error::RedirectNotAllowed`]; [`Error::InvalidIdToken`], also for one that was shown before;
    /// [`Error::IdentityInUse`] when another account has the identity, or this one has another identity of the provider;
    /// [`Error::Invalid`], [`Error::CurrentPasswordInvalid`], [`Error::ReauthenticationRequired`] as for [`Auth::delete_account`];
    /// [`Error::ProviderFailed`]; [`Error::ProviderUnavailable`].
    pub async fn link_identity(
        &self,
        who: &Authenticated,
        provider: &str,
        cmd: LinkIdentity,
        client: &Client,
    ) -> Result<Linking, Error> {
        let provider = self.shared.oauth.provider(provider)?;
        let redirect_to = self.shared.oauth.allowed(cmd.redirect_to.as_deref())?;
        let account = self.prove_owner(who, cmd.password, client).await?;
        let Some(token) = cmd.id_token else {
            let link = LinkFlow {
                user: who.user.id,
                session: who.session.id,
                seen: account.version.as_i64(),
            };
            return self
                .begin(provider, redirect_to.as_ref(), None, Some(link))
                .await
                .map(Linking::Started);
        };
        let now = self.now();
        let proven = provider
            .port
            .verify_id_token(&token, now)
            .await
            .map_err(|error| {
                let error = super::fault(error);
                super::log_failure(provider, &error);
                match error {
                    Error::ProviderRefused(_) | Error::InvalidCode => Error::InvalidIdToken,
                    error => error,
                }
            })?;
        // No nonce of ours is in it: what was once shown to somebody must not be shown again. What was signed counts: a signature by an elliptic
        // curve has a twin.
        let signed = token
            .expose()
            .rsplit_once('.')
            .map_or("", |(signed, _)| signed);
        let signed = Secret::new(signed.to_owned());
        let is_fresh = now - proven.issued_at < FRESH
            && self
                .spend(Spent::IdToken, &signed, proven.expires_at)
                .await?;
        if !is_fresh {
            return Err(Error::InvalidIdToken);
        }
        match self
            .join(provider, who, account.version, &proven, client)
            .await?
        {
            Some(user) => Ok(Linking::Done(Box::new(user))),
            None => Err(Error::InvalidToken),
        }
    }
}

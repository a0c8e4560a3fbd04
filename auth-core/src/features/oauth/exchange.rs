use time::OffsetDateTime;

use super::{LoginCode, Spent};
use crate::{
    auth::{Auth, Tokens},
    error::Error,
    jwt::Sealed,
    types::{AccountKey, Client, CredentialsVersion, Secret},
};

impl Auth {
    /// Trades the code that a sign-in ended with for a session. `verifier` is that of the sign-in's
    /// [`code_challenge`](super::StartSignIn::code_challenge), if it had one.
    ///
    /// # Errors
    /// [`Error::InvalidCode`] when it is not ours, was used, is over a minute old, its account changed since, or the verifier is not the one of its
    /// challenge: missing, another one, or one too many.
    ///
    /// # Security
    /// Without a challenge the code is not bound to a browser: a page must take only the code of a sign-in that it began itself, or an attacker lets a
    /// victim work in the attacker's account.
    pub async fn oauth_exchange(
        &self,
        code: &Secret<String>,
        verifier: Option<&Secret<String>>,
        client: &Client,
    ) -> Result<Tokens, Error> {
        let code: LoginCode = self
            .shared
            .keys
            .open(Sealed::LoginCode, code.expose())
            .filter(|code: &LoginCode| self.now().unix_timestamp() < code.expires_at)
            .filter(|code| is_bound(code, verifier))
            .ok_or(Error::InvalidCode)?;
        let expires_at =
            OffsetDateTime::from_unix_timestamp(code.expires_at).map_err(|_| Error::InvalidCode)?;
        if !self.spend(Spent::LoginCode, &code.id, expires_at).await? {
            return Err(Error::InvalidCode);
        }
        let account = self
            .store
            .account(&AccountKey::Id(code.user))
            .await?
            .filter(|account| account.version == CredentialsVersion::from_i64(code.seen))
            .ok_or(Error::InvalidCode)?;
        self.open_for(account, client)
            .await?
            .ok_or(Error::InvalidCode)
    }
}

/// A verifier without a challenge is refused, too: somebody took the challenge away (RFC 9700 §2.1.1).
fn is_bound(code: &LoginCode, verifier: Option<&Secret<String>>) -> bool {
    match (&code.code_challenge, verifier) {
        (Some(challenge), Some(verifier)) => challenge.is_of(verifier),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

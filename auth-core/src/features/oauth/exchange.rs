use time::OffsetDateTime;

use super::{LoginCode, Spent};
use crate::{
    auth::{Auth, Tokens},
    error::Error,
    jwt::Sealed,
    types::{AccountKey, Client, CredentialsVersion, Secret},
};

impl Auth {
    /// Trades the code that a sign-in ended with for a session.
    ///
    /// # Errors
    /// [`Error::InvalidCode`] when it is not ours, was used, is over a minute old, or its account changed since.
    ///
    /// # Security
    /// The code is not bound to a browser: a page must take only the code of a sign-in that it began itself.
    pub async fn oauth_exchange(
        &self,
        code: &Secret<String>,
        client: &Client,
    ) -> Result<Tokens, Error> {
        let code: LoginCode = self
            .shared
            .keys
            .open(Sealed::LoginCode, code.expose())
            .filter(|code: &LoginCode| self.now().unix_timestamp() < code.expires_at)
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

use crate::{auth::Auth, error::Error, ports::Authenticated};

impl Auth {
    /// The user and the session of an access token: signature and time first, then, in one look-up, that both still live.
    ///
    /// # Errors
    /// [`Error::TokenExpired`]; [`Error::InvalidToken`] for everything else that is wrong with it, its session or its user.
    pub async fn authenticate(&self, access_token: &str) -> Result<Authenticated, Error> {
        let now = self.now();
        let claims = self.shared.keys.verify_access(access_token, now)?;
        let live = self.store.authenticate(claims.sid, now).await?;
        live.filter(|live| live.user.id == claims.sub)
            .ok_or(Error::InvalidToken)
    }
}

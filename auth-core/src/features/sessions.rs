use crate::{
    auth::Auth,
    error::Error,
    ports::{Authenticated, Ended},
    types::{AuditEvent, Client, Session, SessionId},
};

impl Auth {
    /// The live sessions of a user, the newest first (ASVS 7.5.2).
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn sessions(&self, who: &Authenticated) -> Result<Vec<Session>, Error> {
        Ok(self.store.sessions(who.user.id, self.now()).await?)
    }

    /// Ends one session of the user who asks.
    ///
    /// # Errors
    /// [`Error::SessionNotFound`], also for a session of somebody else.
    pub async fn end_session(
        &self,
        who: &Authenticated,
        session: SessionId,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.now();
        let record = self.record(
            AuditEvent::SessionsEnded,
            Some(who.user.id),
            Some(session),
            client,
            now,
        );
        match self
            .store
            .end_sessions(who.user.id, Ended::One(session), now, record)
            .await?
        {
            0 => Err(Error::SessionNotFound),
            _ => Ok(()),
        }
    }
}

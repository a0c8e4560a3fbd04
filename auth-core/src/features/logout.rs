use crate::{
    auth::Auth,
    error::Error,
    ports::{Authenticated, Ended},
    types::{AuditEvent, Client},
};

/// Which sessions a logout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogoutScope {
    /// Every session of the user.
    All,
    /// The one that asks.
    #[default]
    Current,
    /// Every session but the one that asks.
    Others,
}

impl Auth {
    /// Ends sessions; their access tokens are refused from the next request on (ASVS 7.4.1).
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`].
    pub async fn logout(
        &self,
        who: &Authenticated,
        scope: LogoutScope,
        client: &Client,
    ) -> Result<(), Error> {
        let ended = match scope {
            LogoutScope::All => Ended::All,
            LogoutScope::Current => Ended::One(who.session.id),
            LogoutScope::Others => Ended::AllBut(who.session.id),
        };
        let now = self.now();
        let record = self.record(
            AuditEvent::SessionsEnded,
            Some(who.user.id),
            Some(who.session.id),
            client,
            now,
        );
        self.store
            .end_sessions(who.user.id, ended, now, record)
            .await?;
        Ok(())
    }
}

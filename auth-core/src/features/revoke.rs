use crate::{
    auth::Auth,
    error::Error,
    ports::Ended,
    types::{AuditEvent, Client, Digest, Secret},
};

impl Auth {
    /// Ends the session of a token, access or refresh, also an expired one, for whoever holds it (RFC 7009 §2).
    ///
    /// A token that opens nothing is no error: what the client wants is true already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Internal`]: then it is not revoked.
    pub async fn revoke(&self, token: &Secret<String>, client: &Client) -> Result<(), Error> {
        let now = self.now();
        let (user, session) = match self.shared.keys.identify(token.expose()) {
            Ok(claims) => (claims.sub, claims.sid),
            Err(_) => match self
                .store
                .session_of_refresh(&Digest::of(token.expose()))
                .await?
            {
                Some(session) => (session.user_id, session.id),
                None => return Ok(()),
            },
        };
        let record = self.record(
            AuditEvent::SessionsEnded,
            Some(user),
            Some(session),
            client,
            now,
        );
        self.store
            .end_sessions(user, Ended::One(session), now, record)
            .await?;
        Ok(())
    }
}

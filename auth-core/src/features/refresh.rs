use time::Duration;

use crate::{
    auth::{Auth, Tokens},
    error::Error,
    ports::{Rotated, Rotation},
    types::{AuditEvent, Client, Digest, Secret},
};

/// How long a rotated refresh token may come again: two tabs at once, or an answer that was lost.
const GRACE: Duration = Duration::seconds(30);

/// What is traded for new tokens.
#[derive(Debug, Clone)]
pub enum Refresh {
    /// A still valid access token gets another one for the same session, and no refresh token.
    AccessToken(Secret<String>),
    /// A refresh token is used up and gets its successor (RFC 9700 §4.14).
    RefreshToken(Secret<String>),
}

impl Auth {
    /// Trades a token of a live session for the next ones.
    ///
    /// # Errors
    /// [`Error::InvalidToken`]; [`Error::TokenExpired`]; [`Error::TokenReused`] when a rotated refresh token came again: its session is ended.
    pub async fn refresh(&self, cmd: Refresh, client: &Client) -> Result<Tokens, Error> {
        let now = self.now();
        let idle = self.shared.settings.session_idle;
        let presented = match cmd {
            Refresh::AccessToken(token) => {
                let claims = self.shared.keys.verify_access(token.expose(), now)?;
                let live = self.store.touch(claims.sid, now, idle).await?;
                let live = live
                    .filter(|live| live.user.id == claims.sub)
                    .ok_or(Error::InvalidToken)?;
                return self.tokens(live.user, &live.session, None, now);
            }
            Refresh::RefreshToken(token) => Digest::of(token.expose()),
        };
        let mut refresh = self.refresh_token(now, now);
        let on_reuse = self.entry(AuditEvent::RefreshTokenReused, None, None, client, now);
        let rotation = Rotation {
            presented,
            replacement: refresh.digest(),
            now,
            grace: GRACE,
            idle,
            on_reuse,
        };
        match self.store.rotate(rotation).await? {
            Rotated::Issued(live) => {
                refresh.expires_in = live.session.expires_at - now;
                self.tokens(live.user, &live.session, Some(refresh), now)
            }
            Rotated::Expired => Err(Error::TokenExpired),
            Rotated::Reused => {
                tracing::warn!(
                    request_id = client.request_id,
                    "a rotated refresh token came again; its session is ended"
                );
                Err(Error::TokenReused)
            }
            Rotated::Unknown => Err(Error::InvalidToken),
        }
    }
}

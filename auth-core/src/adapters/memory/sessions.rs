use std::cmp::Reverse;

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::{Data, MemoryStore, RefreshTokenRow, is_live};
use crate::{
    ports::{Authenticated, Ended, Rotated, Rotation, SessionStore, StoreError},
    types::{
        CredentialsVersion, Digest, NewSession, PasswordHash, Record, Session, SessionId, User,
        UserId,
    },
};

#[async_trait]
impl SessionStore for MemoryStore {
    async fn open_session(
        &self,
        session: NewSession,
        seen: CredentialsVersion,
        rehash: Option<PasswordHash>,
        record: Record,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(account) = data
            .account_at(session.session.user_id, seen)
            .filter(|account| !account.user.is_disabled)
        else {
            return Ok(false);
        };
        if let Some(password) = rehash {
            account.password = Some(password);
            account.user.has_password = true;
        }
        data.insert_session(session);
        data.write(record);
        Ok(true)
    }

    async fn authenticate(
        &self,
        session: SessionId,
        now: OffsetDateTime,
    ) -> Result<Option<Authenticated>, StoreError> {
        let data = &*self.lock();
        Ok(data
            .live_session(session, now)
            .map(|(user, session)| Authenticated {
                user: user.clone(),
                session: session.clone(),
            }))
    }

    async fn touch(
        &self,
        session: SessionId,
        now: OffsetDateTime,
        idle: Duration,
    ) -> Result<Option<Authenticated>, StoreError> {
        let data = &mut *self.lock();
        let Some(user) = data
            .live_session(session, now)
            .map(|(user, _)| user.clone())
        else {
            return Ok(None);
        };
        Ok(data.sessions.get_mut(&session).map(|row| {
            move_on(&mut row.session, now, idle);
            Authenticated {
                user,
                session: row.session.clone(),
            }
        }))
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
        let Rotation {
            presented,
            replacement,
            now,
            grace,
            idle,
            mut on_reuse,
        } = rotation;
        let data = &mut *self.lock();

        let Some(id) = data.refresh_tokens.get(&presented).copied() else {
            return Ok(Rotated::Unknown);
        };
        let Some(row) = data.sessions.get_mut(&id) else {
            return Ok(Rotated::Unknown);
        };
        let user_id = row.session.user_id;
        let Some(user) = data
            .accounts
            .get(&user_id)
            .map(|account| &account.user)
            .filter(|user| !user.is_disabled)
        else {
            return Ok(Rotated::Unknown);
        };
        if !is_live(&row.session, now) {
            return Ok(Rotated::Expired);
        }
        let Some(token) = row.tokens.get_mut(&presented) else {
            return Ok(Rotated::Unknown);
        };

        match token.used_at {
            // Rule 1.
            None => {
                token.used_at = Some(now);
                let predecessor = token.predecessor;
                if let Some(token) = predecessor.and_then(|digest| row.tokens.get_mut(&digest)) {
                    token.retired = true;
                }
            }
            // Rule 2. The grace counts from the first use, or a thief could keep it open for ever.
            Some(used_at) if !token.retired && now <= used_at.saturating_add(grace) => {}
            // Rule 3.
            Some(_) => {
                on_reuse.user_id = Some(user_id);
                on_reuse.session_id = Some(id);
                data.remove_session(id);
                data.audit.push(on_reuse);
                return Ok(Rotated::Reused);
            }
        }

        row.tokens
            .insert(replacement, RefreshTokenRow::unused(Some(presented)));
        move_on(&mut row.session, now, idle);
        let authenticated = Authenticated {
            user: user.clone(),
            session: row.session.clone(),
        };
        data.refresh_tokens.insert(replacement, id);
        Ok(Rotated::Issued(Box::new(authenticated)))
    }

    async fn session_of_refresh(&self, digest: &Digest) -> Result<Option<Session>, StoreError> {
        let data = &*self.lock();
        Ok(data
            .refresh_tokens
            .get(digest)
            .and_then(|id| data.sessions.get(id))
            .map(|row| row.session.clone()))
    }

    async fn end_sessions(
        &self,
        user: UserId,
        which: Ended,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<u64, StoreError> {
        let data = &mut *self.lock();
        let gone = data.remove_sessions(user, which);
        if !gone.is_empty() {
            data.write(record);
        }
        Ok(gone.iter().filter(|session| is_live(session, now)).count() as u64)
    }

    async fn sessions(
        &self,
        user: UserId,
        now: OffsetDateTime,
    ) -> Result<Vec<Session>, StoreError> {
        let mut sessions: Vec<Session> = self
            .lock()
            .sessions
            .values()
            .map(|row| &row.session)
            .filter(|session| session.user_id == user && is_live(session, now))
            .cloned()
            .collect();
        sessions.sort_by_key(|session| Reverse((session.created_at, session.id)));
        Ok(sessions)
    }
}

impl Data {
    fn live_session(&self, id: SessionId, now: OffsetDateTime) -> Option<(&User, &Session)> {
        let session = &self.sessions.get(&id)?.session;
        let user = &self.accounts.get(&session.user_id)?.user;
        (is_live(session, now) && !user.is_disabled).then_some((user, session))
    }
}

fn move_on(session: &mut Session, now: OffsetDateTime, idle: Duration) {
    session.last_used_at = now;
    session.expires_at = now.saturating_add(idle).min(session.ends_at);
}

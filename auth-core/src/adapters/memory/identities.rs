use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Data, IdentityRow, MemoryStore};
use crate::{
    ports::{Ended, IdentityStore, Linked, StoreError, Unique, Unlinked},
    types::{
        Adoption, CredentialsVersion, Digest, IdentityLink, NewIdentity, ProviderName, Record,
        SessionId, UserId,
    },
};

#[async_trait]
impl IdentityStore for MemoryStore {
    async fn link_identity(
        &self,
        link: IdentityLink,
        record: Record,
    ) -> Result<Linked, StoreError> {
        let IdentityLink {
            user,
            seen,
            session,
            identity,
            adoption,
        } = link;
        let data = &mut *self.lock();
        let Some(account) = data.accounts.get(&user) else {
            return Ok(Linked::Stale);
        };
        let owner = data.identities.get(&identity.key).map(|row| row.user);
        if owner == Some(user) {
            return Ok(Linked::Already(Box::new(account.user.clone())));
        }
        let is_wanted = account.user.is_verified == (adoption == Adoption::Join);
        let asks = session.is_none_or(|id| data.has_session(user, id, identity.linked_at));
        if account.version != seen || account.user.is_disabled || !is_wanted || !asks {
            return Ok(Linked::Stale);
        }
        let has_another = account.user.providers.contains(&identity.provider);
        if owner.is_some() || (has_another && adoption == Adoption::Join) {
            return Err(StoreError::Taken(Unique::Identity));
        }

        if adoption == Adoption::Claim {
            data.identities.retain(|_, row| row.user != user);
            data.kill_mailed_tokens(user, None);
            data.remove_sessions(user, Ended::All);
            if let Some(account) = data.accounts.get_mut(&user) {
                account.password = None;
                account.user.has_password = false;
                account.user.is_admin = false;
                account.user.is_verified = true;
                account.user.providers.clear();
            }
        }
        let linked_at = identity.linked_at;
        data.insert_identity(user, identity);
        data.write(record);
        Ok(data
            .moved_on(user, linked_at)
            .map_or(Linked::Stale, |user| Linked::Done(Box::new(user))))
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        seen: CredentialsVersion,
        session: SessionId,
        provider: &ProviderName,
        now: OffsetDateTime,
        record: Record,
    ) -> Result<Unlinked, StoreError> {
        let data = &mut *self.lock();
        let asks = data.has_session(user, session, now);
        let Some(account) = data.accounts.get_mut(&user) else {
            return Ok(Unlinked::Stale);
        };
        let providers = &mut account.user.providers;
        if !providers.contains(provider) {
            return Ok(Unlinked::NotLinked);
        }
        if account.password.is_none() && providers.len() == 1 {
            return Ok(Unlinked::LastMethod);
        }
        if account.version != seen || !asks {
            return Ok(Unlinked::Stale);
        }
        providers.retain(|linked| linked != provider);
        data.identities
            .retain(|_, row| row.user != user || row.provider != *provider);
        data.kill_mailed_tokens(user, None);
        data.remove_sessions(user, Ended::AllBut(session));
        data.write(record);
        Ok(data
            .moved_on(user, now)
            .map_or(Unlinked::Stale, |user| Unlinked::Done(Box::new(user))))
    }

    async fn spend_secret(
        &self,
        digest: &Digest,
        expires_at: OffsetDateTime,
    ) -> Result<bool, StoreError> {
        Ok(self.lock().spent.insert(*digest, expires_at).is_none())
    }
}

impl Data {
    pub(super) fn insert_identity(&mut self, user: UserId, identity: NewIdentity) {
        let NewIdentity { key, provider, .. } = identity;
        if let Some(account) = self.accounts.get_mut(&user) {
            account.user.providers.push(provider.clone());
            account.user.providers.sort();
        }
        self.identities.insert(key, IdentityRow { user, provider });
    }

    /// The user, in the next version of the account.
    fn moved_on(&mut self, user: UserId, now: OffsetDateTime) -> Option<crate::types::User> {
        let account = self.accounts.get_mut(&user)?;
        account.version = account.version.next();
        account.user.updated_at = now;
        Some(account.user.clone())
    }
}

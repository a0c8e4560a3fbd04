use super::Provider;
use crate::{
    auth::Auth,
    error::Error,
    ports::{Authenticated, Linked, ProvenIdentity, StoreError, Unique},
    types::{
        Account, AccountKey, Adoption, AuditEvent, Client, CredentialsVersion, Email, IdentityLink,
        NewAccount, NewIdentity, Record, User, UserId, Username,
    },
};

/// Each turn meets another change of the same account, or another name that is taken.
const TURNS: usize = 8;

impl Auth {
    /// The account of an identity: the one that it opens, one that it joins or claims, or a new one.
    pub(super) async fn account_of(
        &self,
        provider: &Provider,
        proven: &ProvenIdentity,
        client: &Client,
    ) -> Result<Account, Error> {
        let key = AccountKey::Identity(proven.key.clone());
        for turn in 0..TURNS {
            if let Some(account) = self.store.account(&key).await? {
                return self.unless_disabled(account, client).await;
            }
            let email = proven
                .email
                .as_ref()
                .filter(|_| proven.email_verified)
                .ok_or(Error::ProviderEmailNotVerified)?;
            match self
                .store
                .account(&AccountKey::Email(email.clone()))
                .await?
            {
                Some(account) => {
                    let account = self.unless_disabled(account, client).await?;
                    self.adopt(provider, proven, account, client).await?;
                }
                None => self.arrive(provider, proven, email, turn, client).await?,
            }
        }
        Err(Error::Unavailable(
            "the account changed again and again".into(),
        ))
    }

    async fn unless_disabled(&self, account: Account, client: &Client) -> Result<Account, Error> {
        if account.user.is_disabled {
            self.log_in_failed(&account.user, client).await?;
            return Err(Error::InvalidCredentials);
        }
        Ok(account)
    }

    /// Gives a new identity the account that has its address, if that may be; whoever calls looks again.
    async fn adopt(
        &self,
        provider: &Provider,
        proven: &ProvenIdentity,
        account: Account,
        client: &Client,
    ) -> Result<(), Error> {
        let user = account.user;
        // Somebody else at the same provider with the same address: it changed hands there.
        // And what came through another provider was proven by nobody but it: whoever made that account could still open it.
        let is_joinable = proven.is_authoritative && user.providers.is_empty();
        let adoption = match user.is_verified {
            false => Adoption::Claim,
            true if is_joinable => Adoption::Join,
            // Made by a twin of this request since the look at the identity.
            true if self.has_account(proven).await? => return Ok(()),
            true => {
                self.log_in_failed(&user, client).await?;
                return Err(Error::AccountExists);
            }
        };
        let (identity, record) = self.linking(provider, proven, &user, None, client);
        let link = IdentityLink {
            user: user.id,
            seen: account.version,
            session: None,
            identity,
            adoption,
        };
        match self.store.link_identity(link, record).await {
            Ok(Linked::Done(_)) => {
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            Ok(Linked::Already(_) | Linked::Stale) | Err(StoreError::Taken(Unique::Identity)) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_account(&self, proven: &ProvenIdentity) -> Result<bool, Error> {
        let key = AccountKey::Identity(proven.key.clone());
        Ok(self.store.account(&key).await?.is_some())
    }

    /// Makes an account for a new identity; whoever calls looks again.
    async fn arrive(
        &self,
        provider: &Provider,
        proven: &ProvenIdentity,
        email: &Email,
        turn: usize,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.now();
        let id = UserId::generate(now, self.random());
        let user = User {
            id,
            username: self.username_for(email, turn),
            email: email.clone(),
            is_verified: true,
            is_admin: false,
            is_disabled: false,
            has_password: false,
            providers: vec![provider.name.clone()],
            locale: self.locale(client),
            created_at: now,
            updated_at: now,
        };
        let (identity, linked) = self.linking(provider, proven, &user, None, client);
        let mut record = self.record(AuditEvent::Registered, Some(id), None, client, now);
        record.mails.extend(linked.mails);
        record.audit.extend(linked.audit);
        let account = NewAccount {
            user,
            password: None,
            session: None,
            token: None,
            identity: Some(identity),
        };
        match self.store.register(account, record).await {
            Ok(()) => {
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            Err(StoreError::Taken(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Links an identity to the account of whoever is logged in; `None` when it changed since it was `seen`.
    pub(super) async fn join(
        &self,
        provider: &Provider,
        who: &Authenticated,
        seen: CredentialsVersion,
        proven: &ProvenIdentity,
        client: &Client,
    ) -> Result<Option<User>, Error> {
        let (identity, record) = self.linking(provider, proven, &who.user, Some(who), client);
        let link = IdentityLink {
            user: who.user.id,
            seen,
            session: Some(who.session.id),
            identity,
            adoption: Adoption::Join,
        };
        match self.store.link_identity(link, record).await {
            Ok(Linked::Done(user)) => {
                self.shared.mail_queued.notify_one();
                Ok(Some(*user))
            }
            Ok(Linked::Already(user)) => Ok(Some(*user)),
            Ok(Linked::Stale) => Ok(None),
            Err(StoreError::Taken(_)) => Err(Error::IdentityInUse),
            Err(error) => Err(error.into()),
        }
    }

    /// The row of an identity, and what is told of it.
    fn linking(
        &self,
        provider: &Provider,
        proven: &ProvenIdentity,
        user: &User,
        who: Option<&Authenticated>,
        client: &Client,
    ) -> (NewIdentity, Record) {
        let now = self.now();
        let identity = NewIdentity {
            key: proven.key.clone(),
            provider: provider.name.clone(),
            linked_at: now,
        };
        let mut record = self.record(
            AuditEvent::IdentityLinked,
            Some(user.id),
            who.map(|who| who.session.id),
            client,
            now,
        );
        let mail = self.linked_mail(user, provider, proven.email.as_ref(), now);
        record.mails.extend(mail);
        (identity, record)
    }

    /// What stands before the `@`, as far as a username can have it; from the second turn on with a number, for that name may be taken.
    fn username_for(&self, email: &Email, turn: usize) -> Username {
        let mut name: String = email
            .as_str()
            .split('@')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
            .take(24)
            .collect();
        if name.len() < 3 {
            "user".clone_into(&mut name);
        }
        if turn > 0 {
            let mut bytes = [0; 4];
            self.random().fill(&mut bytes);
            let number = u32::from_be_bytes(bytes) % 1_000_000;
            name = format!("{name}-{number}");
        }
        parsed(&name)
    }
}

/// # Panics
/// Never: see [`Auth::username_for`].
#[allow(clippy::expect_used)]
fn parsed(name: &str) -> Username {
    Username::parse(name).expect("3 to 31 characters that a username can have")
}

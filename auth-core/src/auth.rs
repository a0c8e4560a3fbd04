use std::{fmt, sync::Arc};

use auth_templates::{TemplateError, Templates};
use time::{Duration, OffsetDateTime};
use tokio::sync::{Mutex, Notify};

use crate::{
    adapters::LocalLimits,
    error::Error,
    features::oauth::{OAuth, Provider},
    jwt::{Access, KeyError, KeyRing, SigningKeys},
    mail::{Duty, Links, Post},
    meters::{self, Meters},
    passwords::{Hashing, PasswordPool},
    ports::{AttemptLimiter, Clock, Mailer, OAuthProvider, OsRandom, Random, Store, SystemClock},
    types::{
        AuditEntry, AuditEvent, AuditId, Client, Digest, Email, Letter, MailId, NewMailedToken,
        NewSession, PendingToken, ProviderName, Purpose, QueuedMail, Record, RedirectUri, Secret,
        Session, SessionId, User, UserId,
    },
};

/// Accounts and sessions over one store: what every host, router and worker holds. Cheap to clone.
///
/// ```
/// use auth_core::{Auth, SigningKeys, adapters::MemoryStore};
///
/// let keys = SigningKeys::parse("a secret of 32 bytes or more, drawn at random")?;
/// let auth = Auth::builder(MemoryStore::default(), keys).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancellation
/// A method that is dropped half-way has done its whole change or none of it; wrap it in [`to_its_end`](crate::to_its_end) when the caller may
/// go away (`auth-tower` does).
#[derive(Clone)]
pub struct Auth {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) attempts: Arc<dyn AttemptLimiter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) duty: Duty,
    pub(crate) keys: KeyRing,
    looks: Mutex<()>,
    pub(crate) mail_queued: Notify,
    pub(crate) meters: Meters,
    pub(crate) oauth: OAuth,
    pub(crate) passwords: PasswordPool,
    pub(crate) post: Option<Post>,
    pub(crate) settings: Settings,
    pub(crate) test_mail_to: Option<Email>,
    random: Arc<dyn Random>,
}

/// Times and switches, each with its default in [`AuthBuilder`].
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    access_lifetime: Duration,
    pub(crate) enumeration_protection: bool,
    pub(crate) session_idle: Duration,
    session_lifetime: Duration,
    pub(crate) unverified_lifetime: Duration,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// The answer to a login: what the client keeps.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// A JWT (RFC 9068) for the `Authorization` header.
    pub access_token: Secret<String>,
    /// How long `access_token` lives from now.
    pub expires_in: Duration,
    /// `None` when an access token was traded for another one.
    pub refresh: Option<RefreshToken>,
    /// Who logged in.
    pub user: User,
}

/// 256 random bits that get the next [`Tokens`], once.
#[derive(Debug, Clone)]
pub struct RefreshToken {
    /// base64url.
    pub token: Secret<String>,
    /// How long it lives from now, if it is not used.
    pub expires_in: Duration,
}

impl RefreshToken {
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.token.expose())
    }
}

/// Why an [`Auth`] could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A signing key is not fit.
    #[error("a signing key is refused")]
    Key(#[from] KeyError),
    /// A lifetime is not above zero and below ten years.
    #[error("a lifetime is not above zero and below ten years")]
    Lifetime,
    /// A mail template does not render.
    #[error("a mail template is refused")]
    Template(#[from] TemplateError),
    /// The operating system gave no threads for password hashing.
    #[error("the password threads did not start")]
    Threads(#[source] std::io::Error),
}

/// Sets up an [`Auth`]; every setting has a safe default.
pub struct AuthBuilder {
    store: Arc<dyn Store>,
    keys: SigningKeys,
    attempts: Arc<dyn AttemptLimiter>,
    audience: String,
    clock: Arc<dyn Clock>,
    hashing: Hashing,
    hashing_queue: usize,
    issuer: String,
    mailer: Option<(Arc<dyn Mailer>, Links)>,
    oauth: OAuth,
    random: Arc<dyn Random>,
    service_name: String,
    settings: Settings,
    templates: Option<Templates>,
    test_mail_to: Option<Email>,
}

impl fmt::Debug for AuthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl AuthBuilder {
    /// Pages of the host that a sign-in by a provider may end at; none by default. They are compared to the letter.
    #[must_use]
    pub fn allowed_redirects(mut self, pages: impl IntoIterator<Item = RedirectUri>) -> Self {
        self.oauth.allowed_redirects.extend(pages);
        self
    }

    /// What counts wrong passwords; [`LocalLimits`] by default, which several processes do not share.
    #[must_use]
    pub fn attempt_limiter(mut self, limiter: impl AttemptLimiter) -> Self {
        self.attempts = Arc::new(limiter);
        self
    }

    /// `aud` of access tokens; `auth-tower` by default.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// How long an access token lives; 60 minutes by default.
    #[must_use]
    pub const fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.access_lifetime = lifetime;
        self
    }

    /// Where the time comes from; the system by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whether registration and resending answer the same whatever exists; off by default.
    ///
    /// # Security
    /// On, a registration opens no session, and the owner of an address that has an account is told by mail (ASVS 6.3.8).
    /// A registration with a taken username makes no account and says nothing of it.
    #[must_use]
    pub const fn enumeration_protection(mut self, on: bool) -> Self {
        self.settings.enumeration_protection = on;
        self
    }

    /// How new passwords are hashed; bcrypt at cost 12 by default.
    #[must_use]
    pub const fn hashing(mut self, hashing: Hashing) -> Self {
        self.hashing = hashing;
        self
    }

    /// How many hashes may wait for a thread before [`Error::Overloaded`]; by default 16 a core, about four seconds of bcrypt at cost 12.
    #[must_use]
    pub const fn hashing_queue(mut self, waiting: usize) -> Self {
        self.hashing_queue = waiting;
        self
    }

    /// `iss` of all tokens; `auth-tower` by default.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Sends mails, with links to the host's pages. Without it nothing that needs a mailbox is offered.
    #[must_use]
    pub fn mailer(mut self, mailer: impl Mailer, links: Links) -> Self {
        self.mailer = Some((Arc::new(mailer), links));
        self
    }

    /// Lets people sign in by a provider, under this name; a later one of the same name replaces an earlier one. `callback` is the address at which
    /// [`Auth::oauth_callback`] is asked, as the provider knows it: `https://…/auth/oauth/{name}/callback` where `auth-tower` is mounted without a prefix.
    ///
    /// # Security
    /// The callback comes from configuration, never from a request. Give each provider a name, and each issuer one provider.
    #[must_use]
    pub fn oauth_provider(
        mut self,
        name: ProviderName,
        callback: RedirectUri,
        provider: impl OAuthProvider,
    ) -> Self {
        let provider = Provider {
            name: name.clone(),
            redirect_uri: callback,
            port: Arc::new(provider),
        };
        self.oauth.providers.insert(name, provider);
        self
    }

    /// Where random bits come from; the operating system by default.
    #[must_use]
    pub fn random(mut self, random: impl Random) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// How mails name the sender; `auth-tower` by default.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.service_name = name.into();
        self
    }

    /// How long a session lives without a refresh (14 days by default), and at most (30 days; NIST SP 800-63B-4 §2.1.3).
    #[must_use]
    pub const fn session_lifetime(mut self, idle: Duration, absolute: Duration) -> Self {
        self.settings.session_idle = idle;
        self.settings.session_lifetime = absolute;
        self
    }

    /// The texts of mails; the built-in ones by default.
    #[must_use]
    pub fn templates(mut self, templates: Templates) -> Self {
        self.templates = Some(templates);
        self
    }

    /// Who gets the mail of [`Auth::send_test_mail`]: an operator. Nobody by default.
    #[must_use]
    pub fn test_mail_to(mut self, address: Email) -> Self {
        self.test_mail_to = Some(address);
        self
    }

    /// When an account whose address was never proven is deleted; after 7 days by default. [`Auth::run_workers`] does it.
    #[must_use]
    pub const fn unverified_account_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.unverified_lifetime = lifetime;
        self
    }

    /// Builds it, and starts the threads that hash passwords.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Auth, BuildError> {
        let Settings {
            access_lifetime,
            session_idle,
            session_lifetime,
            unverified_lifetime,
            ..
        } = self.settings;
        let lifetimes = [
            access_lifetime,
            session_idle,
            session_lifetime,
            unverified_lifetime,
        ];
        if !lifetimes
            .iter()
            .all(|lifetime| lifetime.is_positive() && *lifetime < Duration::days(3650))
        {
            return Err(BuildError::Lifetime);
        }
        let post = match self.mailer {
            Some((mailer, links)) => {
                let templates = self.templates.map_or_else(Templates::builtin, Ok)?;
                Some(Post {
                    mailer,
                    links,
                    templates,
                    service_name: self.service_name,
                })
            }
            None => None,
        };
        let passwords =
            PasswordPool::start(self.hashing, self.hashing_queue, Arc::clone(&self.random))
                .map_err(BuildError::Threads)?;
        self.oauth
            .providers
            .keys()
            .for_each(meters::register_callbacks);
        Ok(Auth {
            store: self.store,
            shared: Arc::new(Shared {
                attempts: self.attempts,
                clock: self.clock,
                duty: Duty::default(),
                keys: KeyRing::new(&self.keys, &self.issuer, &self.audience)?,
                looks: Mutex::new(()),
                mail_queued: Notify::new(),
                meters: Meters::register(),
                oauth: self.oauth,
                passwords,
                post,
                settings: self.settings,
                test_mail_to: self.test_mail_to,
                random: self.random,
            }),
        })
    }
}

impl Auth {
    /// Starts to set one up.
    pub fn builder(store: impl Store, keys: SigningKeys) -> AuthBuilder {
        AuthBuilder {
            store: Arc::new(store),
            keys,
            attempts: Arc::new(LocalLimits::new()),
            audience: "auth-tower".to_owned(),
            clock: Arc::new(SystemClock),
            hashing: Hashing::default(),
            hashing_queue: 16 * std::thread::available_parallelism().map_or(1, usize::from),
            issuer: "auth-tower".to_owned(),
            mailer: None,
            oauth: OAuth::default(),
            random: Arc::new(OsRandom),
            service_name: "auth-tower".to_owned(),
            settings: Settings {
                access_lifetime: Duration::minutes(60),
                enumeration_protection: false,
                session_idle: Duration::days(14),
                session_lifetime: Duration::days(30),
                unverified_lifetime: Duration::days(7),
            },
            templates: None,
            test_mail_to: None,
        }
    }

    /// The same `Auth` over another handle on its data: usually a transaction of the host, so that an account and what the host writes for it are
    /// committed together or not at all. Keys, settings, mailer and hashing threads are shared.
    ///
    /// With the Postgres store:
    ///
    /// ```text
    /// let scope = PgScope::adopt(pool.begin().await?);
    /// let registration = auth.within(scope.clone()).register(cmd, &client).await?;
    /// let mut tx = scope.release().await?;
    /// insert_workspace(&mut tx, &registration).await?;
    /// tx.commit().await?;
    /// ```
    ///
    /// What the answer holds, tokens too, is worth nothing until the host has committed. Mails go out after that, within a second, if
    /// [`run_workers`](Self::run_workers) runs somewhere on the store itself.
    ///
    /// # Security
    /// What an `Err` leaves behind is undone with the host's transaction: a replayed refresh token would not end its session, and a failed login would
    /// leave no trace. So register, delete and look users up in here, but log in and refresh outside.
    #[must_use]
    pub fn within(&self, store: impl Store) -> Self {
        Self {
            store: Arc::new(store),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether a page is one of those that browsers may be sent to: compared to the letter.
    pub fn allows_redirect(&self, page: &RedirectUri) -> bool {
        self.shared.oauth.allowed_redirects.contains(page)
    }

    /// Whether registration and resending hide what exists.
    pub fn enumeration_protection(&self) -> bool {
        self.shared.settings.enumeration_protection
    }

    /// Whether mails can be sent; without a mailer nothing that needs a mailbox works.
    pub fn has_mailer(&self) -> bool {
        self.shared.post.is_some()
    }

    /// Wakes the sender of mails in this process: something else than a method of this type has queued one, in the store that is given here.
    pub fn mail_was_queued(&self) {
        self.shared.mail_queued.notify_one();
    }

    /// Whether the store can serve. Those who ask at once take turns: it is asked without a budget, and must not be a way to keep the store busy.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot.
    pub async fn ready(&self) -> Result<(), Error> {
        let _turn = self.shared.looks.lock().await;
        Ok(self.store.ping().await?)
    }

    /// UTC now by its own clock, to the microsecond: what stores keep.
    pub fn now(&self) -> OffsetDateTime {
        let now = self.shared.clock.now();
        now.replace_nanosecond(now.nanosecond() / 1000 * 1000)
            .unwrap_or(now)
    }

    /// Where its random bits come from.
    pub fn random(&self) -> &dyn Random {
        &*self.shared.random
    }

    /// An entry of the audit log.
    pub(crate) fn entry(
        &self,
        event: AuditEvent,
        user_id: Option<UserId>,
        session_id: Option<SessionId>,
        client: &Client,
        now: OffsetDateTime,
    ) -> AuditEntry {
        AuditEntry {
            id: AuditId::generate(now, self.random()),
            at: now,
            event,
            user_id,
            session_id,
            ip: client.ip,
            user_agent: client.user_agent().map(str::to_owned),
            request_id: client.request_id.clone(),
        }
    }

    /// A record of one event, to which mails may be added.
    pub(crate) fn record(
        &self,
        event: AuditEvent,
        user_id: Option<UserId>,
        session_id: Option<SessionId>,
        client: &Client,
        now: OffsetDateTime,
    ) -> Record {
        Record {
            mails: Vec::new(),
            audit: vec![self.entry(event, user_id, session_id, client, now)],
        }
    }

    /// A mail to a user, at the address that it is about; none without a mailer, for nobody would send it.
    pub(crate) fn mail(
        &self,
        user: &User,
        to: &Email,
        letter: Letter,
        now: OffsetDateTime,
    ) -> Option<QueuedMail> {
        self.has_mailer().then(|| QueuedMail {
            id: MailId::generate(now, self.random()),
            user_id: Some(user.id),
            to: to.clone(),
            locale: user.locale.clone(),
            letter,
            created_at: now,
        })
    }

    /// A mailed token: its row, and what the mail says of it. They belong together and are made together.
    pub(crate) fn mailed_token(
        &self,
        user: UserId,
        email: &Email,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> (NewMailedToken, PendingToken) {
        let jti = self.secret();
        // NIST SP 800-63B-4 §4.2: a mailed code lives 24 hours at most.
        let expires_at = now
            + match purpose {
                Purpose::ReclaimAccount | Purpose::ResetPassword => Duration::HOUR,
                Purpose::CancelEmailChange | Purpose::ChangeEmail | Purpose::VerifyEmail => {
                    Duration::DAY
                }
            };
        let row = NewMailedToken {
            digest: Digest::of(jti.expose()),
            user_id: user,
            purpose,
            email: email.clone(),
            created_at: now,
            expires_at,
        };
        let pending = PendingToken {
            jti: jti.expose().clone(),
            user_id: user,
            purpose,
            issued_at: now.unix_timestamp(),
            expires_at: expires_at.unix_timestamp(),
        };
        (row, pending)
    }

    /// A session that is about to exist, and its first refresh token.
    pub(crate) fn new_session(
        &self,
        user: UserId,
        client: &Client,
        now: OffsetDateTime,
    ) -> (NewSession, RefreshToken) {
        let settings = &self.shared.settings;
        let ends_at = now + settings.session_lifetime;
        let session = Session {
            id: SessionId::generate(now, self.random()),
            user_id: user,
            created_at: now,
            last_used_at: now,
            expires_at: ends_at.min(now + settings.session_idle),
            ends_at,
            ip: client.ip,
            user_agent: client.user_agent().map(str::to_owned),
        };
        let refresh = self.refresh_token(session.expires_at, now);
        (
            NewSession {
                refresh: refresh.digest(),
                session,
            },
            refresh,
        )
    }

    pub(crate) fn refresh_token(
        &self,
        expires_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> RefreshToken {
        RefreshToken {
            token: self.secret(),
            expires_in: expires_at - now,
        }
    }

    /// The answer to a login or a refresh: the access token never outlives the session.
    pub(crate) fn tokens(
        &self,
        user: User,
        session: &Session,
        refresh: Option<RefreshToken>,
        now: OffsetDateTime,
    ) -> Result<Tokens, Error> {
        let expires_at = session
            .ends_at
            .min(now + self.shared.settings.access_lifetime);
        let access_token = self.shared.keys.sign_access(Access {
            user_id: user.id,
            session_id: session.id,
            jti: self.secret().expose().clone(),
            issued_at: now,
            expires_at,
            username: user.username.as_str().to_owned(),
            is_admin: user.is_admin,
            email_verified: user.is_verified,
        })?;
        Ok(Tokens {
            access_token,
            expires_in: expires_at - now,
            refresh,
            user,
        })
    }

    /// 256 random bits, base64url (ASVS 7.2.3, 11.5.1).
    pub(crate) fn secret(&self) -> Secret<String> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.random().fill(&mut *bytes);
        Secret::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes))
    }
}

//! Sign-in by a provider, step by step: [`start`], [`callback`] and, for a browser that came through a page of the host, [`exchange`];
//! [`link`] and [`unlink`] for accounts that are there.

mod accounts;
mod callback;
mod exchange;
mod link;
mod start;
mod unlink;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

pub use callback::{Callback, CallbackError, SignedIn};
pub use link::{LinkIdentity, Linking};
pub use start::{SignIn, StartSignIn};

use crate::{
    auth::Auth,
    error::Error,
    jwt::exposed,
    ports::{OAuthProvider, ProviderError},
    types::{
        Account, CodeChallenge, CredentialsVersion, Digest, Letter, ProviderName, QueuedMail,
        RedirectUri, Secret, SessionId, User, UserId,
    },
};

/// From the first redirect to the callback.
const SIGN_IN: Duration = Duration::minutes(10);
/// How much longer than it is worth anything a spent secret is remembered: the clock of another replica may be behind.
const MARGIN: Duration = Duration::minutes(5);
/// From the callback to the exchange.
const LOGIN_CODE: Duration = Duration::MINUTE;

/// A provider as the host configured it.
pub(crate) struct Provider {
    pub(crate) name: ProviderName,
    /// Our callback, as the provider knows it.
    pub(crate) redirect_uri: RedirectUri,
    pub(crate) port: Arc<dyn OAuthProvider>,
}

/// All that signing in by a provider takes.
#[derive(Default)]
pub(crate) struct OAuth {
    pub(crate) providers: BTreeMap<ProviderName, Provider>,
    /// Pages of the host that a sign-in may end at.
    pub(crate) allowed_redirects: Vec<RedirectUri>,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth")
            .field("providers", &self.providers.keys())
            .finish_non_exhaustive()
    }
}

impl OAuth {
    fn provider(&self, name: &str) -> Result<&Provider, Error> {
        ProviderName::parse(name)
            .ok()
            .and_then(|name| self.providers.get(&name))
            .ok_or(Error::OAuthNotConfigured)
    }

    /// Compared to the letter: an open redirector would give codes to anybody (RFC 9700 §4.11).
    fn allowed(&self, redirect_to: Option<&str>) -> Result<Option<RedirectUri>, Error> {
        redirect_to
            .map(|wanted| {
                self.allowed_redirects
                    .iter()
                    .find(|allowed| allowed.as_str() == wanted)
                    .cloned()
                    .ok_or(Error::RedirectNotAllowed)
            })
            .transpose()
    }
}

/// A sign-in that is under way. The browser carries it, sealed, so nothing is written for whoever only begins one.
#[derive(Serialize, Deserialize)]
struct Flow {
    provider: String,
    #[serde(with = "exposed")]
    state: Secret<String>,
    #[serde(with = "exposed")]
    nonce: Secret<String>,
    #[serde(with = "exposed")]
    verifier: Secret<String>,
    redirect_to: Option<String>,
    /// Of the page that asked.
    code_challenge: Option<CodeChallenge>,
    /// `None`: whoever comes back logs in.
    link: Option<LinkFlow>,
    /// Unix seconds.
    expires_at: i64,
}

/// Who began to link, and how the account was then.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct LinkFlow {
    user: UserId,
    session: SessionId,
    seen: i64,
}

impl LinkFlow {
    const fn seen(self) -> CredentialsVersion {
        CredentialsVersion::from_i64(self.seen)
    }
}

impl Flow {
    /// Whether this browser began it, for this provider, a short while ago.
    fn is_of(&self, provider: &Provider, state: &Secret<String>, now: OffsetDateTime) -> bool {
        let is_same: bool = self
            .state
            .expose()
            .as_bytes()
            .ct_eq(state.expose().as_bytes())
            .into();
        is_same && self.provider == provider.name.as_str() && now.unix_timestamp() < self.expires_at
    }
}

/// What can be spent; a secret of one kind does not spend one of another.
#[derive(Clone, Copy)]
enum Spent {
    IdToken,
    LoginCode,
    State,
}

impl Auth {
    /// Where a provider sends browsers back to, as the host configured it; `None` for a provider that is not there.
    pub fn oauth_redirect_uri(&self, provider: &str) -> Option<&RedirectUri> {
        let provider = self.shared.oauth.provider(provider).ok()?;
        Some(&provider.redirect_uri)
    }

    /// Uses a secret up; `false` when it was used before, here or on another replica.
    async fn spend(
        &self,
        kind: Spent,
        secret: &Secret<String>,
        expires_at: OffsetDateTime,
    ) -> Result<bool, Error> {
        let kind = match kind {
            Spent::IdToken => "id token",
            Spent::LoginCode => "login code",
            Spent::State => "state",
        };
        let mut named = zeroize::Zeroizing::new(format!("{kind}\0"));
        named.push_str(secret.expose());
        Ok(self
            .store
            .spend_secret(
                &Digest::of(named.as_bytes()),
                expires_at.saturating_add(MARGIN),
            )
            .await?)
    }

    /// To the owner of an account that can be opened through a provider from now on (ASVS 6.3.7).
    fn linked_mail(
        &self,
        user: &User,
        provider: &Provider,
        identity: Option<&crate::types::Email>,
        now: OffsetDateTime,
    ) -> Option<QueuedMail> {
        let letter = Letter::GoogleLinked {
            username: user.username.to_string(),
            provider: provider.port.title().to_owned(),
            identity: identity.map(ToString::to_string).unwrap_or_default(),
        };
        self.mail(user, &user.email, letter, now)
    }
}

/// ASVS 16.3.1: an operator sees each attempt that failed, and why, and nothing that opens an account.
fn log_failure(provider: &Provider, error: &Error) {
    let cause = match error {
        Error::ProviderFailed(cause)
        | Error::ProviderRefused(cause)
        | Error::ProviderUnavailable(cause) => Some(cause.to_string()),
        _ => None,
    };
    tracing::info!(
        provider = provider.name.as_str(),
        code = error.code(),
        cause,
        "a sign-in by a provider failed"
    );
}

/// What a provider's fault means to whoever signs in.
fn fault(error: ProviderError) -> Error {
    match error {
        ProviderError::Failed(source) => Error::ProviderFailed(source),
        ProviderError::InvalidCode => Error::InvalidCode,
        ProviderError::Refused(source) => Error::ProviderRefused(source),
        ProviderError::Unavailable(source) => Error::ProviderUnavailable(source),
    }
}

/// What a code of ours says.
#[derive(Serialize, Deserialize)]
struct LoginCode {
    /// 256 random bits.
    #[serde(with = "exposed")]
    id: Secret<String>,
    user: UserId,
    seen: i64,
    /// `None`: any page may show it.
    code_challenge: Option<CodeChallenge>,
    /// Unix seconds.
    expires_at: i64,
}

impl LoginCode {
    fn new(
        account: &Account,
        id: Secret<String>,
        code_challenge: Option<CodeChallenge>,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            code_challenge,
            user: account.user.id,
            seen: account.version.as_i64(),
            expires_at: (now + LOGIN_CODE).unix_timestamp(),
        }
    }
}

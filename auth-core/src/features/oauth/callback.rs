use time::OffsetDateTime;

use super::{Flow, LinkFlow, LoginCode, Provider, Spent};
use crate::{
    auth::{Auth, Tokens},
    error::Error,
    jwt::Sealed,
    meters,
    ports::{CodeRedemption, ProvenIdentity, quoted},
    types::{Account, AuditEvent, Client, Secret, User},
};

/// What a browser brought back from a provider.
#[derive(Debug, Default)]
pub struct Callback {
    /// `state`
    pub state: Option<Secret<String>>,
    /// `code`
    pub code: Option<Secret<String>>,
    /// `error`: the provider, or the person there, refuses.
    pub error: Option<String>,
    /// `iss` (RFC 9207)
    pub issuer: Option<String>,
    /// What [`SignIn::binding`](super::SignIn::binding) gave to this browser.
    pub binding: Option<Secret<String>>,
}

/// How a sign-in ended.
#[derive(Debug)]
pub enum SignedIn {
    /// Send the browser there: the address holds a code for [`Auth::oauth_exchange`] that works once, within a minute.
    Elsewhere(String),
    /// The identity opens the account from now on. `redirect_to` is the page that it was begun with.
    Linked {
        /// As they are now.
        user: Box<User>,
        /// One of the allowed addresses.
        redirect_to: Option<String>,
    },
    /// A session is open.
    Opened(Box<Tokens>),
}

/// Why a browser that came back opens nothing.
#[derive(Debug, thiserror::Error)]
#[error("the sign-in by a provider failed")]
pub struct CallbackError {
    /// What went wrong.
    #[source]
    pub error: Error,
    /// Whether the sign-in that this browser began is used up by it: its binding is worth nothing any more.
    pub is_used_up: bool,
    /// The page that it was begun with, one of the allowed addresses: send the browser there, and tell the page. Only of a sign-in that is used up, so
    /// nobody else sends a browser anywhere.
    pub redirect_to: Option<String>,
}

/// Of no sign-in that this browser began.
impl From<Error> for CallbackError {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_used_up: false,
            redirect_to: None,
        }
    }
}

impl Auth {
    /// Ends a sign-in at a provider: opens a session, makes an account first if need be, or links the identity, as it was begun.
    ///
    /// An account is found by the identity alone, never by its address. A new identity with a proven address
    /// 1. makes an account when nobody has the address;
    /// 2. claims an account whose address was never proven, which loses its password and sessions;
    /// 3. joins an account with a verified address only if the provider decides whose the address is.
    ///
    /// # Errors
    /// [`CallbackError`] with [`Error::OAuthNotConfigured`]; [`Error::InvalidState`] when this browser did not begin it, or it was used or is too old;
    /// [`Error::InvalidCode`]; [`Error::ProviderRefused`]; [`Error::ProviderFailed`]; [`Error::ProviderUnavailable`];
    /// [`Error::ProviderEmailNotVerified`]; [`Error::AccountExists`]; [`Error::IdentityInUse`]; [`Error::InvalidCredentials`] for a disabled account.
    pub async fn oauth_callback(
        &self,
        provider: &str,
        callback: Callback,
        client: &Client,
    ) -> Result<SignedIn, CallbackError> {
        let provider = self.shared.oauth.provider(provider)?;
        let refusal = refusal(callback.error.as_deref());
        let ended = self.come_back(provider, callback, client).await;
        if let Err(failed) = &ended {
            super::log_failure(provider, &failed.error);
        }
        meters::callback_ended(&provider.name, outcome(&ended, refusal)).increment(1);
        ended
    }

    async fn come_back(
        &self,
        provider: &Provider,
        callback: Callback,
        client: &Client,
    ) -> Result<SignedIn, CallbackError> {
        let now = self.now();
        let flow = self.resume(provider, &callback, now).await?;
        let redirect_to = flow.redirect_to.clone();
        let ended = self.end(provider, flow, callback, client, now).await;
        ended.map_err(|error| CallbackError {
            error,
            is_used_up: true,
            redirect_to,
        })
    }

    async fn end(
        &self,
        provider: &Provider,
        flow: Flow,
        callback: Callback,
        client: &Client,
        now: OffsetDateTime,
    ) -> Result<SignedIn, Error> {
        if let Some(error) = callback.error {
            return Err(Error::ProviderRefused(
                format!("the provider says {}", quoted(&error)).into(),
            ));
        }
        let code = callback
            .code
            .filter(|code| is_code(code.expose()))
            .ok_or(Error::InvalidCode)?;
        let redemption = CodeRedemption {
            code: &code,
            issuer: callback.issuer.as_deref(),
            nonce: &flow.nonce,
            verifier: &flow.verifier,
            redirect_uri: &provider.redirect_uri,
        };
        let proven = provider
            .port
            .redeem_code(&redemption, now)
            .await
            .map_err(super::fault)?;
        match flow.link {
            Some(link) => {
                let user = self.link_for(link, provider, &proven, client).await?;
                Ok(SignedIn::Linked {
                    user: Box::new(user),
                    redirect_to: flow.redirect_to,
                })
            }
            None => self.log_in_by(provider, &proven, flow, client).await,
        }
    }

    /// The flow that this browser began. It is used up by that, whatever follows.
    async fn resume(
        &self,
        provider: &Provider,
        callback: &Callback,
        now: OffsetDateTime,
    ) -> Result<Flow, Error> {
        let (Some(state), Some(binding)) = (&callback.state, &callback.binding) else {
            return Err(Error::InvalidState);
        };
        let flow: Flow = self
            .shared
            .keys
            .open(Sealed::SignIn, binding.expose())
            .filter(|flow: &Flow| flow.is_of(provider, state, now))
            .ok_or(Error::InvalidState)?;
        let expires_at = OffsetDateTime::from_unix_timestamp(flow.expires_at)
            .map_err(|_| Error::InvalidState)?;
        if self.spend(Spent::State, state, expires_at).await? {
            Ok(flow)
        } else {
            Err(Error::InvalidState)
        }
    }

    async fn log_in_by(
        &self,
        provider: &Provider,
        proven: &ProvenIdentity,
        flow: Flow,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let account = self.account_of(provider, proven, client).await?;
        let Some(page) = flow.redirect_to else {
            let tokens = self.open_for(account, client).await?;
            let tokens = tokens.ok_or(Error::InvalidCredentials)?;
            return Ok(SignedIn::Opened(Box::new(tokens)));
        };
        // Never with a token: addresses are kept in histories and logs (ASVS 14.2.1).
        let code = LoginCode::new(&account, self.secret(), flow.code_challenge, self.now());
        let keys = &self.shared.keys;
        let code = keys.seal(Sealed::LoginCode, &code, self.random())?;
        Ok(SignedIn::Elsewhere(format!(
            "{page}?code={}",
            code.expose()
        )))
    }

    /// A session of an account that was just proven; `None` when it changed meanwhile.
    pub(super) async fn open_for(
        &self,
        account: Account,
        client: &Client,
    ) -> Result<Option<Tokens>, Error> {
        let now = self.now();
        let (session, refresh) = self.new_session(account.user.id, client, now);
        let record = self.record(
            AuditEvent::LoginSucceeded,
            Some(account.user.id),
            Some(session.session.id),
            client,
            now,
        );
        let is_open = self
            .store
            .open_session(session.clone(), account.version, None, record)
            .await?;
        if !is_open {
            self.log_in_failed(&account.user, client).await?;
            return Ok(None);
        }
        self.tokens(account.user, &session.session, Some(refresh), now)
            .map(Some)
    }

    pub(super) async fn log_in_failed(&self, user: &User, client: &Client) -> Result<(), Error> {
        let now = self.now();
        let record = self.record(AuditEvent::LoginFailed, Some(user.id), None, client, now);
        Ok(self.store.append(record).await?)
    }

    /// Links for whoever began it, if they are still who they were.
    async fn link_for(
        &self,
        link: LinkFlow,
        provider: &Provider,
        proven: &ProvenIdentity,
        client: &Client,
    ) -> Result<User, Error> {
        // Whoever has logged out since, or was thrown out, links nothing.
        let who = self
            .store
            .authenticate(link.session, self.now())
            .await?
            .filter(|who| who.user.id == link.user)
            .ok_or(Error::InvalidState)?;
        match self
            .join(provider, &who, link.seen(), proven, client)
            .await?
        {
            Some(user) => Ok(user),
            None => Err(Error::InvalidState),
        }
    }
}

/// For the numbers (RFC 6749 §4.1.2.1): what a client is told as one code is the will of a person, an outage, or a fault of us or the provider.
fn refusal(said: Option<&str>) -> &'static str {
    match said {
        Some("access_denied") => "provider_refused",
        Some("server_error" | "temporarily_unavailable") => "provider_unavailable",
        // Or nothing, with a token that is not believed.
        _ => "provider_failed",
    }
}

const fn outcome(ended: &Result<SignedIn, CallbackError>, refusal: &'static str) -> &'static str {
    match ended {
        Ok(_) => "succeeded",
        Err(failed) => match &failed.error {
            Error::ProviderFailed(_) => "provider_failed",
            Error::ProviderRefused(_) => refusal,
            Error::ProviderUnavailable(_) => "provider_unavailable",
            error => error.code(),
        },
    }
}

/// What no provider could have given is not shown to one (RFC 6749, appendix A.11).
fn is_code(raw: &str) -> bool {
    (1..=4096).contains(&raw.len()) && raw.bytes().all(|b| (b' '..=b'~').contains(&b))
}

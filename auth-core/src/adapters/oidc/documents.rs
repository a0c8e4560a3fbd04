use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jsonwebtoken::{
    Header,
    jwk::{Jwk, PublicKeyUse},
};
use oauth2::{AuthUrl, TokenUrl, url::ParseError};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex as Turn;

use super::{
    http::{Http, HttpError},
    id_token::algorithm_of,
    may_name,
};
use crate::ports::ProviderError;

/// How long a document is believed: a key that the provider takes back opens nothing after that.
const LIFETIME: Duration = Duration::HOUR;
/// The least time between two looks for a key that is not there: anybody can name one (ASVS 15.1.3).
const FLOOR: Duration = Duration::MINUTE;
/// How long nobody asks again after a fetch that failed, from its beginning.
const PAUSE: Duration = Duration::seconds(10);

/// What is used of a discovery document (OIDC Discovery §3).
pub(super) struct Discovery {
    pub(super) authorization: AuthUrl,
    pub(super) token: TokenUrl,
    keys: String,
    /// Whether the client may name itself by basic authentication, which is the default.
    pub(super) takes_basic: bool,
    /// Whether authorization responses name their issuer (RFC 9207 §3).
    pub(super) names_itself: bool,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// RFC 7517 §5: keys of kinds that we do not know are passed over.
#[derive(Deserialize)]
struct KeySetDocument {
    keys: Vec<serde_json::Value>,
}

/// The documents of a provider.
#[derive(Default)]
pub(super) struct Documents {
    discovery: Shelf<Discovery>,
    keys: Shelf<Vec<Jwk>>,
}

impl Documents {
    pub(super) async fn discovery(
        &self,
        http: &Http,
        issuer: &str,
        now: OffsetDateTime,
    ) -> Result<Arc<Discovery>, ProviderError> {
        let (http, issuer) = (http.clone(), issuer.to_owned());
        self.discovery
            .look(
                now,
                |known, age| (age < LIFETIME).then(|| Arc::clone(known)),
                async move { discover(&http, &issuer).await },
            )
            .await
    }

    /// The keys that a token may be signed with, by the name that it gives: one, or a few of one name.
    pub(super) async fn keys(
        &self,
        http: &Http,
        discovery: &Discovery,
        header: &Header,
        now: OffsetDateTime,
    ) -> Result<Vec<Jwk>, ProviderError> {
        let (http, url) = (http.clone(), discovery.keys.clone());
        self.keys
            .look(
                now,
                |known, age| {
                    let keys = find(known, header);
                    if keys.is_empty() {
                        (age < FLOOR).then(|| Err(unknown_key()))
                    } else {
                        (age < LIFETIME).then_some(Ok(keys))
                    }
                },
                async move { fetch_keys(&http, &url).await },
            )
            .await?
    }
}

/// What a provider shows at one address, fetched by one caller at a time. What is known is found without waiting for whoever fetches.
struct Shelf<T> {
    shown: Arc<Mutex<Shown<T>>>,
    turn: Arc<Turn<()>>,
}

struct Shown<T> {
    known: Option<(Arc<T>, OffsetDateTime)>,
    /// When the fetch began that failed last, if none has passed since.
    failed: Option<OffsetDateTime>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        let shown = Shown {
            known: None,
            failed: None,
        };
        Self {
            shown: Arc::new(Mutex::new(shown)),
            turn: Arc::default(),
        }
    }
}

impl<T: Send + Sync + 'static> Shelf<T> {
    /// Answers from what is known and its age, or fetches it first. When the last fetch failed a moment ago, nobody tries again: whoever waited for it
    /// would wait as long once more.
    async fn look<A>(
        &self,
        now: OffsetDateTime,
        answer: impl Fn(&Arc<T>, Duration) -> Option<A>,
        fetch: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
    ) -> Result<A, ProviderError> {
        let known = || {
            let shown = lock(&self.shown);
            let found = shown
                .known
                .as_ref()
                .and_then(|(known, since)| answer(known, now - *since));
            match (found, shown.failed) {
                (Some(found), _) => Some(Ok(found)),
                (None, Some(failed)) if (now - failed).abs() < PAUSE => Some(Err(
                    ProviderError::Unavailable("it failed a moment ago".into()),
                )),
                (None, _) => None,
            }
        };
        if let Some(answer) = known() {
            return answer;
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(answer) = known() {
            return answer;
        }
        let shown = Arc::clone(&self.shown);
        // To its end, also when whoever asked has gone: a caller that hangs up leaves the next ones what it found.
        let fetched = tokio::spawn(async move {
            let _turn = turn;
            let fetched = fetch.await.map(Arc::new);
            let mut shown = lock(&shown);
            match &fetched {
                Ok(value) => {
                    shown.known = Some((Arc::clone(value), now));
                    shown.failed = None;
                }
                Err(_) => shown.failed = Some(now),
            }
            fetched
        })
        .await
        .map_err(|error| ProviderError::Failed(error.into()))??;
        // What was fetched just now has no age.
        answer(&fetched, Duration::ZERO)
            .ok_or_else(|| ProviderError::Failed("what it shows is of no use".into()))
    }
}

/// Held for a look, never while something is fetched.
fn lock<T>(shown: &Mutex<Shown<T>>) -> MutexGuard<'_, Shown<T>> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown_key() -> ProviderError {
    ProviderError::Refused(
        "the ID token is signed with a key that the provider does not show".into(),
    )
}

async fn discover(http: &Http, issuer: &str) -> Result<Discovery, ProviderError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document: DiscoveryDocument = http.document(&url).await?;
    // OIDC Discovery §4.3.
    if document.issuer != issuer {
        return Err(HttpError::Failed("it is the document of another issuer").into());
    }
    let addresses = [
        &document.authorization_endpoint,
        &document.token_endpoint,
        &document.jwks_uri,
    ];
    if !addresses
        .into_iter()
        .all(|address| may_name(issuer, address))
    {
        return Err(HttpError::Failed("it names an address that it must not name").into());
    }
    let failed = |error: ParseError| ProviderError::Failed(error.into());
    Ok(Discovery {
        authorization: AuthUrl::new(document.authorization_endpoint).map_err(failed)?,
        token: TokenUrl::new(document.token_endpoint).map_err(failed)?,
        keys: document.jwks_uri,
        takes_basic: document
            .token_endpoint_auth_methods_supported
            .is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
        names_itself: document.authorization_response_iss_parameter_supported,
    })
}

async fn fetch_keys(http: &Http, url: &str) -> Result<Vec<Jwk>, ProviderError> {
    let document: KeySetDocument = http.document(url).await?;
    Ok(document
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(key).ok())
        .filter(|key: &Jwk| key.common.public_key_use != Some(PublicKeyUse::Encryption))
        .filter(|key| algorithm_of(key).is_some())
        .collect())
}

/// OIDC Core §10.1: a set of one key needs no name. RFC 7517 §4.5: keys should have names of their own, and need not.
fn find(keys: &[Jwk], header: &Header) -> Vec<Jwk> {
    match (&header.kid, keys) {
        (Some(kid), keys) => {
            let is_named = |key: &&Jwk| key.common.key_id.as_ref() == Some(kid);
            keys.iter().filter(is_named).cloned().collect()
        }
        (None, [only]) => vec![only.clone()],
        (None, _) => Vec::new(),
    }
}

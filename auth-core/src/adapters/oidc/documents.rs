use std::sync::Arc;

use jsonwebtoken::{
    Header,
    jwk::{Jwk, PublicKeyUse},
};
use oauth2::{AuthUrl, TokenUrl, url::ParseError};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use super::{
    http::{Http, HttpError},
    id_token::algorithm_of,
    is_private,
};
use crate::ports::ProviderError;

/// How long a document is believed: a key that the provider takes back opens nothing after that.
const LIFETIME: Duration = Duration::HOUR;
/// The least time between two looks for a key that is not there: anybody can name one (ASVS 15.1.3).
const FLOOR: Duration = Duration::MINUTE;

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

struct Kept<T> {
    value: Arc<T>,
    since: OffsetDateTime,
}

impl<T> Kept<T> {
    fn new(value: T, since: OffsetDateTime) -> Self {
        Self {
            value: Arc::new(value),
            since,
        }
    }

    fn is_good(&self, now: OffsetDateTime) -> bool {
        now - self.since < LIFETIME
    }
}

/// The documents of a provider. The locks are held while one is fetched, for that is the point: everybody who needs it waits for the one request, whose
/// time is bounded.
#[derive(Default)]
pub(super) struct Documents {
    discovery: Mutex<Option<Kept<Discovery>>>,
    keys: Mutex<Option<Kept<Vec<Jwk>>>>,
}

impl Documents {
    pub(super) async fn discovery(
        &self,
        http: &Http,
        issuer: &str,
        now: OffsetDateTime,
    ) -> Result<Arc<Discovery>, ProviderError> {
        let mut kept = self.discovery.lock().await;
        match &*kept {
            Some(known) if known.is_good(now) => Ok(Arc::clone(&known.value)),
            _ => {
                let found = Kept::new(discover(http, issuer).await?, now);
                Ok(Arc::clone(&kept.insert(found).value))
            }
        }
    }

    /// The key that a token names.
    pub(super) async fn key(
        &self,
        http: &Http,
        discovery: &Discovery,
        header: &Header,
        now: OffsetDateTime,
    ) -> Result<Jwk, ProviderError> {
        let mut kept = self.keys.lock().await;
        if let Some(known) = kept.as_ref().filter(|known| known.is_good(now)) {
            if let Some(key) = find(&known.value, header) {
                return Ok(key);
            }
            if now - known.since < FLOOR {
                return Err(unknown_key());
            }
        }
        let fetched = Kept::new(fetch_keys(http, &discovery.keys).await?, now);
        find(&kept.insert(fetched).value, header).ok_or_else(unknown_key)
    }
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
    if !addresses.into_iter().all(|address| is_private(address)) {
        return Err(HttpError::Failed("it names an address that is not https").into());
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

/// OIDC Core §10.1: a set of one key needs no name.
fn find(keys: &[Jwk], header: &Header) -> Option<Jwk> {
    match (&header.kid, keys) {
        (Some(kid), keys) => keys
            .iter()
            .find(|key| key.common.key_id.as_ref() == Some(kid)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
    .cloned()
}

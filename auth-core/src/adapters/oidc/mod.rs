//! Sign-in by any provider of OpenID Connect, Google first of all.

mod documents;
mod http;
mod id_token;

use std::{fmt, sync::Arc, time::Duration};

use ::http::Uri;
use async_trait::async_trait;
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse,
    basic::{
        BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
        BasicTokenIntrospectionResponse, BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use self::{
    documents::{Discovery, Documents},
    http::{Http, HttpError},
    id_token::{Expected, read},
};
use crate::{
    ports::{
        AuthorizationRequest, CodeRedemption, OAuthProvider, ProvenIdentity, ProviderError, quoted,
    },
    types::{RedirectUri, Secret},
};

/// A provider of OpenID Connect, found by its discovery document. Clones share what they know of it.
///
/// 1. Authorization code flow with PKCE (S256), `state` and `nonce`. ID tokens are RS256 or ES256, by a key of the provider's key set.
/// 2. Discovery document and key set are kept for an hour. A key that is not in the set is looked for at most once a minute.
/// 3. A request ends after five seconds, a call after ten, an answer after 256 KiB; redirects are not followed. What only reads is tried twice; after
///    that failed, nobody tries for ten seconds. While 64 calls are under way, another one fails at once.
/// 4. The certificates of the operating system decide whom it trusts; proxies of the environment are not used.
///
/// ```
/// use auth_core::{adapters::OidcProvider, types::Secret};
///
/// let google = OidcProvider::google("client id", Secret::new("client secret".to_owned()))?;
/// let own = OidcProvider::new("Example", "https://id.example.org", "client id", Secret::new("client secret".to_owned()))?;
/// # Ok::<(), auth_core::adapters::OidcError>(())
/// ```
#[derive(Clone)]
pub struct OidcProvider {
    title: String,
    client_id: String,
    client_secret: Secret<String>,
    issuer: Issuer,
    authority: Authority,
    documents: Arc<Documents>,
    http: Http,
    /// Of one call, with all requests that it takes and all that it waits for.
    patience: Duration,
    /// For calls under way.
    places: Arc<Semaphore>,
}

/// Of one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls at once. More of them wait for a provider that says nothing, and would fill what the host has for all requests.
const PLACES: usize = 64;

/// Who may issue ID tokens.
#[derive(Clone)]
struct Issuer {
    /// As the discovery document spells it, and as identities are kept.
    name: String,
    /// Another spelling in tokens.
    alias: Option<String>,
}

/// Whose addresses the provider decides about.
#[derive(Clone, Default)]
struct Authority {
    domains: Vec<String>,
    hosted: bool,
}

/// Why an [`OidcProvider`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// No id or no secret.
    #[error("the client id and the client secret must not be empty")]
    Client,
    /// The HTTP client could not be made: usually the system has no certificates.
    #[error("the HTTP client cannot be made")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not https, but for this machine, or with a query or fragment (OIDC Discovery §3).
    #[error(
        "an issuer is an https address without query and fragment; http is for this machine only"
    )]
    Issuer,
}

impl OidcProvider {
    /// The issuer of [`OidcProvider::google`].
    pub const GOOGLE: &str = "https://accounts.google.com";

    /// A provider, to which we are the client of this id.
    ///
    /// It is authoritative for no address: an identity joins an account only when its owner links it.
    ///
    /// # Errors
    /// [`OidcError`].
    pub fn new(
        title: impl Into<String>,
        issuer: &str,
        client_id: impl Into<String>,
        client_secret: Secret<String>,
    ) -> Result<Self, OidcError> {
        // See `KeyRing::new`.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let client_id = client_id.into();
        if client_id.is_empty() || client_secret.expose().is_empty() {
            return Err(OidcError::Client);
        }
        if !is_private(issuer) || issuer.contains(['?', '#']) {
            return Err(OidcError::Issuer);
        }
        Ok(Self {
            title: title.into(),
            client_id,
            client_secret,
            issuer: Issuer {
                name: issuer.to_owned(),
                alias: None,
            },
            authority: Authority::default(),
            documents: Arc::default(),
            http: Http::new(PATIENCE)?,
            patience: 2 * PATIENCE,
            places: Arc::new(Semaphore::new(PLACES)),
        })
    }

    /// Google.
    ///
    /// It decides whose an address is when it ends with `@gmail.com`, or when the token has `hd`; and it may leave the scheme out of `iss`
    /// ("Verify the Google ID token on your server side").
    ///
    /// # Errors
    /// [`OidcError`].
    pub fn google(
        client_id: impl Into<String>,
        client_secret: Secret<String>,
    ) -> Result<Self, OidcError> {
        Self::as_google(Self::GOOGLE, client_id, client_secret)
    }

    /// What stands in for Google at another issuer, in tests.
    ///
    /// # Security
    /// It decides whose an address is, as Google does: whoever runs the issuer opens any account on `@gmail.com`.
    ///
    /// # Errors
    /// [`OidcError`].
    #[cfg(feature = "testing")]
    pub fn google_at(
        issuer: &str,
        client_id: impl Into<String>,
        client_secret: Secret<String>,
    ) -> Result<Self, OidcError> {
        Self::as_google(issuer, client_id, client_secret)
    }

    fn as_google(
        issuer: &str,
        client_id: impl Into<String>,
        client_secret: Secret<String>,
    ) -> Result<Self, OidcError> {
        let mut provider = Self::new("Google", issuer, client_id, client_secret)?;
        provider.issuer.alias = issuer.strip_prefix("https://").map(str::to_owned);
        provider.authority = Authority {
            domains: vec!["gmail.com".to_owned()],
            hosted: true,
        };
        Ok(provider)
    }

    /// How long a request may take, five seconds by default; a call takes twice as long at the most.
    ///
    /// # Errors
    /// [`OidcError::Http`].
    pub fn timeout(mut self, limit: Duration) -> Result<Self, OidcError> {
        self.http = Http::new(limit)?;
        self.patience = limit.saturating_mul(2);
        Ok(self)
    }

    /// Whatever a call takes, in its time, and not beside too many others.
    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let _place = self
            .places
            .try_acquire()
            .map_err(|full| ProviderError::Unavailable(full.into()))?;
        match tokio::time::timeout(self.patience, call).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(ProviderError::Unavailable(elapsed.into())),
        }
    }

    async fn discovery(&self, now: OffsetDateTime) -> Result<Arc<Discovery>, ProviderError> {
        self.documents
            .discovery(&self.http, &self.issuer.name, now)
            .await
    }

    fn client(
        &self,
        discovery: &Discovery,
        redirect_uri: &RedirectUri,
    ) -> Result<Client, ProviderError> {
        let redirect_uri = RedirectUrl::new(redirect_uri.as_str().to_owned())
            .map_err(|error| ProviderError::Failed(error.into()))?;
        let auth_type = if discovery.takes_basic {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        };
        Ok(oauth2::Client::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.expose().clone()))
            .set_auth_uri(discovery.authorization.clone())
            .set_token_uri(discovery.token.clone())
            .set_redirect_uri(redirect_uri)
            .set_auth_type(auth_type))
    }

    async fn redeem(
        &self,
        redemption: &CodeRedemption<'_>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError> {
        let discovery = self.discovery(now).await?;
        // RFC 9207 §2.4: the answer of another provider is none.
        let issuer_is_right = match redemption.issuer {
            Some(issuer) => issuer == self.issuer.name,
            None => !discovery.names_itself,
        };
        if !issuer_is_right {
            return Err(ProviderError::Refused(
                "the authorization response is of another issuer".into(),
            ));
        }
        let http = self.http.clone();
        let send = move |request| {
            let http = http.clone();
            async move { http.send_once(request).await }
        };
        let answer = self
            .client(&discovery, redemption.redirect_uri)?
            .exchange_code(AuthorizationCode::new(redemption.code.expose().clone()))
            .set_pkce_verifier(PkceCodeVerifier::new(redemption.verifier.expose().clone()))
            .request_async(&send)
            .await
            .map_err(token_fault)?;
        let token = &answer.extra_fields().id_token;
        self.prove(token, Some(redemption.nonce), now).await
    }

    async fn prove(
        &self,
        token: &Secret<String>,
        nonce: Option<&Secret<String>>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError> {
        let discovery = self.discovery(now).await?;
        let header = id_token::header(token.expose())?;
        let keys = self
            .documents
            .keys(&self.http, &discovery, &header, now)
            .await?;
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &self.client_id,
            nonce,
            authority: &self.authority,
        };
        read(token.expose(), &header, &keys, &expected, now)
    }
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("title", &self.title)
            .field("issuer", &self.issuer.name)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// ASVS 12.3.1: whatever is said to a provider is encrypted, unless it never leaves the machine.
fn is_private(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else {
        return false;
    };
    match (uri.scheme_str(), uri.host()) {
        (_, None | Some("")) => false,
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_loopback(host),
        _ => false,
    }
}

/// Whether an issuer's document may name an address: one that is encrypted, and no door of this machine unless the issuer is one itself.
fn may_name(issuer: &str, address: &str) -> bool {
    let is_here = |address: &str| {
        address
            .parse::<Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(is_loopback))
    };
    is_private(address) && (is_here(issuer) || !is_here(address))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What the token endpoint adds to RFC 6749 (OIDC Core §3.1.3.3).
#[derive(Debug, Serialize, Deserialize)]
struct IdTokenField {
    #[serde(deserialize_with = "secret", skip_serializing)]
    id_token: Secret<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl ExtraTokenFields for IdTokenField {}

type TokenAnswer = StandardTokenResponse<IdTokenField, BasicTokenType>;
type Client = oauth2::Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

#[async_trait]
impl OAuthProvider for OidcProvider {
    fn title(&self) -> &str {
        &self.title
    }

    async fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
        now: OffsetDateTime,
    ) -> Result<String, ProviderError> {
        let discovery = self.in_time(self.discovery(now)).await?;
        let client = self.client(&discovery, request.redirect_uri)?;
        let verifier = PkceCodeVerifier::new(request.verifier.expose().clone());
        let (url, _) = client
            .authorize_url(|| CsrfToken::new(request.state.expose().clone()))
            .add_scope(Scope::new("openid".to_owned()))
            .add_scope(Scope::new("email".to_owned()))
            .add_extra_param("nonce", request.nonce.expose())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    async fn redeem_code(
        &self,
        redemption: &CodeRedemption<'_>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError> {
        self.in_time(self.redeem(redemption, now)).await
    }

    async fn verify_id_token(
        &self,
        token: &Secret<String>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError> {
        self.in_time(self.prove(token, None, now)).await
    }
}

/// What is kept of a fault names codes only: a body may hold tokens.
fn token_fault(error: RequestTokenError<HttpError, BasicErrorResponse>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(response) => match response.error() {
            // A code that is none at all is an invalid request to some.
            BasicErrorResponseType::InvalidGrant | BasicErrorResponseType::InvalidRequest => {
                ProviderError::InvalidCode
            }
            code => ProviderError::Failed(
                format!("the token endpoint answers {}", quoted(code.as_ref())).into(),
            ),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            ProviderError::Failed("the token answer cannot be read".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{OidcProvider, PLACES, is_private, may_name};
    use crate::{ports::ProviderError, types::Secret};

    #[test]
    fn only_encrypted_issuers_are_taken() {
        for (issuer, taken) in [
            ("https://accounts.google.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost/op", true),
            ("http://[::1]:8080", true),
            ("http://id.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("ftp://127.0.0.1", false),
            ("accounts.google.com", false),
            ("", false),
        ] {
            assert_eq!(is_private(issuer), taken, "{issuer}");
        }
    }

    #[test]
    fn a_document_leads_to_no_door_of_this_machine() {
        let (there, here) = ("https://id.example.org", "http://127.0.0.1:8080");
        for (issuer, address, may) in [
            (there, "https://id.example.org/token", true),
            (there, "https://keys.example.net/", true),
            (there, "http://id.example.org/token", false),
            (there, "http://127.0.0.1:8080/token", false),
            (there, "https://127.0.0.1/token", false),
            (there, "https://LOCALHOST/token", false),
            (there, "https://[::1]/token", false),
            (there, "https://[::ffff:127.0.0.1]/token", false),
            (here, "http://127.0.0.1:8080/token", true),
            (here, "http://localhost:8081/token", true),
            (here, "http://id.example.org/token", false),
        ] {
            assert_eq!(may_name(issuer, address), may, "{issuer} {address}");
        }
    }

    #[tokio::test]
    async fn a_silent_provider_takes_no_more_than_its_places() {
        let provider = OidcProvider::google("id", Secret::new("secret".to_owned())).unwrap();
        let all = u32::try_from(PLACES).unwrap();
        let taken = provider.clone();
        let taken = taken.places.try_acquire_many(all).unwrap();
        let refused = provider.in_time(async { Ok(()) }).await;
        assert!(
            matches!(refused, Err(ProviderError::Unavailable(_))),
            "{refused:?}"
        );
        drop(taken);
        provider.in_time(async { Ok(()) }).await.unwrap();
    }

    #[test]
    fn nobody_but_google_decides_about_addresses_of_google() {
        let secret = || Secret::new("secret".to_owned());
        let google = OidcProvider::google("id", secret()).unwrap();
        assert!(google.authority.hosted && google.authority.domains == ["gmail.com"]);
        let other = OidcProvider::new("Google", "https://id.example.org", "id", secret());
        let other = other.unwrap();
        assert!(!other.authority.hosted && other.authority.domains.is_empty());
        assert!(other.issuer.alias.is_none());
    }

    #[test]
    fn a_client_without_a_secret_is_refused() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert!(OidcProvider::google("", secret("secret")).is_err());
        assert!(OidcProvider::google("id", secret("")).is_err());
        let provider = OidcProvider::google("id", secret("hunter2")).unwrap();
        assert!(!format!("{provider:?}").contains("hunter2"));
    }
}

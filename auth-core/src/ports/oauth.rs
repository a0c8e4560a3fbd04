use async_trait::async_trait;
use time::OffsetDateTime;

use crate::types::{Email, IdentityKey, RedirectUri, Secret};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a provider said, fit for a log: short, and nothing that a terminal obeys.
pub(crate) fn quoted(words: &str) -> String {
    let short: String = words.chars().take(80).collect();
    format!("\"{}\"", short.escape_debug())
}

/// Where a sign-in begins: what the provider has to show again, or to remember.
#[derive(Debug)]
pub struct AuthorizationRequest<'a> {
    /// Comes back with the browser.
    pub state: &'a Secret<String>,
    /// Comes back in the ID token.
    pub nonce: &'a Secret<String>,
    /// Proves that code and request belong together; the provider gets its digest now (RFC 7636, S256).
    pub verifier: &'a Secret<String>,
    /// Where the browser comes back to.
    pub redirect_uri: &'a RedirectUri,
}

/// What a browser brought back, with what the request said.
#[derive(Debug)]
pub struct CodeRedemption<'a> {
    /// Of the provider.
    pub code: &'a Secret<String>,
    /// `iss` of the authorization response, if it has one (RFC 9207).
    pub issuer: Option<&'a str>,
    /// As it was sent.
    pub nonce: &'a Secret<String>,
    /// Of the digest that was sent.
    pub verifier: &'a Secret<String>,
    /// As it was sent.
    pub redirect_uri: &'a RedirectUri,
}

/// What a provider vouches for, in a token that was meant for us.
#[derive(Debug, Clone)]
pub struct ProvenIdentity {
    /// Who.
    pub key: IdentityKey,
    /// The address there, if it is one.
    pub email: Option<Email>,
    /// Whether the provider saw the address proven.
    pub email_verified: bool,
    /// Whether the provider decides whose the address is: then, and only then, does it say something about an account that has the address.
    pub is_authoritative: bool,
    /// UTC; of the token.
    pub issued_at: OffsetDateTime,
    /// UTC; of the token.
    pub expires_at: OffsetDateTime,
}

/// Signs people in by OpenID Connect.
///
/// # Rules
/// 1. An identity is proven by an ID token only: signed with a key of the provider, for us alone, in its time, and, for a code, with the nonce
///    (OIDC Core §3.1.3.7).
/// 2. Every call ends within a bounded time, whatever the provider does.
/// 3. Nothing secret is in an error.
#[async_trait]
pub trait OAuthProvider: Send + Sync + 'static {
    /// The name that people know it by, such as `Google`.
    fn title(&self) -> &str;

    /// Where to send the browser.
    ///
    /// # Errors
    /// [`ProviderError::Failed`] or [`ProviderError::Unavailable`].
    async fn authorization_url(
        &self,
        request: &AuthorizationRequest<'_>,
        now: OffsetDateTime,
    ) -> Result<String, ProviderError>;

    /// Trades a code for the identity of whoever the browser belongs to.
    ///
    /// # Errors
    /// [`ProviderError`].
    async fn redeem_code(
        &self,
        redemption: &CodeRedemption<'_>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError>;

    /// The identity in an ID token that a client got by itself: there is no nonce of ours to compare.
    ///
    /// # Errors
    /// [`ProviderError`], but for [`ProviderError::InvalidCode`].
    async fn verify_id_token(
        &self,
        token: &Secret<String>,
        now: OffsetDateTime,
    ) -> Result<ProvenIdentity, ProviderError>;
}

/// Why a provider proved nobody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It answered something that no provider should answer.
    #[error("the provider answered what cannot be understood")]
    Failed(#[source] BoxError),
    /// It does not know the code, or not any more.
    #[error("the provider does not take the code")]
    InvalidCode,
    /// It refuses, or what it says is not to be believed.
    #[error("the provider vouches for nobody")]
    Refused(#[source] BoxError),
    /// It cannot be reached, is too slow or says that it is in trouble. The same call may pass later.
    #[error("the provider is unavailable")]
    Unavailable(#[source] BoxError),
}

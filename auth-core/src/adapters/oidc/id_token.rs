use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::{Authority, Issuer};
use crate::{
    ports::{ProvenIdentity, ProviderError},
    types::{Email, IdentityKey, Secret},
};

/// No ID token is longer; longer ones are refused before they are parsed.
const MAX_BYTES: usize = 16 * 1024;
/// Between a provider's clock and ours, in seconds.
const SKEW: i64 = 30;

/// What a token has to say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) client_id: &'a str,
    /// `None` for a token that was not asked for by us.
    pub(super) nonce: Option<&'a Secret<String>>,
    pub(super) authority: &'a Authority,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    email: Option<Value>,
    email_verified: Option<Value>,
    hd: Option<Value>,
    events: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

fn refused(why: &'static str) -> ProviderError {
    ProviderError::Refused(format!("the ID token is refused: {why}").into())
}

/// The header, before anything in it is believed.
pub(super) fn header(token: &str) -> Result<Header, ProviderError> {
    if token.len() > MAX_BYTES {
        return Err(refused("it is too long"));
    }
    let header = decode_header(token).map_err(|_| refused("it is malformed"))?;
    // RFC 7515 §4.1.11: what we do not understand we must not pass over.
    if header.crit.is_some() {
        return Err(refused("it has critical headers"));
    }
    // RFC 8725 §3.11: what is another kind of token by its own word is none of ours.
    if let Some(kind) = &header.typ
        && !kind.eq_ignore_ascii_case("JWT")
    {
        return Err(refused("it is a token of another type"));
    }
    Ok(header)
}

/// Verifies a token by a key that it names (OIDC Core §3.1.3.7).
pub(super) fn read(
    token: &str,
    header: &Header,
    keys: &[Jwk],
    expected: &Expected<'_>,
    now: OffsetDateTime,
) -> Result<ProvenIdentity, ProviderError> {
    // RFC 8725 §3.1: a key says which algorithm it is for; the token must agree, and says nothing of its own.
    let is_fit = |key: &&Jwk| algorithm_of(key) == Some(header.alg);
    let mut why = "its algorithm is not that of its key";
    for key in keys.iter().filter(is_fit) {
        if let Some(claims) = claims(token, header.alg, key)? {
            check(&claims, expected, now)?;
            return identity(&claims, expected);
        }
        why = "its signature is wrong";
    }
    Err(refused(why))
}

/// `None`: it is not signed with this key, or nothing is.
fn claims(token: &str, algorithm: Algorithm, key: &Jwk) -> Result<Option<Claims>, ProviderError> {
    let Ok(key) = DecodingKey::from_jwk(key) else {
        return Ok(None);
    };
    let mut validation = Validation::new(algorithm);
    // All of it is checked by `check`: time against the clock that was handed in.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims::<&str>(&[]);
    match decode(token, &key, &validation) {
        Ok(token) => Ok(Some(token.claims)),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => Ok(None),
        // Without the cause: it may repeat a claim.
        Err(_) => Err(refused("its claims cannot be read")),
    }
}

/// The one algorithm that a key is good for; `None` for symmetric and other keys.
pub(super) fn algorithm_of(key: &Jwk) -> Option<Algorithm> {
    let (algorithm, name) = match &key.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    key.common
        .key_algorithm
        .is_none_or(|said| said == name)
        .then_some(algorithm)
}

fn check(
    claims: &Claims,
    expected: &Expected<'_>,
    now: OffsetDateTime,
) -> Result<(), ProviderError> {
    // OIDC Back-Channel Logout §2.4: a logout token is told by this, and by nothing else that every provider says.
    if claims.events.is_some() {
        return Err(refused("it is a logout token"));
    }
    // 2.
    if claims.iss != expected.issuer.name && Some(&claims.iss) != expected.issuer.alias.as_ref() {
        return Err(refused("it is of another issuer"));
    }
    // 3. Audiences that we do not know are not to be trusted with it.
    let is_for_us = match &claims.aud {
        Audience::Many(audiences) => *audiences == [expected.client_id],
        Audience::One(audience) => audience == expected.client_id,
    };
    // 4. and 5.
    let is_by_us = claims
        .azp
        .as_ref()
        .is_none_or(|party| party == expected.client_id);
    if !is_for_us || !is_by_us {
        return Err(refused("it is for another client"));
    }
    // 9. and 10.
    let now = now.unix_timestamp();
    if claims.exp <= now {
        return Err(refused("it has expired"));
    }
    if claims.iat > now + SKEW || claims.nbf.is_some_and(|nbf| nbf > now + SKEW) {
        return Err(refused("it is of the future"));
    }
    // 11.
    if let Some(nonce) = expected.nonce {
        let said = claims.nonce.as_deref().unwrap_or_default();
        if !bool::from(said.as_bytes().ct_eq(nonce.expose().as_bytes())) {
            return Err(refused("its nonce is another one"));
        }
    }
    Ok(())
}

fn identity(claims: &Claims, expected: &Expected<'_>) -> Result<ProvenIdentity, ProviderError> {
    let moment = |seconds| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| refused("a time of it is none"))
    };
    let email = claims
        .email
        .as_ref()
        .and_then(Value::as_str)
        .and_then(|address| Email::parse(address).ok());
    // Some providers say it as a string.
    let email_verified = match &claims.email_verified {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    let authority = expected.authority;
    let is_hosted = authority.hosted
        && claims
            .hd
            .as_ref()
            .and_then(Value::as_str)
            .is_some_and(|domain| !domain.is_empty());
    let is_own = email.as_ref().is_some_and(|email| {
        let domain = email.as_str().rsplit('@').next().unwrap_or_default();
        authority.domains.iter().any(|own| own == domain)
    });
    Ok(ProvenIdentity {
        // The issuer in its one spelling.
        key: IdentityKey::parse(&expected.issuer.name, &claims.sub)
            .map_err(|_| refused("its subject is none"))?,
        email,
        email_verified,
        is_authoritative: email_verified && (is_own || is_hosted),
        issued_at: moment(claims.iat)?,
        expires_at: moment(claims.exp)?,
    })
}

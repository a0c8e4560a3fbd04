use aws_lc_rs::hkdf;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    KeyError, SigningKeys,
    seal::{Sealed, SealingKey},
};
use crate::{
    error::Error,
    ports::Random,
    types::{PendingToken, Purpose, Secret, SessionId, UserId},
};

/// RFC 9068 §2.1.
const ACCESS_TYP: &str = "at+jwt";
/// Between the clocks of replicas, in seconds.
const LEEWAY: i64 = 5;
/// No token of ours is longer; longer ones are refused before they are parsed.
const MAX_TOKEN_BYTES: usize = 4096;

/// The claims of an access token (RFC 9068 §2.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    iss: String,
    aud: String,
    /// Whose.
    pub(crate) sub: UserId,
    /// The session.
    pub(crate) sid: SessionId,
    pub(crate) jti: String,
    pub(crate) iat: i64,
    nbf: i64,
    pub(crate) exp: i64,
    pub(crate) username: String,
    pub(crate) is_admin: bool,
    pub(crate) email_verified: bool,
}

/// What an access token says beside what every one says.
pub(crate) struct Access {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) jti: String,
    pub(crate) issued_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
    pub(crate) username: String,
    pub(crate) is_admin: bool,
    pub(crate) email_verified: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct MailedClaims {
    iss: String,
    sub: UserId,
    jti: String,
    purpose: Purpose,
    iat: i64,
    exp: i64,
}

/// A mailed token whose signature, kind and time are right; whether it is still unused is the store's to say.
pub(crate) struct Mailed {
    pub(crate) user_id: UserId,
    pub(crate) purpose: Purpose,
    pub(crate) jti: Secret<String>,
}

/// One token kind of one key: no kind can pass for another, even before its `typ` is read (RFC 8725 §3.12).
struct KindKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl KindKey {
    fn new(secret: &[u8]) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }
}

struct RingKey {
    kid: String,
    access: KindKey,
    mailed: [KindKey; Purpose::ALL.len()],
    sealing: [SealingKey; Sealed::ALL.len()],
}

/// Signs and verifies for one issuer.
pub(crate) struct KeyRing {
    algorithm: jsonwebtoken::Algorithm,
    issuer: String,
    audience: String,
    /// Never empty: the first one signs.
    signing: RingKey,
    previous: Vec<RingKey>,
    access_validation: Validation,
    mailed_validation: Validation,
}

impl KeyRing {
    pub(crate) fn new(keys: &SigningKeys, issuer: &str, audience: &str) -> Result<Self, KeyError> {
        // A host whose dependencies bring no provider, or two, would panic at the first token. Somebody may have been first: fine.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();

        let algorithm = keys.algorithm.jose();
        let mut ring = keys
            .secrets
            .iter()
            .map(|secret| RingKey::derive(secret.expose()));
        let signing = ring
            .next()
            .ok_or(KeyError::TooShort(keys.algorithm.key_bytes()))?;
        let validation = |claims: &[&str]| {
            let mut validation = Validation::new(algorithm);
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(claims);
            // Time is checked below, against the clock that was handed in.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation
        };
        let mut access_validation = validation(&["iss", "aud", "sub", "exp", "nbf"]);
        access_validation.set_audience(&[audience]);
        Ok(Self {
            algorithm,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            signing,
            previous: ring.collect(),
            access_validation,
            mailed_validation: validation(&["iss", "sub", "exp"]),
        })
    }

    pub(crate) fn sign_access(&self, access: Access) -> Result<Secret<String>, Error> {
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: access.user_id,
            sid: access.session_id,
            jti: access.jti,
            iat: access.issued_at.unix_timestamp(),
            nbf: access.issued_at.unix_timestamp(),
            exp: access.expires_at.unix_timestamp(),
            username: access.username,
            is_admin: access.is_admin,
            email_verified: access.email_verified,
        };
        self.sign(ACCESS_TYP, &claims, &self.signing.access)
    }

    pub(crate) fn verify_access(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> Result<AccessClaims, Error> {
        let claims = self.identify(token)?;
        check_time(Some(claims.nbf), claims.exp, now)?;
        Ok(claims)
    }

    /// The claims of an access token that we signed, at any time: it proves nothing any more once it has expired.
    pub(crate) fn identify(&self, token: &str) -> Result<AccessClaims, Error> {
        let header = read_header(token)?;
        if header.typ.as_deref() != Some(ACCESS_TYP) {
            return Err(Error::InvalidToken);
        }
        let key = &self.key(&header)?.access;
        verify(token, key, &self.access_validation)
    }

    pub(crate) fn sign_mailed(&self, token: &PendingToken) -> Result<Secret<String>, Error> {
        let claims = MailedClaims {
            iss: self.issuer.clone(),
            sub: token.user_id,
            jti: token.jti.clone(),
            purpose: token.purpose,
            iat: token.issued_at,
            exp: token.expires_at,
        };
        self.sign(
            mailed_typ(token.purpose),
            &claims,
            &self.signing.mailed[index(token.purpose)],
        )
    }

    /// A mailed token for one of `allowed`.
    pub(crate) fn verify_mailed(
        &self,
        token: &str,
        allowed: &[Purpose],
        now: OffsetDateTime,
    ) -> Result<Mailed, Error> {
        let header = read_header(token)?;
        let typ = header.typ.as_deref().ok_or(Error::InvalidToken)?;
        let purpose = allowed
            .iter()
            .copied()
            .find(|p| mailed_typ(*p) == typ)
            .ok_or(Error::InvalidToken)?;
        let key = &self.key(&header)?.mailed[index(purpose)];
        let claims: MailedClaims = verify(token, key, &self.mailed_validation)?;
        if claims.purpose != purpose {
            return Err(Error::InvalidToken);
        }
        check_time(None, claims.exp, now)?;
        Ok(Mailed {
            user_id: claims.sub,
            purpose,
            jti: Secret::new(claims.jti),
        })
    }

    /// Seals a value for a browser to carry.
    pub(crate) fn seal(
        &self,
        kind: Sealed,
        value: &impl Serialize,
        random: &dyn Random,
    ) -> Result<Secret<String>, Error> {
        self.signing.sealing[kind.index()].seal(value, random)
    }

    /// What a key of the ring sealed as this kind; `None` for anything else.
    pub(crate) fn open<T: DeserializeOwned>(&self, kind: Sealed, sealed: &str) -> Option<T> {
        std::iter::once(&self.signing)
            .chain(&self.previous)
            .find_map(|key| key.sealing[kind.index()].open(sealed))
    }

    fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
        key: &KindKey,
    ) -> Result<Secret<String>, Error> {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.signing.kid.clone());
        encode(&header, claims, &key.encoding)
            .map(Secret::new)
            .map_err(|error| Error::Internal(error.into()))
    }

    fn key(&self, header: &Header) -> Result<&RingKey, Error> {
        let kid = header.kid.as_deref().ok_or(Error::InvalidToken)?;
        std::iter::once(&self.signing)
            .chain(&self.previous)
            .find(|key| key.kid == kid)
            .ok_or(Error::InvalidToken)
    }
}

impl RingKey {
    fn derive(secret: &[u8]) -> Self {
        let derived = |label: &str| derive(secret, label);
        Self {
            // Names the key and tells nothing of it.
            kid: derived("kid")[..8]
                .iter()
                .fold(String::new(), |kid, byte| kid + &format!("{byte:02x}")),
            access: KindKey::new(secret),
            mailed: Purpose::ALL.map(|purpose| KindKey::new(&*derived(purpose.as_str()))),
            sealing: Sealed::ALL.map(|kind| SealingKey::new(&derived(kind.label()))),
        }
    }
}

/// HKDF-SHA-256 (RFC 5869), one label a use.
///
/// # Panics
/// Never: 32 and 64 bytes are within HKDF's bound of 255 blocks.
#[allow(clippy::expect_used)]
fn derive(secret: &[u8], label: &str) -> Zeroizing<[u8; 64]> {
    struct Length;
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            64
        }
    }
    let mut key = Zeroizing::new([0; 64]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"auth-tower")
        .extract(secret)
        .expand(&[label.as_bytes()], Length)
        .and_then(|okm| okm.fill(&mut *key))
        .expect("64 bytes are within the bound of HKDF");
    key
}

const fn mailed_typ(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::CancelEmailChange => "cancel-email-change+jwt",
        Purpose::ChangeEmail => "change-email+jwt",
        Purpose::ReclaimAccount => "reclaim-account+jwt",
        Purpose::ResetPassword => "reset-password+jwt",
        Purpose::VerifyEmail => "verify-email+jwt",
    }
}

const fn index(purpose: Purpose) -> usize {
    match purpose {
        Purpose::CancelEmailChange => 0,
        Purpose::ChangeEmail => 1,
        Purpose::ReclaimAccount => 2,
        Purpose::ResetPassword => 3,
        Purpose::VerifyEmail => 4,
    }
}

fn read_header(token: &str) -> Result<Header, Error> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Error::InvalidToken);
    }
    let header = decode_header(token).map_err(|_| Error::InvalidToken)?;
    // RFC 7515 §4.1.11: what we do not understand we must not pass over.
    if header.crit.is_some() {
        return Err(Error::InvalidToken);
    }
    Ok(header)
}

fn verify<C: DeserializeOwned>(
    token: &str,
    key: &KindKey,
    validation: &Validation,
) -> Result<C, Error> {
    decode(token, &key.decoding, validation)
        .map(|data| data.claims)
        .map_err(|_| Error::InvalidToken)
}

/// RFC 7519 §4.1.4 and §4.1.5.
fn check_time(not_before: Option<i64>, expires_at: i64, now: OffsetDateTime) -> Result<(), Error> {
    let now = now.unix_timestamp();
    if not_before.is_some_and(|nbf| nbf > now + LEEWAY) {
        return Err(Error::InvalidToken);
    }
    if now >= expires_at {
        Err(Error::TokenExpired)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

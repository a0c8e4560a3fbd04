//! Access tokens and mailed tokens as JWTs (RFC 7519, RFC 9068, RFC 8725), signed by a ring of keys.

use std::fmt;

use aws_lc_rs::hkdf;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    types::{PendingToken, Purpose, Secret, SessionId, UserId},
};

/// RFC 9068 §2.1.
const ACCESS_TYP: &str = "at+jwt";
/// Between the clocks of replicas, in seconds.
const LEEWAY: i64 = 5;
/// No token of ours is longer; longer ones are refused before they are parsed.
const MAX_TOKEN_BYTES: usize = 4096;

/// The MAC of access tokens, pinned by the host and never read from a token (RFC 8725 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC with SHA-256; a key of 32 bytes or more.
    #[default]
    Hs256,
    /// HMAC with SHA-384; a key of 48 bytes or more.
    Hs384,
    /// HMAC with SHA-512; a key of 64 bytes or more.
    Hs512,
}

impl Algorithm {
    /// Reads the RFC 7518 name, such as `HS256`.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlgorithm`].
    pub fn parse(name: &str) -> Result<Self, KeyError> {
        match name {
            "HS256" => Ok(Self::Hs256),
            "HS384" => Ok(Self::Hs384),
            "HS512" => Ok(Self::Hs512),
            _ => Err(KeyError::UnknownAlgorithm),
        }
    }

    /// RFC 7518 §3.2: a key as long as the hash output, or longer.
    const fn key_bytes(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }

    const fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
        }
    }
}

/// Why a signing key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The same key stands in the ring twice.
    #[error("the key is in the ring already")]
    Duplicate,
    /// Too short for the algorithm (RFC 7518 §3.2).
    #[error("the key has fewer than {0} bytes")]
    TooShort(usize),
    /// Not one of `HS256`, `HS384`, `HS512`.
    #[error("the algorithm is not one of HS256, HS384, HS512")]
    UnknownAlgorithm,
}

/// The ring of signing keys: the first one signs, every one verifies, so a key is replaced without logging anybody out.
///
/// ```
/// use auth_core::SigningKeys;
///
/// let keys = SigningKeys::parse("a secret of 32 bytes or more, drawn at random")?
///     .with_previous("the secret that was used before, 32 bytes or more")?;
/// # Ok::<(), auth_core::KeyError>(())
/// ```
#[derive(Clone)]
pub struct SigningKeys {
    algorithm: Algorithm,
    secrets: Vec<Secret<Vec<u8>>>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeys")
            .field("algorithm", &self.algorithm)
            .field("keys", &self.secrets.len())
            .finish()
    }
}

impl SigningKeys {
    /// A ring of one key for HS256: the bytes of `secret` as they are, so any JWT library checks the access tokens with them.
    ///
    /// # Errors
    /// [`KeyError::TooShort`].
    ///
    /// # Security
    /// Draw it at random (`openssl rand -base64 48`). Who has it can be any user.
    pub fn parse(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::with_algorithm(Algorithm::default(), secret)
    }

    /// A ring of one key for another algorithm.
    ///
    /// # Errors
    /// [`KeyError::TooShort`].
    pub fn with_algorithm(
        algorithm: Algorithm,
        secret: impl AsRef<[u8]>,
    ) -> Result<Self, KeyError> {
        Self {
            algorithm,
            secrets: Vec::new(),
        }
        .with_previous(secret)
    }

    /// Adds a key that verifies and no longer signs.
    ///
    /// # Errors
    /// [`KeyError::TooShort`] or [`KeyError::Duplicate`].
    pub fn with_previous(mut self, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        if secret.len() < self.algorithm.key_bytes() {
            return Err(KeyError::TooShort(self.algorithm.key_bytes()));
        }
        if self
            .secrets
            .iter()
            .any(|known| known.expose().ct_eq(secret).into())
        {
            return Err(KeyError::Duplicate);
        }
        self.secrets.push(Secret::new(secret.to_vec()));
        Ok(self)
    }
}

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
        let header = read_header(token)?;
        if header.typ.as_deref() != Some(ACCESS_TYP) {
            return Err(Error::InvalidToken);
        }
        let key = &self.key(&header)?.access;
        let claims: AccessClaims = verify(token, key, &self.access_validation)?;
        check_time(Some(claims.nbf), claims.exp, now)?;
        Ok(claims)
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
        Purpose::ResetPassword => "reset-password+jwt",
        Purpose::VerifyEmail => "verify-email+jwt",
    }
}

const fn index(purpose: Purpose) -> usize {
    match purpose {
        Purpose::CancelEmailChange => 0,
        Purpose::ChangeEmail => 1,
        Purpose::ResetPassword => 2,
        Purpose::VerifyEmail => 3,
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
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};
    use time::{Duration, OffsetDateTime};

    use super::{Access, Algorithm, KeyError, KeyRing, SigningKeys, index};
    use crate::{
        error::Error,
        ports::OsRandom,
        types::{PendingToken, Purpose, SessionId, UserId},
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 12:00 UTC);

    fn ring() -> KeyRing {
        KeyRing::new(&SigningKeys::parse(SECRET).unwrap(), "issuer", "audience").unwrap()
    }

    fn access(ring: &KeyRing) -> String {
        let token = ring.sign_access(Access {
            user_id: UserId::generate(NOW, &OsRandom),
            session_id: SessionId::generate(NOW, &OsRandom),
            jti: "j".to_owned(),
            issued_at: NOW,
            expires_at: NOW + Duration::HOUR,
            username: "ada".to_owned(),
            is_admin: false,
            email_verified: true,
        });
        token.unwrap().expose().clone()
    }

    fn pending(purpose: Purpose) -> PendingToken {
        PendingToken {
            jti: "jti".to_owned(),
            user_id: UserId::generate(NOW, &OsRandom),
            purpose,
            issued_at: NOW.unix_timestamp(),
            expires_at: (NOW + Duration::HOUR).unix_timestamp(),
        }
    }

    fn forged(header: &Value, claims: &Value) -> String {
        // jsonwebtoken signs only headers that it knows; so sign the parts by hand.
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
        let message = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
                .unwrap();
        format!("{message}.{signature}")
    }

    fn good_parts(ring: &KeyRing) -> (Value, Value) {
        let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": ring.signing.kid});
        let id = UserId::generate(NOW, &OsRandom);
        let now = NOW.unix_timestamp();
        let claims = json!({"iss": "issuer", "aud": "audience", "sub": id, "sid": id, "jti": "j", "iat": now, "nbf": now,
            "exp": now + 60, "username": "ada", "is_admin": false, "email_verified": true});
        (header, claims)
    }

    #[test]
    fn an_access_token_lives_until_its_second_and_not_longer() {
        let ring = ring();
        let token = access(&ring);
        assert!(ring.verify_access(&token, NOW).is_ok());
        assert!(
            ring.verify_access(&token, NOW + Duration::HOUR - Duration::SECOND)
                .is_ok()
        );
        assert!(matches!(
            ring.verify_access(&token, NOW + Duration::HOUR),
            Err(Error::TokenExpired)
        ));
        assert!(matches!(
            ring.verify_access(&token, NOW - Duration::minutes(1)),
            Err(Error::InvalidToken)
        ));
    }

    #[test]
    fn a_forged_part_is_refused() {
        let ring = ring();
        let (header, claims) = good_parts(&ring);
        assert!(
            ring.verify_access(&forged(&header, &claims), NOW).is_ok(),
            "the unchanged parts are good"
        );

        let set = |part: &Value, name: &str, value: Value| {
            let mut part = part.clone();
            part[name] = value;
            part
        };
        let headers = [
            ("typ", json!("JWT")),
            ("typ", json!("verify-email+jwt")),
            ("typ", Value::Null),
            ("alg", json!("none")),
            ("alg", json!("HS512")),
            ("alg", json!("RS256")),
            ("kid", json!("other")),
            ("kid", Value::Null),
            ("crit", json!(["exp"])),
        ];
        for (name, value) in headers {
            let token = forged(&set(&header, name, value.clone()), &claims);
            assert!(
                matches!(ring.verify_access(&token, NOW), Err(Error::InvalidToken)),
                "{name}: {value}"
            );
        }
        let claims_refused = [
            ("iss", json!("other")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("sub", json!("ada")),
            ("sid", Value::Null),
            ("exp", json!("9999999999")),
            ("exp", Value::Null),
            ("exp", json!(9_999_999_999.5)),
            ("nbf", json!("soon")),
            ("nbf", json!(NOW.unix_timestamp() + 60)),
        ];
        for (name, value) in claims_refused {
            let token = forged(&header, &set(&claims, name, value.clone()));
            assert!(
                matches!(ring.verify_access(&token, NOW), Err(Error::InvalidToken)),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let ring = ring();
        let good = access(&ring);
        let cut = &good[..good.len() - 1];
        let two_parts = good.rsplit_once('.').unwrap().0;
        let padded = format!("{good}=");
        let dots = ".".repeat(5000);
        for token in [
            "",
            ".",
            "..",
            "a.b.c",
            cut,
            two_parts,
            &format!("{two_parts}."),
            &padded,
            &dots,
            &format!(" {good}"),
        ] {
            assert!(
                matches!(ring.verify_access(token, NOW), Err(Error::InvalidToken)),
                "{token:.40}"
            );
        }
    }

    #[test]
    fn a_previous_key_still_verifies_and_a_foreign_one_does_not() {
        let other = "ffffffffffffffffffffffffffffffff";
        let rotated = SigningKeys::parse(other)
            .unwrap()
            .with_previous(SECRET)
            .unwrap();
        let rotated = KeyRing::new(&rotated, "issuer", "audience").unwrap();
        assert!(rotated.verify_access(&access(&ring()), NOW).is_ok());
        assert!(ring().verify_access(&access(&rotated), NOW).is_err());
    }

    #[test]
    fn short_and_repeated_keys_are_refused() {
        assert_eq!(SigningKeys::parse("").unwrap_err(), KeyError::TooShort(32));
        assert_eq!(
            SigningKeys::parse("a".repeat(31)).unwrap_err(),
            KeyError::TooShort(32)
        );
        assert_eq!(
            SigningKeys::with_algorithm(Algorithm::Hs512, SECRET).unwrap_err(),
            KeyError::TooShort(64)
        );
        assert_eq!(
            SigningKeys::parse(SECRET)
                .unwrap()
                .with_previous(SECRET)
                .unwrap_err(),
            KeyError::Duplicate
        );
    }

    #[test]
    fn a_mailed_token_serves_its_purpose_only() {
        let ring = ring();
        for purpose in Purpose::ALL {
            let token = ring.sign_mailed(&pending(purpose)).unwrap();
            for asked in Purpose::ALL {
                let verified = ring.verify_mailed(token.expose(), &[asked], NOW);
                assert_eq!(
                    verified.is_ok(),
                    asked == purpose,
                    "{purpose:?} as {asked:?}"
                );
            }
            assert!(matches!(
                ring.verify_access(token.expose(), NOW),
                Err(Error::InvalidToken)
            ));
            assert!(matches!(
                ring.verify_mailed(token.expose(), &[purpose], NOW + Duration::HOUR),
                Err(Error::TokenExpired)
            ));
            assert_eq!(Purpose::ALL[index(purpose)], purpose);
        }
        assert!(
            ring.verify_mailed(&access(&ring), &Purpose::ALL, NOW)
                .is_err()
        );
    }

    #[test]
    fn the_bytes_of_the_secret_are_the_key_of_access_tokens() {
        let (mut header, claims) = (
            Header::new(jsonwebtoken::Algorithm::HS256),
            good_parts(&ring()).1,
        );
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(ring().signing.kid);
        let token = encode(
            &header,
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )
        .unwrap();
        assert!(ring().verify_access(&token, NOW).is_ok());
    }
}

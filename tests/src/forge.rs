//! Tokens as an attacker makes them: taken apart, changed, signed again.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::Value;

/// The header of a JWT.
pub fn header(token: &str) -> Value {
    part(token, 0)
}

/// The claims of a JWT.
pub fn claims(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
}

/// Header and claims without a signature, as they are signed.
pub fn message(header: &Value, claims: &Value) -> String {
    message_of(&header.to_string(), &claims.to_string())
}

/// As [`message`], of texts that need not be JSON.
pub fn message_of(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims))
}

/// A JWT whose MAC is HMAC-SHA-256 under `key`, whatever its header says.
pub fn signed(header: &Value, claims: &Value, key: impl AsRef<[u8]>) -> String {
    signed_with(Algorithm::HS256, header, claims, key)
}

/// A JWT whose MAC is of another algorithm.
pub fn signed_with(
    algorithm: Algorithm,
    header: &Value,
    claims: &Value,
    key: impl AsRef<[u8]>,
) -> String {
    let message = message(header, claims);
    let key = EncodingKey::from_secret(key.as_ref());
    let mac = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
    format!("{message}.{mac}")
}

/// `token` with other claims and the signature that it had.
pub fn with_claims(token: &str, claims: &Value) -> String {
    let signature = token.rsplit('.').next().unwrap();
    format!("{}.{signature}", message(&header(token), claims))
}

/// `part` with one member set.
#[must_use]
pub fn set(part: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut part = part.clone();
    part[name] = value.into();
    part
}

/// `part` without one member.
#[must_use]
pub fn without(part: &Value, name: &str) -> Value {
    let mut part = part.clone();
    part.as_object_mut().unwrap().remove(name);
    part
}

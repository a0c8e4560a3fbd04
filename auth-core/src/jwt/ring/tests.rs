use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::{Access, KeyRing, index};
use crate::{
    error::Error,
    jwt::{Algorithm, KeyError, SigningKeys},
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

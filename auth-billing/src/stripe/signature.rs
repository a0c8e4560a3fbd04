//! Signatures of webhooks: HMAC-SHA256 over the time and the body as it was sent (docs.stripe.com/webhooks, "verify webhook signatures manually").

use std::{fmt, sync::Arc};

use auth_core::{time::OffsetDateTime, types::Secret};
use aws_lc_rs::hmac;

/// How far the time of a signature may be from ours, either way, in seconds.
const TOLERANCE: i64 = 300;
/// Stripe sends one signature for each active secret, of which there are two at most.
const MAX_SIGNATURES: usize = 8;
const MAX_HEADER_BYTES: usize = 4096;

/// The secrets that a webhook may be signed with; two while one replaces the other.
///
/// # Security
/// Whoever knows one can grant credits. An empty one, which anybody knows, is refused.
#[derive(Clone)]
pub struct SigningSecrets(Arc<[hmac::Key]>);

/// Why secrets are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningSecretsError {
    /// There is none.
    #[error("there is no signing secret")]
    None,
    /// One has less than 16 bytes, or bytes that no secret of Stripe's has.
    #[error("a signing secret has at least 16 visible ASCII characters")]
    Weak,
}

impl SigningSecrets {
    const MIN_BYTES: usize = 16;

    /// Takes them.
    ///
    /// # Errors
    /// [`SigningSecretsError`].
    pub fn parse(
        secrets: impl IntoIterator<Item = Secret<String>>,
    ) -> Result<Self, SigningSecretsError> {
        let mut keys = Vec::new();
        for secret in secrets {
            let secret = secret.expose();
            if secret.len() < Self::MIN_BYTES || !secret.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(SigningSecretsError::Weak);
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        if keys.is_empty() {
            return Err(SigningSecretsError::None);
        }
        Ok(Self(keys.into()))
    }

    /// Whether a body was signed with one of them within five minutes of now.
    pub(super) fn have_signed(
        &self,
        signature: &Signature,
        body: &[u8],
        now: OffsetDateTime,
    ) -> bool {
        let message = [signature.at.as_bytes(), b".", body].concat();
        let is_signed = self.0.iter().any(|key| {
            signature
                .values
                .iter()
                // In constant time.
                .any(|value| hmac::verify(key, &message, value).is_ok())
        });
        // The signature first: what nobody signed says nothing about time.
        is_signed && (signature.seconds - now.unix_timestamp()).abs() <= TOLERANCE
    }
}

/// How many.
impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({})", self.0.len())
    }
}

/// The header of a signed webhook: what it claims, not that it is true.
#[derive(Debug, Clone)]
pub struct Signature {
    /// As it was sent: it is part of what is signed.
    at: String,
    seconds: i64,
    values: Vec<[u8; 32]>,
}

impl Signature {
    /// Reads `t=…,v1=…`, with as many `v1` as there are; other schemes are not looked at. `None` when it is none.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_HEADER_BYTES {
            return None;
        }
        let mut at = None;
        let mut values = Vec::new();
        for pair in header.split(',') {
            match pair.split_once('=')? {
                // Which of two would count?
                ("t", _) if at.is_some() => return None,
                ("t", time) => at = Some(time),
                ("v1", _) if values.len() == MAX_SIGNATURES => return None,
                // One that cannot be read matches nothing; another one may.
                ("v1", value) => values.extend(bytes(value)),
                _ => {}
            }
        }
        let at = at?;
        // No sign, no space: twelve digits last for 30,000 years.
        if !(1..=12).contains(&at.len()) || !at.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let seconds = at.parse().ok()?;
        (!values.is_empty()).then(|| Self {
            at: at.to_owned(),
            seconds,
            values,
        })
    }
}

/// 64 hexadecimal digits, in lower case as Stripe writes them and its SDKs compare them.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use auth_core::{time::OffsetDateTime, types::Secret};

    use super::{Signature, SigningSecrets, SigningSecretsError};

    const SECRET: &str = "whsec_test_0123456789";
    const AT: i64 = 1_700_000_000;

    fn secrets(secrets: &[&str]) -> Result<SigningSecrets, SigningSecretsError> {
        SigningSecrets::parse(secrets.iter().map(|it| Secret::new((*it).to_owned())))
    }

    fn v1(secret: &str, at: &str, body: &str) -> String {
        use std::fmt::Write;
        let key = super::hmac::Key::new(super::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = super::hmac::sign(&key, format!("{at}.{body}").as_bytes());
        tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        })
    }

    fn is_signed(known: &[&str], header: &str, body: &str, now: i64) -> bool {
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
        Signature::parse(header).is_some_and(|signature| {
            secrets(known)
                .unwrap()
                .have_signed(&signature, body.as_bytes(), now)
        })
    }

    #[test]
    fn one_good_signature_of_one_good_secret_is_enough() {
        let at = AT.to_string();
        let good = v1(SECRET, &at, "{}");
        let old = v1("whsec_the_former_one", &at, "{}");
        for header in [
            format!("t={at},v1={good}"),
            format!("v1={good},t={at}"),
            format!("t={at},v1={old},v1={good}"),
            format!("t={at},v1={good},v0={}", "0".repeat(64)),
            format!("t={at},v1=short,v1={good}"),
        ] {
            assert!(is_signed(&[SECRET], &header, "{}", AT), "{header}");
        }
        let both = [SECRET, "whsec_the_former_one"];
        assert!(is_signed(&both, &format!("t={at},v1={old}"), "{}", AT));
    }

    #[test]
    fn what_is_not_signed_by_us_is_refused() {
        let at = AT.to_string();
        let good = v1(SECRET, &at, "{}");
        for header in [
            String::new(),
            format!("v1={good}"),
            format!("t={at}"),
            format!("t={at},v1="),
            format!("t={at},v0={good}"),
            format!("t={at},v1={}", &good[..63]),
            format!("t={at},v1={good}0"),
            format!("t={at}, v1={good}"),
            format!("t={at},v1={}", good.to_uppercase()),
            format!("t={at},v1={}", "0".repeat(64)),
            format!("t={},v1={good}", AT + 1),
            format!("t={at},t={at},v1={good}"),
            format!("t=+{at},v1={good}"),
            format!("t=-{at},v1={good}"),
            format!("t= {at},v1={good}"),
            format!("t=99999999999999999999,v1={good}"),
            format!("t={at},v1={}", v1("", &at, "{}")),
            format!("t={at},v1={}", v1("whsec_another_secret_1", &at, "{}")),
            format!(
                "t={at},{}v1={good}",
                format!("v1={},", "0".repeat(64)).repeat(8)
            ),
            format!("t={at},v1={good},{}", "x=".repeat(3000)),
        ] {
            assert!(!is_signed(&[SECRET], &header, "{}", AT), "{header}");
        }
        let header = format!("t={at},v1={good}");
        assert!(!is_signed(&[SECRET], &header, "{} ", AT));
        assert!(!is_signed(&["whsec_another_secret_1"], &header, "{}", AT));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let header = format!("t={AT},v1={}", v1(SECRET, &AT.to_string(), "{}"));
        for (age, expected) in [
            (0, true),
            (300, true),
            (301, false),
            (-300, true),
            (-301, false),
        ] {
            assert_eq!(
                is_signed(&[SECRET], &header, "{}", AT + age),
                expected,
                "{age}"
            );
        }
    }

    #[test]
    fn secrets_that_anybody_could_guess_are_refused() {
        assert_eq!(secrets(&[]).unwrap_err(), SigningSecretsError::None);
        for weak in [
            "",
            "whsec_test",
            "               a",
            "whsec_with a space in it",
        ] {
            assert_eq!(
                secrets(&[SECRET, weak]).unwrap_err(),
                SigningSecretsError::Weak
            );
        }
        assert_eq!(
            format!("{:?}", secrets(&[SECRET]).unwrap()),
            "SigningSecrets(1)"
        );
    }
}

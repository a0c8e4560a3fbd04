use std::{fmt, sync::Arc};

use auth_core::types::{Digest, Secret};
use http::{HeaderMap, HeaderName};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The API keys of other services; several may be active at once, so that one can be replaced without a gap.
///
/// # Security
/// Only digests are kept, and a sent key is compared with all of them in constant time (ASVS 11.2.4). Without keys every
/// internal route answers 401.
///
/// ```
/// # use auth_core::types::Secret;
/// # use auth_tower::InternalKeys;
/// # fn main() -> Result<(), auth_tower::InvalidKey> {
/// # let (old, new) = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210");
/// let keys = InternalKeys::parse([
///     ("billing", Secret::new(old.to_owned())),
///     ("billing-2027", Secret::new(new.to_owned())),
/// ])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct InternalKeys(Arc<[Key]>);

struct Key {
    name: Arc<str>,
    digest: Digest,
}

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Two keys have the name, or two names the key: a caller would not be known by it.
    #[error("the API key {0:?} has the name or the value of another one")]
    Duplicate(String),
    /// A name has 1 to 64 of `A-Z a-z 0-9 _ . -`: it appears in logs.
    #[error("the name of an API key has 1 to 64 letters, digits, `_`, `.` and `-`")]
    Name,
    /// A key is less than 32 bytes long.
    #[error("the API key {0:?} is shorter than 32 bytes")]
    TooShort(String),
    /// A key has characters that no header carries.
    #[error("the API key {0:?} has other than visible ASCII characters")]
    Unsendable(String),
}

impl InternalKeys {
    const MIN_BYTES: usize = 32;

    /// No keys: every internal route answers 401.
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes named keys.
    ///
    /// # Errors
    /// [`InvalidKey`] for the first one that is too short, cannot be sent, or shares its name or value.
    ///
    /// # Security
    /// Length is all that can be checked here: take 256 random bits a key.
    pub fn parse<N: Into<String>>(
        keys: impl IntoIterator<Item = (N, Secret<String>)>,
    ) -> Result<Self, InvalidKey> {
        let mut parsed: Vec<Key> = Vec::new();
        for (name, key) in keys {
            let name = name.into();
            if !is_name(&name) {
                return Err(InvalidKey::Name);
            }
            if key.expose().len() < Self::MIN_BYTES {
                return Err(InvalidKey::TooShort(name));
            }
            if !key.expose().bytes().all(|b| b.is_ascii_graphic()) {
                return Err(InvalidKey::Unsendable(name));
            }
            let digest = Digest::of(key.expose());
            if parsed
                .iter()
                .any(|other| *other.name == *name || other.digest == digest)
            {
                return Err(InvalidKey::Duplicate(name));
            }
            parsed.push(Key {
                name: name.into(),
                digest,
            });
        }
        Ok(Self(parsed.into()))
    }

    /// The name of the key that a request carries, exactly once, in `X-API-Key`.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let mut sent = headers.get_all(X_API_KEY).iter();
        let (Some(key), None) = (sent.next(), sent.next()) else {
            return None;
        };
        self.name_of(key.as_bytes())
    }

    fn name_of(&self, key: &[u8]) -> Option<Arc<str>> {
        // Digests are equally long, and no comparison ends the loop: time says neither how much of a key
        // was right nor which key it was.
        let sent = Digest::of(key);
        let mut known = Choice::from(0);
        let mut found = 0_u64;
        for (index, key) in (0_u64..).zip(self.0.iter()) {
            let equal = key.digest.as_bytes().ct_eq(sent.as_bytes());
            found.conditional_assign(&index, equal);
            known |= equal;
        }
        if !bool::from(known) {
            return None;
        }
        let key = self.0.get(usize::try_from(found).ok()?)?;
        Some(Arc::clone(&key.name))
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Names only.
impl fmt::Debug for InternalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use auth_core::types::Secret;
    use http::{HeaderMap, HeaderValue};

    use super::{InternalKeys, InvalidKey, X_API_KEY};

    const ONE: &str = "one-0123456789abcdef0123456789abcdef";
    const TWO: &str = "two-0123456789abcdef0123456789abcdef";

    fn keys(pairs: &[(&str, &str)]) -> Result<InternalKeys, InvalidKey> {
        InternalKeys::parse(
            pairs
                .iter()
                .map(|(name, key)| (*name, Secret::new((*key).to_owned()))),
        )
    }

    fn sent(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_API_KEY, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_active_key_opens_under_its_own_name() {
        let keys = keys(&[("old", ONE), ("new", TWO)]).unwrap();
        assert_eq!(keys.caller(&sent(&[ONE])).as_deref(), Some("old"));
        assert_eq!(keys.caller(&sent(&[TWO])).as_deref(), Some("new"));
    }

    #[test]
    fn what_is_not_exactly_one_key_opens_nothing() {
        let keys = keys(&[("old", ONE), ("new", TWO)]).unwrap();
        for values in [
            &[][..],
            &[""],
            &["one-0123456789abcdef0123456789abcde"],
            &["one-0123456789abcdef0123456789abcdef0"],
            &["ONE-0123456789abcdef0123456789abcdef"],
            &[ONE, ONE],
            &[ONE, TWO],
        ] {
            assert_eq!(keys.caller(&sent(values)), None, "{values:?}");
        }
    }

    #[test]
    fn without_keys_nothing_opens() {
        assert_eq!(InternalKeys::none().caller(&sent(&[ONE])), None);
        assert_eq!(InternalKeys::none().caller(&sent(&[""])), None);
    }

    #[test]
    fn weak_and_ambiguous_keys_are_refused() {
        let short = &ONE[..31];
        for (pairs, refused) in [
            (&[("a", short)][..], InvalidKey::TooShort("a".to_owned())),
            (&[("a", "")], InvalidKey::TooShort("a".to_owned())),
            (
                &[("a", ONE), ("a", TWO)],
                InvalidKey::Duplicate("a".to_owned()),
            ),
            (
                &[("a", ONE), ("b", ONE)],
                InvalidKey::Duplicate("b".to_owned()),
            ),
            (&[("", ONE)], InvalidKey::Name),
            (&[("a b", ONE)], InvalidKey::Name),
            (
                &[("a", "a key with spaces 0123456789abcdef")],
                InvalidKey::Unsendable("a".to_owned()),
            ),
        ] {
            assert_eq!(keys(pairs).unwrap_err(), refused);
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let keys = keys(&[("old", ONE)]).unwrap();
        assert_eq!(format!("{keys:?}"), r#"["old"]"#);
    }
}

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{error::Error, ports::Random, types::Secret};

/// What is sealed; each has its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// A code of ours that is traded for tokens.
    LoginCode,
    /// A sign-in at a provider that is under way, in the browser's cookie.
    SignIn,
}

impl Sealed {
    pub(super) const ALL: [Self; 2] = [Self::LoginCode, Self::SignIn];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::LoginCode => "sealed login code",
            Self::SignIn => "sealed sign-in",
        }
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::LoginCode => 0,
            Self::SignIn => 1,
        }
    }
}

/// No sealed value of ours is longer; longer ones are refused before they are decoded.
const MAX_BYTES: usize = 4096;

/// Keeps what a browser carries for us from being read or changed (AES-256-GCM).
pub(super) struct SealingKey(LessSafeKey);

impl SealingKey {
    /// # Panics
    /// Never: AES-256 takes keys of 32 bytes.
    #[allow(clippy::expect_used)]
    pub(super) fn new(derived: &[u8; 64]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &derived[..32]).expect("AES-256 takes 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// base64url of nonce, text and tag. A key seals far fewer than 2^32 values, so random nonces do not meet (NIST SP 800-38D §8.3).
    pub(super) fn seal(
        &self,
        value: &impl Serialize,
        random: &dyn Random,
    ) -> Result<Secret<String>, Error> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut text = Zeroizing::new(
            serde_json::to_vec(value).map_err(|error| Error::Internal(error.into()))?,
        );
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                text.as_mut_slice(),
            )
            .map_err(|error| Error::Internal(error.into()))?;
        let sealed = [nonce.as_slice(), text.as_slice(), tag.as_ref()].concat();
        Ok(Secret::new(BASE64_URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// `None` for anything that this key did not seal.
    pub(super) fn open<T: DeserializeOwned>(&self, sealed: &str) -> Option<T> {
        if sealed.len() > MAX_BYTES {
            return None;
        }
        let mut bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?);
        let (nonce, text) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.0.open_in_place(nonce, Aad::empty(), text).ok()?;
        serde_json::from_slice(text).ok()
    }
}

/// Secrets inside what is sealed: nowhere else are they serialised.
pub(crate) mod exposed {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::types::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Secret<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secret<String>, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::SealingKey;
    use crate::ports::OsRandom;

    #[test]
    fn what_is_sealed_opens_by_its_key_and_unchanged_only() {
        let (key, other) = (SealingKey::new(&[1; 64]), SealingKey::new(&[2; 64]));
        let sealed = key.seal(&"text", &OsRandom).unwrap();
        let sealed = sealed.expose();
        assert_eq!(key.open::<String>(sealed).unwrap(), "text");
        assert_ne!(key.seal(&"text", &OsRandom).unwrap().expose(), sealed);
        assert!(other.open::<String>(sealed).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key.open::<String>(&changed).is_none(), "{index}");
        }
        for text in ["", "A", "ä", &"A".repeat(16), &"A".repeat(5000)] {
            assert!(key.open::<String>(text).is_none());
        }
    }
}

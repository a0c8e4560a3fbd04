use std::fmt;

use subtle::ConstantTimeEq;

use crate::types::Secret;

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
    pub(super) const fn key_bytes(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
        }
    }

    pub(super) const fn jose(self) -> jsonwebtoken::Algorithm {
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
    pub(super) algorithm: Algorithm,
    pub(super) secrets: Vec<Secret<Vec<u8>>>,
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

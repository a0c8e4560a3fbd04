use std::str::FromStr;

use aws_lc_rs::digest::{SHA384, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use bcrypt::{HashParts, Version};
use zeroize::Zeroizing;

use crate::{
    ports::Random,
    types::{PasswordHash, Secret},
};

/// Stands before a bcrypt hash of the base64 of the SHA-384 of a password, for passwords that bcrypt would cut.
const PRE_HASHED: &str = "$sha384";
/// bcrypt takes 72 bytes with the closing NUL that most implementations count.
const BCRYPT_BYTES: usize = 71;

/// The algorithm and cost of new password hashes. Stored hashes of the others still verify, and are replaced at the next login
/// when these are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing(Algorithm);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    #[cfg(feature = "argon2")]
    Argon2id {
        memory_kib: u32,
        passes: u32,
    },
    Bcrypt {
        cost: u32,
    },
}

/// Why settings of a hash are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashingError {
    /// Outside of what the algorithm takes.
    #[error("argon2id takes 8 to 4194304 KiB of memory and 1 to 64 passes")]
    Argon2id,
    /// Outside of what bcrypt can finish in a sensible time.
    #[error("the cost of bcrypt is 4 to 20")]
    BcryptCost,
}

impl Default for Hashing {
    /// bcrypt at cost 12: about a quarter of a second on one core.
    fn default() -> Self {
        Self(Algorithm::Bcrypt { cost: 12 })
    }
}

impl Hashing {
    /// bcrypt; the time doubles with each step of `cost`.
    ///
    /// # Errors
    /// [`HashingError::BcryptCost`] outside of 4 to 20.
    ///
    /// # Security
    /// Below 10 is for tests only (ASVS 11.4.2).
    pub fn bcrypt(cost: u32) -> Result<Self, HashingError> {
        if (4..=20).contains(&cost) {
            Ok(Self(Algorithm::Bcrypt { cost }))
        } else {
            Err(HashingError::BcryptCost)
        }
    }

    /// argon2id (RFC 9106) on one lane. ASVS 5.0 App. C asks for 47104 KiB in one pass, or 19456 KiB in two.
    ///
    /// # Errors
    /// [`HashingError::Argon2id`] outside of what the algorithm takes.
    #[cfg(feature = "argon2")]
    pub fn argon2id(memory_kib: u32, passes: u32) -> Result<Self, HashingError> {
        if (8..=4_194_304).contains(&memory_kib) && (1..=64).contains(&passes) {
            Ok(Self(Algorithm::Argon2id { memory_kib, passes }))
        } else {
            Err(HashingError::Argon2id)
        }
    }

    /// Takes as long as the settings say: call it on the pool only.
    pub(super) fn hash(
        self,
        password: &Secret<String>,
        random: &dyn Random,
    ) -> Result<PasswordHash, BoxError> {
        let mut salt = [0; 16];
        random.fill(&mut salt);
        match self.0 {
            #[cfg(feature = "argon2")]
            Algorithm::Argon2id { memory_kib, passes } => {
                use argon2::password_hash::PasswordHasher as _;
                let hasher = argon2id(memory_kib, passes)?;
                let hash = hasher.hash_password_with_salt(password.expose().as_bytes(), &salt)?;
                Ok(PasswordHash::new(hash.to_string()))
            }
            Algorithm::Bcrypt { cost } => {
                let (mark, input) = if password.expose().len() > BCRYPT_BYTES {
                    (PRE_HASHED, pre_hash(password))
                } else {
                    ("", Zeroizing::new(password.expose().clone()))
                };
                let parts = bcrypt::hash_with_salt(input.as_bytes(), cost, salt)?;
                Ok(PasswordHash::new(format!(
                    "{mark}{}",
                    parts.format_for_version(Version::TwoB)
                )))
            }
        }
    }

    /// A hash that costs what a real one does and that no password has: an unknown user must take the time of a known one.
    pub(super) fn decoy(self, random: &dyn Random) -> PasswordHash {
        let mut bytes = [0; 48];
        random.fill(&mut bytes);
        match self.0 {
            #[cfg(feature = "argon2")]
            Algorithm::Argon2id { memory_kib, passes } => {
                let encode = |bytes: &[u8]| base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes);
                let (salt, hash) = (encode(&bytes[..16]), encode(&bytes[16..]));
                PasswordHash::new(format!(
                    "$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${hash}"
                ))
            }
            Algorithm::Bcrypt { cost } => {
                // The alphabet of bcrypt's own base64; the last character of each part has spare bits that must be zero.
                let encode = |bytes: &[u8]| {
                    bytes
                        .iter()
                        .map(|b| char::from(b'a' + b % 26))
                        .collect::<String>()
                };
                PasswordHash::new(format!(
                    "$2b${cost:02}${}.{}.",
                    encode(&bytes[..21]),
                    encode(&bytes[..30])
                ))
            }
        }
    }

    /// Whether these settings are stronger than those of a stored hash, or of another algorithm.
    pub(super) fn outranks(self, stored: &PasswordHash) -> bool {
        let stored = stored.as_str();
        match self.0 {
            #[cfg(feature = "argon2")]
            Algorithm::Argon2id { memory_kib, passes } => {
                let Ok(hash) = argon2::password_hash::phc::PasswordHash::new(stored) else {
                    return true;
                };
                let number = |name| hash.params.get_decimal(name).unwrap_or(0);
                number("m") < memory_kib || (number("m") == memory_kib && number("t") < passes)
            }
            Algorithm::Bcrypt { cost } => {
                HashParts::from_str(stored.strip_prefix(PRE_HASHED).unwrap_or(stored))
                    .is_ok_and(|parts| parts.get_cost() < cost)
            }
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a password has this hash; any format that was ever stored. A string of no known format is an error, never a match.
pub(super) fn verify(password: &Secret<String>, stored: &PasswordHash) -> Result<bool, BoxError> {
    let stored = stored.as_str();
    // RUSTSEC-2026-0199: hashes that are not ASCII are none.
    if !stored.is_ascii() {
        return Err("the stored hash is not ASCII".into());
    }
    if let Some(hash) = stored.strip_prefix(PRE_HASHED) {
        return Ok(bcrypt::verify(pre_hash(password).as_bytes(), hash)?);
    }
    if stored.starts_with("$argon2id$") {
        return verify_argon2id(password, stored);
    }
    if !["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|version| stored.starts_with(version))
    {
        return Err("the stored hash is of an unknown format".into());
    }
    let matches = bcrypt::verify(password.expose(), stored)?;
    // bcrypt passes over what follows byte 72. Imported hashes may be of 72 bytes, but never of more than they saw.
    // And it repeats what ends in NUL, so that "a" and "a\0a" would be one: nobody's password has a NUL.
    let is_whole = password.expose().len() <= BCRYPT_BYTES + 1 && !password.expose().contains('\0');
    Ok(matches && is_whole)
}

#[cfg(feature = "argon2")]
fn argon2id(memory_kib: u32, passes: u32) -> Result<argon2::Argon2<'static>, BoxError> {
    let params = argon2::Params::new(memory_kib, passes, 1, None)?;
    Ok(argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        params,
    ))
}

#[cfg(feature = "argon2")]
fn verify_argon2id(password: &Secret<String>, stored: &str) -> Result<bool, BoxError> {
    use argon2::password_hash::{Error, PasswordVerifier as _};
    let hash = argon2::password_hash::phc::PasswordHash::new(stored)?;
    match argon2::Argon2::default().verify_password(password.expose().as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "argon2"))]
fn verify_argon2id(_: &Secret<String>, _: &str) -> Result<bool, BoxError> {
    Err("the feature `argon2` of auth-core is off".into())
}

/// 64 characters without NUL: base64 keeps bcrypt from stopping at a zero byte of the digest.
fn pre_hash(password: &Secret<String>) -> Zeroizing<String> {
    Zeroizing::new(BASE64_STANDARD.encode(digest(&SHA384, password.expose().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::{Hashing, verify};
    use crate::{
        ports::OsRandom,
        types::{PasswordHash, Secret},
    };

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn settings() -> [Hashing; 2] {
        [
            Hashing::bcrypt(4).unwrap(),
            Hashing::argon2id(64, 1).unwrap(),
        ]
    }

    #[test]
    fn a_password_is_verified_whole_at_every_length() {
        for hashing in settings() {
            for length in [8, 70, 71, 72, 73, 128, 500] {
                let password = "p".repeat(length);
                let hash = hashing.hash(&secret(&password), &OsRandom).unwrap();
                assert!(
                    verify(&secret(&password), &hash).unwrap(),
                    "{hashing:?} {length}"
                );
                for wrong in [
                    format!("{password}x"),
                    password[..length - 1].to_owned(),
                    format!("{}x", &password[..length - 1]),
                ] {
                    assert!(
                        !verify(&secret(&wrong), &hash).unwrap(),
                        "{hashing:?} {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn hashes_of_other_services_verify() {
        // Made by Python's bcrypt 4.3, which takes 72 bytes whole.
        let long = "p".repeat(72);
        for (password, stored) in [
            (
                "correct horse",
                "$2b$04$HVbelk1ARee3DQZtXbLDh.HtM6Rk8SG29q3WC2RhcftkEqc1/t5P6",
            ),
            (
                "kö nigsberg",
                "$2a$04$tEerpsmDNp/xkooBkfZn3O1OzhMFCRHDrUNFEohUL13CDAPgv.r0C",
            ),
            (
                &long,
                "$2b$04$ksr/5XPD.BkwoF/YRNrTour7msIeu.6Z4TJTAm3tPsUUrqFoRMacS",
            ),
        ] {
            let hash = PasswordHash::new(stored);
            assert!(verify(&secret(password), &hash).unwrap(), "{password}");
            assert!(
                !verify(&secret(&format!("{password}x")), &hash).unwrap(),
                "{password}"
            );
        }
    }

    #[test]
    fn a_decoy_is_well_formed_and_matches_nothing() {
        for hashing in settings() {
            let decoy = hashing.decoy(&OsRandom);
            assert!(!verify(&secret("anything"), &decoy).unwrap(), "{decoy:?}");
            assert!(
                !hashing.outranks(&decoy),
                "a decoy costs what a real hash costs"
            );
        }
    }

    #[test]
    fn a_damaged_hash_is_an_error_and_never_a_match() {
        for stored in [
            "",
            "password",
            "$2b$04$short",
            "$2x$04$",
            "$2b$04$äöüäöüäöüäöüäöüäöüäöü",
            "$argon2id$v=19$",
            "$sha384",
            "$1$x",
        ] {
            assert!(
                verify(&secret("password"), &PasswordHash::new(stored)).is_err(),
                "{stored}"
            );
        }
    }

    #[test]
    fn stronger_settings_outrank_and_weaker_ones_do_not() {
        let hash = |hashing: Hashing, length| {
            hashing
                .hash(&secret(&"p".repeat(length)), &OsRandom)
                .unwrap()
        };
        let (weak, strong) = (Hashing::bcrypt(4).unwrap(), Hashing::bcrypt(5).unwrap());
        for length in [8, 100] {
            assert!(strong.outranks(&hash(weak, length)));
            assert!(!strong.outranks(&hash(strong, length)));
            assert!(!weak.outranks(&hash(strong, length)));
        }
        let argon = Hashing::argon2id(64, 1).unwrap();
        assert!(argon.outranks(&hash(weak, 8)));
        assert!(!argon.outranks(&hash(argon, 8)));
        assert!(Hashing::argon2id(64, 2).unwrap().outranks(&hash(argon, 8)));
        assert!(Hashing::argon2id(128, 1).unwrap().outranks(&hash(argon, 8)));
    }
}

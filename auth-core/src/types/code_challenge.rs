use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Digest, Invalid, Secret};

/// What a page shows of a secret of its own, to prove later that it began a sign-in: the digest by the method S256 (RFC 7636 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// Reads a challenge.
    ///
    /// # Errors
    /// [`Invalid`] with code `invalid_code_challenge`: not 32 bytes in base64url without padding.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        match BASE64_URL_SAFE_NO_PAD.decode(raw) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(raw.to_owned())),
            _ => Err(Invalid::new(
                "invalid_code_challenge",
                "A code challenge is the SHA-256 of the verifier in base64url without padding.",
            )),
        }
    }

    /// Whether it was made of this verifier.
    #[must_use]
    pub fn is_of(&self, verifier: &Secret<String>) -> bool {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Digest::of(verifier.expose()).as_bytes());
        digest.as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{CodeChallenge, Secret};

    #[test]
    fn a_challenge_is_of_its_verifier_alone() {
        // RFC 7636, appendix B.
        let challenge =
            CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        let verifier = |text: &str| Secret::new(text.to_owned());
        assert!(challenge.is_of(&verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")));
        for other in ["", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK"] {
            assert!(!challenge.is_of(&verifier(other)));
        }
        for raw in [
            "",
            "a",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=",
            &"A".repeat(44),
        ] {
            assert!(CodeChallenge::parse(raw).is_err(), "{raw}");
        }
    }
}

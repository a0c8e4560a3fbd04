use std::fmt;

use time::OffsetDateTime;

use super::{CredentialsVersion, Invalid, SessionId, UserId};

/// Names a provider in paths, answers and rows: 1 to 32 of `a-z 0-9 -`, such as `google`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderName(String);

impl ProviderName {
    /// Reads a name.
    ///
    /// # Errors
    /// [`Invalid`] with code `invalid_provider`. `password` is refused too: among the sign-in methods it means a password.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let is_plain = (1..=32).contains(&raw.len())
            && raw
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_plain || raw == "password" {
            return Err(Invalid::new(
                "invalid_provider",
                "A provider's name has 1 to 32 of a-z, 0-9 and `-`.",
            ));
        }
        Ok(Self(raw.to_owned()))
    }

    /// For stores: a name as it was kept, which rules of a later version do not shut out.
    pub fn from_stored(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// As it stands in paths.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who somebody is at a provider, for ever (OIDC Core §5.7): the address may change hands, this does not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdentityKey {
    issuer: String,
    subject: String,
}

impl IdentityKey {
    /// Reads an `iss` and a `sub`.
    ///
    /// # Errors
    /// [`Invalid`] with code `invalid_identity`: empty, over 255 characters, or not visible ASCII (OIDC Core §2).
    pub fn parse(issuer: &str, subject: &str) -> Result<Self, Invalid> {
        let fits = |text: &str| {
            (1..=255).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        };
        if !fits(issuer) || !fits(subject) {
            return Err(Invalid::new(
                "invalid_identity",
                "An issuer and a subject have 1 to 255 visible ASCII characters.",
            ));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        })
    }

    /// `iss`
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`; with regard to case.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Personal data: logs get the issuer only.
impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey(* at {})", self.issuer)
    }
}

/// The row of an identity that is about to belong to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    /// No two accounts have the same one.
    pub key: IdentityKey,
    /// An account has one of each at most.
    pub provider: ProviderName,
    /// UTC.
    pub linked_at: OffsetDateTime,
}

/// How an identity comes to an account that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// Of an account whose address was never proven, by whoever has just proven it: the address counts as verified, and what somebody else may have set
    /// up goes: the password, every session, every other identity, unused mailed tokens, and what an administrator may do.
    ///
    /// # Security
    /// Otherwise an attacker registers with a victim's address and waits for the victim to sign in by a provider.
    Claim,
    /// Of an account with a verified address, which keeps all that it has.
    Join,
}

/// An identity for an account.
#[derive(Debug, Clone)]
pub struct IdentityLink {
    /// Whose.
    pub user: UserId,
    /// Of the account that was looked at.
    pub seen: CredentialsVersion,
    /// The session that asks, which must be live; `None` when the provider vouches for the owner.
    pub session: Option<SessionId>,
    /// What it gets.
    pub identity: NewIdentity,
    /// And what that means for the rest.
    pub adoption: Adoption,
}

#[cfg(test)]
mod tests {
    use super::{IdentityKey, ProviderName};

    #[test]
    fn a_provider_name_is_a_plain_segment() {
        for raw in ["google", "acme-2", "a"] {
            assert_eq!(ProviderName::parse(raw).unwrap().as_str(), raw);
        }
        for raw in ["", "Google", "a/b", "a b", "ä", "password", &"a".repeat(33)] {
            assert!(ProviderName::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn an_identity_is_visible_ascii_and_keeps_its_case() {
        let key = IdentityKey::parse("https://op.example.org", "aB").unwrap();
        assert_ne!(
            key,
            IdentityKey::parse("https://op.example.org", "ab").unwrap()
        );
        assert!(!format!("{key:?}").contains("aB"));
        for (issuer, subject) in [
            ("", "1"),
            ("https://op.example.org", ""),
            ("https://op.example.org", "a\0"),
            ("https://op.example.org", "ä"),
            ("https://op.example.org", &"1".repeat(256)),
        ] {
            assert!(IdentityKey::parse(issuer, subject).is_err());
        }
    }
}

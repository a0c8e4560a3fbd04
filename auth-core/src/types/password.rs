use std::{fmt, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;

use super::{Email, Invalid, Secret, Username};

/// The most common passwords of eight characters and more, lower case, one a line, sorted.
///
/// A list of facts: the entries of that length in the 20,000 most common passwords that Django ships, by Royce Williams.
static COMMON: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// A password that may become somebody's: 8 to 128 code points after NFC, any character but NUL, not a common one.
///
/// No composition rules (NIST SP 800-63B-4 §3.1.1.2, ASVS 6.2.5).
#[derive(Debug, Clone)]
pub struct Password(Secret<String>);

impl Password {
    /// Reads a new password; nothing is trimmed or cut.
    ///
    /// # Errors
    /// [`Invalid`]: `invalid_characters`, `too_short`, `too_long` or `too_common`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let normalised: String = raw.nfc().collect();
        let password = Self(Secret::new(normalised));
        let text = password.0.expose();
        if text.contains('\0') {
            return Err(Invalid::new(
                "invalid_characters",
                "A password must not contain the NUL character.",
            ));
        }
        match text.chars().count() {
            0..8 => Err(Invalid::new(
                "too_short",
                "A password has at least 8 characters.",
            )),
            129.. => Err(Invalid::new(
                "too_long",
                "A password has at most 128 characters.",
            )),
            _ if COMMON.binary_search(&text.to_lowercase().as_str()).is_ok() => Err(Invalid::new(
                "too_common",
                "This is one of the most common passwords; choose another one.",
            )),
            _ => Ok(password),
        }
    }

    /// Refuses a password that contains the name or the address of its owner (ASVS 6.2.11).
    ///
    /// # Errors
    /// [`Invalid`] with code `contains_identity`.
    pub fn check_owner(&self, username: &Username, email: &Email) -> Result<(), Invalid> {
        let text = self.0.expose().to_lowercase();
        if text.contains(username.key()) || text.contains(email.key()) {
            return Err(Invalid::new(
                "contains_identity",
                "A password must not contain the username or the e-mail address.",
            ));
        }
        Ok(())
    }

    /// A password that was just found to be somebody's: it stays what it is, whatever a new one would have to be.
    pub(crate) fn proven(attempt: &PasswordAttempt) -> Self {
        Self(attempt.0.clone())
    }

    pub(crate) const fn text(&self) -> &Secret<String> {
        &self.0
    }
}

/// A password as somebody claims it: any text, compared whole, judged by nothing but the hash.
#[derive(Debug, Clone)]
pub struct PasswordAttempt(Secret<String>);

impl PasswordAttempt {
    /// Takes the text as it came, in NFC like the stored one was.
    pub fn new(raw: &str) -> Self {
        Self(Secret::new(raw.nfc().collect()))
    }

    pub(crate) const fn text(&self) -> &Secret<String> {
        &self.0
    }
}

/// The stored form of a password: bcrypt's or argon2id's modular crypt string.
#[derive(Clone)]
pub struct PasswordHash(Secret<String>);

impl PasswordHash {
    /// For stores and imports: a hash as it was written, `$2a$`, `$2b$`, `$2y$`, `$argon2id$` or our own mark before one.
    pub fn new(stored: impl Into<String>) -> Self {
        Self(Secret::new(stored.into()))
    }

    /// For stores.
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMON, Password};
    use crate::types::{Email, Username};

    #[test]
    fn length_counts_code_points_after_normalisation() {
        assert!(Password::parse("äöüÄÖÜß€").is_ok());
        // Seven letters, one of them written as two code points.
        assert_eq!(
            Password::parse("a\u{308}bcdefg").unwrap_err().code,
            "too_short"
        );
        assert!(Password::parse(&"ż".repeat(128)).is_ok());
        assert_eq!(
            Password::parse(&"ż".repeat(129)).unwrap_err().code,
            "too_long"
        );
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        assert_eq!(Password::parse("PassWord1").unwrap_err().code, "too_common");
        assert!(COMMON.is_sorted());
        assert!(COMMON.len() > 3000, "ASVS 6.2.4 asks for the top 3000");
    }

    #[test]
    fn a_password_with_its_owner_in_it_is_refused() {
        let (ada, email) = (
            Username::parse("Ada").unwrap(),
            Email::parse("lady@lovelace.org").unwrap(),
        );
        for raw in ["I am ADA, really", "my lady@LOVELACE.org!"] {
            assert_eq!(
                Password::parse(raw)
                    .unwrap()
                    .check_owner(&ada, &email)
                    .unwrap_err()
                    .code,
                "contains_identity"
            );
        }
    }

    #[test]
    fn nothing_is_trimmed_and_nul_is_refused() {
        assert_eq!(
            Password::parse("  pad ded  ").unwrap().text().expose(),
            "  pad ded  "
        );
        assert_eq!(
            Password::parse("with\0nul-inside").unwrap_err().code,
            "invalid_characters"
        );
    }
}

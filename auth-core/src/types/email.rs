use std::{fmt, str::FromStr};

use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization;

use super::Invalid;

/// An e-mail address in one canonical form; unique without regard to case.
#[derive(Clone)]
pub struct Email {
    address: String,
    key: String,
}

impl Email {
    /// Reads an address: at most 254 bytes (RFC 5321 §4.5.3.1.3), the domain lower-cased and in ASCII form (UTS #46).
    ///
    /// # Errors
    /// [`Invalid`] with code `invalid_email`.
    ///
    /// # Security
    /// Quoted local parts, address literals, comments and display names are refused: mail systems disagree on them (ASVS 1.3.11, 1.5.3).
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new(
            "invalid_email",
            "This is not an e-mail address that mail can be sent to.",
        );
        if raw.len() > 254 {
            return Err(INVALID);
        }
        let (local, domain) = raw.rsplit_once('@').ok_or(INVALID)?;
        let local: String = local.nfc().collect();
        if local.contains('"')
            || local
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || is_invisible(c))
        {
            return Err(INVALID);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| INVALID)?;
        let address = format!("{local}@{domain}");
        let options = Options::default()
            .with_required_tld()
            .without_domain_literal()
            .without_display_text();
        EmailAddress::parse_with_options(&address, options).map_err(|_| INVALID)?;
        if address.len() > 254 {
            return Err(INVALID);
        }
        let key = key(&address);
        Ok(Self { address, key })
    }

    /// For stores: an address that was [parsed](Self::parse) before it was kept. What is read back is not judged anew, or a later version with stricter
    /// rules could not open an account of today.
    pub fn from_stored(address: String) -> Self {
        let key = key(&address);
        Self { address, key }
    }

    /// The canonical address, the local part as its owner typed it.
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// The form under which it is unique.
    pub fn key(&self) -> &str {
        &self.key
    }
}

fn key(address: &str) -> String {
    address.to_lowercase().nfc().collect()
}

/// Characters that no reader sees: two addresses must not look the same and differ.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl FromStr for Email {
    type Err = Invalid;

    fn from_str(raw: &str) -> Result<Self, Invalid> {
        Self::parse(raw)
    }
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Email {}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Personal data: logs get the domain only.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = self.address.rsplit('@').next().unwrap_or_default();
        write!(f, "Email(*@{domain})")
    }
}

#[cfg(test)]
mod tests {
    use super::Email;

    #[test]
    fn the_domain_is_canonical_and_case_does_not_matter() {
        let email = Email::parse("Ada.L@BÜCHER.example").unwrap();
        assert_eq!(email.as_str(), "Ada.L@xn--bcher-kva.example");
        assert_eq!(email, Email::parse("ada.l@xn--bcher-kva.EXAMPLE").unwrap());
    }

    #[test]
    fn a_stored_address_is_read_as_it_is() {
        let stored = Email::from_stored("Ada of \u{200b}old".to_owned());
        assert_eq!(stored.as_str(), "Ada of \u{200b}old");
        let email = Email::parse("Ada.L@BÜCHER.example").unwrap();
        let again = Email::from_stored(email.to_string());
        assert_eq!((again.as_str(), again.key()), (email.as_str(), email.key()));
    }

    #[test]
    fn what_mail_systems_disagree_on_is_refused() {
        let long = format!("{}@example.org", "a".repeat(250));
        for raw in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@localhost",
            "ada@[127.0.0.1]",
            "\"a b\"@example.org",
            "a@b@example.org",
            "Ada <ada@example.org>",
            "ada@example.org\r\nBcc: eve@example.org",
            "ada\0@example.org",
            "ad\u{200b}a@example.org",
            "ada@exa\u{200b}mple..org",
            "ada@example.org.",
            " ada@example.org",
            "ada@exa mple.org",
            &long,
        ] {
            assert!(Email::parse(raw).is_err(), "{raw:?}");
        }
    }
}

use std::fmt;

use super::Invalid;

/// 3 to 32 of `A-Z a-z 0-9 _ . -`; unique without regard to case.
#[derive(Debug, Clone)]
pub struct Username {
    shown: String,
    key: String,
}

impl Username {
    /// Reads a username as a person typed it.
    ///
    /// # Errors
    /// [`Invalid`]: `invalid_length` or `invalid_characters`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        // The character set has no `@`, so no username looks like an e-mail address.
        if !raw
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        {
            return Err(Invalid::new(
                "invalid_characters",
                "A username has letters A-Z, digits, `_`, `.` and `-` only.",
            ));
        }
        if !(3..=32).contains(&raw.len()) {
            return Err(Invalid::new(
                "invalid_length",
                "A username has 3 to 32 characters.",
            ));
        }
        Ok(Self {
            shown: raw.to_owned(),
            key: raw.to_ascii_lowercase(),
        })
    }

    /// For stores: a name that was [parsed](Self::parse) before it was kept. What is read back is not judged anew, or a later version with stricter
    /// rules could not open an account of today.
    pub fn from_stored(name: String) -> Self {
        Self {
            key: name.to_ascii_lowercase(),
            shown: name,
        }
    }

    /// As its owner typed it.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The form under which it is unique.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl PartialEq for Username {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Username {}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::Username;

    #[test]
    fn names_differ_in_more_than_case() {
        assert_eq!(
            Username::parse("Ada").unwrap(),
            Username::parse("aDA").unwrap()
        );
    }

    #[test]
    fn what_is_no_username_is_refused() {
        for raw in [
            "",
            "ab",
            "a b",
            "ada@example.org",
            "ada\0",
            "ädä",
            &"a".repeat(33),
            "ada\n",
        ] {
            assert!(Username::parse(raw).is_err(), "{raw:?}");
        }
    }
}

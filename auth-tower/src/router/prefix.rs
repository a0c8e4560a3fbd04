use std::str::FromStr;

/// Where the endpoints are mounted: nothing, or a path such as `/api` or `/v1/accounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text is no [`Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a prefix is empty, or one or more segments of A-Z a-z 0-9 - . _ ~, each after a slash, without one at the end"
)]
pub struct InvalidPrefix;

impl Prefix {
    /// Reads a prefix.
    ///
    /// # Errors
    /// [`InvalidPrefix`]: a missing first slash, a last one, an empty segment, `.` or `..`, or characters that need encoding.
    pub fn parse(raw: &str) -> Result<Self, InvalidPrefix> {
        if raw.is_empty() {
            return Ok(Self::default());
        }
        let segments = raw.strip_prefix('/').ok_or(InvalidPrefix)?;
        // RFC 3986 §2.3 and §3.3: what is written in one way only, and is no step.
        let is_plain = segments.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        });
        if is_plain {
            Ok(Self(raw.to_owned()))
        } else {
            Err(InvalidPrefix)
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(raw: &str) -> Result<Self, InvalidPrefix> {
        Self::parse(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn a_prefix_is_plain_segments() {
        for raw in ["", "/api", "/v1/accounts", "/a.b_c~d-e"] {
            assert_eq!(Prefix::parse(raw).unwrap().as_str(), raw);
        }
        for raw in [
            "/", "api", "/api/", "//api", "/a//b", "/{id}", "/a b", "/ä", "/%61", "/.", "/a/../b",
            "/a?b", "/a#b", "/*",
        ] {
            assert!(Prefix::parse(raw).is_err(), "{raw}");
        }
    }
}

use std::fmt;

use http::Uri;

use super::Invalid;

/// An address that browsers are sent to: absolute, http or https, without user, query and fragment. Compared to the letter (RFC 9700 §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Reads an address.
    ///
    /// # Errors
    /// [`Invalid`] with code `invalid_redirect_uri`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new(
            "invalid_redirect_uri",
            "This is not an absolute http or https address without user, query and fragment.",
        );
        let uri: Uri = raw.parse().map_err(|_| INVALID)?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let is_plain = raw
            .bytes()
            .all(|b| (b'!'..=b'~').contains(&b) && !matches!(b, b'#' | b'@' | b'?' | b'\\'));
        if !is_web || !is_plain || uri.host().is_none_or(str::is_empty) {
            return Err(INVALID);
        }
        Ok(Self(raw.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.0
            .split_once(':')
            .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::RedirectUri;

    #[test]
    fn only_plain_web_addresses_are_taken() {
        for (raw, https) in [
            ("http://localhost:3000", false),
            ("https://example.org/auth/oauth/google/callback", true),
            ("HTTPS://example.org/", true),
        ] {
            assert_eq!(RedirectUri::parse(raw).unwrap().is_https(), https, "{raw}");
        }
        for raw in [
            "",
            "example.org",
            "/path",
            "//example.org/path",
            "javascript:alert(1)",
            "myapp://callback",
            "https://",
            "https://a@b.c/",
            "https://a.b/?x",
            "https://a.b/#x",
            "https://a.b\\@c.d/",
            "https://a.b/ x",
            "https://ä.b/",
        ] {
            assert!(RedirectUri::parse(raw).is_err(), "{raw}");
        }
    }
}

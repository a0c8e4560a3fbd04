use http::Uri;

use crate::types::{Purpose, Secret};

/// Where mailed links lead: the host's pages `/verify-email`, `/update-password` and `/cancel-email-change`, each with `?token=`.
///
/// # Security
/// The base comes from configuration, never from a request: a forged `Host` header must not get a victim's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    base: String,
}

/// Why a base address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("links need an absolute http or https address without user, query and fragment")]
pub struct LinksError;

impl Links {
    /// Links below a base such as `https://app.example.org` or `https://example.org/account`.
    ///
    /// # Errors
    /// [`LinksError`].
    pub fn to(base: &str) -> Result<Self, LinksError> {
        let uri: Uri = base.parse().map_err(|_| LinksError)?;
        let http = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.query().is_none() && !base.contains(['#', '@', '?']);
        if !http || !plain || uri.host().is_none_or(str::is_empty) {
            return Err(LinksError);
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// The base, without a closing slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn open(&self, purpose: Purpose, token: &Secret<String>) -> String {
        let page = match purpose {
            Purpose::CancelEmailChange => "cancel-email-change",
            Purpose::ChangeEmail | Purpose::VerifyEmail => "verify-email",
            Purpose::ReclaimAccount | Purpose::ResetPassword => "update-password",
        };
        // A JWT has only characters that a query takes as they are.
        format!("{}/{page}?token={}", self.base, token.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::Links;

    #[test]
    fn only_plain_web_addresses_are_taken() {
        for base in [
            "http://localhost:3000",
            "https://example.org/",
            "https://example.org/account/",
        ] {
            assert!(!Links::to(base).unwrap().base().ends_with('/'));
        }
        for base in [
            "",
            "example.org",
            "/path",
            "ftp://example.org",
            "javascript:alert(1)",
            "https://",
            "https://a@b.c",
            "https://a.b?x",
            "https://a.b#x",
        ] {
            assert!(Links::to(base).is_err(), "{base}");
        }
    }
}

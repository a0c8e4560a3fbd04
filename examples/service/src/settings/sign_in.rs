use auth_core::{
    adapters::{OidcError, OidcProvider},
    types::{RedirectUri, Secret},
};

use super::reader::Reader;

/// What people sign in by, beside a password.
pub(crate) struct SignIn {
    /// Pages that a sign-in may end at.
    pub(crate) allowed_redirects: Vec<RedirectUri>,
    pub(crate) google: Option<Google>,
}

/// Google, or what stands in for it at another issuer.
pub(crate) struct Google {
    /// `None`: at the service's own address.
    pub(crate) callback: Option<RedirectUri>,
    pub(crate) issuer: String,
    pub(crate) provider: OidcProvider,
}

const NOT_HTTPS: &str = "must be https in production";

impl SignIn {
    pub(super) fn read(reader: &mut Reader, production: bool) -> Self {
        let allowed_redirects = reader.or("ALLOWED_REDIRECTS", Vec::new(), |list| {
            list.split(',')
                .map(|page| RedirectUri::parse(page.trim()))
                .collect()
        });
        if production && !allowed_redirects.iter().all(RedirectUri::is_https) {
            reader.fault("ALLOWED_REDIRECTS", NOT_HTTPS);
        }
        Self {
            allowed_redirects,
            google: google(reader, production),
        }
    }
}

fn google(reader: &mut Reader, production: bool) -> Option<Google> {
    let id = reader.get("GOOGLE_CLIENT_ID");
    let secret = reader.get("GOOGLE_CLIENT_SECRET").map(Secret::new);
    let issuer = reader.get("GOOGLE_ISSUER");
    let callback = reader.optional("GOOGLE_REDIRECT_URI", RedirectUri::parse);
    let (id, secret) = match (id, secret) {
        (Some(id), Some(secret)) => (id, secret),
        (None, None) if issuer.is_none() && callback.is_none() => return None,
        _ => {
            for name in ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"] {
                reader.require(name, "is missing, and other settings of Google are there");
            }
            return None;
        }
    };
    if production && !callback.as_ref().is_some_and(RedirectUri::is_https) {
        reader.fault(
            "GOOGLE_REDIRECT_URI",
            "must be set in production, and https",
        );
    }
    let issuer = issuer.unwrap_or_else(|| OidcProvider::GOOGLE.to_owned());
    if production && !issuer.starts_with("https://") {
        reader.fault("GOOGLE_ISSUER", NOT_HTTPS);
    }
    // Only Google decides about the addresses of Google: what stands in for it is a provider like any other.
    let provider = if issuer == OidcProvider::GOOGLE {
        OidcProvider::google(id, secret)
    } else {
        OidcProvider::new("Google", &issuer, id, secret)
    };
    match provider {
        Ok(provider) => Some(Google {
            callback,
            issuer,
            provider,
        }),
        Err(error @ OidcError::Issuer) => {
            reader.fault("GOOGLE_ISSUER", error);
            None
        }
        Err(error) => {
            reader.fault("GOOGLE_CLIENT_ID", crate::chain(&error));
            None
        }
    }
}

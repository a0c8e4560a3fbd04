use std::sync::Arc;

use auth_billing::Signature;
use auth_core::{
    Auth, Error,
    ports::Authenticated,
    types::{Caller, Session, User},
};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use crate::{
    internal_keys::{InternalKeys, X_API_KEY},
    respond::Problem,
};

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// Proof that a request carried a valid access token of a live session.
///
/// Only the check itself makes one, so a function that takes it cannot run without the check:
///
/// ```compile_fail,E0423
/// fn forge(session: auth_core::ports::Authenticated) -> auth_tower::AuthenticatedUser {
///     auth_tower::AuthenticatedUser(session)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct AuthenticatedUser(Authenticated);

impl AuthenticatedUser {
    /// Who asks, as the store knew them when the request came.
    pub const fn user(&self) -> &User {
        &self.0.user
    }

    /// In which session.
    pub const fn session(&self) -> &Session {
        &self.0.session
    }

    /// Both, for calls to [`Auth`].
    pub const fn authenticated(&self) -> &Authenticated {
        &self.0
    }
}

/// Proof that a request came from an [`AuthenticatedUser`] whose e-mail address is verified.
///
/// ```compile_fail,E0423
/// fn forge(user: auth_tower::AuthenticatedUser) -> auth_tower::VerifiedUser {
///     auth_tower::VerifiedUser(user)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedUser(AuthenticatedUser);

impl VerifiedUser {
    /// Who asks, as the store knew them when the request came.
    pub const fn user(&self) -> &User {
        self.0.user()
    }

    /// In which session.
    pub const fn session(&self) -> &Session {
        self.0.session()
    }

    /// Both, for calls to [`Auth`].
    pub const fn authenticated(&self) -> &Authenticated {
        self.0.authenticated()
    }
}

/// Proof that a request carried one of the [`InternalKeys`].
///
/// ```compile_fail,E0451
/// let forged = auth_tower::InternalCaller { name: "billing".into() };
/// ```
#[derive(Debug, Clone)]
pub struct InternalCaller {
    name: Arc<str>,
}

impl InternalCaller {
    /// The name of the key: which service asks.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, as the ledger and keys of calls have it.
    pub(crate) fn caller(&self) -> Result<Caller, Problem> {
        // A name that `InternalKeys` took is one.
        let caller = Caller::parse(&self.name);
        Ok(caller.map_err(|reason| Error::Internal(Box::new(reason)))?)
    }
}

/// Proof that a request may look into the service: it carried one of the [`InternalKeys`], or the host opened diagnostics to everybody.
///
/// ```compile_fail,E0423
/// let forged = auth_tower::Operator(());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Operator(());

pub(crate) async fn authenticated(
    auth: &Auth,
    headers: &HeaderMap,
) -> Result<AuthenticatedUser, Problem> {
    let token = bearer(headers)?;
    Ok(AuthenticatedUser(auth.authenticate(token).await?))
}

pub(crate) async fn verified(auth: &Auth, headers: &HeaderMap) -> Result<VerifiedUser, Problem> {
    let user = authenticated(auth, headers).await?;
    if !user.user().is_verified {
        return Err(Error::EmailNotVerified.into());
    }
    Ok(VerifiedUser(user))
}

pub(crate) fn internal(
    keys: &InternalKeys,
    headers: &HeaderMap,
) -> Result<InternalCaller, Problem> {
    let name = keys.caller(headers).ok_or(Problem::InvalidApiKey)?;
    tracing::debug!(key = &*name, "an internal request is admitted");
    Ok(InternalCaller { name })
}

pub(crate) fn operator(
    is_open: bool,
    keys: &InternalKeys,
    headers: &HeaderMap,
) -> Result<Operator, Problem> {
    if !is_open {
        internal(keys, headers)?;
    }
    Ok(Operator(()))
}

/// The one signature that a request claims to have: whether it is good shows with the body. A key that a relay shows must be right.
pub(crate) fn claimed_signature(
    keys: &InternalKeys,
    headers: &HeaderMap,
) -> Result<Signature, Problem> {
    if headers.contains_key(&X_API_KEY) {
        internal(keys, headers)?;
    }
    let mut sent = headers.get_all(STRIPE_SIGNATURE).iter();
    let (Some(header), None) = (sent.next(), sent.next()) else {
        return Err(Problem::InvalidSignature);
    };
    header
        .to_str()
        .ok()
        .and_then(Signature::parse)
        .ok_or(Problem::InvalidSignature)
}

const MAX_AUTHORIZATION_BYTES: usize = 8 * 1024;

/// The token of the one `Authorization: Bearer` header (RFC 6750 §2.1); addresses and bodies are never looked at (§5.3).
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let value = sent.next().ok_or(Problem::MissingToken)?;
    // Two headers: whoever stands before us may have checked the other one.
    if sent.next().is_some() || value.len() > MAX_AUTHORIZATION_BYTES {
        return Err(Error::InvalidToken.into());
    }
    let value = value.to_str().map_err(|_| Error::InvalidToken)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 6750 §3.1: another scheme is no token, and gets no error code.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::MissingToken);
    }
    let token = rest.trim_start_matches(' ');
    if is_b64token(token) {
        Ok(token)
    } else {
        Err(Error::InvalidToken.into())
    }
}

/// RFC 6750 §2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}

#[cfg(test)]
mod tests {
    use auth_core::Error;
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::bearer;
    use crate::respond::Problem;

    fn sent(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for value in ["Bearer a.b-c_d", "bearer a.b-c_d", "BEARER   a.b-c_d"] {
            let headers = sent(&[value.as_bytes()]);
            assert_eq!(bearer(&headers).unwrap(), "a.b-c_d", "{value}");
        }
    }

    #[test]
    fn no_token_and_a_bad_token_are_told_apart() {
        for values in [&[][..], &["Basic YTpi"], &[""], &["Bearerish a"]] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            let refused = bearer(&sent(&values)).unwrap_err();
            assert!(matches!(refused, Problem::MissingToken), "{values:?}");
        }
        let long = [b"Bearer ".as_slice(), &[b'a'; 8 * 1024]].concat();
        for values in [
            &[b"Bearer".as_slice()][..],
            &[b"Bearer "],
            &[b"Bearer a b"],
            &[b"Bearer a,b"],
            &[b"Bearer =="],
            &[b"Bearer a\xff"],
            &[b"Bearer a", b"Bearer a"],
            &[b"Basic YTpi", b"Bearer a"],
            &[&long],
        ] {
            let refused = bearer(&sent(values)).unwrap_err();
            assert!(
                matches!(refused, Problem::Core(Error::InvalidToken)),
                "{values:?}"
            );
        }
    }
}

//! The cookie that binds a sign-in to the browser that began it (RFC 9700 §4.7.1).

use auth_core::{
    Auth, Error, SignIn,
    types::{RedirectUri, Secret},
};
use http::HeaderValue;

use crate::{
    read::Cookies,
    respond::{Problem, Reply},
};

/// `__Host-`: no other host, no plain connection and no path sets it (ASVS 3.3.1); over http, where that cannot be, a name of its own, which is not
/// looked at over https.
const fn name(is_https: bool) -> &'static str {
    if is_https { "__Host-oauth" } else { "oauth" }
}

/// A later sign-in of the same browser replaces an earlier one.
///
/// `Lax`, because the browser comes back by a link of the provider: `Strict` would keep the cookie.
pub(super) fn bind(
    reply: Reply,
    auth: &Auth,
    provider: &str,
    sign_in: &SignIn,
) -> Result<Reply, Problem> {
    let value = sign_in.binding.expose();
    let seconds = sign_in.expires_in.whole_seconds();
    set(reply, auth, provider, value, seconds)
}

/// It is used up.
pub(super) fn release(reply: Reply, auth: &Auth, provider: &str) -> Result<Reply, Problem> {
    set(reply, auth, provider, "", 0)
}

/// As [`release`], where the sign-in that it was used up by failed.
pub(super) fn release_after(problem: Problem, auth: &Auth, provider: &str) -> Problem {
    match header(auth, provider, "", 0) {
        Ok(cookie) => Problem::WithCookie(Box::new(problem), cookie),
        Err(_) => problem,
    }
}

/// What [`bind`] gave to this browser.
pub(super) fn binding(auth: &Auth, provider: &str, cookies: &Cookies) -> Option<Secret<String>> {
    cookies.find(name(is_https(auth, provider)))
}

fn is_https(auth: &Auth, provider: &str) -> bool {
    auth.oauth_redirect_uri(provider)
        .is_some_and(RedirectUri::is_https)
}

fn set(
    reply: Reply,
    auth: &Auth,
    provider: &str,
    value: &str,
    seconds: i64,
) -> Result<Reply, Problem> {
    Ok(reply.with_cookie(header(auth, provider, value, seconds)?))
}

fn header(auth: &Auth, provider: &str, value: &str, seconds: i64) -> Result<HeaderValue, Error> {
    let is_https = is_https(auth, provider);
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!(
        "{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        name(is_https)
    );
    let mut cookie =
        HeaderValue::try_from(cookie).map_err(|error| Error::Internal(Box::new(error)))?;
    cookie.set_sensitive(true);
    Ok(cookie)
}

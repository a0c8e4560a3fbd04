//! Sign-in by a provider, a file a step, as in `auth_core`.

mod callback;
mod cookie;
mod exchange;
mod link;
mod start;
mod unlink;

pub(crate) use callback::callback;
pub(crate) use exchange::exchange;
pub(crate) use link::link;
pub(crate) use start::start;
pub(crate) use unlink::unlink;

use serde::Serialize;

use super::answers::UserAnswer;

/// Where the browser goes next.
#[derive(Serialize)]
struct Departure<'a> {
    authorization_url: &'a str,
}

#[derive(Serialize)]
struct Changed<'a> {
    message: &'static str,
    user: UserAnswer<'a>,
}

const LINKED: &str = "The account can be opened through the provider now.";

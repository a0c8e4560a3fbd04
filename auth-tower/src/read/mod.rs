//! What comes in: a body, a query and path parameters become [`Fields`].

mod body;
mod cookies;
mod fields;
mod form;
mod json;

pub use body::Input;
pub(crate) use body::read;
pub(crate) use cookies::Cookies;
pub(crate) use fields::{Fields, attempt, secret, text};

//! What comes in: a body, a query and path parameters become [`Fields`].

mod body;
mod fields;
mod form;
mod json;

pub use body::Input;
pub(crate) use body::read;
pub(crate) use fields::{Fields, attempt, secret, text};

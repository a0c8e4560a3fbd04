//! Mails over a real mail server.
//!
//! `.ci/smtp-server` installs it; without it these tests fail.

#![allow(clippy::panic, clippy::unwrap_used)] // a test file whose helpers are not test functions

mod mailer;
mod service;
mod tricks;

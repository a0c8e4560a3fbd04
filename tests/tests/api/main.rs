//! The HTTP contract over every kind of store, a module a feature, named as in `auth_core`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // test code: what cannot go on has failed

mod access_matrix;
mod admin;
mod attempts;
mod change_email;
mod change_password;
mod credits;
mod delete_account;
mod diagnostics;
mod even_times;
mod failures;
mod health;
mod language;
mod login;
mod logout;
mod lookup_user;
mod malformed;
mod me;
mod mounting;
mod oauth;
mod openapi;
mod queries;
mod rate_limit;
mod refresh;
mod register;
mod resend_verification;
mod reset_password;
mod revoke;
mod same_answers;
mod secrets;
mod sessions;
mod shared_limits;
mod stripe;
mod verify_email;

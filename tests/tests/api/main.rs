//! The HTTP contract over every kind of store, a module a feature, named as in `auth_core`.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // test code: what cannot go on has failed

mod login;
mod register;

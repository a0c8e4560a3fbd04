//! The Postgres store over real servers. One program, so that all tests share one server.
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

mod contract;
mod server;

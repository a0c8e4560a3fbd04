//! The real `auth-service`, as a process over TCP.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // test code: what cannot go on has failed

mod accounts;
mod commands;
mod crash;
mod data;
mod edge;
mod fake_stripe;
mod google;
mod hangup;
mod ledger;
mod life;
mod limits;
mod load;
mod localstripe;
mod logs;
mod mails;
mod metrics;
mod migrate;
mod outage;
mod page;
mod reconcile;
mod replicas;
mod shutdown;
mod slow;
mod start;
mod storm;
mod stripe;
mod timing;
mod traces;
mod wire;

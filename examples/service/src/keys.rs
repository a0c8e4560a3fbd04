//! `auth-service keys`: secrets that are drawn here and kept elsewhere.

use clap::Subcommand;

use crate::{
    console::{Unsaid, complain, say},
    secrets,
};

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Print a `SECRET_KEY` and an `INTERNAL_API_KEY` that are fit for production
    Generate,
    /// Print a new `SECRET_KEY`, and how to change to it without logging anybody out
    Rotate,
}

const HOW_TO_ROTATE: &str = "\
The present SECRET_KEY goes on to be accepted as SECRET_KEY_PREVIOUS, so nobody is logged out.
  1. With several replicas: set SECRET_KEY_PREVIOUS to the new key and restart them one by one. All accept it then, and none signs with it yet.
  2. Set SECRET_KEY to the new key and SECRET_KEY_PREVIOUS to what SECRET_KEY was, and restart them one by one.
  3. A day later, when all that the old key signed has expired, unset SECRET_KEY_PREVIOUS.
An old key that somebody else knows is to be replaced at once: leave SECRET_KEY_PREVIOUS unset, and everybody logs in again.";

/// Keys go to standard output and words to standard error, so that a pipe gets nothing but keys.
pub(crate) fn run(what: &Keys) -> Result<(), Unsaid> {
    match what {
        Keys::Generate => say(&format!(
            "SECRET_KEY={}\nINTERNAL_API_KEY={}",
            secrets::draw(),
            secrets::draw()
        )),
        Keys::Rotate => {
            say(&format!("SECRET_KEY={}", secrets::draw()))?;
            complain(HOW_TO_ROTATE);
            Ok(())
        }
    }
}

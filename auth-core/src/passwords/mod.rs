//! How passwords become stored strings, and the bounded pool of threads that computes them.

mod hashing;
mod pool;

pub use hashing::{Hashing, HashingError};
pub(crate) use pool::{PasswordPool, Verdict};

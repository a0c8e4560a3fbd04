//! What this crate counts, through the facade `metrics`: see the documentation of `auth_core`.

use std::time::Instant;

use metrics::{Unit, describe_histogram, histogram};

const WAIT: &str = "auth_db_connection_wait_seconds";

/// Has it there from the beginning.
pub(crate) fn register() {
    describe_histogram!(
        WAIT,
        Unit::Seconds,
        "How long work waited for a connection to the database"
    );
    drop(histogram!(WAIT));
}

/// Work got a connection, or gave up.
pub(crate) fn waited(since: Instant) {
    histogram!(WAIT).record(since.elapsed());
}

//! What this crate counts, through the facade `metrics`: see the documentation of `auth_core`.

use metrics::{Histogram, Unit, histogram};

/// How long work waited for a connection.
pub(crate) fn waits() -> Histogram {
    histogram!(
        description: "How long work waited for a connection to the database",
        unit: Unit::Seconds,
        "auth_db_connection_wait_seconds"
    )
}

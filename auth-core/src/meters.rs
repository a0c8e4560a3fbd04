//! What this crate counts, through the facade `metrics`: for the recorder that the host installed before, and for nobody without one.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use crate::{mail::Role, types::ProviderName};

/// Of one [`Auth`](crate::Auth).
pub(crate) struct Meters {
    /// Passwords that were not looked at, or not told about, because too many before them were wrong.
    pub(crate) attempts_refused: Counter,
    restarts: [Counter; Role::ALL.len()],
}

impl Meters {
    pub(crate) fn register() -> Self {
        Self {
            attempts_refused: counter!(
                description: "Passwords refused because too many before them were wrong",
                "auth_password_attempts_refused_total"
            ),
            restarts: Role::ALL.map(|role| {
                counter!(
                    description: "Background workers that died and were followed by another",
                    "auth_worker_restarts_total",
                    "role" => role.as_str()
                )
            }),
        }
    }

    pub(crate) fn restarted(&self, role: Role) {
        self.restarts[role as usize].increment(1);
    }
}

/// What may become of a browser that came back from a provider of sign-ins.
const CALLBACK_OUTCOMES: [&str; 12] = [
    "succeeded",
    "account_exists",
    "email_not_verified",
    "identity_in_use",
    "internal",
    "invalid_code",
    "invalid_credentials",
    "invalid_state",
    "provider_failed",
    "provider_refused",
    "provider_unavailable",
    "unavailable",
];

/// Of browsers that came back from a provider. Each took its time there, so the counter is looked up for it.
pub(crate) fn callback_ended(provider: &ProviderName, outcome: &'static str) -> Counter {
    debug_assert!(CALLBACK_OUTCOMES.contains(&outcome), "{outcome}");
    counter!(
        description: "Browsers that came back from a provider of sign-ins, by what became of them",
        "auth_oauth_callbacks_total",
        "provider" => provider.to_string(),
        "outcome" => outcome
    )
}

/// From zero on, or the first of a kind would be no increase.
pub(crate) fn register_callbacks(provider: &ProviderName) {
    for outcome in CALLBACK_OUTCOMES {
        drop(callback_ended(provider, outcome));
    }
}

/// Of the threads that hash passwords.
#[derive(Clone)]
pub(crate) struct HashingMeters {
    pub(crate) queue: Gauge,
    pub(crate) refused: Counter,
    pub(crate) waited: Histogram,
    pub(crate) worked: Histogram,
}

impl HashingMeters {
    pub(crate) fn register() -> Self {
        Self {
            queue: gauge!(
                description: "Passwords that wait for a hashing thread",
                "auth_hashing_queue_length"
            ),
            refused: counter!(
                description: "Passwords refused because the queue was full",
                "auth_hashing_refused_total"
            ),
            waited: histogram!(
                description: "How long passwords waited for a hashing thread",
                unit: Unit::Seconds,
                "auth_hashing_wait_seconds"
            ),
            worked: histogram!(
                description: "How long a hashing thread worked on a password",
                unit: Unit::Seconds,
                "auth_hashing_duration_seconds"
            ),
        }
    }
}

/// Whether limits are shared: rarely told, and by what is made before any recorder is there.
#[cfg(feature = "redis")]
pub(crate) fn redis_is_up(is_up: bool) {
    let up = gauge!(
        description: "1 while limits are shared over Redis, 0 while each process counts for itself",
        "auth_redis_up"
    );
    up.set(u8::from(is_up));
}

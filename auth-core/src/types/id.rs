use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Invalid;
use crate::ports::Random;

/// A `UUIDv7` (RFC 9562 §5.7) of `now` with bits from `random`.
///
/// It shows when it was made, and 74 random bits are not a secret (ASVS 11.5.1): ids name things, they open nothing.
fn uuid_v7(now: OffsetDateTime, random: &dyn Random) -> Uuid {
    let mut bits = [0; 10];
    random.fill(&mut bits);
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id (`UUIDv7`, RFC 9562 §5.7).
            pub fn generate(now: OffsetDateTime, random: &dyn Random) -> Self {
                Self(uuid_v7(now, random))
            }

            /// Reads the hyphenated form.
            ///
            /// # Errors
            /// [`Invalid`] with code `invalid_id`.
            pub fn parse(raw: &str) -> Result<Self, Invalid> {
                // One canonical form: uuid also reads braces, urn: and 32 bare digits.
                if raw.len() != 36 {
                    return Err(Invalid::new("invalid_id", "An id is a UUID in its hyphenated form."));
                }
                Uuid::from_str(raw)
                    .map(Self)
                    .map_err(|_| Invalid::new("invalid_id", "An id is a UUID in its hyphenated form."))
            }

            /// For stores.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// For stores.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Names a user, for ever: never given to another account.
    UserId
);
id!(
    /// Names a session; `sid` in access tokens.
    SessionId
);
id!(
    /// Names a queued mail; its Message-ID is made from it.
    MailId
);
id!(
    /// Names an entry of the audit log.
    AuditId
);
id!(
    /// Names an entry of the credit ledger.
    EntryId
);

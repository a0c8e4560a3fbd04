//! The database schemas of auth-tower as plain data: SQL, up and down, for whatever runs it.
//!
//! The store crates run these themselves (`store.migrate()`); they are public for hosts that let another tool do it.
//!
//! A migration that was published never changes: runners keep its checksum.

/// One step of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Rises by one with each step, from 1.
    pub version: i64,
    /// What the step is about.
    pub name: &'static str,
    /// Statements that make the step.
    pub up: &'static str,
    /// Statements that take it back, with the data in it.
    pub down: &'static str,
}

/// The schema of `PostgreSQL` 13 or newer, the oldest step first. All of it lies in the database schema `auth`, which must be there.
pub const POSTGRES: &[Migration] = &[
    Migration {
        version: 1,
        name: "accounts",
        up: include_str!("../postgres/0001_accounts.up.sql"),
        down: include_str!("../postgres/0001_accounts.down.sql"),
    },
    Migration {
        version: 2,
        name: "identities",
        up: include_str!("../postgres/0002_identities.up.sql"),
        down: include_str!("../postgres/0002_identities.down.sql"),
    },
    Migration {
        version: 3,
        name: "dead_letters",
        up: include_str!("../postgres/0003_dead_letters.up.sql"),
        down: include_str!("../postgres/0003_dead_letters.down.sql"),
    },
    Migration {
        version: 4,
        name: "credits",
        up: include_str!("../postgres/0004_credits.up.sql"),
        down: include_str!("../postgres/0004_credits.down.sql"),
    },
    Migration {
        version: 5,
        name: "payments",
        up: include_str!("../postgres/0005_payments.up.sql"),
        down: include_str!("../postgres/0005_payments.down.sql"),
    },
    Migration {
        version: 6,
        name: "payment_terms",
        up: include_str!("../postgres/0006_payment_terms.up.sql"),
        down: include_str!("../postgres/0006_payment_terms.down.sql"),
    },
    Migration {
        version: 7,
        name: "subscription_wishes",
        up: include_str!("../postgres/0007_subscription_wishes.up.sql"),
        down: include_str!("../postgres/0007_subscription_wishes.down.sql"),
    },
];

/// The schema of `SQLite` 3.37 or newer, the oldest step first.
pub const SQLITE: &[Migration] = &[
    Migration {
        version: 1,
        name: "accounts",
        up: include_str!("../sqlite/0001_accounts.up.sql"),
        down: include_str!("../sqlite/0001_accounts.down.sql"),
    },
    Migration {
        version: 2,
        name: "identities",
        up: include_str!("../sqlite/0002_identities.up.sql"),
        down: include_str!("../sqlite/0002_identities.down.sql"),
    },
    Migration {
        version: 3,
        name: "dead_letters",
        up: include_str!("../sqlite/0003_dead_letters.up.sql"),
        down: include_str!("../sqlite/0003_dead_letters.down.sql"),
    },
    Migration {
        version: 4,
        name: "credits",
        up: include_str!("../sqlite/0004_credits.up.sql"),
        down: include_str!("../sqlite/0004_credits.down.sql"),
    },
    Migration {
        version: 5,
        name: "payments",
        up: include_str!("../sqlite/0005_payments.up.sql"),
        down: include_str!("../sqlite/0005_payments.down.sql"),
    },
    Migration {
        version: 6,
        name: "payment_terms",
        up: include_str!("../sqlite/0006_payment_terms.up.sql"),
        down: include_str!("../sqlite/0006_payment_terms.down.sql"),
    },
    Migration {
        version: 7,
        name: "subscription_wishes",
        up: include_str!("../sqlite/0007_subscription_wishes.up.sql"),
        down: include_str!("../sqlite/0007_subscription_wishes.down.sql"),
    },
];

#[cfg(test)]
mod tests {
    use super::{POSTGRES, SQLITE};

    #[test]
    fn versions_count_from_one_without_a_gap() {
        for steps in [POSTGRES, SQLITE] {
            let versions: Vec<_> = steps.iter().map(|m| m.version).collect();
            let expected: Vec<_> = (1_i64..).take(steps.len()).collect();
            assert_eq!(versions, expected);
        }
    }

    #[test]
    fn a_step_has_one_name_in_every_database() {
        let names = |steps: &[super::Migration]| steps.iter().map(|m| m.name).collect::<Vec<_>>();
        assert_eq!(names(POSTGRES), names(SQLITE));
    }
}

//! What an error of the database means to the core.

use auth_core::ports::{StoreError, Unique};
use sqlx::{
    error::DatabaseError,
    postgres::{PgDatabaseError, PgSeverity},
};

/// The constraints that say another account has it.
const UNIQUE: [(&str, Unique); 4] = [
    ("identities_issuer_subject_key", Unique::Identity),
    ("identities_pkey", Unique::Identity),
    ("users_email_key", Unique::Email),
    ("users_username_key", Unique::Username),
];

/// What refuses an entry of the ledger whose key or reference is taken.
const KNOWN: [&str; 2] = ["credit_entries_key", "credit_entries_reference"];

/// What refuses an entry whose account is deleted at the same time.
const ORPHANED: &str = "credit_accounts_owner_fkey";

/// What refuses a customer that somebody else keeps at the same time: `on conflict` watches one index only, and this is another one.
const CUSTOMER: &str = "payment_accounts_customer";

/// What an error of the database means to the core: a conflict, an outage or a bug. For a host that does work of its own inside a store
/// (see [`PgScope`](crate::PgScope)), and wants its outages answered as ours are.
pub fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            if let Some(unique) = taken(database.as_ref()) {
                StoreError::Taken(unique)
            } else if is_outage(&code(database.as_ref())) || met_another(database.as_ref()) {
                StoreError::Unavailable(error.into())
            } else {
                StoreError::Backend(error.into())
            }
        }
        sqlx::Error::BeginFailed
        | sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        _ => StoreError::Backend(error.into()),
    }
}

fn taken(error: &dyn DatabaseError) -> Option<Unique> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    // A host's own table "users" may have constraints of the same names.
    let constraint = error
        .constraint()
        .filter(|_| error.schema() == Some("auth"))?;
    UNIQUE
        .iter()
        .find(|(name, _)| *name == constraint)
        .map(|(_, unique)| *unique)
}

/// A row that refers to what should go did not let it go.
pub(crate) fn is_held(error: &StoreError) -> bool {
    const FOREIGN_KEY: &str = "23503";
    const RESTRICT: &str = "23001"; // what Postgres 18 says of "on delete restrict"

    let StoreError::Backend(cause) = error else {
        return false;
    };
    cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .is_some_and(|error| [FOREIGN_KEY, RESTRICT].contains(&&*code(error)))
}

/// It met another transaction: an entry of the ledger one with its key or its reference, or the deletion of the account; a customer one that keeps
/// the same.
fn met_another(error: &dyn DatabaseError) -> bool {
    error.constraint().is_some_and(|constraint| {
        [ORPHANED, CUSTOMER].contains(&constraint) || KNOWN.contains(&constraint)
    })
}

/// Another entry of the ledger has the key or the reference.
pub(crate) fn is_known(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.constraint())
        .is_some_and(|constraint| KNOWN.contains(&constraint))
}

fn code(error: &dyn DatabaseError) -> String {
    error.code().unwrap_or_default().into_owned()
}

/// Codes that pass when the server, the network or the operator is done (postgresql.org/docs/current/errcodes-appendix.html).
fn is_outage(code: &str) -> bool {
    const CANNOT_LOG_IN: &str = "28";
    const CONNECTION: &str = "08";
    const RESOURCES: &str = "53";
    const ROLLED_BACK: &str = "40";
    const SYSTEM: &str = "58";
    const OPERATOR: &str = "57"; // a statement timeout too

    const FAILED_TRANSACTION: &str = "25P02";
    const IDLE_IN_TRANSACTION: &str = "25P03";
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const NO_SUCH_DATABASE: &str = "3D000";
    const READ_ONLY: &str = "25006"; // after a fail-over: still connected to what is a standby now

    let class = code.get(..2).unwrap_or_default();
    [
        CANNOT_LOG_IN,
        CONNECTION,
        RESOURCES,
        ROLLED_BACK,
        SYSTEM,
        OPERATOR,
    ]
    .contains(&class)
        || [
            FAILED_TRANSACTION,
            IDLE_IN_TRANSACTION,
            LOCK_NOT_AVAILABLE,
            NO_SUCH_DATABASE,
            READ_ONLY,
        ]
        .contains(&code)
}

/// Whether a server that refuses a first connection so may take one in a moment.
pub(crate) fn may_come_up(error: &sqlx::Error) -> bool {
    const CONNECTION: &str = "08";
    const OPERATOR: &str = "57";
    const RESOURCES: &str = "53";

    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => {
            let code = code(error.as_ref());
            [CONNECTION, OPERATOR, RESOURCES].contains(&code.get(..2).unwrap_or_default())
        }
        _ => false,
    }
}

/// Nothing of the unit of work was written, and the next try may pass: it met another transaction, or got a connection that somebody else had left
/// in a failed one.
pub(crate) fn is_worth_another_try(error: &sqlx::Error) -> bool {
    const DEADLOCK: &str = "40P01";
    const FAILED_TRANSACTION: &str = "25P02";
    const SERIALIZATION: &str = "40001";

    error.as_database_error().is_some_and(|error| {
        [DEADLOCK, FAILED_TRANSACTION, SERIALIZATION].contains(&&*code(error)) || met_another(error)
    })
}

/// The server answered and goes on: a lone statement that failed so has left nothing behind on its connection.
pub(crate) fn leaves_the_connection_clean(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| ends_a_statement_only(error) && !code(error).starts_with("25"))
}

/// The server answered, and nothing was written of a lone statement, or of the transaction that it was part of.
pub(crate) fn undoes_its_statement(error: &sqlx::Error) -> bool {
    const CONNECTION: &str = "08"; // as poolers tell it
    const UNKNOWN: &str = "40003";

    error.as_database_error().is_some_and(|error| {
        let code = code(error);
        ends_a_statement_only(error) && code != UNKNOWN && !code.starts_with(CONNECTION)
    })
}

/// Not FATAL: the connection goes on.
pub(crate) fn ends_a_statement_only(error: &dyn DatabaseError) -> bool {
    error
        .try_downcast_ref::<PgDatabaseError>()
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Error))
}

#[cfg(test)]
mod tests {
    use auth_tests::postgres;

    use super::{CUSTOMER, KNOWN, ORPHANED, UNIQUE, is_outage};

    #[tokio::test(flavor = "multi_thread")]
    async fn every_name_here_is_a_unique_constraint_of_the_schema() {
        let mut outside = postgres::database().await.raw().await;
        let found: Vec<String> = sqlx::query_scalar(
            "select conname::text from pg_constraint
             where connamespace = 'auth'::regnamespace and (contype = 'u' or conname = 'identities_pkey') order by conname",
        )
        .fetch_all(&mut outside)
        .await
        .unwrap();
        let named: Vec<_> = UNIQUE.iter().map(|(name, _)| *name).collect();
        assert_eq!(found, named, "left: the schema, right: the names here");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_meets_another_transaction_is_in_the_schema() {
        let mut outside = postgres::database().await.raw().await;
        let found: Vec<String> = sqlx::query_scalar(
            "select conname::text from pg_constraint where conrelid = 'auth.credit_accounts'::regclass and contype = 'f'
             union all
             select indexrelid::regclass::text from pg_index
             where indrelid in ('auth.credit_entries'::regclass, 'auth.payment_accounts'::regclass) and indisunique and not indisprimary",
        )
        .fetch_all(&mut outside)
        .await
        .unwrap();
        let mut found: Vec<_> = found
            .iter()
            .map(|name| name.trim_start_matches("auth."))
            .collect();
        found.sort_unstable();
        let [key, reference] = KNOWN;
        assert_eq!(
            found,
            [ORPHANED, key, reference, CUSTOMER],
            "left: the schema, right: the names here"
        );
    }

    #[test]
    fn what_passes_by_itself_is_an_outage_and_the_rest_is_a_bug() {
        for code in [
            "08006", "25006", "25P02", "25P03", "28P01", "3D000", "40001", "40P01", "53100",
            "53300", "55P03", "57014", "57P01", "57P02", "57P03", "58030",
        ] {
            assert!(is_outage(code), "{code}");
        }
        for code in ["", "22021", "23503", "23505", "42501", "42P01", "XX000"] {
            assert!(!is_outage(code), "{code}");
        }
    }
}

//! A connection pooler that lends servers by the transaction, and mixes up the statements that its clients prepare.
//!
//! Each connection counts its prepared statements from one. On a server that two of them share unknowingly, the second finds the name in use, the first
//! finds no such statement, or, worst of all, runs the other's. That would show only under load, as errors and wrong answers.

use sqlx::PgConnection;

use crate::{SchemaError, classify::ends_a_statement_only};

/// Whose turn it is. However a pooler hands idle servers out (the newest first, the oldest first, or a single one), somebody meets another's
/// statement on the way.
const TURNS: [Turn; 6] = [
    Turn::First,
    Turn::Second,
    Turn::First,
    Turn::First,
    Turn::Second,
    Turn::Second,
];

#[derive(Clone, Copy)]
enum Turn {
    First,
    Second,
}

/// Says no when what one connection prepared is not there for it, or is there for another one.
pub(crate) async fn refuse_mixed_statements(
    first: &mut PgConnection,
    second: &mut PgConnection,
) -> Result<(), SchemaError> {
    for turn in TURNS {
        // Both are the first statement of their connection, so they bear one name.
        let (answer, wanted) = match turn {
            Turn::First => (sqlx::query_scalar("select 1").fetch_one(&mut *first), 1),
            Turn::Second => (sqlx::query_scalar("select 2").fetch_one(&mut *second), 2),
        };
        match answer.await {
            Ok(answer) if answer == wanted => {}
            Ok(other) => {
                let other: i32 = other;
                let mixed = format!("one connection was given the answer {other} of another one");
                return Err(SchemaError::Pooler(sqlx::Error::Protocol(mixed)));
            }
            Err(error) if is_mixed(&error) => return Err(SchemaError::Pooler(error)),
            Err(error) => return Err(SchemaError::Open(error)),
        }
    }
    Ok(())
}

/// What "select" of a number cannot meet on a connection of its own.
fn is_mixed(error: &sqlx::Error) -> bool {
    const DUPLICATE_STATEMENT: &str = "42P05";
    const NO_SUCH_STATEMENT: &str = "26000";
    const PROTOCOL: &str = "08P01"; // parameters are missing, as another statement has some

    match error {
        // What ends the connection is the pooler's own word, about a server that is away: PgBouncer says 08P01 then, too.
        sqlx::Error::Database(error) => {
            ends_a_statement_only(error.as_ref())
                && error.code().is_some_and(|code| {
                    [DUPLICATE_STATEMENT, NO_SUCH_STATEMENT, PROTOCOL].contains(&&*code)
                })
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

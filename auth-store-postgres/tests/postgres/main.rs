//! The Postgres store over real servers. One program, so that all tests share one server.
#![allow(clippy::panic, clippy::unwrap_used)] // test code: what cannot go on has failed

mod cancellation;
mod contract;
mod network;
mod outage;
mod pooler;
mod races;
mod schema;
mod scope;
mod trouble;
mod watch;

use std::time::Duration;

use auth_core::{
    contract::fixtures::{account, at, entry, record, session, token},
    ports::OsRandom,
    types::{AuditEvent, NewAccount, Purpose, Record, User, UserId},
};
use auth_store_postgres::sqlx::{self, PgConnection};

/// A registration that writes one row to each table.
fn registration(user: &User) -> (NewAccount, Record) {
    let name = user.username.as_str();
    let new = NewAccount {
        session: Some(session(user, &format!("refresh {name}"), at(0))),
        token: Some(token(
            user,
            Purpose::VerifyEmail,
            &format!("mailed {name}"),
            at(0),
        )),
        ..account(user)
    };
    (new, record(user, AuditEvent::Registered, at(0)))
}

/// How many rows each table has for a user, at one moment.
async fn rows_of(connection: &mut PgConnection, user: UserId) -> [i64; 6] {
    let (users, sessions, refresh, mailed, mails, entries) = sqlx::query_as(
        "select (select count(*) from auth.users where id = $1),
                (select count(*) from auth.sessions where user_id = $1),
                (select count(*) from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id where s.user_id = $1),
                (select count(*) from auth.mailed_tokens where user_id = $1),
                (select count(*) from auth.outbox where user_id = $1),
                (select count(*) from auth.audit_log where user_id = $1)",
    )
    .bind(user.as_uuid())
    .fetch_one(connection)
    .await
    .unwrap();
    [users, sessions, refresh, mailed, mails, entries]
}

const WHOLE: [i64; 6] = [1; 6];
const ABSENT: [i64; 6] = [0; 6];

/// A record of one entry about a user who need not be.
fn entry_about(user: &User) -> Record {
    Record {
        mails: Vec::new(),
        audit: vec![entry(user, AuditEvent::LoginFailed, at(0))],
    }
}

/// A user with a name that no other one has.
fn somebody() -> User {
    let id = UserId::generate(at(0), &OsRandom);
    let name = id.as_uuid().simple().to_string();
    User {
        id,
        ..auth_core::contract::fixtures::user(&format!("u{}", &name[15..]))
    }
}

/// Until another connection waits for a lock.
async fn somebody_waits(outside: &mut PgConnection) {
    let waiting = async {
        loop {
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
            )
            .fetch_one(&mut *outside)
            .await
            .unwrap();
            if waits {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap();
}

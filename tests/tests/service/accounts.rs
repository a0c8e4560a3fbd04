//! A look at the database and the mail folder from outside.

use std::collections::BTreeSet;

use auth_store_sqlite::sqlx;
use auth_tests::process::Home;

/// Every address with an account, after a check that each account has all of its parts and each part an account.
pub(crate) async fn whole_accounts(home: &Home) -> BTreeSet<String> {
    let mut database = home.database().await;
    // One row per account with its numbers of sessions, refresh tokens, mailed tokens, audit entries, and mails that wait.
    let accounts: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "select email,
                (select count(*) from auth_sessions where user_id = u.id),
                (select count(*) from auth_refresh_tokens t join auth_sessions s on s.id = t.session_id where s.user_id = u.id),
                (select count(*) from auth_mailed_tokens where user_id = u.id),
                (select count(*) from auth_audit_log where user_id = u.id and event = 'registered'),
                (select count(*) from auth_outbox where user_id = u.id and recipient = u.email)
         from auth_users u",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let strays: i64 = sqlx::query_scalar(
        "select (select count(*) from auth_outbox where user_id not in (select id from auth_users))
              + (select count(*) from auth_audit_log where event = 'registered' and user_id not in (select id from auth_users))",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(strays, 0);
    let sent: Vec<String> = home
        .mails()
        .iter()
        .map(|mail| mail.to.to_string())
        .collect();
    let mut addresses = BTreeSet::new();
    for (address, sessions, refresh, mailed, audit, waiting) in accounts {
        assert_eq!(
            (sessions, refresh, mailed, audit),
            (1, 1, 1, 1),
            "{address}"
        );
        // A mail that left just before the end may wait for its row to be deleted.
        let left = sent.iter().filter(|to| **to == address).count();
        assert!(
            left <= 1 && waiting <= 1 && left + usize::try_from(waiting).unwrap() >= 1,
            "{address}"
        );
        addresses.insert(address);
    }
    for to in sent {
        assert!(addresses.contains(&to), "a mail without an account: {to}");
    }
    addresses
}

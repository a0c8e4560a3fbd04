//! The audit log: [`AuditLog`](crate::ports::AuditLog).

use time::Duration;
use uuid::Uuid;

use super::{
    Stores,
    fixtures::{TICK, at, entry, logged_in, registered, user},
};
use crate::{
    ports::Store,
    types::{AuditEntry, AuditEvent, AuditId, Record, User},
};

async fn log(store: &dyn Store, audit: Vec<AuditEntry>) {
    let record = Record {
        mails: Vec::new(),
        audit,
    };
    store.append(record).await.unwrap();
}

/// Every event and every field come back as they were written.
pub async fn every_field_of_an_entry_survives(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let session = logged_in(&*stores.first, &ada, "refresh", at(0)).await;
    let text = "O'Neil \"100%\" _ \\ ; -- \u{1f980}\u{e9}".to_owned();
    let events = [
        AuditEvent::AccountDisabled,
        AuditEvent::AccountEnabled,
        AuditEvent::AccountDeleted,
        AuditEvent::AdminGranted,
        AuditEvent::AdminRevoked,
        AuditEvent::EmailChangeCancelled,
        AuditEvent::EmailChangeRequested,
        AuditEvent::EmailChanged,
        AuditEvent::EmailVerified,
        AuditEvent::LoginFailed,
        AuditEvent::LoginSucceeded,
        AuditEvent::PasswordChanged,
        AuditEvent::PasswordResetRequested,
        AuditEvent::PasswordReset,
        AuditEvent::RefreshTokenReused,
        AuditEvent::Registered,
        AuditEvent::RegistrationRefused,
        AuditEvent::SessionsEnded,
        AuditEvent::VerificationRequested,
    ];
    let mut entries = Vec::new();
    for (second, event) in (0..).zip(events) {
        let bare = entry(&ada, event, at(second) + Duration::microseconds(654_321));
        entries.push(match second % 3 {
            0 => bare,
            1 => AuditEntry {
                session_id: Some(session.id),
                ip: Some("192.0.2.7".parse().unwrap()),
                user_agent: Some(text.clone()),
                ..bare
            },
            _ => AuditEntry {
                ip: Some("2001:db8::7".parse().unwrap()),
                request_id: Some(text.clone()),
                ..bare
            },
        });
    }
    log(&*stores.first, entries.clone()).await;
    entries.reverse();
    let got = stores.second.audit_entries(ada.id, 100).await.unwrap();
    assert_eq!(got, entries);
}

/// By time, then by id, whatever order they were written in; and no more than asked for.
pub async fn the_newest_entries_come_first(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let bob = registered(&*stores.first, "bob").await;
    let numbered = |number, now| AuditEntry {
        id: AuditId::from_uuid(Uuid::from_u128(number)),
        ..entry(&ada, AuditEvent::LoginFailed, now)
    };
    let entries = vec![
        numbered(9, at(10)),
        numbered(2, at(20)),
        numbered(7, at(20)),
        numbered(5, at(20)),
        numbered(1, at(20) + TICK),
        entry(&bob, AuditEvent::LoginFailed, at(30)),
    ];
    log(&*stores.first, entries).await;
    for (limit, want) in [
        (100, &[1, 7, 5, 2, 9][..]),
        (3, &[1, 7, 5]),
        (1, &[1]),
        (0, &[]),
    ] {
        let entries = stores.second.audit_entries(ada.id, limit).await.unwrap();
        let got: Vec<u128> = entries
            .iter()
            .map(|entry| entry.id.as_uuid().as_u128())
            .collect();
        assert_eq!(got, want);
    }
}

/// What concerns no account is written and shown with none; an account that never was has a log of what was tried.
pub async fn entries_are_shown_with_their_user(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let nobody: User = user("nobody");
    let anonymous = AuditEntry {
        user_id: None,
        ..entry(&nobody, AuditEvent::LoginFailed, at(1))
    };
    let of_nobody = entry(&nobody, AuditEvent::LoginFailed, at(2));
    log(&*stores.first, vec![anonymous, of_nobody.clone()]).await;
    let store = &*stores.second;
    assert_eq!(store.audit_entries(ada.id, 10).await.unwrap(), []);
    assert_eq!(
        store.audit_entries(nobody.id, 10).await.unwrap(),
        [of_nobody]
    );
}

//! The queue of mails: [`Outbox`](crate::ports::Outbox).

use std::collections::HashSet;

use time::Duration;
use uuid::Uuid;

use super::{
    Stores,
    fixtures::{TICK, at, mail, race, registered},
};
use crate::{
    ports::{ClaimedMail, MailCounts, Store},
    types::{
        Email, Letter, MailId, PaidPeriod, PendingToken, Purpose, QueuedMail, Record, User, UserId,
    },
};

async fn queue(store: &dyn Store, mails: Vec<QueuedMail>) {
    let record = Record {
        mails,
        audit: Vec::new(),
    };
    store.append(record).await.unwrap();
}

/// One mail in the queue.
async fn one_queued(stores: &Stores) -> (User, MailId) {
    let ada = registered(&*stores.first, "ada").await;
    let mail = mail(&ada, at(0));
    let id = mail.id;
    queue(&*stores.first, vec![mail]).await;
    (ada, id)
}

fn ids(claimed: &[ClaimedMail]) -> Vec<MailId> {
    claimed.iter().map(|claimed| claimed.mail.id).collect()
}

async fn claim(store: &dyn Store, now: i64, lease: i64) -> Vec<ClaimedMail> {
    store.claim_mails(at(now), at(lease), 100).await.unwrap()
}

async fn counts(store: &dyn Store) -> (u64, u64) {
    let MailCounts { queued, dead } = store.mail_counts().await.unwrap();
    (queued, dead)
}

/// Whatever order they were written in; and no more than asked for.
pub async fn the_oldest_mails_are_claimed_first(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let mails: Vec<QueuedMail> = [
        (1, at(30)),
        (5, at(10)),
        (2, at(20)),
        (3, at(10) + TICK),
        (4, at(0) + Duration::microseconds(999_999)),
    ]
    .into_iter()
    .map(|(id, created_at)| QueuedMail {
        id: MailId::from_uuid(Uuid::from_u128(id)),
        ..mail(&ada, created_at)
    })
    .collect();
    let order: Vec<MailId> = [4, 1, 3, 2, 0].map(|index| mails[index].id).to_vec();
    queue(&*stores.first, mails).await;

    let store = &*stores.second;
    let none = store.claim_mails(at(40), at(100), 0).await.unwrap();
    assert!(none.is_empty());
    let oldest = store.claim_mails(at(40), at(100), 2).await.unwrap();
    assert_eq!(ids(&oldest), order[..2]);
    assert_eq!(ids(&claim(&*stores.first, 40, 100).await), order[2..]);
    assert!(claim(store, 40, 100).await.is_empty());
    assert_eq!(counts(store).await, (5, 0));
}

/// Recipient, language, letter and time come back as they were written; so does a mail that belongs to no account.
pub async fn every_letter_survives(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let letters = letters(ada.id);
    let mut mails = Vec::new();
    for (second, letter) in (0..).zip(letters) {
        let user_id = (second % 2 == 0).then_some(ada.id);
        mails.push(QueuedMail {
            user_id,
            to: Email::parse("O'Hara%\u{1f980}@example.org").unwrap(),
            locale: "pt-BR".to_owned(),
            letter,
            ..mail(&ada, at(second) + Duration::microseconds(123_456))
        });
    }
    queue(&*stores.first, mails.clone()).await;

    let claimed = claim(&*stores.second, 100, 200).await;
    assert_eq!(claimed.len(), mails.len());
    for (claimed, want) in claimed.iter().zip(&mails) {
        let got = &claimed.mail;
        assert_eq!(got.letter, want.letter);
        assert_eq!((got.id, got.user_id), (want.id, want.user_id));
        assert_eq!(got.to.as_str(), want.to.as_str());
        assert_eq!(got.locale, want.locale);
        assert_eq!(got.created_at, want.created_at);
        assert_eq!((claimed.attempts, claimed.lease), (0, at(200)));
    }
}

/// One of each kind, with and without what a kind may lack.
#[allow(clippy::too_many_lines)] // one entry a letter
fn letters(user_id: UserId) -> Vec<Letter> {
    let username = "O'Hara \"100%\" _ \\ {{ name }} <b>\u{1f980}\u{e9}</b> \u{2028}".to_owned();
    let token = |purpose| PendingToken {
        jti: "kT0_-abcdefghijklmnopqrstuvwxyz".to_owned(),
        user_id,
        purpose,
        issued_at: 1_767_225_600,
        expires_at: i64::MAX,
    };
    let paid = || PaidPeriod {
        plan: "Basic".to_owned(),
        credits: "120.00".to_owned(),
        balance: "1240.00".to_owned(),
        price: "9.00".to_owned(),
        currency: "EUR".to_owned(),
        period_end: at(1_000_000),
    };
    vec![
        Letter::AccountExists {
            username: username.clone(),
            token: token(Purpose::ReclaimAccount),
        },
        Letter::AccountDeleted {
            username: username.clone(),
        },
        Letter::EmailChangeNotice {
            username: username.clone(),
            new_email: "n'e\u{fc}w@example.org".to_owned(),
            token: token(Purpose::CancelEmailChange),
        },
        Letter::EmailChangeVerify {
            username: username.clone(),
            token: token(Purpose::ChangeEmail),
        },
        Letter::PasswordChanged {
            username: username.clone(),
        },
        Letter::PasswordReset {
            username: username.clone(),
            token: token(Purpose::ResetPassword),
        },
        Letter::VerifyEmail {
            username: username.clone(),
            token: token(Purpose::VerifyEmail),
        },
        Letter::GoogleLinked {
            username: username.clone(),
            provider: "Google".to_owned(),
            identity: "ada@example.org".to_owned(),
        },
        Letter::GoogleUnlinked {
            username: username.clone(),
            provider: "Google".to_owned(),
        },
        Letter::CreditPurchase {
            username: username.clone(),
            item: "Large".to_owned(),
            credits: "1200.00".to_owned(),
            balance: "1234.50".to_owned(),
            price: "49.00".to_owned(),
            currency: "EUR".to_owned(),
        },
        Letter::SubscriptionStarted {
            username: username.clone(),
            paid: paid(),
        },
        Letter::SubscriptionRenewed {
            username: username.clone(),
            paid: paid(),
        },
        Letter::SubscriptionCancelled {
            username: username.clone(),
            plan: "Basic".to_owned(),
            ends_at: at(1_000_000),
        },
        Letter::PlanUpgrade {
            username: username.clone(),
            old_plan: "Basic".to_owned(),
            paid: paid(),
        },
        Letter::PaymentFailed {
            username: username.clone(),
            plan: "Basic".to_owned(),
            price: "9.00".to_owned(),
            currency: "EUR".to_owned(),
            retry_at: Some(at(1_000_000)),
            link: Some("https://pay.example.org/i/1?a=b&c=%20".to_owned()),
        },
        Letter::PaymentFailed {
            username: username.clone(),
            plan: "Basic".to_owned(),
            price: "9.00".to_owned(),
            currency: "EUR".to_owned(),
            retry_at: None,
            link: None,
        },
        Letter::Test,
        Letter::Welcome {
            username,
            token: token(Purpose::VerifyEmail),
        },
    ]
}

/// While a worker holds a mail, no other one gets it.
pub async fn a_claimed_mail_is_held_until_its_lease_ends(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    assert_eq!(ids(&claim(&*stores.first, 1, 61).await), [id]);
    for store in [&*stores.first, &*stores.second] {
        assert!(claim(store, 1, 61).await.is_empty());
        let late = store.claim_mails(at(61) - TICK, at(121), 10).await;
        assert!(late.unwrap().is_empty());
    }
    assert_eq!(counts(&*stores.second).await, (1, 0));
    let again = stores.second.claim_mails(at(61) + TICK, at(121), 10).await;
    assert_eq!(ids(&again.unwrap()), [id]);
}

/// The worker that was too slow must not mark what another one holds by now.
pub async fn a_lost_claim_marks_nothing(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let (slow, other) = (&*stores.first, &*stores.second);
    claim(slow, 1, 61).await;
    assert_eq!(ids(&claim(other, 62, 122).await), [id]);

    assert!(!slow.mail_sent(id, at(61)).await.unwrap());
    let failed = slow.mail_failed(id, at(61), None, "slow").await;
    assert!(!failed.unwrap());
    let failed = slow.mail_failed(id, at(61), Some(at(63)), "slow").await;
    assert!(!failed.unwrap());
    assert_eq!(counts(slow).await, (1, 0));
    assert!(claim(slow, 64, 124).await.is_empty());

    assert!(other.mail_sent(id, at(122)).await.unwrap());
    assert_eq!(counts(slow).await, (0, 0));
}

/// Nobody marks a mail that nobody holds, or that does not exist.
pub async fn an_unclaimed_mail_cannot_be_marked(stores: Stores) {
    let (ada, id) = one_queued(&stores).await;
    let store = &*stores.first;
    for id in [id, mail(&ada, at(0)).id] {
        assert!(!store.mail_sent(id, at(61)).await.unwrap());
        let failed = store.mail_failed(id, at(61), None, "never held").await;
        assert!(!failed.unwrap());
    }
    assert_eq!(counts(store).await, (1, 0));
    let claimed = claim(store, 1, 61).await;
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], 0));
}

/// A clock may be finer than what a store keeps: the claim has its name all the same.
pub async fn a_lease_finer_than_a_microsecond_names_its_claim(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let lease = at(61) + Duration::nanoseconds(123_456_789);
    let claimed = stores.first.claim_mails(at(1), lease, 10).await.unwrap();
    assert_eq!(ids(&claimed), [id]);
    let retry = Some(at(2));
    let failed = stores.second.mail_failed(id, lease, retry, "try").await;
    assert!(failed.unwrap(), "by the lease that was asked for");
    let claimed = stores.first.claim_mails(at(3), lease, 10).await.unwrap();
    let sent = stores.second.mail_sent(id, claimed[0].lease).await;
    assert!(sent.unwrap(), "by the lease that was given");
}

/// A sent mail is gone, once.
pub async fn a_sent_mail_is_deleted(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    claim(&*stores.first, 1, 61).await;
    assert!(stores.first.mail_sent(id, at(61)).await.unwrap());
    assert!(!stores.second.mail_sent(id, at(61)).await.unwrap());
    assert_eq!(counts(&*stores.second).await, (0, 0));
    assert!(claim(&*stores.second, 1000, 2000).await.is_empty());
}

/// Tries are counted, and each next one waits for its time.
pub async fn a_failed_mail_is_due_again_at_its_time(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let (first, second) = (&*stores.first, &*stores.second);
    let mut now = 0;
    for attempts in 0..3 {
        let claimed = claim(first, now, now + 60).await;
        assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], attempts));
        let retry_at = now + 600;
        let reason = "451 4.7.1 'try' \"again\" % \u{1f980}";
        let failed = first
            .mail_failed(id, at(now + 60), Some(at(retry_at)), reason)
            .await;
        assert!(failed.unwrap());
        let twice = second
            .mail_failed(id, at(now + 60), Some(at(retry_at)), reason)
            .await;
        assert!(!twice.unwrap(), "the claim ended with the first report");
        let early = second
            .claim_mails(at(retry_at) - TICK, at(retry_at + 60), 10)
            .await;
        assert!(early.unwrap().is_empty());
        assert_eq!(counts(second).await, (1, 0));
        now = retry_at;
    }
    assert_eq!(ids(&claim(second, now, now + 60).await), [id]);
}

/// Given up, and visible to the operator.
pub async fn a_dead_letter_is_counted_and_never_claimed(stores: Stores) {
    let (ada, id) = one_queued(&stores).await;
    let store = &*stores.first;
    claim(store, 1, 61).await;
    let failed = store
        .mail_failed(id, at(61), None, "550 no such user")
        .await;
    assert!(failed.unwrap());
    queue(store, vec![mail(&ada, at(2))]).await;
    assert_eq!(counts(&*stores.second).await, (1, 1));
    let year = 365 * 86_400;
    let claimed = claim(&*stores.second, year, year + 60).await;
    assert!(!ids(&claimed).contains(&id));
    assert_eq!(claimed.len(), 1);
    assert!(!store.mail_sent(id, at(61)).await.unwrap());
    assert_eq!(counts(&*stores.second).await, (1, 1));
}

/// Twenty mails and eight workers: each mail goes to one of them.
pub async fn parallel_claims_never_overlap(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let mails: Vec<QueuedMail> = (0..20).map(|second| mail(&ada, at(second))).collect();
    let all: HashSet<Uuid> = mails.iter().map(|mail| mail.id.as_uuid()).collect();
    queue(&*stores.first, mails).await;

    let claims = race(&stores, |number, store| async move {
        let mut mine = Vec::new();
        for _ in 0..3 {
            let lease = at(100 + i64::try_from(number).unwrap());
            mine.extend(store.claim_mails(at(50), lease, 2).await.unwrap());
        }
        mine
    })
    .await;
    let claimed: Vec<Uuid> = claims
        .iter()
        .flatten()
        .map(|claimed| claimed.mail.id.as_uuid())
        .collect();
    assert_eq!(claimed.len(), 20, "none twice");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
    for claimed in claims.into_iter().flatten() {
        let sent = stores.first.mail_sent(claimed.mail.id, claimed.lease).await;
        assert!(sent.unwrap(), "each claim holds what it was given");
    }
    assert_eq!(counts(&*stores.second).await, (0, 0));
}

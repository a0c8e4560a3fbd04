//! The queue of mails: [`Outbox`](crate::ports::Outbox).

use std::collections::HashSet;

use time::Duration;
use uuid::Uuid;

use super::{
    Stores,
    fixtures::{TICK, at, mail, race, registered},
};
use crate::{
    ports::{ClaimedMail, DeadMail, DeadMails, GIVE_UP_AFTER, LOST, MailCounts, Store},
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

/// Long enough for any test.
const HELD: Duration = Duration::HOUR;
/// Over at once.
const LOST_AT_ONCE: Duration = Duration::ZERO;

async fn claim(store: &dyn Store, now: i64, lease: Duration) -> Vec<ClaimedMail> {
    let claims = store.claim_mails(at(now), lease, 100).await.unwrap();
    assert!(claims.given_up.is_empty());
    claims.mails
}

async fn counts(store: &dyn Store) -> (u64, u64) {
    let MailCounts { queued, dead, .. } = store.mail_counts().await.unwrap();
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
    let none = store.claim_mails(at(40), HELD, 0).await.unwrap();
    assert!(none.mails.is_empty());
    let oldest = store.claim_mails(at(40), HELD, 2).await.unwrap();
    assert_eq!(ids(&oldest.mails), order[..2]);
    assert_eq!(ids(&claim(&*stores.first, 40, HELD).await), order[2..]);
    assert!(claim(store, 40, HELD).await.is_empty());
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

    let claimed = claim(&*stores.second, 100, HELD).await;
    assert_eq!(claimed.len(), mails.len());
    for (claimed, want) in claimed.iter().zip(&mails) {
        let got = &claimed.mail;
        assert_eq!(got.letter, want.letter);
        assert_eq!((got.id, got.user_id), (want.id, want.user_id));
        assert_eq!(got.to.as_str(), want.to.as_str());
        assert_eq!(got.locale, want.locale);
        assert_eq!(got.created_at, want.created_at);
        assert_eq!((claimed.attempts, claimed.first_try_at), (1, at(100)));
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

/// While a worker holds a mail, no other one gets it, whatever its clock says.
pub async fn a_claimed_mail_is_held_until_its_lease_ends(stores: Stores) {
    let (ada, id) = one_queued(&stores).await;
    assert_eq!(ids(&claim(&*stores.first, 1, HELD).await), [id]);
    for store in [&*stores.first, &*stores.second] {
        assert!(claim(store, 1, HELD).await.is_empty());
        assert!(claim(store, 3599, HELD).await.is_empty());
    }
    assert_eq!(counts(&*stores.second).await, (1, 0));

    let lost = mail(&ada, at(1));
    let other = lost.id;
    queue(&*stores.first, vec![lost]).await;
    assert_eq!(ids(&claim(&*stores.first, 1, LOST_AT_ONCE).await), [other]);
    assert_eq!(ids(&claim(&*stores.second, 1, HELD).await), [other]);
}

/// The worker that was too slow must not mark what another one holds by now.
pub async fn a_lost_claim_marks_nothing(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let (slow, other) = (&*stores.first, &*stores.second);
    let lost = claim(slow, 1, LOST_AT_ONCE).await[0].lease;
    let held = claim(other, 62, HELD).await;
    assert_eq!(ids(&held), [id]);

    assert!(!slow.mail_sent(id, lost).await.unwrap());
    let failed = slow.mail_failed(id, lost, None, "slow").await;
    assert!(!failed.unwrap());
    let failed = slow.mail_failed(id, lost, Some(at(63)), "slow").await;
    assert!(!failed.unwrap());
    assert_eq!(counts(slow).await, (1, 0));
    assert!(claim(slow, 64, HELD).await.is_empty());

    assert!(other.mail_sent(id, held[0].lease).await.unwrap());
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
    let claimed = claim(store, 1, HELD).await;
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], 1));
}

/// A clock may be finer than what a store keeps: the claim has its name all the same.
pub async fn a_lease_finer_than_a_microsecond_names_its_claim(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let now = at(1) + Duration::nanoseconds(123_456_789);
    let lease = HELD + Duration::nanoseconds(987_654_321);
    let claims = stores.first.claim_mails(now, lease, 10).await.unwrap();
    assert_eq!(ids(&claims.mails), [id]);
    let sent = stores.second.mail_sent(id, claims.mails[0].lease).await;
    assert!(sent.unwrap());
}

/// A sent mail is gone, once.
pub async fn a_sent_mail_is_deleted(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let lease = claim(&*stores.first, 1, HELD).await[0].lease;
    assert!(stores.first.mail_sent(id, lease).await.unwrap());
    assert!(!stores.second.mail_sent(id, lease).await.unwrap());
    assert_eq!(counts(&*stores.second).await, (0, 0));
    assert!(claim(&*stores.second, 1000, HELD).await.is_empty());
}

/// Tries are counted, and each next one waits for its time.
pub async fn a_failed_mail_is_due_again_at_its_time(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let (first, second) = (&*stores.first, &*stores.second);
    let mut now = 0;
    for attempts in 1..4 {
        let claimed = claim(first, now, HELD).await;
        assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], attempts));
        assert_eq!(claimed[0].first_try_at, at(0));
        let (lease, retry_at) = (claimed[0].lease, now + 600);
        let reason = "451 4.7.1 'try' \"again\" % \u{1f980}";
        let failed = first
            .mail_failed(id, lease, Some(at(retry_at)), reason)
            .await;
        assert!(failed.unwrap());
        let twice = second
            .mail_failed(id, lease, Some(at(retry_at)), reason)
            .await;
        assert!(!twice.unwrap(), "the claim ended with the first report");
        let early = second.claim_mails(at(retry_at) - TICK, HELD, 10).await;
        assert!(early.unwrap().mails.is_empty());
        assert_eq!(counts(second).await, (1, 0));
        now = retry_at;
    }
    assert_eq!(ids(&claim(second, now, HELD).await), [id]);
}

/// A mail that kills its worker is not tried with every lease: it waits for longer and longer.
pub async fn a_lost_claim_is_counted_and_its_mail_waits_for_longer(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let look = async |ticks: i32| {
        let claims = stores
            .first
            .claim_mails(at(1) + TICK * ticks, TICK, 10)
            .await;
        claims.unwrap().mails
    };
    // Due after 1, 2, 4 … ticks more, and after 32 at the most.
    let mut due = 0;
    for (attempts, wait) in (1..).zip([1, 2, 4, 8, 16, 32, 32]) {
        if due > 0 {
            assert!(look(due - 1).await.is_empty(), "{attempts}");
        }
        let claimed = look(due).await;
        assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], attempts));
        assert_eq!(claimed[0].first_try_at, at(1));
        due += wait;
    }
}

/// For a day: then it is a dead letter that says why.
pub async fn a_mail_whose_claims_are_lost_for_a_day_is_given_up(stores: Stores) {
    let (ada, id) = one_queued(&stores).await;
    let (first, second) = (&*stores.first, &*stores.second);
    claim(first, 1, LOST_AT_ONCE).await;
    let end = at(1) + GIVE_UP_AFTER;
    let late = first.claim_mails(end - TICK, LOST_AT_ONCE, 10).await;
    assert_eq!(ids(&late.unwrap().mails), [id]);
    let behind = mail(&ada, end);
    let other = behind.id;
    queue(first, vec![behind]).await;

    let claims = second.claim_mails(end, HELD, 1).await.unwrap();
    assert_eq!(claims.given_up, [id]);
    assert_eq!(ids(&claims.mails), [other], "it takes nobody's place");
    let dead = first.dead_mails(10).await.unwrap();
    assert_eq!((dead[0].id, dead[0].attempts), (id, 2));
    assert_eq!(dead[0].reason, LOST);
    assert_eq!(counts(first).await, (1, 1));
}

/// The workers may have been away for days: what waits for a try gets it.
pub async fn a_mail_that_waits_gets_its_try_however_late(stores: Stores) {
    let (_, id) = one_queued(&stores).await;
    let week = 7 * 86_400;
    let claimed = claim(&*stores.first, week, HELD).await;
    assert_eq!(ids(&claimed), [id]);
    assert_eq!(claimed[0].first_try_at, at(week), "its day begins now");
    let failed = stores
        .first
        .mail_failed(id, claimed[0].lease, Some(at(week + 5)), "451")
        .await;
    assert!(failed.unwrap());
    let claimed = claim(&*stores.second, 2 * week, HELD).await;
    assert_eq!((ids(&claimed), claimed[0].attempts), (vec![id], 2));
    assert_eq!(claimed[0].first_try_at, at(week));
}

/// Given up, and visible to the operator.
pub async fn a_dead_letter_is_counted_and_never_claimed(stores: Stores) {
    let (ada, id) = one_queued(&stores).await;
    let store = &*stores.first;
    let lease = claim(store, 1, HELD).await[0].lease;
    let failed = store.mail_failed(id, lease, None, "550 no such user").await;
    assert!(failed.unwrap());
    queue(store, vec![mail(&ada, at(2))]).await;
    assert_eq!(counts(&*stores.second).await, (1, 1));
    let year = 365 * 86_400;
    let claimed = claim(&*stores.second, year, HELD).await;
    assert!(!ids(&claimed).contains(&id));
    assert_eq!(claimed.len(), 1);
    assert!(!store.mail_sent(id, lease).await.unwrap());
    assert_eq!(counts(&*stores.second).await, (1, 1));
}

/// The age of the queue is that of the oldest mail that still waits, or is being sent.
pub async fn the_oldest_queued_mail_is_told(stores: Stores) {
    let ada = registered(&*stores.first, "ada").await;
    let oldest = async || stores.second.mail_counts().await.unwrap().oldest;
    assert_eq!(oldest().await, None);
    let mails: Vec<QueuedMail> = [30, 10, 20].map(|second| mail(&ada, at(second))).into();
    let ids = [1, 2].map(|index: usize| mails[index].id);
    queue(&*stores.first, mails).await;
    assert_eq!(oldest().await, Some(at(10)));
    let claims = stores.first.claim_mails(at(40), HELD, 2).await.unwrap();
    assert_eq!(oldest().await, Some(at(10)), "held, and not sent yet");
    let [first, second] = [0, 1].map(|index: usize| claims.mails[index].lease);
    let sent = stores.first.mail_sent(ids[0], first).await;
    assert!(sent.unwrap());
    assert_eq!(oldest().await, Some(at(20)));
    let failed = stores.first.mail_failed(ids[1], second, None, "550").await;
    assert!(failed.unwrap());
    assert_eq!(oldest().await, Some(at(30)));
    let retried = stores.first.retry_dead_mails(DeadMails::All, at(50)).await;
    assert_eq!(retried.unwrap(), 1);
    assert_eq!(oldest().await, Some(at(30)), "the other waits since 50");
}

/// With everything that an operator decides by.
pub async fn dead_letters_are_listed_oldest_first(stores: Stores) {
    let (ada, ids) = three_dead(&stores).await;
    let dead = stores.second.dead_mails(10).await.unwrap();
    let expected: Vec<DeadMail> = [0, 1, 2]
        .map(|index: u32| DeadMail {
            id: ids[index as usize],
            to: ada.email.as_str().to_owned(),
            template: "password_changed".to_owned(),
            attempts: 1,
            reason: format!("550 no. {index} 'quoted' \u{1f980}"),
            created_at: at(i64::from(index)),
        })
        .into();
    assert_eq!(dead, expected);
    assert_eq!(stores.second.dead_mails(2).await.unwrap(), expected[..2]);
    assert!(stores.second.dead_mails(0).await.unwrap().is_empty());
}

/// One, or all; what waits is left as it is. Mails tell the date of their cause, which stays the same.
pub async fn a_dead_letter_is_queued_anew(stores: Stores) {
    let (ada, ids) = three_dead(&stores).await;
    let store = &*stores.first;
    let waiting = mail(&ada, at(5));
    queue(store, vec![waiting.clone()]).await;
    let retry = async |which, now| store.retry_dead_mails(which, at(now)).await.unwrap();
    assert_eq!(retry(DeadMails::One(waiting.id), 900).await, 0);
    assert_eq!(retry(DeadMails::One(mail(&ada, at(0)).id), 900).await, 0);
    assert_eq!(retry(DeadMails::One(ids[1]), 1000).await, 1);
    assert_eq!(
        retry(DeadMails::One(ids[1]), 1000).await,
        0,
        "it is not dead now"
    );
    assert_eq!(counts(&*stores.second).await, (2, 2));
    let claimed = claim(&*stores.second, 1000, HELD).await;
    let held: Vec<_> = claimed
        .iter()
        .map(|claim| (claim.mail.id, claim.attempts, claim.mail.created_at))
        .collect();
    assert_eq!(held, [(waiting.id, 1, at(5)), (ids[1], 1, at(1))]);
    assert_eq!(claimed[1].first_try_at, at(1000), "it has another day");

    assert_eq!(retry(DeadMails::All, 2000).await, 2);
    assert_eq!(counts(&*stores.second).await, (4, 0));
    assert!(store.dead_mails(10).await.unwrap().is_empty());
}

/// One, or all; what waits is left as it is.
pub async fn a_dead_letter_is_dropped(stores: Stores) {
    let (ada, ids) = three_dead(&stores).await;
    let store = &*stores.first;
    let waiting = mail(&ada, at(5));
    queue(store, vec![waiting.clone()]).await;
    let drop_dead = async |which| store.drop_dead_mails(which).await.unwrap();
    assert_eq!(drop_dead(DeadMails::One(waiting.id)).await, 0);
    assert_eq!(drop_dead(DeadMails::One(ids[0])).await, 1);
    assert_eq!(counts(&*stores.second).await, (1, 2));
    assert_eq!(drop_dead(DeadMails::All).await, 2);
    assert_eq!(drop_dead(DeadMails::All).await, 0);
    assert_eq!(counts(&*stores.second).await, (1, 0));
}

/// Three dead letters of one user, one second apart.
async fn three_dead(stores: &Stores) -> (User, [MailId; 3]) {
    let ada = registered(&*stores.first, "ada").await;
    let store = &*stores.first;
    let mails = [0, 1, 2].map(|second| mail(&ada, at(second)));
    let ids = mails.clone().map(|mail| mail.id);
    queue(store, mails.into()).await;
    let claimed = claim(store, 10, HELD).await;
    for (index, id) in ids.into_iter().enumerate() {
        let reason = format!("550 no. {index} 'quoted' \u{1f980}");
        let lease = claimed[index].lease;
        let failed = store.mail_failed(id, lease, None, &reason).await;
        assert!(failed.unwrap());
    }
    (ada, ids)
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
            let lease = HELD + Duration::seconds(i64::try_from(number).unwrap());
            let claims = store.claim_mails(at(50), lease, 2).await.unwrap();
            mine.extend(claims.mails);
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

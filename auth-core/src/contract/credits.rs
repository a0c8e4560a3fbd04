//! Balances and the ledger: [`CreditStore`].

use std::{collections::HashSet, fmt, sync::Arc};

use super::{
    Stores,
    fixtures::{at, logged_in, race_on, registered, user, version},
};
use crate::{
    ports::{Balance, Booking, CreditStore, History, HistoryPage, OsRandom, Store},
    types::{
        BookedEntry, Caller, Credits, Description, Direction, Entry, EntryId, EntryKind,
        IdempotencyKey, Record, ReferenceId, User, UserId,
    },
};

/// [`Stores`], and two handles on the ledger in the same data.
#[derive(Clone)]
pub struct CreditStores {
    /// For accounts.
    pub accounts: Stores,
    /// A handle.
    pub first: Arc<dyn CreditStore>,
    /// Another one, as a second replica has it.
    pub second: Arc<dyn CreditStore>,
}

impl fmt::Debug for CreditStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreditStores").finish_non_exhaustive()
    }
}

impl CreditStores {
    /// Over both handles.
    pub fn of<S: Store + CreditStore + Clone>(first: S, second: S) -> Self {
        Self {
            accounts: Stores::of(first.clone(), second.clone()),
            first: Arc::new(first),
            second: Arc::new(second),
        }
    }

    async fn registered(&self, name: &str) -> User {
        registered(&*self.accounts.first, name).await
    }

    pub(super) async fn delete(&self, user: &User) {
        let store = &*self.accounts.first;
        let seen = version(store, user).await;
        let session = logged_in(store, user, user.username.as_str(), at(0)).await;
        let deleted = store
            .delete_account(user.id, seen, session.id, at(1), Record::default())
            .await;
        assert!(deleted.unwrap());
    }
}

/// An amount, as a person writes it.
pub fn credits(raw: &str) -> Credits {
    Credits::parse(raw).unwrap()
}

fn entry(user: &User, kind: EntryKind, direction: Direction, amount: &str) -> Entry {
    Entry {
        id: EntryId::generate(at(0), &OsRandom),
        user_id: user.id,
        kind,
        direction,
        amount: credits(amount),
        reference: None,
        description: None,
        idempotency_key: None,
        caller: Caller::parse("tests").unwrap(),
        request_id: None,
        created_at: at(60),
    }
}

/// An entry that adds.
pub fn add(user: &User, amount: &str) -> Entry {
    entry(user, EntryKind::CreditAdded, Direction::Credit, amount)
}

/// An entry that takes.
pub fn spend(user: &User, amount: &str) -> Entry {
    entry(user, EntryKind::CreditUsed, Direction::Debit, amount)
}

fn with_key(entry: Entry, key: &str) -> Entry {
    Entry {
        id: EntryId::generate(at(0), &OsRandom),
        idempotency_key: Some(IdempotencyKey::parse(key).unwrap()),
        ..entry
    }
}

fn with_reference(entry: Entry, reference: &str) -> Entry {
    Entry {
        id: EntryId::generate(at(0), &OsRandom),
        reference: Some(ReferenceId::parse(reference).unwrap()),
        ..entry
    }
}

fn by(entry: Entry, caller: &str) -> Entry {
    Entry {
        caller: Caller::parse(caller).unwrap(),
        ..entry
    }
}

async fn done(store: &dyn CreditStore, entry: Entry) -> BookedEntry {
    match store.book(entry).await.unwrap() {
        Booking::Done(booked) => booked,
        other => panic!("this should be booked: {other:?}"),
    }
}

async fn balance(store: &dyn CreditStore, user: &User) -> String {
    let found = store.balance(user.id).await.unwrap();
    found.expect("the account is there").balance.to_string()
}

async fn history(store: &dyn CreditStore, user: &User) -> Vec<BookedEntry> {
    page(store, user, None, None, 1000).await.entries
}

async fn page(
    store: &dyn CreditStore,
    user: &User,
    kind: Option<EntryKind>,
    before: Option<i64>,
    limit: u32,
) -> HistoryPage {
    let history = History {
        user_id: user.id,
        kind,
        before,
        limit,
    };
    let page = store.history(history).await.unwrap();
    page.expect("the account is there")
}

/// That what every store promises holds for every account, whatever was done.
pub async fn assert_sound(store: &dyn CreditStore) {
    let accounts = store.ledger_accounts(None, 10_000).await.unwrap();
    let lines = store.ledger_lines(None, 100_000).await.unwrap();
    let known: HashSet<UserId> = accounts.iter().map(|account| account.user_id).collect();
    assert!(lines.iter().all(|line| known.contains(&line.user_id)));
    for account in accounts {
        let mut sum = 0;
        let mut number = 0;
        for line in lines.iter().filter(|it| it.user_id == account.user_id) {
            sum += line.change;
            number += 1;
            assert_eq!((line.number, line.new_balance), (number, sum), "{line:?}");
            assert!(line.change != 0 && sum >= 0, "{line:?}");
        }
        assert_eq!((account.entries, account.balance), (number, sum));
    }
}

/// A user who never had credits has none, since there is an account.
pub async fn an_account_without_entries_has_nothing(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    assert_eq!(
        stores.second.balance(ada.id).await.unwrap(),
        Some(Balance {
            user_id: ada.id,
            balance: Credits::ZERO,
            updated_at: ada.created_at,
        })
    );
    let page = page(&*stores.second, &ada, None, None, 10).await;
    assert_eq!((page.entries, page.total), (vec![], 0));
}

/// Each comes back as it was written, with the balance after it.
pub async fn every_field_of_a_booked_entry_survives(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let text = "O'Neil \"100%\" _ \\ ; -- \u{1f980}\u{e9}";
    let full = Entry {
        description: Some(Description::parse(text).unwrap()),
        request_id: Some("request-1".to_owned()),
        created_at: at(1) + time::Duration::microseconds(654_321),
        ..with_key(with_reference(add(&ada, "12.34"), text), "key-1")
    };
    let mut expected = vec![BookedEntry {
        entry: full.clone(),
        number: 1,
        new_balance: credits("12.34"),
    }];
    assert_eq!(done(&*stores.first, full).await, expected[0]);
    for (kind, number) in EntryKind::ALL.iter().zip(2..) {
        let (direction, balance) = if number % 2 == 0 {
            (Direction::Debit, "12.33")
        } else {
            (Direction::Credit, "12.34")
        };
        let bare = entry(&ada, *kind, direction, "0.01");
        let booked = done(&*stores.first, bare.clone()).await;
        let want = BookedEntry {
            entry: bare,
            number,
            new_balance: credits(balance),
        };
        assert_eq!(booked, want);
        expected.push(want);
    }
    expected.reverse();
    assert_eq!(history(&*stores.second, &ada).await, expected);
    let balance = stores.second.balance(ada.id).await.unwrap().unwrap();
    assert_eq!(
        (balance.balance, balance.updated_at),
        (expected[0].new_balance, expected[0].entry.created_at)
    );
    assert_sound(&*stores.second).await;
}

/// Not a hundredth more than there is; and a refused use is as if it had never been.
pub async fn what_is_not_there_is_not_used(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let key = |amount| with_reference(with_key(spend(&ada, amount), "k"), "r");
    let refused = stores.first.book(key("0.01")).await.unwrap();
    assert_eq!(refused, Booking::Insufficient(Credits::ZERO));
    done(&*stores.first, add(&ada, "5")).await;
    let refused = stores.second.book(key("5.01")).await.unwrap();
    assert_eq!(refused, Booking::Insufficient(credits("5")));
    assert_eq!(balance(&*stores.first, &ada).await, "5.00");
    assert_eq!(history(&*stores.first, &ada).await.len(), 1);
    // The key and the reference are still free, also for another amount.
    let booked = done(&*stores.second, key("5")).await;
    assert_eq!(booked.new_balance, Credits::ZERO);
    assert_sound(&*stores.first).await;
}

/// To the last hundredth, and no further.
pub async fn a_balance_does_not_overflow(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let most = Credits::MAX.to_string();
    let booked = done(&*stores.first, add(&ada, &most)).await;
    assert_eq!(booked.new_balance, Credits::MAX);
    for amount in ["0.01", &most] {
        let refused = stores.second.book(add(&ada, amount)).await.unwrap();
        assert_eq!(refused, Booking::Overflow);
    }
    assert_eq!(balance(&*stores.second, &ada).await, most);
    done(&*stores.first, spend(&ada, &most)).await;
    assert_sound(&*stores.first).await;
}

/// The first answer comes again, whatever happened since.
pub async fn a_repeated_key_is_replayed(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    done(&*stores.first, add(&ada, "10")).await;
    let use_ten = || with_key(spend(&ada, "10"), "k");
    let first = done(&*stores.first, use_ten()).await;
    let again = Entry {
        created_at: at(999),
        request_id: Some("another".to_owned()),
        ..use_ten()
    };
    // Nothing is left that could be used, and that does not matter.
    let replayed = stores.second.book(again.clone()).await.unwrap();
    assert_eq!(replayed, Booking::Replayed(first.clone()));
    done(&*stores.first, add(&ada, "50")).await;
    let replayed = stores.second.book(again).await.unwrap();
    assert_eq!(replayed, Booking::Replayed(first));
    assert_eq!(balance(&*stores.second, &ada).await, "50.00");
    assert_sound(&*stores.first).await;
}

/// Also under another key, by another caller or without a key.
pub async fn a_repeated_reference_is_replayed(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let order = || with_reference(add(&ada, "10"), "order-1");
    let first = done(&*stores.first, with_key(order(), "k1")).await;
    for again in [order(), with_key(order(), "k2"), by(order(), "others")] {
        let replayed = stores.second.book(again).await.unwrap();
        assert_eq!(replayed, Booking::Replayed(first.clone()));
    }
    assert_eq!(balance(&*stores.second, &ada).await, "10.00");
    // A replay spends no key.
    done(&*stores.first, with_key(add(&ada, "1"), "k2")).await;
    assert_sound(&*stores.first).await;
}

/// One key or reference means one thing.
pub async fn other_content_under_a_key_or_a_reference_is_a_conflict(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    for user in [&ada, &bob] {
        done(&*stores.first, add(user, "100")).await;
    }
    let description = |entry: Entry| Entry {
        description: Some(Description::parse("another").unwrap()),
        ..entry
    };
    done(
        &*stores.first,
        with_key(with_reference(add(&ada, "1"), "r"), "k"),
    )
    .await;
    for other in [
        with_key(with_reference(add(&ada, "1.01"), "r"), "k"),
        with_key(with_reference(add(&bob, "1"), "r"), "k"),
        with_key(with_reference(spend(&ada, "1"), "r"), "k"),
        with_key(with_reference(add(&ada, "1"), "r2"), "k"),
        with_key(add(&ada, "1"), "k"),
        with_key(description(with_reference(add(&ada, "1"), "r")), "k"),
        with_reference(add(&ada, "2"), "r"),
        with_key(description(with_reference(add(&ada, "1"), "r")), "k2"),
        // What is too much is a conflict all the same.
        with_key(spend(&ada, "1000"), "k"),
    ] {
        let refused = stores.second.book(other.clone()).await.unwrap();
        assert_eq!(refused, Booking::Conflict, "{other:?}");
    }
    assert_eq!(balance(&*stores.first, &ada).await, "101.00");
    assert_eq!(balance(&*stores.first, &bob).await, "100.00");
    assert_sound(&*stores.first).await;
}

/// Callers do not know each other's keys; an order has a use of its own beside its purchase.
pub async fn keys_belong_to_callers_and_references_to_users_and_kinds(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    for booked in [
        with_key(add(&ada, "1"), "k"),
        by(with_key(add(&ada, "2"), "k"), "others"),
        with_key(add(&ada, "3"), "K"),
        with_reference(add(&ada, "4"), "r"),
        with_reference(add(&bob, "5"), "r"),
        with_reference(spend(&ada, "6"), "r"),
        with_reference(add(&ada, "7"), "R"),
    ] {
        done(&*stores.first, booked).await;
    }
    assert_eq!(balance(&*stores.second, &ada).await, "11.00");
    assert_eq!(balance(&*stores.second, &bob).await, "5.00");
}

/// For whoever is not there: not booked, not replayed, not read.
pub async fn without_an_account_there_are_no_credits(stores: CreditStores) {
    let nobody = user("nobody");
    let entry = with_key(add(&nobody, "1"), "k");
    for entry in [entry.clone(), spend(&nobody, "1")] {
        let refused = stores.first.book(entry).await.unwrap();
        assert_eq!(refused, Booking::UnknownUser);
    }
    assert_eq!(stores.first.balance(nobody.id).await.unwrap(), None);
    let history = History {
        user_id: nobody.id,
        kind: None,
        before: None,
        limit: 10,
    };
    assert_eq!(stores.first.history(history).await.unwrap(), None);
    assert_eq!(stores.first.ledger_lines(None, 10).await.unwrap(), []);
    // The key is free.
    let ada = stores.registered("ada").await;
    done(&*stores.first, with_key(add(&ada, "1"), "k")).await;
}

/// The ledger stays, for the books; what may name a person goes; and nothing moves any more.
pub async fn a_deleted_account_leaves_its_ledger(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let named = |user: &User| Entry {
        description: Some(Description::parse("for somebody").unwrap()),
        ..with_key(add(user, "3"), user.username.as_str())
    };
    for user in [&ada, &bob] {
        done(&*stores.first, named(user)).await;
        done(&*stores.first, spend(user, "1")).await;
    }
    stores.delete(&ada).await;

    assert_eq!(stores.second.balance(ada.id).await.unwrap(), None);
    for entry in [named(&ada), spend(&ada, "1"), add(&ada, "1")] {
        let refused = stores.second.book(entry).await.unwrap();
        assert_eq!(refused, Booking::UnknownUser);
    }
    let accounts = stores.second.ledger_accounts(None, 10).await.unwrap();
    let of_ada = accounts.iter().find(|it| it.user_id == ada.id).unwrap();
    assert_eq!((of_ada.balance, of_ada.entries), (200, 2));
    assert_sound(&*stores.second).await;

    // Somebody else keeps everything.
    let kept = history(&*stores.second, &bob).await;
    assert_eq!(kept[1].entry.description, named(&bob).description);
}

/// Whoever comes later, numbers count down, and a page does not move when entries come.
pub async fn a_history_is_paged_from_the_newest(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    done(&*stores.first, add(&bob, "1")).await;
    for number in 0..6 {
        let entry = if number % 3 == 2 {
            spend(&ada, "0.01")
        } else {
            add(&ada, "1")
        };
        done(&*stores.first, entry).await;
    }
    let numbers = |page: &HistoryPage| -> Vec<i64> {
        page.entries.iter().map(|booked| booked.number).collect()
    };
    let first = page(&*stores.second, &ada, None, None, 4).await;
    assert_eq!((numbers(&first), first.total), (vec![6, 5, 4, 3], 6));
    done(&*stores.first, add(&ada, "1")).await;
    let second = page(&*stores.second, &ada, None, Some(3), 4).await;
    assert_eq!((numbers(&second), second.total), (vec![2, 1], 7));

    let uses = Some(EntryKind::CreditUsed);
    let first = page(&*stores.second, &ada, uses, None, 1).await;
    assert_eq!((numbers(&first), first.total), (vec![6], 2));
    let second = page(&*stores.second, &ada, uses, Some(6), 10).await;
    assert_eq!((numbers(&second), second.total), (vec![3], 2));
    let cleo = stores.registered("cleo").await;
    for user in [&bob, &cleo] {
        let none = page(&*stores.second, user, uses, None, 10).await;
        assert_eq!((numbers(&none), none.total), (vec![], 0));
    }
    let added = Some(EntryKind::CreditAdded);
    let first = page(&*stores.second, &ada, added, None, 2).await;
    assert_eq!((numbers(&first), first.total), (vec![7, 5], 5));
    let second = page(&*stores.second, &ada, added, Some(5), 10).await;
    assert_eq!((numbers(&second), second.total), (vec![4, 2, 1], 5));
    let none = page(&*stores.second, &ada, Some(EntryKind::Refund), None, 10).await;
    assert_eq!((numbers(&none), none.total), (vec![], 0));
    let past = page(&*stores.second, &ada, None, Some(1), 10).await;
    assert_eq!((numbers(&past), past.total), (vec![], 7));
}

/// For whoever checks it: each account and each entry once, in order, page by page.
pub async fn the_ledger_is_read_in_order(stores: CreditStores) {
    let mut users = Vec::new();
    for name in ["ada", "bob", "cleo"] {
        let user = stores.registered(name).await;
        for _ in 0..3 {
            done(&*stores.first, add(&user, "1")).await;
        }
        users.push(user.id);
    }
    users.sort();
    let mut accounts = Vec::new();
    let mut after = None;
    loop {
        let page = stores.second.ledger_accounts(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.user_id);
        accounts.extend(page.iter().map(|account| account.user_id));
    }
    assert_eq!(accounts, users);

    let mut lines = Vec::new();
    let mut after = None;
    loop {
        let page = stores.second.ledger_lines(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.user_id, last.number));
        lines.extend(page.iter().map(|line| (line.user_id, line.number)));
    }
    let expected: Vec<_> = users
        .iter()
        .flat_map(|user| (1..=3).map(move |number| (*user, number)))
        .collect();
    assert_eq!(lines, expected);
}

/// Each sees what the one before left.
pub async fn uses_at_once_never_overdraw(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    done(&*stores.first, add(&ada, "5")).await;
    let bookings = race_on([&stores.first, &stores.second], |_, store| {
        let entry = spend(&ada, "1");
        async move { store.book(entry).await.unwrap() }
    })
    .await;
    let booked = bookings.iter().filter(|it| matches!(it, Booking::Done(_)));
    let refused = bookings
        .iter()
        .filter(|it| **it == Booking::Insufficient(Credits::ZERO));
    assert_eq!((booked.count(), refused.count()), (5, 3), "{bookings:?}");
    assert_eq!(balance(&*stores.first, &ada).await, "0.00");
    assert_sound(&*stores.first).await;
}

/// The first entries of a user come at once.
pub async fn first_entries_at_once_are_all_booked(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let bookings = race_on([&stores.first, &stores.second], |_, store| {
        let entry = add(&ada, "1");
        async move { store.book(entry).await.unwrap() }
    })
    .await;
    let mut numbers: Vec<i64> = bookings
        .iter()
        .map(|booking| match booking {
            Booking::Done(booked) => booked.number,
            other => panic!("this should be booked: {other:?}"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(balance(&*stores.first, &ada).await, "8.00");
    assert_sound(&*stores.first).await;
}

/// One effect and one answer, by key and by reference, for what adds, what takes, and what takes all there is.
pub async fn of_duplicates_at_once_one_is_booked(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    for (number, make) in [
        |user: &User| with_key(add(user, "2"), "a"),
        |user: &User| with_reference(add(user, "2"), "a"),
        |user: &User| with_key(with_reference(spend(user, "1"), "b"), "b"),
        |user: &User| with_reference(spend(user, "1"), "c"),
        |user: &User| with_key(spend(user, "2"), "d"),
    ]
    .into_iter()
    .enumerate()
    {
        let bookings = race_on([&stores.first, &stores.second], |_, store| {
            let entry = make(&ada);
            async move { store.book(entry).await.unwrap() }
        })
        .await;
        let mut ids = HashSet::new();
        let mut booked = 0;
        for booking in &bookings {
            match booking {
                Booking::Done(entry) => {
                    booked += 1;
                    ids.insert(entry.clone().entry.id);
                }
                Booking::Replayed(entry) => {
                    ids.insert(entry.clone().entry.id);
                }
                other => panic!("{number}: {other:?}"),
            }
        }
        assert_eq!((booked, ids.len()), (1, 1), "{number}: {bookings:?}");
    }
    assert_eq!(balance(&*stores.first, &ada).await, "0.00");
    assert_sound(&*stores.first).await;
}

/// A key means one thing, whoever is quicker.
pub async fn of_one_key_for_two_users_at_once_one_is_booked(stores: CreditStores) {
    let users = [
        stores.registered("ada").await,
        stores.registered("bob").await,
    ];
    let bookings = race_on([&stores.first, &stores.second], |number, store| {
        let entry = with_key(add(&users[number / 2 % 2], "1"), "k");
        async move { store.book(entry).await.unwrap() }
    })
    .await;
    let count = |wanted: fn(&Booking) -> bool| bookings.iter().filter(|it| wanted(it)).count();
    let done = count(|it| matches!(it, Booking::Done(_)));
    let replayed = count(|it| matches!(it, Booking::Replayed(_)));
    let conflicts = count(|it| *it == Booking::Conflict);
    assert_eq!((done, replayed, conflicts), (1, 3, 4), "{bookings:?}");
    assert_sound(&*stores.first).await;
}

/// Either the entry comes first, or the deletion: never an entry without its account row, never a failure.
pub async fn a_deletion_races_entries(stores: CreditStores) {
    let ada = stores.registered("ada").await;
    let seen = version(&*stores.accounts.first, &ada).await;
    let accounts = Arc::clone(&stores.accounts.second);
    let session = logged_in(&*accounts, &ada, "refresh", at(0)).await.id;
    let bookings = race_on([&stores.first, &stores.second], |number, store| {
        let entry = Entry {
            description: Some(Description::parse("for somebody").unwrap()),
            ..add(&ada, "1")
        };
        let (accounts, user) = (Arc::clone(&accounts), ada.id);
        async move {
            if number == 5 {
                let deleted = accounts
                    .delete_account(user, seen, session, at(1), Record::default())
                    .await;
                assert!(deleted.unwrap());
            }
            store.book(entry).await.unwrap()
        }
    })
    .await;
    assert_eq!(bookings[5], Booking::UnknownUser);
    let booked = bookings.iter().filter(|it| matches!(it, Booking::Done(_)));
    let lines = stores.first.ledger_lines(None, 100).await.unwrap();
    assert_eq!(lines.len(), booked.count(), "{bookings:?}");
    assert_sound(&*stores.first).await;
}

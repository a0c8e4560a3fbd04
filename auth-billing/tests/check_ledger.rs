//! What the check of a ledger finds, and what it does not take for a breach.
#![allow(clippy::unreachable, clippy::unwrap_used)] // test code: what cannot go on has failed

use std::sync::Mutex;

use async_trait::async_trait;
use auth_billing::{Breach, Checked};
use auth_core::{
    ports::{
        Balance, Booking, CreditStore, History, HistoryPage, LedgerAccount, LedgerLine, StoreError,
    },
    types::{Entry, UserId},
    uuid::Uuid,
};

/// Books as somebody left them.
#[derive(Default)]
struct Books {
    accounts: Vec<LedgerAccount>,
    lines: Vec<LedgerLine>,
    /// Booked once the first page of accounts was read.
    later: Vec<(LedgerAccount, LedgerLine)>,
}

struct Shelf(Mutex<Books>);

#[async_trait]
impl CreditStore for Shelf {
    async fn book(&self, _: Entry) -> Result<Booking, StoreError> {
        unreachable!("a check books nothing")
    }

    async fn balance(&self, _: UserId) -> Result<Option<Balance>, StoreError> {
        unreachable!("a check takes no balance for granted")
    }

    async fn history(&self, _: History) -> Result<Option<HistoryPage>, StoreError> {
        unreachable!("a check reads lines")
    }

    async fn ledger_accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<LedgerAccount>, StoreError> {
        let mut books = self.0.lock().unwrap();
        let page = books
            .accounts
            .iter()
            .filter(|account| after.is_none_or(|after| after < account.user_id))
            .take(limit as usize)
            .copied()
            .collect();
        for (account, line) in std::mem::take(&mut books.later) {
            books.accounts.retain(|it| it.user_id != account.user_id);
            books.accounts.push(account);
            books.accounts.sort_by_key(|it| it.user_id);
            books.lines.push(line);
            books.lines.sort_by_key(|it| (it.user_id, it.number));
        }
        Ok(page)
    }

    async fn ledger_lines(
        &self,
        after: Option<(UserId, i64)>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let books = self.0.lock().unwrap();
        Ok(books
            .lines
            .iter()
            .filter(|line| after.is_none_or(|after| after < (line.user_id, line.number)))
            .take(limit as usize)
            .copied()
            .collect())
    }
}

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

fn account(number: u128, balance: i64, entries: i64) -> LedgerAccount {
    LedgerAccount {
        user_id: user(number),
        balance,
        entries,
    }
}

fn line(of: u128, number: i64, change: i64, new_balance: i64) -> LedgerLine {
    LedgerLine {
        user_id: user(of),
        number,
        change,
        new_balance,
    }
}

fn missing(of: u128, number: i64) -> Breach {
    Breach::Missing {
        user: user(of),
        number,
    }
}

fn broken(of: u128, number: i64) -> Breach {
    Breach::Entry {
        user: user(of),
        number,
    }
}

fn off(of: u128, balance: i64, sum: i128) -> Breach {
    Breach::Balance {
        user: user(of),
        balance,
        sum,
    }
}

async fn check(books: Books) -> (Checked, Vec<Breach>) {
    let shelf = Shelf(Mutex::new(books));
    let mut breaches = Vec::new();
    let checked = auth_billing::check_ledger(&shelf, |breach| breaches.push(breach)).await;
    (checked.unwrap(), breaches)
}

#[tokio::test]
async fn each_breach_is_told_once_and_the_rest_is_checked_all_the_same() {
    const MIN: i64 = i64::MIN;
    for (name, accounts, lines, expected) in [
        ("empty", vec![], vec![], vec![]),
        (
            "sound",
            vec![account(1, 7, 2), account(9, 1, 1)],
            vec![line(1, 1, 10, 10), line(1, 2, -3, 7), line(9, 1, 1, 1)],
            vec![],
        ),
        (
            "a balance without entries",
            vec![account(1, 7, 2), account(9, 1, 1)],
            vec![line(9, 1, 1, 1)],
            vec![missing(1, 1), off(1, 7, 0)],
        ),
        (
            "the last entry is gone, and the balance was made to fit",
            vec![account(1, 10, 2)],
            vec![line(1, 1, 10, 10)],
            vec![missing(1, 2)],
        ),
        (
            "below zero in between",
            vec![account(1, 0, 2)],
            vec![line(1, 1, -5, -5), line(1, 2, 5, 0)],
            vec![broken(1, 1)],
        ),
        (
            "nothing moved",
            vec![account(1, 0, 1)],
            vec![line(1, 1, 0, 0)],
            vec![broken(1, 1)],
        ),
        (
            "extremes do not overflow",
            vec![account(1, MIN, 2)],
            vec![line(1, 1, MIN, MIN), line(1, 2, MIN, MIN)],
            vec![broken(1, 1), broken(1, 2), off(1, MIN, i128::from(MIN) * 2)],
        ),
        (
            "entries of nobody, before, between and after",
            vec![account(2, 1, 1)],
            vec![
                line(1, 1, 1, 1),
                line(1, 2, 1, 2),
                line(2, 1, 1, 1),
                line(9, 1, 1, 1),
            ],
            vec![
                Breach::NoAccount { user: user(1) },
                Breach::NoAccount { user: user(9) },
            ],
        ),
    ] {
        let books = Books {
            accounts,
            lines,
            later: Vec::new(),
        };
        let (checked, breaches) = check(books).await;
        assert_eq!(breaches, expected, "{name}");
        assert_eq!(checked.breaches, expected.len() as u64, "{name}");
    }
}

#[tokio::test]
async fn many_pages_are_read_to_the_end() {
    let mut books = Books::default();
    for number in 1..=2500 {
        let entries = if number % 1000 == 7 { 1500 } else { 1 };
        books.accounts.push(account(number, entries, entries));
        let lines = (1..=entries).map(|entry| line(number, entry, 1, entry));
        books.lines.extend(lines);
    }
    // Far behind the first page.
    books.accounts[2400].balance += 1;
    let entries = books.lines.len() as u64;
    let (checked, breaches) = check(books).await;
    assert_eq!((checked.accounts, checked.entries), (2500, entries));
    assert_eq!(breaches, [off(2401, 2, 1)]);
}

#[tokio::test]
async fn what_is_booked_meanwhile_is_no_breach() {
    let mut books = Books::default();
    for number in 1..=1500 {
        books.accounts.push(account(number * 2, 1, 1));
        books.lines.push(line(number * 2, 1, 1, 1));
    }
    books.later = vec![
        // On the page that was read, on one that was not, and of accounts that were not there.
        (account(2, 2, 2), line(2, 2, 1, 2)),
        (account(2900, 2, 2), line(2900, 2, 1, 2)),
        (account(3, 1, 1), line(3, 1, 1, 1)),
        (account(1999, 1, 1), line(1999, 1, 1, 1)),
        (account(9001, 1, 1), line(9001, 1, 1, 1)),
    ];
    let (_, breaches) = check(books).await;
    assert_eq!(breaches, []);
}

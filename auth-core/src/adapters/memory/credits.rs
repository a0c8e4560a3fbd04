use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::{Data, MemoryStore};
use crate::{
    ports::{
        Balance, Booking, CreditStore, History, HistoryPage, LedgerAccount, LedgerLine, StoreError,
    },
    types::{BookedEntry, Caller, Credits, Entry, EntryKind, IdempotencyKey, ReferenceId, UserId},
};

/// The ledger. An account is its entries; the last one has the balance.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<UserId, Vec<BookedEntry>>,
    /// Whose entry it is, and where among theirs.
    by_key: HashMap<(Caller, IdempotencyKey), (UserId, usize)>,
    by_reference: HashMap<(UserId, EntryKind, ReferenceId), usize>,
}

impl Ledger {
    fn entries(&self, user: UserId) -> &[BookedEntry] {
        self.accounts.get(&user).map_or(&[], Vec::as_slice)
    }

    pub(super) fn balance(&self, user: UserId) -> Credits {
        balance(self.entries(user))
    }

    /// The entry that has the key or, without one, the reference.
    fn known(&self, entry: &Entry) -> Option<&BookedEntry> {
        let by_key = entry.idempotency_key.as_ref().and_then(|key| {
            let place = self.by_key.get(&(entry.caller.clone(), key.clone()))?;
            self.entries(place.0).get(place.1)
        });
        by_key.or_else(|| {
            let reference = entry.reference.as_ref()?;
            let name = (entry.user_id, entry.kind, reference.clone());
            self.entries(entry.user_id)
                .get(*self.by_reference.get(&name)?)
        })
    }

    fn append(&mut self, entry: Entry, new_balance: Credits) -> BookedEntry {
        let user = entry.user_id;
        let entries = self.accounts.entry(user).or_default();
        let place = entries.len();
        if let Some(key) = &entry.idempotency_key {
            self.by_key
                .insert((entry.caller.clone(), key.clone()), (user, place));
        }
        if let Some(reference) = &entry.reference {
            self.by_reference
                .insert((user, entry.kind, reference.clone()), place);
        }
        let booked = BookedEntry {
            entry,
            number: number(place),
            new_balance,
        };
        entries.push(booked.clone());
        booked
    }

    /// What may name a person goes with the account.
    pub(super) fn forget(&mut self, user: UserId) {
        for booked in self.accounts.get_mut(&user).into_iter().flatten() {
            booked.entry.description = None;
        }
    }
}

fn number(place: usize) -> i64 {
    i64::try_from(place).map_or(i64::MAX, |place| place.saturating_add(1))
}

fn balance(entries: &[BookedEntry]) -> Credits {
    entries
        .last()
        .map_or(Credits::ZERO, |booked| booked.new_balance)
}

impl Data {
    pub(super) fn book(&mut self, entry: Entry) -> Booking {
        if !self.accounts.contains_key(&entry.user_id) {
            return Booking::UnknownUser;
        }
        if let Some(known) = self.ledger.known(&entry) {
            return if entry.asks_for_the_same_as(&known.entry) {
                Booking::Replayed(known.clone())
            } else {
                Booking::Conflict
            };
        }
        let balance = balance(self.ledger.entries(entry.user_id));
        match entry.applied_to(balance) {
            Some(new_balance) => Booking::Done(self.ledger.append(entry, new_balance)),
            None => Booking::refused(&entry, balance),
        }
    }
}

#[async_trait]
impl CreditStore for MemoryStore {
    async fn book(&self, entry: Entry) -> Result<Booking, StoreError> {
        Ok(self.lock().book(entry))
    }

    async fn balance(&self, user: UserId) -> Result<Option<Balance>, StoreError> {
        let data = self.lock();
        let entries = data.ledger.entries(user);
        Ok(data.accounts.get(&user).map(|account| Balance {
            user_id: user,
            balance: balance(entries),
            updated_at: entries
                .last()
                .map_or(account.user.created_at, |booked| booked.entry.created_at),
        }))
    }

    async fn history(&self, history: History) -> Result<Option<HistoryPage>, StoreError> {
        let data = self.lock();
        if !data.accounts.contains_key(&history.user_id) {
            return Ok(None);
        }
        let of_kind = || {
            data.ledger
                .entries(history.user_id)
                .iter()
                .rev()
                .filter(|booked| history.kind.is_none_or(|kind| kind == booked.entry.kind))
        };
        Ok(Some(HistoryPage {
            entries: of_kind()
                .filter(|booked| history.before.is_none_or(|before| booked.number < before))
                .take(usize::try_from(history.limit).unwrap_or(usize::MAX))
                .cloned()
                .collect(),
            total: of_kind().count() as u64,
        }))
    }

    async fn ledger_accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<LedgerAccount>, StoreError> {
        let data = self.lock();
        Ok(data
            .ledger
            .accounts
            .iter()
            .filter(|(user, _)| after.is_none_or(|after| after < **user))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|(user, entries)| LedgerAccount {
                user_id: *user,
                balance: balance(entries).as_hundredths(),
                entries: entries.last().map_or(0, |booked| booked.number),
            })
            .collect())
    }

    async fn ledger_lines(
        &self,
        after: Option<(UserId, i64)>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let data = self.lock();
        Ok(data
            .ledger
            .accounts
            .values()
            .flatten()
            .filter(|booked| {
                after.is_none_or(|after| after < (booked.entry.user_id, booked.number))
            })
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|booked| LedgerLine {
                user_id: booked.entry.user_id,
                number: booked.number,
                change: booked.entry.change(),
                new_balance: booked.new_balance.as_hundredths(),
            })
            .collect())
    }
}

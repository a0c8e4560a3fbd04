//! Uses of credits that come at once, booked by one statement and made to last by one commit.
//!
//! A use costs little beside the round trip that asks for it and the commit that flushes it. Nobody waits for company: a use that finds its lane free goes
//! alone at once, and whoever comes while it is under way is a company at once. Those who come while a company is under way are the next one.
//!
//! 1. Uses of one user are in one lane, so the companies of a process hardly meet at a balance.
//! 2. A company waits for no balance, and not long for a key that somebody else is just using. Whoever finds their balance in other hands is in the next
//!    companies, and goes alone when that lasts: one account that somebody holds holds up nobody else, while there are connections for those who wait alone.
//! 3. What a company does not book goes alone, and is answered as if it always had: what is refused, what was booked before, and all of it when the server
//!    refused the statement. Of a company whose end nobody knows, nobody is tried again.
//! 4. [`Companies`] tells each of those who wait. It lives in the runtime of whoever was the first of them, so it may stand still: whoever is not told in
//!    time and has not begun leaves, and lets the next one begin another; whoever has begun waits no longer than for any unit of work.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use auth_core::{
    ports::StoreError,
    types::{BookedEntry, Entry, UserId},
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    PgStore,
    classify::{classify, undoes_its_statement},
    sql::credits::{self, Line},
    unit,
};

/// More would share the work of one server among smaller companies.
const LANES: usize = 2;

/// In one company.
const MOST_TOGETHER: usize = 64;

/// Who waits in a lane; those beyond go alone, and wait for a connection as everybody does.
const MOST_WAITING: usize = 4 * MOST_TOGETHER;

/// How long somebody is in one company after the other whose balance is in other hands. Those who go alone hold a balance for all who come after them, so
/// this is longer than a lane full of them takes: a busy account finds back to companies.
const LASTING: Duration = Duration::from_millis(250);

/// What a company leaves to those who hold all of its balances: a commit takes less.
const A_MOMENT: Duration = Duration::from_millis(1);

#[derive(Default, Clone)]
pub(crate) struct Lanes([Arc<Lane>; LANES]);

#[derive(Default)]
struct Lane(Mutex<Traffic>);

#[derive(Default)]
struct Traffic {
    /// Somebody has the [`Turn`] of those who find a lane free.
    has_turn: bool,
    /// There is one that takes those who wait.
    has_company: bool,
    waiting: VecDeque<Waiting>,
    tickets: u64,
}

struct Waiting {
    entry: Entry,
    ticket: u64,
    since: Instant,
    /// Was in no company yet.
    is_new: bool,
    told: oneshot::Sender<Told>,
}

type Told = Result<Together, Arc<sqlx::Error>>;

/// What became of a use.
pub(crate) enum Together {
    Booked(BookedEntry),
    /// It goes alone, and the lane is in use until its turn is dropped, if it has one.
    Alone(Entry, Option<Turn>),
}

pub(crate) struct Turn(Arc<Lane>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.traffic().has_turn = false;
    }
}

impl Lanes {
    /// Books a use together with others, or tells that it goes alone.
    pub(crate) async fn join(&self, store: &PgStore, entry: Entry) -> Result<Together, StoreError> {
        let lane = &self.0[lane_of(entry.user_id)];
        let (told, mut answer) = oneshot::channel();
        let since = Instant::now();
        let (ticket, begins) = {
            let mut traffic = lane.traffic();
            if !traffic.has_turn && !traffic.has_company {
                traffic.has_turn = true;
                return Ok(Together::Alone(entry, Some(Turn(Arc::clone(lane)))));
            }
            if traffic.waiting.len() >= MOST_WAITING {
                return Ok(Together::Alone(entry, None));
            }
            traffic.tickets += 1;
            let ticket = traffic.tickets;
            traffic.waiting.push_back(Waiting {
                entry,
                ticket,
                since,
                is_new: true,
                told,
            });
            (ticket, !std::mem::replace(&mut traffic.has_company, true))
        };
        if begins {
            let companies = Companies(Some(Arc::clone(lane)));
            tokio::spawn(companies.go(store.clone()));
        }
        let patience = store.lender.patience();
        let told = match timeout(patience, &mut answer).await {
            Ok(told) => told,
            Err(_) if lane.leave(ticket) => {
                store.lender.waited(since);
                return Err(classify(sqlx::Error::PoolTimedOut));
            }
            Err(_) => match timeout(store.writes().limit(), answer).await {
                Ok(told) => told,
                Err(elapsed) => return Err(unavailable(elapsed)),
            },
        };
        match told {
            Ok(told) => told.map_err(unavailable),
            Err(gone) => Err(unavailable(gone)),
        }
    }
}

fn lane_of(user: UserId) -> usize {
    // The last bits of an id are random.
    usize::from(user.as_uuid().as_bytes()[15]) % LANES
}

/// Nobody knows what became of it. As an error of the database, which is what hosts look for.
fn unavailable(error: impl Into<sqlx::error::BoxDynError>) -> StoreError {
    classify(sqlx::Error::Io(io::Error::other(error)))
}

/// Books one company after the other, until nobody waits.
struct Companies(Option<Arc<Lane>>);

impl Companies {
    async fn go(mut self, store: PgStore) {
        while let Some(lane) = &self.0 {
            let Some(company) = lane.next() else {
                self.0 = None;
                return;
            };
            // In a task of its own: if it panics, the lane goes on, and those who wait for it see that nobody will tell them.
            let booked = tokio::spawn(book(Arc::clone(lane), store.clone(), company));
            if let Ok(Met::NobodyButOthers) = booked.await {
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }
}

/// Half-way: its runtime ends, and those of others may go on.
impl Drop for Companies {
    fn drop(&mut self) {
        if let Some(lane) = &self.0 {
            let left = {
                let mut traffic = lane.traffic();
                traffic.has_company = false;
                std::mem::take(&mut traffic.waiting)
            };
            left.into_iter().for_each(go_alone);
        }
    }
}

/// What a company found.
enum Met {
    /// All balances in other hands.
    NobodyButOthers,
    Other,
}

/// Books a company.
async fn book(lane: Arc<Lane>, store: PgStore, mut company: Vec<Waiting>) -> Met {
    for it in &mut company {
        if std::mem::take(&mut it.is_new) {
            store.lender.waited(it.since);
        }
    }
    let booked = unit::run_once(&store.lender, store.writes(), &company, |c, company| {
        let uses: Vec<_> = company.iter().map(|it| &it.entry).collect();
        Box::pin(async move { credits::use_together(c, &uses).await })
    });
    let lines = match booked.await {
        Ok(lines) => lines,
        Err(error) if undoes_its_statement(&error) => {
            tracing::debug!(%error, "uses go alone that failed together");
            vec![Line::Refused; company.len()]
        }
        Err(error) => {
            let error = Arc::new(error);
            for it in company {
                tell(it.told, Err(Arc::clone(&error)));
            }
            return Met::Other;
        }
    };
    let met = if lines.iter().all(|line| matches!(line, Line::InOtherHands)) {
        Met::NobodyButOthers
    } else {
        Met::Other
    };
    for (it, line) in company.into_iter().zip(lines) {
        match line {
            Line::Booked(number, new_balance) => {
                let booked = BookedEntry {
                    entry: it.entry,
                    number,
                    new_balance,
                };
                tell(it.told, Ok(Together::Booked(booked)));
            }
            Line::InOtherHands if it.since.elapsed() < LASTING => lane.again(it),
            Line::InOtherHands | Line::Refused => go_alone(it),
        }
    }
    met
}

fn go_alone(it: Waiting) {
    tell(it.told, Ok(Together::Alone(it.entry, None)));
}

/// Nobody hears it who is gone.
fn tell(told: oneshot::Sender<Told>, what: Told) {
    let _ = told.send(what);
}

impl Lane {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next company; without anybody who waits, the lane has none. Of two that would be one entry, only one is in it.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut traffic = self.traffic();
        // What has not begun does not begin for somebody who is gone.
        traffic.waiting.retain(|it| !it.told.is_closed());
        let (mut company, mut later) = (Vec::<Waiting>::new(), VecDeque::new());
        while company.len() < MOST_TOGETHER
            && let Some(it) = traffic.waiting.pop_front()
        {
            if company.iter().any(|other| it.entry.repeats(&other.entry)) {
                later.push_back(it);
            } else {
                company.push(it);
            }
        }
        later.append(&mut traffic.waiting);
        traffic.waiting = later;
        traffic.has_company = !company.is_empty();
        traffic.has_company.then_some(company)
    }

    /// For the next company, if there is one.
    fn again(&self, it: Waiting) {
        let mut traffic = self.traffic();
        if traffic.has_company {
            traffic.waiting.push_back(it);
        } else {
            drop(traffic);
            go_alone(it);
        }
    }

    /// Whoever has not begun leaves, and what was to take them is not waited for any more.
    fn leave(&self, ticket: u64) -> bool {
        let mut traffic = self.traffic();
        let place = traffic.waiting.iter().position(|it| it.ticket == ticket);
        let left = place.and_then(|place| traffic.waiting.remove(place));
        traffic.has_company &= left.is_none();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use auth_core::{
        contract::{
            credits::{add, assert_sound, credits, spend},
            fixtures::{at, registered},
        },
        ports::{Booking, CreditStore, OsRandom, StoreError},
        types::{Entry, IdempotencyKey, ReferenceId, User, UserId},
    };
    use auth_tests::postgres::{self, Database};
    use sqlx::{Executor, PgConnection};
    use tokio::{
        sync::oneshot,
        task::{JoinHandle, yield_now},
        time::Instant,
    };

    use super::{Companies, Lane, MOST_TOGETHER, MOST_WAITING, Together, Waiting, lane_of};
    use crate::PgStore;

    type Call = JoinHandle<Result<Booking, StoreError>>;

    /// A store, users of one lane with ten credits each, and a transaction of somebody outside.
    struct Street {
        database: Database,
        store: PgStore,
        users: Vec<User>,
        outside: PgConnection,
    }

    impl Street {
        async fn new() -> Self {
            let database = postgres::database().await;
            let pool = PgStore::pool_options().acquire_timeout(Duration::from_secs(4));
            let store = PgStore::connect_with(&database.url, pool).await.unwrap();
            let mut users: Vec<User> = Vec::new();
            let mut number = 0;
            while users.len() < 4 {
                let user = registered(&store, &format!("user{number}")).await;
                if users.iter().all(|it| lane_of(it.id) == lane_of(user.id)) {
                    store.book(add(&user, "10")).await.unwrap();
                    users.push(user);
                }
                number += 1;
            }
            let mut outside = database.raw().await;
            outside.execute("begin").await.unwrap();
            Self {
                database,
                store,
                users,
                outside,
            }
        }

        /// The first user goes alone, the second one is a company, and both wait until [`release`](Self::release).
        async fn hold(&mut self) -> [Call; 2] {
            let lock = "savepoint held; lock table auth.credit_entries in share row exclusive mode";
            for statement in lock.split(';') {
                self.outside.execute(statement).await.unwrap();
            }
            let alone = begun(&self.store, spend(&self.users[0], "1"));
            waiters(&self.database, 1).await;
            let company = begun(&self.store, spend(&self.users[1], "1"));
            waiters(&self.database, 2).await;
            [alone, company]
        }

        async fn release(&mut self) {
            let release = "rollback to savepoint held";
            self.outside.execute(release).await.unwrap();
        }

        /// Uses that come in this order, for the next company.
        async fn waiting(&self, uses: impl IntoIterator<Item = Entry>) -> Vec<Call> {
            let lane = &self.store.uses.0[lane_of(self.users[0].id)];
            let mut calls = Vec::new();
            for entry in uses {
                calls.push(begun(&self.store, entry));
                until(async || lane.traffic().waiting.len() == calls.len()).await;
            }
            calls
        }

        /// How many transactions wrote the uses of one user.
        async fn commits(&self, user: &User) -> i64 {
            sqlx::query_scalar(
                "select count(distinct xmin::text) from auth.credit_entries where user_id = $1 and kind = 'credit_used'",
            )
            .bind(user.id.as_uuid())
            .fetch_one(&mut self.database.raw().await)
            .await
            .unwrap()
        }

        async fn balance(&self, user: &User) -> String {
            let balance = self.store.balance(user.id).await.unwrap().unwrap();
            balance.balance.to_string()
        }
    }

    fn begun(store: &PgStore, entry: Entry) -> Call {
        let store = store.clone();
        tokio::spawn(async move { store.book(entry).await })
    }

    async fn until(mut holds: impl AsyncFnMut() -> bool) {
        let holds = async {
            while !holds().await {
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), holds)
            .await
            .unwrap();
    }

    /// So many wait for something in the database.
    async fn waiters(database: &Database, wanted: i64) {
        let mut outside = database.raw().await;
        until(async || {
            let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, i64>(waiting)
                .fetch_one(&mut outside)
                .await
                .unwrap()
                == wanted
        })
        .await;
    }

    async fn booked(call: Call) -> Booking {
        call.await.unwrap().unwrap()
    }

    async fn balance_after(call: Call) -> String {
        match booked(call).await {
            Booking::Done(booked) => booked.new_balance.to_string(),
            other => panic!("not booked: {other:?}"),
        }
    }

    async fn unavailable(call: Call) {
        let failed = call.await.unwrap().unwrap_err();
        assert!(matches!(failed, StoreError::Unavailable(_)), "{failed:?}");
    }

    fn for_job(entry: Entry, reference: &str) -> Entry {
        Entry {
            reference: Some(ReferenceId::parse(reference).unwrap()),
            ..entry
        }
    }

    fn under(entry: Entry, key: &str) -> Entry {
        Entry {
            idempotency_key: Some(IdempotencyKey::parse(key).unwrap()),
            ..entry
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_at_once_is_booked_by_one_commit() {
        let mut street = Street::new().await;
        let [alone, company] = street.hold().await;
        let [ada, bob] = [2, 3].map(|at| street.users[at].clone());
        let uses = (0..10).map(|number| spend([&ada, &bob][number % 2], "0.50"));
        let calls = street.waiting(uses).await;
        street.release().await;
        let expected = [
            "9.50", "9.50", "9.00", "9.00", "8.50", "8.50", "8.00", "8.00", "7.50", "7.50",
        ];
        for (call, balance) in calls.into_iter().zip(expected) {
            assert_eq!(balance_after(call).await, balance);
        }
        assert_eq!(street.commits(&ada).await, 1);
        assert_eq!(street.commits(&bob).await, 1);
        assert_eq!(balance_after(alone).await, "9.00");
        assert_eq!(balance_after(company).await, "9.00");
        assert_sound(&street.store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whose_balance_is_too_small_for_all_goes_alone() {
        let mut street = Street::new().await;
        street.hold().await;
        let [poor, rich] = [2, 3].map(|at| street.users[at].clone());
        let nobody = loop {
            let id = UserId::generate(at(0), &OsRandom);
            if lane_of(id) == lane_of(poor.id) {
                break id;
            }
        };
        let nobody = Entry {
            user_id: nobody,
            ..spend(&poor, "1")
        };
        let uses = [
            spend(&rich, "4"),
            nobody,
            spend(&rich, "4"),
            spend(&poor, "4"),
            spend(&poor, "4"),
            spend(&poor, "4"),
        ];
        let mut calls = street.waiting(uses).await.into_iter();
        street.release().await;
        let mut next = || calls.next().unwrap();
        assert_eq!(balance_after(next()).await, "6.00");
        assert_eq!(booked(next()).await, Booking::UnknownUser);
        assert_eq!(balance_after(next()).await, "2.00");
        let mut refused = 0;
        for call in calls {
            match booked(call).await {
                Booking::Done(_) => {}
                Booking::Insufficient(balance) => {
                    assert_eq!(balance, credits("2"));
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(refused, 1);
        assert_eq!(street.commits(&rich).await, 1);
        assert_eq!(street.commits(&poor).await, 2);
        assert_sound(&street.store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repeated_use_fails_nobody_else() {
        let mut street = Street::new().await;
        let [ada, bob] = [2, 3].map(|at| street.users[at].clone());
        let before = begun(&street.store, for_job(spend(&ada, "1"), "job-1"));
        assert_eq!(balance_after(before).await, "9.00");
        street.hold().await;
        let uses = [
            spend(&bob, "1"),
            for_job(spend(&ada, "1"), "job-1"),
            for_job(spend(&ada, "2"), "job-1"),
            under(spend(&ada, "1"), "key-1"),
            under(spend(&ada, "1"), "key-1"),
            under(spend(&bob, "1"), "key-1"),
            spend(&ada, "1"),
            spend(&bob, "1"),
        ];
        let mut calls = street.waiting(uses).await.into_iter();
        street.release().await;
        let mut next = || booked(calls.next().unwrap());
        let done = |told: &Booking| matches!(told, Booking::Done(_));
        let replayed = |told: &Booking| matches!(told, Booking::Replayed(_));
        assert!(done(&next().await));
        assert!(replayed(&next().await));
        assert_eq!(next().await, Booking::Conflict);
        assert!(done(&next().await));
        assert!(replayed(&next().await));
        assert_eq!(next().await, Booking::Conflict);
        assert!(done(&next().await));
        assert!(done(&next().await));
        assert_eq!(street.commits(&bob).await, 1);
        assert_eq!(street.commits(&ada).await, 2);
        assert_eq!(street.balance(&ada).await, "7.00");
        assert_sound(&street.store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_in_other_hands_holds_up_nobody_else() {
        let mut street = Street::new().await;
        let [ada, bob] = [2, 3].map(|at| street.users[at].clone());
        sqlx::query(
            "insert into auth.credit_entries (user_id, number, id, kind, change, new_balance, caller, idempotency_key, created_at)
             values (gen_random_uuid(), 1, gen_random_uuid(), 'adjustment', 1, 1, $1, 'key-1', now())",
        )
        .bind(spend(&ada, "1").caller.as_str())
        .execute(&mut street.outside)
        .await
        .unwrap();
        street.hold().await;
        let uses = [under(spend(&ada, "1"), "key-1"), spend(&bob, "1")];
        let [waits, goes_on] = street.waiting(uses).await.try_into().unwrap();
        street.release().await;
        assert_eq!(balance_after(goes_on).await, "9.00");
        waiters(&street.database, 1).await;
        // The key is free after all.
        street.outside.execute("rollback").await.unwrap();
        assert_eq!(balance_after(waits).await, "9.00");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_balance_in_other_hands_holds_up_nobody_else() {
        let mut street = Street::new().await;
        let [held, other] = [2, 3].map(|at| street.users[at].clone());
        sqlx::query("select from auth.credit_accounts where user_id = $1 for update")
            .bind(held.id.as_uuid())
            .execute(&mut street.outside)
            .await
            .unwrap();
        // One goes alone, and one in companies until it goes alone too.
        let calls = [spend(&held, "1"), spend(&held, "1")].map(|it| begun(&street.store, it));
        waiters(&street.database, 2).await;
        for balance in ["9.00", "8.00"] {
            let call = begun(&street.store, spend(&other, "1"));
            assert_eq!(balance_after(call).await, balance);
        }
        waiters(&street.database, 2).await;
        street.outside.execute("rollback").await.unwrap();
        let mut balances = Vec::new();
        for call in calls {
            balances.push(balance_after(call).await);
        }
        balances.sort_unstable();
        assert_eq!(balances, ["8.00", "9.00"]);
        assert_sound(&street.store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_company_whose_end_is_unknown_is_not_tried_again() {
        let mut street = Street::new().await;
        let [alone, company] = street.hold().await;
        let calls = street.waiting([spend(&street.users[2], "1")]).await;
        let ended: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like '%unnest%'",
        )
        .fetch_one(&mut street.database.raw().await)
        .await
        .unwrap();
        assert_eq!(ended, 1);
        unavailable(company).await;
        street.release().await;
        assert_eq!(balance_after(alone).await, "9.00");
        // The lane goes on, over another connection.
        for call in calls {
            assert_eq!(balance_after(call).await, "9.00");
        }
        assert_eq!(street.balance(&street.users[1]).await, "10.00");
        assert_sound(&street.store).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_gone_before_their_company_began_uses_nothing() {
        let mut street = Street::new().await;
        street.hold().await;
        let uses = [2, 3].map(|at| spend(&street.users[at], "1"));
        let [gone, stays] = street.waiting(uses).await.try_into().unwrap();
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        street.release().await;
        assert_eq!(balance_after(stays).await, "9.00");
        assert_eq!(street.balance(&street.users[2]).await, "10.00");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_too_long_uses_nothing() {
        let mut street = Street::new().await;
        let [alone, company] = street.hold().await;
        for call in street.waiting([spend(&street.users[2], "1")]).await {
            unavailable(call).await;
        }
        street.release().await;
        assert_eq!(balance_after(alone).await, "9.00");
        assert_eq!(balance_after(company).await, "9.00");
        assert_eq!(street.balance(&street.users[2]).await, "10.00");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_lane_is_passed_by() {
        let mut street = Street::new().await;
        street.hold().await;
        let [many, passes] = [2, 3].map(|at| street.users[at].clone());
        let uses = (0..MOST_WAITING).map(|_| spend(&many, "0.01"));
        let calls = street.waiting(uses).await;
        let passing = begun(&street.store, spend(&passes, "1"));
        waiters(&street.database, 3).await;
        street.release().await;
        assert_eq!(balance_after(passing).await, "9.00");
        for call in calls {
            balance_after(call).await;
        }
        let companies = i64::try_from(MOST_WAITING / MOST_TOGETHER).unwrap();
        assert_eq!(street.commits(&many).await, companies);
        assert_sound(&street.store).await;
    }

    /// A host may use a store in a runtime that ends, and in another one.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_runtime_that_ends_leaves_a_free_lane() {
        let Street { store, users, .. } = Street::new().await;
        let lane = Arc::new(Lane::default());
        let (told, answer) = oneshot::channel();
        lane.traffic().has_company = true;
        lane.traffic().waiting.push_back(Waiting {
            entry: spend(&users[0], "1"),
            ticket: 1,
            since: Instant::now().into_std(),
            is_new: true,
            told,
        });
        drop(Companies(Some(Arc::clone(&lane))).go(store));
        assert!(matches!(
            answer.await.unwrap().unwrap(),
            Together::Alone(_, None)
        ));
        assert!(!lane.traffic().has_company);
    }

    /// Two processes, and somebody who adds: those who find the balance in other hands do not go alone one after the other from then on.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_busy_account_finds_back_to_companies() {
        const CLIENTS: usize = 64;
        const USES: usize = 40;
        let street = Street::new().await;
        let other = PgStore::connect(&street.database.url).await.unwrap();
        let ada = street.users[0].clone();
        street.store.book(add(&ada, "100")).await.unwrap();
        let calls = (0..CLIENTS).map(|number| {
            let store = [&street.store, &other][number % 2].clone();
            let ada = ada.clone();
            tokio::spawn(async move {
                for _ in 0..USES {
                    store.book(spend(&ada, "0.01")).await.unwrap();
                    if number == 0 {
                        store.book(add(&ada, "0.01")).await.unwrap();
                    }
                }
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        let commits = usize::try_from(street.commits(&ada).await).unwrap();
        assert!(commits * 4 < CLIENTS * USES, "{commits} commits");
        assert_sound(&street.store).await;
    }

    /// As they come: whatever way each of them takes, the ledger is sound and no answer is an error.
    #[tokio::test(flavor = "multi_thread")]
    async fn uses_of_many_at_once_are_all_answered() {
        let Street { store, users, .. } = Street::new().await;
        // Each use comes twice, under its reference, and there are credits for half of them.
        let calls: Vec<_> = (0..400)
            .map(|number| {
                let entry = spend(&users[number / 2 % 4], "0.40");
                begun(&store, for_job(entry, &format!("job-{}", number / 2)))
            })
            .collect();
        let (mut done, mut replayed) = (0, 0);
        for call in calls {
            match booked(call).await {
                Booking::Done(_) => done += 1,
                Booking::Replayed(_) => replayed += 1,
                Booking::Insufficient(balance) => assert_eq!(balance, credits("0")),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((done, replayed), (100, 100));
        assert_sound(&store).await;
    }
}

//! Credits under all of it at once: two processes on one database, many clients, calls that come again, and `kill -9`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use auth_billing::check_ledger;
use auth_core::{ports::CreditStore, types::UserId};
use auth_store_sqlite::SqliteStore;
use auth_tests::{
    API_KEY, postgres,
    process::{Home, Launch},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock};

const CLIENTS: usize = 32;
const CALLS: usize = 12;
/// So few that several clients ask for each.
const ORDERS: u64 = 20;
/// One of the two processes is killed whenever so many calls more have ended, well or not.
const KILL_AFTER: [usize; 4] = [37, 61, 83, 59];

#[tokio::test(flavor = "multi_thread")]
async fn no_credit_is_lost_or_invented_on_sqlite() {
    let home = Home::new();
    let file = home.path().join("auth-service.db");
    storm(&home, |launch| launch).await;
    let store = SqliteStore::open(file).await.unwrap();
    settled(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credit_is_lost_or_invented_on_postgres() {
    let home = Home::new();
    let database = postgres::database().await;
    storm(&home, |launch| launch.set("DATABASE_URL", &database.url)).await;
    settled(&database.store().await).await;
}

async fn settled(store: &dyn CreditStore) {
    let checked = check_ledger(store, |breach| panic!("{breach}")).await;
    assert!(checked.unwrap().entries > 0);
}

/// What a client asks for, under a key of its own. A reference is anybody's: whoever asks for it asks for the same.
#[derive(Clone)]
struct Ask {
    key: String,
    reference: Option<String>,
    path: &'static str,
    user: UserId,
    hundredths: u64,
}

impl Ask {
    /// What has one effect, however often and by whomever it is asked for.
    fn effect(&self) -> &str {
        self.reference.as_deref().unwrap_or(&self.key)
    }
}

/// What it was told: nothing, when the process died.
enum Told {
    Done { answer: Value, is_replay: bool },
    NotEnough,
    Nothing,
}

/// The processes, as clients find them; the second one dies and comes again.
struct Pair {
    http: reqwest::Client,
    first: String,
    second: RwLock<String>,
    ended: AtomicUsize,
    moved_on: Notify,
}

impl Pair {
    async fn send(&self, to_second: bool, ask: &Ask) -> Told {
        let base = if to_second {
            self.second.read().await.clone()
        } else {
            self.first.clone()
        };
        let amount = format!("{}.{:02}", ask.hundredths / 100, ask.hundredths % 100);
        let mut body = json!({"user_id": ask.user.to_string(), "amount": amount});
        if let Some(reference) = &ask.reference {
            body["reference_id"] = json!(reference);
        }
        let request = self
            .http
            .post(format!("{base}{}", ask.path))
            .header("x-api-key", API_KEY)
            .header("idempotency-key", &ask.key)
            .json(&body);
        let response = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let is_replay = response.headers().contains_key("idempotent-replay");
            Some((status, is_replay, response.json::<Value>().await.ok()?))
        }
        .await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.moved_on.notify_one();
        let Some((status, is_replay, answer)) = response else {
            return Told::Nothing;
        };
        match status {
            200 => Told::Done { answer, is_replay },
            402 => Told::NotEnough,
            // A deadlock, a lost race: nothing of that is the client's business.
            other => panic!("{other}: {answer}"),
        }
    }

    async fn until_ended(&self, calls: usize) {
        while self.ended.load(Ordering::SeqCst) < calls {
            self.moved_on.notified().await;
        }
    }
}

/// Numbers that are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

async fn storm(home: &Home, on: impl Fn(Launch) -> Launch) {
    let launch = || on(home.service().quick().set("INTERNAL_API_KEY", API_KEY));
    let first = launch().start().await;
    let mut second = launch().start().await;
    let mut users = Vec::new();
    for name in ["ada", "bob", "cleo"] {
        users.push(first.registered(name).await.id);
    }
    let pair = Arc::new(Pair {
        http: first.http().clone(),
        first: first.base().to_owned(),
        second: RwLock::new(second.base().to_owned()),
        ended: AtomicUsize::new(0),
        moved_on: Notify::new(),
    });

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(Arc::clone(&pair), number, users.clone())))
        .collect();
    let mut mark = 0;
    for calls in KILL_AFTER {
        mark += calls;
        pair.until_ended(mark).await;
        second.kill().await;
        second = launch().start().await;
        second.base().clone_into(&mut *pair.second.write().await);
    }
    let mut told: HashMap<String, (Ask, Vec<Told>)> = HashMap::new();
    for client in clients {
        for (ask, answer) in client.await.unwrap() {
            let entry = told
                .entry(ask.effect().to_owned())
                .or_insert((ask, Vec::new()));
            entry.1.push(answer);
        }
    }
    // Both live now: whoever was told nothing asks again, and everybody is told what the others were.
    for (ask, answers) in told.values_mut() {
        answers.push(pair.send(false, ask).await);
        answers.push(pair.send(true, ask).await);
    }
    let expected = effects(told.values());
    for user in users {
        let path = format!("/credits/balance?user_id={user}");
        let found = second.get(&path).by_service().await;
        let hundredths = expected.get(&user).copied().unwrap_or(0);
        let shown = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        assert_eq!(found.ok(200)["balance"], shown);
        let path = format!("/credits/transactions?user_id={user}&limit=1");
        let listed = first.get(&path).by_service().await;
        let booked = told.values().filter(|(ask, answers)| {
            ask.user == user && answers.iter().any(|it| matches!(it, Told::Done { .. }))
        });
        assert_eq!(listed.ok(200)["total_count"], booked.count());
    }
    first.stop().await;
    second.stop().await;
}

/// The balance of each user, by what clients were told: one effect and one answer for a key or a reference.
fn effects<'a>(told: impl Iterator<Item = &'a (Ask, Vec<Told>)>) -> HashMap<UserId, u64> {
    let mut sums: HashMap<UserId, i64> = HashMap::new();
    for (ask, answers) in told {
        let mut firsts = 0;
        let mut seen: Option<&Value> = None;
        for told in answers {
            let Told::Done { answer, is_replay } = told else {
                continue;
            };
            firsts += usize::from(!is_replay);
            assert_eq!(answer, *seen.get_or_insert(answer), "{}", ask.effect());
        }
        assert!(firsts <= 1, "{} was done {firsts} times", ask.effect());
        if seen.is_some() {
            let amount = i64::try_from(ask.hundredths).unwrap();
            let sign = if ask.path == "/credits/add" { 1 } else { -1 };
            *sums.entry(ask.user).or_default() += sign * amount;
        }
    }
    sums.into_iter()
        .map(|(user, sum)| (user, u64::try_from(sum).expect("no balance is below zero")))
        .collect()
}

async fn client(pair: Arc<Pair>, number: usize, users: Vec<UserId>) -> Vec<(Ask, Told)> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
    let mut asked: Vec<Ask> = Vec::new();
    let mut told = Vec::new();
    for call in 0..CALLS {
        let key = format!("client-{number}-{call}");
        let ask = match dice.below(5) {
            0 if !asked.is_empty() => {
                let again = dice.below(asked.len() as u64);
                asked[usize::try_from(again).unwrap()].clone()
            }
            1 => {
                let order = dice.below(ORDERS);
                Ask {
                    key,
                    reference: Some(format!("order-{order}")),
                    path: "/credits/add",
                    user: users[usize::try_from(order % 3).unwrap()],
                    hundredths: 100 + order,
                }
            }
            kind => Ask {
                key,
                reference: None,
                path: if kind == 2 {
                    "/credits/add"
                } else {
                    "/credits/use"
                },
                user: users[usize::try_from(dice.below(3)).unwrap()],
                hundredths: 1 + dice.below(500),
            },
        };
        asked.push(ask.clone());
        let to_second = dice.below(2) == 0;
        let answer = pair.send(to_second, &ask).await;
        told.push((ask, answer));
    }
    told
}

//! Credits under all of it at once: two processes on one database, many clients that add and use, purchases and refunds that Stripe tells again and again
//! and in any order, calls that come again, and `kill -9`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use auth_billing::check_ledger;
use auth_core::{
    ports::{BillingStore, CreditStore},
    types::UserId,
};
use auth_store_sqlite::SqliteStore;
use auth_tests::{
    API_KEY, postgres,
    process::{Home, Launch, Service},
    stripe::{WEBHOOK_SECRET, event, signature},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock};

use crate::stripe::unix_seconds;

const CLIENTS: usize = 32;
const CALLS: usize = 16;
/// So few that several clients ask for each.
const ORDERS: u64 = 20;
/// What is bought: each of its events is told by several clients.
const PACKS: u64 = 18;
/// What a pack of the catalogue grants, and what refunds of a third take back of it, in hundredths.
const GRANTED: i64 = 10_000;
const THIRD: i64 = 3_334;
/// One of the two processes is killed whenever so many calls more have ended, well or not.
const KILL_AFTER: [usize; 4] = [57, 81, 113, 89];
/// When it happened, in Unix seconds; each delivery is signed when it is made.
const TOLD_AT: i64 = 1_767_225_600;
/// Nobody is there, and nothing is asked.
const NO_STRIPE: &str = "http://127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn no_credit_is_lost_or_invented_on_sqlite() {
    let home = Home::new();
    let file = home.path().join("auth-service.db");
    let expected = storm(&home, |launch| launch).await;
    let store = SqliteStore::open(file).await.unwrap();
    settled(&store, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credit_is_lost_or_invented_on_postgres() {
    let home = Home::new();
    let database = postgres::database().await;
    let expected = storm(&home, |launch| launch.set("DATABASE_URL", &database.url)).await;
    settled(&database.store().await, &expected).await;
}

/// Every balance is the sum of its entries, and what everybody was told of; what refunds could not take is owed, and not forgotten.
async fn settled<S: BillingStore + CreditStore>(store: &S, expected: &HashMap<UserId, i64>) {
    let checked = check_ledger(store, |breach| panic!("{breach}")).await;
    assert!(checked.unwrap().entries > 0);
    for (user, expected) in expected {
        let found = store.balance(*user).await.unwrap().unwrap();
        let balance = found.balance.as_hundredths();
        let debt = store.debt(*user).await.unwrap().as_hundredths();
        assert_eq!(balance - debt, *expected, "{user}: {balance}, owes {debt}");
    }
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

/// A pack that somebody bought: a third of them is kept, a third is given back by a third, and a third in two steps.
#[derive(Clone, Copy)]
struct Pack {
    number: u64,
    user: UserId,
}

impl Pack {
    fn any(dice: &mut Dice, users: &[UserId]) -> Self {
        Self::nth(dice.below(PACKS), users)
    }

    fn nth(number: u64, users: &[UserId]) -> Self {
        let user = users[usize::try_from(number % 3).unwrap()];
        Self { number, user }
    }

    /// Its purchase, and what came of it later.
    fn events(self) -> Vec<Value> {
        let Self { number, user } = self;
        let paid = json!({
            "id": format!("cs_{number}"),
            "mode": "payment",
            "payment_status": "paid",
            "payment_intent": format!("pi_{number}"),
            "metadata": {"user_id": user.to_string(), "item": "small"},
        });
        let refund = |refunded: i64| json!({"id": format!("ch_{number}"), "payment_intent": format!("pi_{number}"), "amount": 900, "amount_refunded": refunded});
        let mut objects = vec![("checkout.session.completed", paid)];
        let steps = usize::try_from(number / 3 % 3).unwrap();
        objects.extend(
            [300, 900][..steps]
                .iter()
                .map(|sum| ("charge.refunded", refund(*sum))),
        );
        let told = objects.iter().enumerate().map(|(step, (kind, object))| {
            event(&format!("evt_{number}_{step}"), kind, TOLD_AT, object)
        });
        told.collect()
    }

    /// What is left of it, in hundredths.
    fn worth(self) -> i64 {
        [GRANTED, GRANTED - THIRD, 0][usize::try_from(self.number / 3 % 3).unwrap()]
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
    async fn base(&self, to_second: bool) -> String {
        if to_second {
            self.second.read().await.clone()
        } else {
            self.first.clone()
        }
    }

    /// The status and the answer, and whether it is one of before; `None` when the process died.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Option<(u16, bool, Value)> {
        let answer = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let is_replay = response.headers().contains_key("idempotent-replay");
            Some((status, is_replay, response.json().await.ok()?))
        }
        .await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.moved_on.notify_one();
        answer
    }

    /// As Stripe does, which looks at the status alone: whether it had its effect, if that was told.
    async fn tell(&self, to_second: bool, event: &Value) -> Option<bool> {
        let base = self.base(to_second).await;
        let (now, body) = (unix_seconds(), event.to_string());
        let request = self
            .http
            .post(format!("{base}/stripe/webhook"))
            .header(
                "stripe-signature",
                signature(WEBHOOK_SECRET, now, body.as_bytes()),
            )
            .body(body);
        let (status, _, answer) = self.answer(request).await?;
        assert_eq!(status, 200, "{answer}");
        answer["processed"].as_bool()
    }

    async fn send(&self, to_second: bool, ask: &Ask) -> Told {
        let base = self.base(to_second).await;
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
        let Some((status, is_replay, answer)) = self.answer(request).await else {
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

/// What the balance of each user is, less their debt, in hundredths.
async fn storm(home: &Home, on: impl Fn(Launch) -> Launch) -> HashMap<UserId, i64> {
    let launch = || on(home.service().quick().selling(NO_STRIPE));
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
    let mut expected = effects(told.values());
    for number in 0..PACKS {
        let pack = Pack::nth(number, &users);
        for event in pack.events() {
            for to_second in [false, true] {
                assert_eq!(pair.tell(to_second, &event).await, Some(true), "{event}");
            }
        }
        *expected.entry(pack.user).or_default() += pack.worth();
    }
    for user in users {
        for (kind, path) in [
            ("credit_added", "/credits/add"),
            ("credit_used", "/credits/use"),
        ] {
            let done = told.values().filter(|(ask, answers)| {
                let is_done = answers.iter().any(|it| matches!(it, Told::Done { .. }));
                is_done && ask.user == user && ask.path == path
            });
            assert_eq!(entries(&first, user, kind).await, done.count(), "{kind}");
        }
        let bought = usize::try_from(PACKS / 3).unwrap();
        assert_eq!(entries(&second, user, "one_time_purchase").await, bought);
    }
    first.stop().await;
    second.stop().await;
    expected
}

async fn entries(service: &Service, user: UserId, kind: &str) -> usize {
    let path = format!("/credits/transactions?user_id={user}&type={kind}&limit=1");
    let listed = service.get(&path).by_service().await;
    let count = listed.ok(200)["total_count"].as_u64().unwrap();
    usize::try_from(count).unwrap()
}

/// The balance of each user, by what clients were told: one effect and one answer for a key or a reference.
fn effects<'a>(told: impl Iterator<Item = &'a (Ask, Vec<Told>)>) -> HashMap<UserId, i64> {
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
            let balance = answer["new_balance"].as_str().unwrap();
            assert!(!balance.starts_with('-'), "{answer}");
        }
        assert!(firsts <= 1, "{} was done {firsts} times", ask.effect());
        if seen.is_some() {
            let amount = i64::try_from(ask.hundredths).unwrap();
            let sign = if ask.path == "/credits/add" { 1 } else { -1 };
            *sums.entry(ask.user).or_default() += sign * amount;
        }
    }
    sums
}

async fn client(pair: Arc<Pair>, number: usize, users: Vec<UserId>) -> Vec<(Ask, Told)> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
    let mut asked: Vec<Ask> = Vec::new();
    let mut told = Vec::new();
    for call in 0..CALLS {
        let key = format!("client-{number}-{call}");
        let to_second = dice.below(2) == 0;
        let ask = match dice.below(8) {
            5.. => {
                let events = Pack::any(&mut dice, &users).events();
                let one = dice.below(events.len() as u64);
                pair.tell(to_second, &events[usize::try_from(one).unwrap()])
                    .await;
                continue;
            }
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
        let answer = pair.send(to_second, &ask).await;
        told.push((ask, answer));
    }
    told
}

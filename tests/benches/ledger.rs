//! What `POST /credits/use` costs beside the same work in the best plain script for `pgbench`: one statement that moves a balance that suffices, writes
//! its entry and refuses a second one of a reference.
//!
//! `cargo bench -p auth-tests --bench ledger`, which needs the programs of a Postgres. Service, clients and server share this machine, and so do
//! `pgbench` and the same server, which flushes each commit to disk; the rounds of the two take turns.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)] // a program for people, of test code

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use auth_core::{
    contract::{credits::add, fixtures::registered},
    ports::CreditStore,
};
use auth_store_postgres::{
    PgStore,
    sqlx::{Connection, Executor, PgConnection},
};
use auth_tests::{
    API_KEY,
    postgres::Cluster,
    process::{Home, Service},
};
use futures_util::{StreamExt, future::join_all, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    task::spawn_blocking,
    time::Instant,
};

const CLIENTS: usize = 64;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(10);
/// (accounts that are used, the least that we want of the rate of the plain script)
const LOADS: [(usize, f64); 2] = [(1, 0.95), (10_000, 0.55)];

/// Balances, entries and an index of each kind that the ledger has for its promises: nothing else.
const PLAIN: &str = "
    create table plain_accounts (id bigint primary key, balance bigint not null check (balance >= 0)) with (fillfactor = 50);
    create table plain_entries (
        account bigint not null, change bigint not null, new_balance bigint not null, reference text not null unique,
        created_at timestamptz not null default now()
    );
    insert into plain_accounts select n, 1000000000 from generate_series(1, 10000) n;
    vacuum analyze plain_accounts";

#[tokio::main]
async fn main() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let home = Home::new();
    let service = home
        .service()
        .set("DATABASE_URL", &url)
        .set("INTERNAL_API_KEY", API_KEY)
        .set("LOG_LEVEL", "warn")
        // The accounts are as old as the fixtures make them, and nobody has verified them.
        .set("UNVERIFIED_ACCOUNT_TTL", "9 years")
        .start()
        .await;
    let users = filled(&url).await;
    let mut plain = PgConnection::connect(&url).await.unwrap();
    for statement in PLAIN.split_inclusive(';') {
        plain.execute(statement).await.unwrap();
    }
    for (accounts, wanted) in LOADS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(pgbench(&cluster, &home, accounts));
            ours.push(over_http(&service, &users[..accounts]).await);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{accounts} account(s), {CLIENTS} clients: {ours:.0}/s over HTTP, {theirs:.0}/s by pgbench, ratio {:.2} (wanted: {wanted})",
            ours / theirs
        );
    }
    service.stop().await;
}

/// Users with more credits than a run can use.
async fn filled(url: &str) -> Vec<String> {
    let store = PgStore::connect(url).await.unwrap();
    stream::iter(0..10_000)
        .map(|number| {
            let store = store.clone();
            async move {
                let user = registered(&store, &format!("user{number}")).await;
                store.book(add(&user, "10000000")).await.unwrap();
                user.id.to_string()
            }
        })
        .buffer_unordered(8)
        .collect()
        .await
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Uses per second of the plain script.
fn pgbench(cluster: &Cluster, home: &Home, accounts: usize) -> f64 {
    let mut script = String::new();
    writeln!(script, "\\set account random(1, {accounts})").unwrap();
    script.push_str(
        "\\set reference random(1, 9000000000000000000)
with moved as (
    update plain_accounts set balance = balance - 1 where id = :account and balance >= 1 returning id, balance
)
insert into plain_entries (account, change, new_balance, reference)
select id, -1, balance, :reference::bigint::text from moved returning new_balance;
",
    );
    let file = home.path().join("use.sql");
    fs::write(&file, script).unwrap();
    let clients = CLIENTS.to_string();
    let seconds = ROUND.as_secs().to_string();
    let output = Command::new(cluster.program("pgbench"))
        .args(["--no-vacuum", "--protocol", "prepared", "--jobs", "1"])
        .args(["--client", &clients, "--time", &seconds, "--file"])
        .arg(&file)
        .arg(cluster.url())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    told.lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .expect("pgbench tells its rate")
}

/// Uses per second over connections that stay open, each of which waits for its answer before it asks again.
///
/// The clients do as little as those of `pgbench`, and are on one thread as those: what they take of this machine is missing to the service.
async fn over_http(service: &Service, accounts: &[String]) -> f64 {
    static ROUNDS_BEGUN: AtomicU64 = AtomicU64::new(0);
    let round = ROUNDS_BEGUN.fetch_add(1, Ordering::Relaxed);
    let (authority, users): (String, Arc<[String]>) =
        (service.authority().to_owned(), accounts.into());
    let clients = move || {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let begun = Instant::now();
            let clients = (0..CLIENTS).map(async |client| {
                let mut stream = TcpStream::connect(&authority).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut body, mut request) = (String::new(), String::new());
                let mut answer = Vec::with_capacity(4096);
                let mut done = 0;
                while begun.elapsed() < ROUND {
                    // Any step that shares no factor with the number of users visits all of them.
                    let user = &users[(client * 997 + done * 7919) % users.len()];
                    body.clear();
                    write!(
                        body,
                        r#"{{"user_id":"{user}","amount":"0.01","reference_id":"{round}-{client}-{done}"}}"#
                    )
                    .unwrap();
                    request.clear();
                    write!(
                        request,
                        "POST /credits/use HTTP/1.1\r\nhost: {authority}\r\nx-api-key: {API_KEY}\r\n\
                         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    )
                    .unwrap();
                    stream.write_all(request.as_bytes()).await.unwrap();
                    answer.clear();
                    while !is_whole(&answer) {
                        let read = stream.read_buf(&mut answer).await.unwrap();
                        assert_ne!(read, 0, "the service hung up");
                    }
                    assert!(
                        answer.starts_with(b"HTTP/1.1 200 "),
                        "{}",
                        String::from_utf8_lossy(&answer)
                    );
                    done += 1;
                }
                done
            });
            let done: usize = join_all(clients).await.into_iter().sum();
            f64::from(u32::try_from(done).unwrap()) / begun.elapsed().as_secs_f64()
        })
    };
    spawn_blocking(clients).await.unwrap()
}

/// Head and body of an answer, whose only braces are those of a flat JSON object.
fn is_whole(answer: &[u8]) -> bool {
    answer.ends_with(b"}")
}

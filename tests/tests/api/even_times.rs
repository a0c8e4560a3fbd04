//! What a request finds does not show in the time of its answer.

use std::time::{Duration, Instant};

use auth_core::time;
use auth_tests::{App, PASSWORD, StoreKind, email_of};
use serde_json::{Value, json};

auth_tests::on_each_store! {
    the_time_of_an_answer_does_not_tell_who_exists
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Without the even time, an account that exists costs a write or more, and another one a look: several times as much.
async fn the_time_of_an_answer_does_not_tell_who_exists(store: StoreKind) {
    const ROUNDS: usize = 9;
    let app = App::with(store, |auth| auth.enumeration_protection(true)).await;
    for name in ["ada", "eve"] {
        let body = registration(name);
        app.post("/auth/register", body).await.ok(202);
    }
    let verify = app.mailed_token("ada@example.org").await;
    let body = json!({"token": verify});
    app.post("/auth/verify-email", body).await.ok(200);

    let ask = |path: &'static str, body: Value| {
        let call = app.post(path, body);
        async move {
            let begin = Instant::now();
            let answer = call.await;
            let took = begin.elapsed();
            assert!(answer.status < 300, "{answer:?}");
            took
        }
    };
    let mut times = [const { Vec::new() }; 6];
    for round in 0..ROUNDS {
        // A quarter of an hour later no throttle holds a mail back.
        app.clock.advance(time::Duration::minutes(15));
        // In turns, so that a moment in which the machine is busy meets all of them.
        let requests = [
            (
                "/auth/password-reset-request",
                json!({"email": "ada@example.org"}),
            ),
            (
                "/auth/password-reset-request",
                json!({"email": "nobody@example.org"}),
            ),
            (
                "/auth/resend-verification",
                json!({"email": "eve@example.org"}),
            ),
            (
                "/auth/resend-verification",
                json!({"email": "nobody@example.org"}),
            ),
            ("/auth/register", registration("eve")),
            ("/auth/register", registration(&format!("new{round}"))),
        ];
        for ((path, body), times) in requests.into_iter().zip(&mut times) {
            times.push(ask(path, body).await);
        }
        app.deliver().await;
    }
    for name in ["ada", "eve"] {
        let mails = app.mailbox.to(&email_of(name));
        assert!(
            mails.len() > ROUNDS,
            "nothing was done for {name}: {mails:?}"
        );
    }
    let medians = times.map(median);
    for (pair, what) in medians.chunks(2).zip(["reset", "resend", "register"]) {
        let ratio = pair[0].as_secs_f64() / pair[1].as_secs_f64();
        assert!((0.8..1.25).contains(&ratio), "{what}: {medians:?}");
    }
}

fn registration(name: &str) -> Value {
    json!({"username": name, "email": email_of(name), "password": PASSWORD})
}

//! Two processes on one database: what one does holds at the other in the same moment.

use auth_tests::{Answer, PASSWORD, Person, at_once, email_of, process::Service};
use serde_json::json;

use crate::data::{Data, on_each_database};

on_each_database! {
    a_session_that_ends_at_one_has_ended_at_the_other
    a_refresh_token_turns_once_wherever_it_is_sent
    of_registrations_of_one_name_at_both_one_wins
    a_mailed_token_is_used_once_wherever_it_is_sent
    of_password_changes_at_both_one_is_made
}

/// How often two of them meet.
const ROUNDS: usize = 5;

async fn two(data: &Data) -> (Service, Service) {
    tokio::join!(data.service().start(), data.service().start())
}

/// Statuses, the smaller first.
fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

async fn logged_in(service: &Service, name: &str, password: &str) -> Person {
    let body = json!({"username": name, "password": password});
    Person::of(service.post("/auth/login", body).await.ok(200), password)
}

async fn a_session_that_ends_at_one_has_ended_at_the_other(data: Data) {
    let (one, other) = two(&data).await;
    let ada = one.verified("ada").await;
    other.get("/auth/me").by(&ada).await.ok(200);
    let elsewhere = logged_in(&other, "ada", PASSWORD).await;
    other.post("/auth/logout", json!({})).by(&ada).await.ok(200);
    one.get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
    let refresh = json!({"refresh_token": ada.refresh_token});
    let refused = one.post("/auth/refresh", refresh).await;
    refused.refused(401, "invalid_token");

    one.get("/auth/me").by(&elsewhere).await.ok(200);
    let revoke = json!({"token": elsewhere.refresh_token});
    one.post("/auth/revoke", revoke).await.ok(200);
    let me = other.get("/auth/me").by(&elsewhere).await;
    me.refused(401, "invalid_token");
}

async fn a_refresh_token_turns_once_wherever_it_is_sent(data: Data) {
    let (one, other) = two(&data).await;
    let refresh = |token: &str| json!({"refresh_token": token});
    let ada = one.verified("ada").await;
    // Two tabs, two replicas.
    let answers = at_once([
        one.post("/auth/refresh", refresh(&ada.refresh_token)),
        other.post("/auth/refresh", refresh(&ada.refresh_token)),
    ])
    .await;
    let next: Vec<_> = answers
        .iter()
        .map(|answer| Person::of(answer.ok(200), PASSWORD))
        .collect();
    assert_ne!(next[0].refresh_token, next[1].refresh_token);
    // A successor is in use at one: the first token is a replay at the other, and both know it.
    let last = one.post("/auth/refresh", refresh(&next[1].refresh_token));
    let last = Person::of(last.await.ok(200), PASSWORD);
    let replay = other.post("/auth/refresh", refresh(&ada.refresh_token));
    replay.await.refused(401, "token_reused");
    for service in [&one, &other] {
        let refused = service.post("/auth/refresh", refresh(&last.refresh_token));
        refused.await.refused(401, "invalid_token");
        let me = service.get("/auth/me").by(&last).await;
        me.refused(401, "invalid_token");
    }
}

async fn of_registrations_of_one_name_at_both_one_wins(data: Data) {
    let (one, other) = two(&data).await;
    for round in 0..ROUNDS {
        let name = format!("ada{round}");
        let body = |email: String| json!({"username": name, "email": email, "password": PASSWORD});
        let emails = [
            format!("one{round}@example.org"),
            format!("two{round}@example.org"),
        ];
        let [first, second] = emails.clone();
        let answers = at_once([
            one.post("/auth/register", body(first)),
            other.post("/auth/register", body(second)),
        ])
        .await;
        assert_eq!(statuses(&answers), [201, 409], "{answers:?}");
        let winner = answers
            .iter()
            .position(|answer| answer.status == 201)
            .unwrap();
        answers[1 - winner].refused(409, "user_exists");
        let kept = format!("select email from auth.users where username = '{name}'");
        assert_eq!(data.rows(&kept).await, [&*emails[winner]]);
    }
}

async fn a_mailed_token_is_used_once_wherever_it_is_sent(data: Data) {
    let (one, other) = two(&data).await;
    for round in 0..ROUNDS {
        let name = format!("ada{round}");
        let ada = one.registered(&name).await;
        let welcome = data.home.mail("welcome", &ada.email).await;
        let link = json!({"token": welcome.token()});
        let answers = at_once([
            one.post("/auth/verify-email", link.clone()),
            other.post("/auth/verify-email", link),
        ])
        .await;
        let mut told: Vec<_> = answers
            .iter()
            .map(|answer| answer.ok(200)["status"].as_str().unwrap())
            .collect();
        told.sort_unstable();
        assert_eq!(told, ["already_verified", "verified"]);

        let body = json!({"email": ada.email});
        other
            .post("/auth/password-reset-request", body)
            .await
            .ok(200);
        let mail = data.home.mail("password_reset", &ada.email).await;
        let passwords = ["a password from here", "a password from there"];
        let [here, there] =
            passwords.map(|password| json!({"token": mail.token(), "new_password": password}));
        let answers = at_once([
            one.post("/update-password", here),
            other.post("/update-password", there),
        ])
        .await;
        assert_eq!(statuses(&answers), [200, 400], "{answers:?}");
        let winner = answers
            .iter()
            .position(|answer| answer.status == 200)
            .unwrap();
        answers[1 - winner].refused(400, "invalid_token");
        for service in [&one, &other] {
            logged_in(service, &name, passwords[winner]).await;
            let loser = json!({"username": name, "password": passwords[1 - winner]});
            let refused = service.post("/auth/login", loser).await;
            refused.refused(401, "invalid_credentials");
        }
        // Told once.
        data.home.mail("password_changed", &email_of(&name)).await;
    }
}

async fn of_password_changes_at_both_one_is_made(data: Data) {
    let (one, other) = two(&data).await;
    one.verified("ada").await;
    let mut password = PASSWORD.to_owned();
    for round in 0..ROUNDS {
        let (here, there) = (
            logged_in(&one, "ada", &password).await,
            logged_in(&other, "ada", &password).await,
        );
        let passwords = [
            format!("from here, {round}"),
            format!("from there, {round}"),
        ];
        let body = |new: &str| json!({"current_password": password, "new_password": new});
        let answers = at_once([
            one.put("/auth/users/change-password", body(&passwords[0]))
                .by(&here),
            other
                .put("/auth/users/change-password", body(&passwords[1]))
                .by(&there),
        ])
        .await;
        let made: Vec<_> = answers
            .iter()
            .zip(&passwords)
            .filter(|(answer, _)| answer.status == 200)
            .collect();
        let [(answer, new)] = made[..] else {
            panic!("not one was made: {answers:?}");
        };
        let ada = Person::of(answer.ok(200), new);
        password.clone_from(new);
        // The session that made it lives, the other one does not.
        for service in [&one, &other] {
            service.get("/auth/me").by(&ada).await.ok(200);
            for old in [&here, &there] {
                let me = service.get("/auth/me").by(old).await;
                me.refused(401, "invalid_token");
            }
        }
    }
}

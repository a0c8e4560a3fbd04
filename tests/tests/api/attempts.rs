use async_trait::async_trait;
use auth_core::{
    Auth, Error, Hashing, Login, Register, Registration,
    adapters::MemoryStore,
    ports::{Attempt, AttemptLimiter},
    time::Duration,
    types::{Client, Digest, Email, Password, PasswordAttempt, Username},
};
use auth_tests::{Answer, App, Call, PASSWORD, Person, StoreKind, at_once, signing_keys};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};

auth_tests::on_each_store! {
    after_ten_wrong_passwords_from_one_network_none_is_looked_at
    every_door_of_an_account_is_counted_as_one
    names_of_one_account_look_like_names_of_two
    whoever_is_many_does_not_keep_the_owner_out
    an_unknown_name_behaves_as_a_known_one
    of_many_guesses_at_once_ten_are_answered
    after_a_hundred_wrong_passwords_in_a_row_one_a_minute_is_looked_at
    whoever_proves_the_mailbox_may_try_again
    a_guesser_leaves_no_more_than_ten_entries
}

const HERE: &str = "192.0.2.7";
const ELSEWHERE: &str = "198.51.100.7";

fn login(app: &App, name: &str, password: &str) -> Call {
    let body = json!({"username": name, "password": password});
    app.post("/auth/login", body)
}

async fn ten_wrong(app: &App, name: &str) {
    for number in 0..10 {
        let answer = login(app, name, &format!("wrong {number}"))
            .from(HERE)
            .await;
        answer.refused(401, "invalid_credentials");
    }
}

#[track_caller]
fn wait(answer: &Answer) -> i64 {
    answer.refused(429, "too_many_attempts");
    answer.header("retry-after").parse().unwrap()
}

async fn after_ten_wrong_passwords_from_one_network_none_is_looked_at(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    ten_wrong(&app, "ada").await;
    // Her own password neither, nor from her neighbours; an attacker learns nothing more.
    for (peer, password) in [
        (HERE, PASSWORD),
        (HERE, "wrong"),
        ("192.0.2.250", PASSWORD),
        ("::ffff:192.0.2.1", PASSWORD),
    ] {
        let answer = login(&app, "ada", password).from(peer).await;
        assert_eq!(wait(&answer), 900, "{peer}");
    }
    // She is not locked out: from another network she logs in, and others log in from this one.
    login(&app, "ada", PASSWORD).from(ELSEWHERE).await.ok(200);
    app.registered("eve").await;
    login(&app, "eve", PASSWORD).from(HERE).await.ok(200);

    // A right one elsewhere gives the guesser nothing back, and asking meanwhile makes it no longer.
    app.clock.advance(Duration::minutes(10));
    let answer = login(&app, "ada", PASSWORD).from(HERE).await;
    assert_eq!(wait(&answer), 300);
    app.clock.advance(Duration::minutes(5));
    login(&app, "ada", PASSWORD).from(HERE).await.ok(200);
}

fn doors<'a>(app: &'a App, ada: &'a Person, password: &str) -> Vec<Call> {
    let new = "another long passphrase";
    let put = |path, body: Value| app.put(path, body).by(ada).from(HERE);
    let delete = app.delete("/auth/users/delete-account").by(ada).from(HERE);
    let form = app.call("POST", "/auth/login").from(HERE);
    vec![
        login(app, "ada", password).from(HERE),
        login(app, "ADA", password).from(HERE),
        login(app, "Ada@Example.ORG", password).from(HERE),
        form.form(format!(
            "username=ada&password={}",
            password.replace(' ', "+")
        )),
        put(
            "/auth/users/change-password",
            json!({"current_password": password, "new_password": new}),
        ),
        put(
            "/auth/users/change-email",
            json!({"current_password": password, "new_email": "new@example.org"}),
        ),
        delete.json(json!({"password": password})),
    ]
}

async fn every_door_of_an_account_is_counted_as_one(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let doors = |password| doors(&app, &ada, password);
    let mut wrong = doors("wrong");
    wrong.extend(doors("wronger").into_iter().take(3));
    for call in wrong {
        let answer = call.await;
        assert!(matches!(answer.status, 400 | 401), "{answer:?}");
    }
    let mut right = doors(PASSWORD);
    let others = right.split_off(4);
    for login in right {
        // None of her names was tried ten times: that they have something in common is not said.
        login.await.refused(401, "invalid_credentials");
    }
    let state = app.state_of(&ada).await;
    for call in others {
        wait(&call.await);
    }
    assert_eq!(app.state_of(&ada).await, state);
    // What needs no password is open.
    app.get("/auth/me").by(&ada).from(HERE).await.ok(200);
}

/// Or whoever guesses at a name would learn which address it has.
async fn names_of_one_account_look_like_names_of_two(store: StoreKind) {
    let app = App::on(store).await;
    for name in ["ada", "bob"] {
        app.verified(name).await;
    }
    let ada = ("ada", "ada@example.org");
    let networks = |count: u8| (0..count).map(|number| format!("203.0.{number}.1"));
    for (first, second) in [ada, (ada.1, ada.0)] {
        let mut stories = Vec::new();
        for second in [second, "bob", "bob@example.org", "nobody"] {
            let mut told = Vec::new();
            let mut try_one = async |name: &str, peer: &str| {
                let call = login(&app, name, "wrong").from(peer);
                let answer = call.header("x-request-id", "same").await;
                told.push((answer.status, answer.bytes.clone(), answer.headers.clone()));
            };
            for name in [first, second] {
                for _ in 0..11 {
                    try_one(name, HERE).await;
                }
            }
            for peer in networks(100) {
                try_one(first, &peer).await;
            }
            for name in [first, second] {
                try_one(name, ELSEWHERE).await;
            }
            stories.push(told);
            // The rows end with a right password; none is right before its minute, and the ten from here are forgotten after a quarter of an hour.
            app.clock.advance(Duration::minutes(15));
            for name in [ada.0, "bob"] {
                login(&app, name, PASSWORD).from("100.64.0.1").await.ok(200);
            }
            for name in [ada.1, "bob@example.org"] {
                login(&app, name, PASSWORD).from("100.64.0.1").await.ok(200);
            }
        }
        let statuses: Vec<u16> = stories[0].iter().map(|told| told.0).collect();
        let (told, waits) = statuses.split_at(10);
        assert!(told.iter().all(|status| *status == 401), "{statuses:?}");
        assert_eq!(waits[..2], [429, 401]);
        assert_eq!(statuses[statuses.len() - 2..], [429, 401]);
        for story in &stories {
            assert_eq!(*story, stories[0], "{first}");
        }
    }
    // The right password is not told either where the account is over, and it is from elsewhere.
    ten_wrong(&app, ada.0).await;
    let blind = login(&app, ada.1, PASSWORD).from(HERE).await;
    blind.refused(401, "invalid_credentials");
    login(&app, ada.1, PASSWORD).from(ELSEWHERE).await.ok(200);
}

/// Many networks could take every one of the checks that an account has a minute.
async fn whoever_is_many_does_not_keep_the_owner_out(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    login(&app, "ada", PASSWORD).from(HERE).await.ok(200);
    for number in 0..100 {
        let peer = format!("203.0.{number}.1");
        let answer = login(&app, "ada", "wrong").from(&peer).await;
        answer.refused(401, "invalid_credentials");
    }
    wait(&login(&app, "ada", PASSWORD).from(ELSEWHERE).await);
    // Where she has been before, she has her ten like everybody.
    let answer = login(&app, "ada", "wrong").from(HERE).await;
    answer.refused(401, "invalid_credentials");
    login(&app, "ada", PASSWORD).from(HERE).await.ok(200);
    // One line is one network: ten guesses for all of it.
    for number in 0..12 {
        let peer = format!("2001:db8:0:{number:x}::1");
        let answer = login(&app, "ada", "wrong").from(&peer).await;
        assert_eq!(answer.status == 429, number >= 10, "{answer:?}");
    }
}

async fn an_unknown_name_behaves_as_a_known_one(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    let mut stories = Vec::new();
    for (spellings, last) in [
        (["ada", "Ada"], "ADA"),
        (["nobody", "Nobody"], "NOBODY"),
        (["ada@example.org", "Ada@Example.Org"], "ADA@example.org"),
        (
            ["nobody@example.org", "Nobody@Example.Org"],
            "NOBODY@example.org",
        ),
        (["no body", "No Body"], "NO BODY"),
    ] {
        let mut told = Vec::new();
        let mut try_one = async |name: &str| {
            let call = login(&app, name, "wrong").from(HERE);
            let answer = call.header("x-request-id", "same").await;
            told.push((answer.status, answer.bytes.clone(), answer.headers.clone()));
        };
        for number in 0..10 {
            try_one(spellings[number % 2]).await;
        }
        try_one(last).await;
        try_one(spellings[0]).await;
        stories.push(told);
        app.clock.advance(Duration::minutes(15));
    }
    assert_eq!(stories[0][9].0, 401);
    assert_eq!(stories[0][10].0, 429);
    assert!(
        stories.iter().all(|told| *told == stories[0]),
        "{stories:?}"
    );
}

async fn of_many_guesses_at_once_ten_are_answered(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    for (name, right) in [("ada", true), ("nobody", false)] {
        let peers = ["203.0.113.1", "203.0.113.77"].into_iter().cycle();
        let calls = (0..60)
            .zip(peers)
            .map(|(number, peer)| login(&app, name, &format!("guess {number}")).from(peer));
        // A full queue of hashes looks at nothing, and counts nothing.
        let answers = at_once(calls).await;
        let count = |status| answers.iter().filter(|it| it.status == status).count();
        assert_eq!(count(401), 10.min(60 - count(503)), "{name}");
        assert_eq!(count(401) + count(429) + count(503), 60, "{name}");
        let after = login(&app, name, PASSWORD).from("203.0.113.1").await;
        assert_eq!(after.status, 429, "{name}");
        let elsewhere = login(&app, name, PASSWORD).from(ELSEWHERE).await;
        assert_eq!(elsewhere.status == 200, right, "{name}");
    }
}

async fn after_a_hundred_wrong_passwords_in_a_row_one_a_minute_is_looked_at(store: StoreKind) {
    let app = App::on(store).await;
    app.verified("ada").await;
    for number in 0..100 {
        let peer = format!("203.0.{number}.1");
        let answer = login(&app, "ada", "wrong").from(&peer).await;
        answer.refused(401, "invalid_credentials");
    }
    let answer = login(&app, "ada", PASSWORD).from(ELSEWHERE).await;
    assert_eq!(wait(&answer), 60);
    app.clock.advance(Duration::MINUTE);
    let guesses = (0..8).map(|n| login(&app, "ada", "wrong").from(&format!("203.1.{n}.1")));
    let answers = at_once(guesses).await;
    let told = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(told, 1, "{answers:?}");
    // Never for good: a minute later she is in, and it is over.
    app.clock.advance(Duration::MINUTE);
    login(&app, "ada", PASSWORD).from(ELSEWHERE).await.ok(200);
    login(&app, "ada", "wrong")
        .from(ELSEWHERE)
        .await
        .refused(401, "invalid_credentials");
    login(&app, "ada", PASSWORD).from(ELSEWHERE).await.ok(200);
}

async fn whoever_proves_the_mailbox_may_try_again(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    ten_wrong(&app, "ada").await;
    let token = app.reset_token(&ada.email).await;
    let new = "another long passphrase";
    let body = json!({"token": token, "new_password": new});
    app.post("/update-password", body).from(HERE).await.ok(200);
    login(&app, "ada", new).from(HERE).await.ok(200);
}

async fn a_guesser_leaves_no_more_than_ten_entries(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    ten_wrong(&app, "ada").await;
    for _ in 0..20 {
        wait(&login(&app, "ada", "wrong").from(HERE).await);
    }
    let failed = app.audit(ada.id).await;
    let failed = failed.iter().filter(|event| **event == "login_failed");
    assert_eq!(failed.count(), 10);
}

/// Others are faster: what it answers about an account and about its names, before a password is compared and after.
#[derive(Clone, Copy, Debug)]
struct Others {
    account: Digest,
    refuse_account: [bool; 2],
    refuse_name: [bool; 2],
}

impl Others {
    fn answer(&self, attempt: &Attempt, moment: usize) -> Option<Duration> {
        let refuse = if attempt.account == self.account {
            self.refuse_account
        } else {
            self.refuse_name
        };
        refuse[moment].then_some(Duration::MINUTE)
    }
}

#[async_trait]
impl AttemptLimiter for Others {
    async fn wait(&self, attempt: &Attempt) -> Option<Duration> {
        self.answer(attempt, 0)
    }

    async fn settle(&self, attempt: &Attempt, _is_right: bool) -> Option<Duration> {
        self.answer(attempt, 1)
    }

    async fn forget(&self, _attempt: &Attempt) {}
}

#[tokio::test]
async fn a_password_that_name_and_account_refuse_is_counted_once() {
    let store = MemoryStore::default();
    let builder = || {
        let hashing = Hashing::bcrypt(4).unwrap();
        Auth::builder(store.clone(), signing_keys()).hashing(hashing)
    };
    let ada = Register {
        username: Username::parse("ada").unwrap(),
        email: Email::parse("ada@example.org").unwrap(),
        password: Password::parse(PASSWORD).unwrap(),
    };
    let client = Client::default();
    let registered = builder().build().unwrap().register(ada, &client).await;
    let Registration::Opened(tokens) = registered.unwrap() else {
        panic!("it opens a session");
    };
    let flags = [false, true];
    for case in 0..32 {
        let flag = |bit: usize| flags[case >> bit & 1];
        let others = Others {
            account: Digest::of(tokens.user.id.as_uuid().as_bytes()),
            refuse_account: [flag(0), flag(1)],
            refuse_name: [flag(2), flag(3)],
        };
        let is_right = flag(4);
        let recorder = PrometheusBuilder::new().build_recorder();
        let numbers = recorder.handle();
        let builder = builder().attempt_limiter(others);
        let auth = with_local_recorder(&recorder, || builder.build()).unwrap();
        let login = Login {
            name: "ada".to_owned(),
            password: PasswordAttempt::new(if is_right { PASSWORD } else { "a wrong guess" }),
        };
        let told = auth.login(login, &client).await;

        let is_late = others.refuse_name.contains(&true);
        let is_hidden = others.refuse_account[0] || is_right && others.refuse_account[1];
        let as_wanted = match &told {
            Ok(_) => is_right && !is_late && !is_hidden,
            Err(Error::TooManyAttempts(_)) => is_late,
            Err(Error::InvalidCredentials) => !is_late && (is_hidden || !is_right),
            Err(_) => false,
        };
        assert!(as_wanted, "{others:?}, {is_right}: {told:?}");
        let count = u8::from(is_late || is_hidden);
        let line = format!("auth_password_attempts_refused_total {count}");
        let page = numbers.render();
        assert!(
            page.lines().any(|told| told == line),
            "{others:?}, {is_right}: {page}"
        );
    }
}

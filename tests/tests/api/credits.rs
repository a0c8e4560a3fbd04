use std::collections::HashSet;

use auth_billing::{Billing, Movement, Origin, check_ledger};
use auth_core::{
    Auth, Error, Hashing, Register, Registration,
    ports::CreditStore,
    types::{Amount, Caller, Client, Email, Password, UserId, Username},
    uuid::Uuid,
};
use auth_store_postgres::{
    PgScope, PgStore,
    sqlx::{self, Executor},
};
use auth_tests::{
    Answer, App, Call, OTHER_API_KEY, PASSWORD, Person, StoreKind, at_once, postgres::database,
    signing_keys,
};
use metrics::with_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};

auth_tests::on_each_store! {
    credits_are_added_used_and_listed
    a_new_user_has_no_credits
    more_than_there_is_is_refused_and_leaves_no_trace
    a_repeated_call_has_one_effect_and_the_first_answer
    other_content_under_a_key_or_a_reference_is_a_conflict
    a_key_belongs_to_the_api_key_that_sent_it
    duplicates_at_once_have_one_effect
    uses_at_once_never_overdraw
    what_is_no_amount_is_refused
    what_is_no_key_or_text_is_refused
    pages_do_not_move_when_entries_come
    what_is_no_page_is_refused
    an_unknown_user_has_no_credits
    a_deleted_user_leaves_a_ledger_that_names_nobody
    an_entry_says_who_asked_and_in_which_request
    the_ledger_is_checked
}

const NOBODY: &str = "0197f1f0-0000-7000-8000-000000000000";

fn body(user: impl std::fmt::Display, amount: impl Into<Value>) -> Value {
    json!({"user_id": user.to_string(), "amount": amount.into()})
}

fn with(mut body: Value, member: &str, value: impl Into<Value>) -> Value {
    body[member] = value.into();
    body
}

fn add(app: &App, body: Value) -> Call {
    app.post("/credits/add", body).by_service()
}

fn spend(app: &App, body: Value) -> Call {
    app.post("/credits/use", body).by_service()
}

async fn balance(app: &App, user: &Person) -> String {
    let path = format!("/credits/balance?user_id={}", user.id);
    let answer = app.get(&path).by_service().await;
    answer.ok(200)["balance"].as_str().unwrap().to_owned()
}

async fn list(app: &App, user: &Person, more: &str) -> Answer {
    let path = format!("/credits/transactions?user_id={}{more}", user.id);
    let answer = app.get(&path).by_service().await;
    answer.ok(200);
    answer
}

fn is_replay(answer: &Answer) -> bool {
    match answer.header("idempotent-replay") {
        "" => false,
        "true" => true,
        other => panic!("{other}"),
    }
}

async fn assert_sound(app: &App) {
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    assert_eq!(checked.unwrap().breaches, 0);
}

async fn credits_are_added_used_and_listed(store: StoreKind) {
    let app = App::on(store).await;
    // The mailbox need not be proven: it is not the user who asks.
    let ada = app.registered("ada").await;
    let first = with(
        with(body(ada.id, "12.5"), "reference_id", "order-1"),
        "description",
        "a pack of credits",
    );
    let added = add(&app, first).await;
    let used = spend(&app, body(ada.id, "2.25")).await;
    for (answer, kind, direction, amount, new_balance) in [
        (&added, "credit_added", "credit", "12.50", "12.50"),
        (&used, "credit_used", "debit", "2.25", "10.25"),
    ] {
        let transaction = answer.ok(200);
        assert!(!is_replay(answer));
        assert_eq!(transaction["user_id"], ada.id.to_string());
        assert_eq!(transaction["type"], kind);
        assert_eq!(transaction["direction"], direction);
        assert_eq!(transaction["amount"], amount);
        assert_eq!(transaction["new_balance"], new_balance);
    }
    assert_eq!(added.ok(200)["reference_id"], "order-1");
    assert_eq!(added.ok(200)["description"], "a pack of credits");
    assert_eq!(used.ok(200)["reference_id"], Value::Null);
    assert_eq!(used.ok(200)["description"], Value::Null);
    // The members stand in the order of the contract.
    let names = [
        "\"id\"",
        "\"user_id\"",
        "\"type\"",
        "\"direction\"",
        "\"amount\"",
        "\"new_balance\"",
        "\"reference_id\"",
        "\"description\"",
        "\"created_at\"",
    ];
    let text = used.text();
    let places: Vec<_> = names.iter().map(|name| text.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");

    let path = format!("/credits/balance?user_id={}", ada.id);
    let found = app.get(&path).by_service().await;
    let expected = json!({
        "user_id": ada.id.to_string(),
        "balance": "10.25",
        "updated_at": used.ok(200)["created_at"],
    });
    assert_eq!(*found.ok(200), expected);

    let listed = list(&app, &ada, "").await;
    let expected = json!({
        "transactions": [used.ok(200), added.ok(200)],
        "next_cursor": null,
        "total_count": 2,
    });
    assert_eq!(*listed.ok(200), expected);
    assert_sound(&app).await;
}

async fn a_new_user_has_no_credits(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    assert_eq!(balance(&app, &ada).await, "0.00");
    let listed = list(&app, &ada, "").await;
    let nothing = json!({"transactions": [], "next_cursor": null, "total_count": 0});
    assert_eq!(*listed.ok(200), nothing);
}

async fn more_than_there_is_is_refused_and_leaves_no_trace(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let use_it = |amount| {
        let body = with(body(ada.id, amount), "reference_id", "r");
        spend(&app, body).header("idempotency-key", "k")
    };
    let refused = use_it("0.01").await;
    refused.refused(402, "insufficient_credits");
    assert_eq!(refused.json["balance"], "0.00");
    add(&app, body(ada.id, "10")).await.ok(200);
    let refused = use_it("10.01").await;
    refused.refused(402, "insufficient_credits");
    assert_eq!(refused.json["balance"], "10.00");
    assert_eq!(list(&app, &ada, "").await.json["total_count"], 1);
    // Neither the key nor the reference is spent.
    let used = use_it("10").await;
    assert_eq!(used.ok(200)["new_balance"], "0.00");
    assert!(!is_replay(&used));
    assert_sound(&app).await;
}

async fn a_repeated_call_has_one_effect_and_the_first_answer(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    add(&app, body(ada.id, "10")).await.ok(200);
    let by_key = |amount: &str| spend(&app, body(ada.id, amount)).header("idempotency-key", "k");
    let first = by_key("10").await;
    first.ok(200);
    add(&app, body(ada.id, "50")).await.ok(200);
    // However the amount is written.
    for amount in ["10", "10.0", "10.00"] {
        let again = by_key(amount).await;
        assert_eq!(again.ok(200), first.ok(200));
        assert!(is_replay(&again));
    }
    let by_reference = || {
        with(
            body(ada.id, "5"),
            "reference_id",
            "order \u{1f980} '; drop table --",
        )
    };
    let first = add(&app, by_reference()).await;
    let again = add(&app, by_reference())
        .header("idempotency-key", "new")
        .await;
    assert_eq!(again.ok(200), first.ok(200));
    assert!(is_replay(&again) && !is_replay(&first));
    assert_eq!(balance(&app, &ada).await, "55.00");
    assert_sound(&app).await;
}

async fn other_content_under_a_key_or_a_reference_is_a_conflict(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, bob) = (app.verified("ada").await, app.verified("bob").await);
    let content = with(body(ada.id, "10"), "reference_id", "r");
    add(&app, content.clone())
        .header("idempotency-key", "k")
        .await
        .ok(200);
    for other in [
        with(content.clone(), "amount", "10.01"),
        with(content.clone(), "user_id", bob.id.to_string()),
        with(content.clone(), "reference_id", "r2"),
        with(content.clone(), "description", "another"),
        body(ada.id, "10"),
    ] {
        add(&app, other)
            .header("idempotency-key", "k")
            .await
            .refused(409, "idempotency_conflict");
    }
    spend(&app, content.clone())
        .header("idempotency-key", "k")
        .await
        .refused(409, "idempotency_conflict");
    add(&app, with(content, "amount", "1"))
        .await
        .refused(409, "idempotency_conflict");
    assert_eq!(balance(&app, &ada).await, "10.00");
    assert_eq!(balance(&app, &bob).await, "0.00");
}

async fn a_key_belongs_to_the_api_key_that_sent_it(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let call = || {
        app.post("/credits/add", body(ada.id, "1"))
            .header("idempotency-key", "k")
    };
    call().by_service().await.ok(200);
    let other = call().header("x-api-key", OTHER_API_KEY).await;
    other.ok(200);
    assert!(!is_replay(&other));
    assert_eq!(balance(&app, &ada).await, "2.00");
}

async fn duplicates_at_once_have_one_effect(store: StoreKind) {
    let app = App::on(store).await;
    let replica = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.verified("ada").await;
    add(&app, body(ada.id, "10")).await.ok(200);
    for key in ["a", "b"] {
        let answers = at_once((0..20).map(|number| {
            let app = if number % 2 == 0 { &app } else { &replica };
            spend(app, body(ada.id, "5")).header("idempotency-key", key)
        }))
        .await;
        let first: Vec<_> = answers.iter().filter(|answer| !is_replay(answer)).collect();
        assert_eq!(first.len(), 1);
        assert!(
            answers
                .iter()
                .all(|answer| answer.ok(200) == first[0].ok(200))
        );
    }
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert_sound(&app).await;
}

async fn uses_at_once_never_overdraw(store: StoreKind) {
    let app = App::on(store).await;
    let replica = app.replica(signing_keys(), |auth| auth).await;
    let ada = app.verified("ada").await;
    add(&app, body(ada.id, "7")).await.ok(200);
    let answers = at_once((0..20).map(|number| {
        let app = if number % 2 == 0 { &app } else { &replica };
        spend(app, body(ada.id, "1"))
    }))
    .await;
    let balances: HashSet<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json["new_balance"].to_string())
        .collect();
    assert_eq!(balances.len(), 7);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(402, "insufficient_credits");
    }
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert_sound(&app).await;
}

async fn what_is_no_amount_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    // As JSON, because a number is taken as it is written.
    for amount in [
        "0",
        "0.00",
        "\"0\"",
        "-1",
        "\"-1\"",
        "\"+1\"",
        "1e3",
        "1E-2",
        "1.001",
        "1.000",
        "0.001",
        "0.1000000000000000001",
        "10000000.01",
        "\"10000000.01\"",
        "99999999999999999999",
        "\" 1\"",
        "\"1,5\"",
        "\"\"",
        "\".5\"",
        "\"1.\"",
        "\"NaN\"",
        "\"\u{661}\"",
        "\"1\\u0000\"",
        "null",
        "true",
        "[1]",
        "{\"a\":1}",
    ] {
        for path in ["/credits/add", "/credits/use"] {
            let raw = format!(r#"{{"user_id":"{}","amount":{amount}}}"#, ada.id);
            let answer = app
                .call("POST", path)
                .header("content-type", "application/json")
                .raw(raw)
                .by_service()
                .await;
            answer.refused(422, "validation_failed");
            assert_eq!(answer.faults()[0].0, "amount", "{amount}");
        }
    }
    for (amount, shown) in [
        ("0.1", "0.10"),
        ("0.29", "0.29"),
        ("1234567.89", "1234567.89"),
        ("10000000", "10000000.00"),
        ("\"10000000.00\"", "10000000.00"),
    ] {
        let raw = format!(r#"{{"user_id":"{}","amount":{amount}}}"#, ada.id);
        let answer = app
            .call("POST", "/credits/add")
            .header("content-type", "application/json")
            .raw(raw)
            .by_service()
            .await;
        assert_eq!(answer.ok(200)["amount"], shown);
    }
    assert_eq!(balance(&app, &ada).await, "21234568.28");
}

async fn what_is_no_key_or_text_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for key in ["", "a b", "\u{e9}", "a\tb", &"k".repeat(256)] {
        let answer = add(&app, body(ada.id, "1"))
            .header("idempotency-key", key)
            .await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, "Idempotency-Key", "{key:?}");
    }
    add(&app, body(ada.id, "1"))
        .header("idempotency-key", "a")
        .header("idempotency-key", "a")
        .await
        .refused(422, "validation_failed");
    for (member, value) in [
        ("user_id", json!("ada")),
        ("reference_id", json!("")),
        ("reference_id", json!("a\u{0}")),
        ("reference_id", json!("r".repeat(256))),
        ("reference_id", json!(7)),
        ("reference_id", json!(null)),
        ("description", json!("")),
        ("description", json!("two\nlines")),
        ("description", json!("d".repeat(501))),
        ("type", json!("refund")),
        ("new_balance", json!("1")),
    ] {
        let answer = add(&app, with(body(ada.id, "1"), member, value)).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, member);
    }
    assert_eq!(balance(&app, &ada).await, "0.00");
    let longest = with(body(ada.id, "1"), "reference_id", "\u{1f980}".repeat(255));
    let longest = with(longest, "description", "\u{1f980}".repeat(500));
    add(&app, longest)
        .header("idempotency-key", "~".repeat(255))
        .await
        .ok(200);
}

async fn pages_do_not_move_when_entries_come(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let mut expected = Vec::new();
    for number in 0..7 {
        let answer = if number % 3 == 2 {
            spend(&app, body(ada.id, "0.5")).await
        } else {
            add(&app, body(ada.id, "1")).await
        };
        expected.push(answer.ok(200).clone());
    }
    expected.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = list(&app, &ada, &format!("&limit=3{cursor}")).await;
        seen.extend(page.json["transactions"].as_array().unwrap().clone());
        // What comes now is on none of the pages that follow.
        add(&app, body(ada.id, "1")).await.ok(200);
        match page.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);

    let uses = list(&app, &ada, "&type=credit_used&limit=1").await;
    assert_eq!(uses.json["total_count"], 2);
    assert_eq!(uses.json["transactions"][0], expected[1]);
    let cursor = uses.json["next_cursor"].as_str().unwrap();
    let uses = list(
        &app,
        &ada,
        &format!("&type=credit_used&limit=1&cursor={cursor}"),
    )
    .await;
    assert_eq!(uses.json["transactions"][0], expected[4]);
    assert_eq!(uses.json["next_cursor"], Value::Null);
    let none = list(&app, &ada, "&type=refund").await;
    assert_eq!(none.json["total_count"], 0);
    for limit in [1, 50, 200] {
        list(&app, &ada, &format!("&limit={limit}")).await;
    }
}

async fn what_is_no_page_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for (query, field) in [
        ("&limit=0", "limit"),
        ("&limit=201", "limit"),
        ("&limit=-1", "limit"),
        ("&limit=%2B1", "limit"),
        ("&limit=", "limit"),
        ("&limit=99999999999999999999", "limit"),
        ("&cursor=0", "cursor"),
        ("&cursor=-1", "cursor"),
        ("&cursor=1%20or%201=1", "cursor"),
        ("&cursor=99999999999999999999", "cursor"),
        ("&type=", "type"),
        ("&type=CREDIT_USED", "type"),
        ("&offset=1", "offset"),
        ("&limit=1&limit=2", "limit"),
        ("&user_id=2", "user_id"),
    ] {
        let path = format!("/credits/transactions?user_id={}{query}", ada.id);
        let answer = app.get(&path).by_service().await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, field, "{query}");
    }
    for path in [
        "/credits/balance",
        "/credits/transactions",
        "/credits/balance?user_id=ada",
        "/credits/balance?user_id=",
    ] {
        let answer = app.get(path).by_service().await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, "user_id", "{path}");
    }
}

async fn an_unknown_user_has_no_credits(store: StoreKind) {
    let app = App::on(store).await;
    for call in [
        app.get(&format!("/credits/balance?user_id={NOBODY}")),
        app.get(&format!("/credits/transactions?user_id={NOBODY}")),
        app.post("/credits/add", body(NOBODY, "1")),
        app.post("/credits/use", body(NOBODY, "1")),
    ] {
        call.by_service().await.refused(404, "user_not_found");
    }
    assert_sound(&app).await;
}

async fn a_deleted_user_leaves_a_ledger_that_names_nobody(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let named = with(
        body(ada.id, "9"),
        "description",
        "for a person of that name",
    );
    add(&app, named)
        .header("idempotency-key", "k")
        .await
        .ok(200);
    let left = json!({"password": ada.password});
    app.call("DELETE", "/auth/users/delete-account")
        .json(left)
        .by(&ada)
        .await
        .ok(200);
    for call in [
        app.get(&format!("/credits/balance?user_id={}", ada.id)),
        app.get(&format!("/credits/transactions?user_id={}", ada.id)),
        app.post("/credits/add", body(ada.id, "1")),
        app.post("/credits/use", body(ada.id, "1")),
    ] {
        call.by_service().await.refused(404, "user_not_found");
    }
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    let checked = checked.unwrap();
    assert_eq!((checked.accounts, checked.entries), (1, 1));
}

async fn an_entry_says_who_asked_and_in_which_request(store: StoreKind) {
    use auth_core::ports::History;
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.post("/credits/add", body(ada.id, "1"))
        .header("x-api-key", OTHER_API_KEY)
        .header("x-request-id", "request-of-a-test")
        .await
        .ok(200);
    let history = History {
        user_id: ada.id,
        kind: None,
        before: None,
        limit: 10,
    };
    let page = app.store.history(history).await.unwrap().unwrap();
    let entry = &page.entries[0].entry;
    assert_eq!(entry.caller.as_str(), "others");
    assert_eq!(entry.request_id.as_deref(), Some("request-of-a-test"));
    // A user who is switched off keeps what they have: services go on.
    app.auth
        .set_disabled(ada.id, true, &Client::default())
        .await
        .unwrap();
    spend(&app, body(ada.id, "1")).await.ok(200);
}

async fn the_ledger_is_checked(store: StoreKind) {
    let app = App::on(store).await;
    for name in ["ada", "bob", "cleo"] {
        let user = app.registered(name).await;
        for _ in 0..3 {
            add(&app, body(user.id, "1")).await.ok(200);
        }
    }
    let checked = check_ledger(&app.store, |breach| panic!("{breach}")).await;
    let checked = checked.unwrap();
    assert_eq!(
        (checked.accounts, checked.entries, checked.breaches),
        (3, 9, 0)
    );
}

/// What a host writes; nobody sees any of it before its commit, and nothing of it is left without.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_its_credits_and_a_row_of_the_host_are_one_commit() {
    let database = database().await;
    let pool = PgStore::pool_options();
    let pool = pool.connect(&database.url).await.unwrap();
    let store = PgStore::from_pool(pool.clone());
    let auth = Auth::builder(store.clone(), signing_keys());
    let auth = auth.hashing(Hashing::bcrypt(4).unwrap()).build().unwrap();
    let recorder = PrometheusBuilder::new().build_recorder();
    let numbers = recorder.handle();
    let billing = with_local_recorder(&recorder, || Billing::new(&auth, store.clone()));
    pool.execute("create table workspaces (owner uuid not null references auth.users)")
        .await
        .unwrap();
    let origin = Origin::of(Caller::parse("welcome").unwrap());
    for commits in [false, true] {
        let scope = PgScope::adopt(pool.begin().await.unwrap());
        let ada = Register {
            username: Username::parse("ada").unwrap(),
            email: Email::parse("ada@example.org").unwrap(),
            password: Password::parse(PASSWORD).unwrap(),
        };
        let within = auth.within(scope.clone());
        let registered = within.register(ada, &Client::default()).await;
        let Registration::Opened(tokens) = registered.unwrap() else {
            panic!("it opens a session");
        };
        let ada = tokens.user.id;
        let move_of = |amount: &str| Movement::of(ada, Amount::parse(amount).unwrap());
        let within = billing.within(scope.clone());
        within.add(move_of("10"), &origin).await.unwrap();
        let refused = within.spend(move_of("10.01"), &origin).await;
        assert!(
            matches!(refused, Err(Error::InsufficientCredits { .. })),
            "{refused:?}"
        );
        let mut tx = scope.release().await.unwrap();
        sqlx::query("insert into workspaces values ($1)")
            .bind(ada.as_uuid())
            .execute(&mut *tx)
            .await
            .unwrap();
        assert_eq!(store.balance(ada).await.unwrap(), None);
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        let left = store.balance(ada).await.unwrap();
        let left = left.map(|it| it.balance.to_string());
        assert_eq!(left.as_deref(), commits.then_some("10.00"));
        let rows: i64 = sqlx::query_scalar("select count(*) from workspaces")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(rows, i64::from(commits));
    }
    let checked = check_ledger(&store, |breach| panic!("{breach}")).await;
    assert_eq!(checked.unwrap().entries, 1);

    // What the host may still roll back is not counted; what is committed is.
    let told = |name: &str| numbers.render().lines().any(|line| line == name);
    assert!(told(r#"auth_ledger_entries_total{kind="credit_added"} 0"#));
    assert!(told(
        r#"auth_ledger_refused_total{reason="insufficient"} 0"#
    ));
    let ada: Uuid = sqlx::query_scalar("select owner from workspaces")
        .fetch_one(&pool)
        .await
        .unwrap();
    let movement = Movement::of(UserId::from_uuid(ada), Amount::parse("1").unwrap());
    billing.add(movement, &origin).await.unwrap();
    assert!(told(r#"auth_ledger_entries_total{kind="credit_added"} 1"#));
}

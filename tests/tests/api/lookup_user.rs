use auth_core::types::Client;
use auth_tests::{App, OTHER_API_KEY, PASSWORD, StoreKind};
use serde_json::json;

auth_tests::on_each_store! {
    a_service_learns_the_address_of_a_user
    a_service_finds_a_user_by_address
    an_unknown_user_is_not_found
    what_is_no_id_or_address_is_refused
    an_address_with_odd_characters_is_found
}

fn by_id(app: &App, id: impl std::fmt::Display) -> auth_tests::Call {
    app.get(&format!("/auth/users/{id}/email")).by_service()
}

fn by_email(app: &App, email: &str) -> auth_tests::Call {
    app.get(&format!("/auth/users/by-email/{email}"))
        .by_service()
}

async fn a_service_learns_the_address_of_a_user(store: StoreKind) {
    let app = App::on(store).await;
    let (ada, eve) = (app.verified("ada").await, app.registered("eve").await);
    for (person, is_verified) in [(&ada, true), (&eve, false)] {
        let answer = by_id(&app, person.id).await;
        let expected = json!({
            "user_id": person.id.to_string(),
            "email": person.email,
            "is_verified": is_verified,
        });
        assert_eq!(*answer.ok(200), expected);
    }
    // Ids are compared by value, and every active key opens the door.
    let upper = ada.id.to_string().to_uppercase();
    by_id(&app, upper).await.ok(200);
    let path = format!("/auth/users/{}/email", ada.id);
    app.get(&path)
        .header("x-api-key", OTHER_API_KEY)
        .await
        .ok(200);
}

async fn a_service_finds_a_user_by_address(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let me = app.get("/auth/me").by(&ada).await;
    for email in [
        "ada%40example.org",
        "ada@example.org",
        "ADA%40EXAMPLE.ORG",
        "%61da%40example.org",
    ] {
        let answer = by_email(&app, email).await;
        assert_eq!(answer.ok(200), me.ok(200));
    }
    // Also when he is switched off: services ask about whoever there is.
    app.auth
        .set_disabled(ada.id, true, &Client::default())
        .await
        .unwrap();
    let answer = by_email(&app, "ada%40example.org").await;
    assert_eq!(answer.ok(200)["id"], ada.id.to_string());
}

async fn an_unknown_user_is_not_found(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    app.email_change_tokens(&ada, "pending@example.org").await;
    by_id(&app, "0197f1f0-0000-7000-8000-000000000000")
        .await
        .refused(404, "user_not_found");
    by_id(&app, "00000000-0000-0000-0000-000000000000")
        .await
        .refused(404, "user_not_found");
    by_id(&app, ada.session())
        .await
        .refused(404, "user_not_found");
    for email in [
        "nobody%40example.org",
        "pending%40example.org",
        "ada%2B1%40example.org",
    ] {
        by_email(&app, email).await.refused(404, "user_not_found");
    }
}

async fn what_is_no_id_or_address_is_refused(store: StoreKind) {
    let app = App::on(store).await;
    for id in [
        "1",
        "x",
        "-",
        "%20",
        "%00",
        "%ff",
        "..%2F..%2Fetc%2Fpasswd",
        "'%20or%201=1%20--",
        "0197f1f0000070008000000000000000",
        "%7B0197f1f0-0000-7000-8000-000000000000%7D",
        "urn:uuid:0197f1f0-0000-7000-8000-000000000000",
        "0197f1f0-0000-7000-8000-00000000000g",
        "0197f1f0-0000-7000-8000-0000000000000",
        &"9".repeat(2000),
    ] {
        let answer = by_id(&app, id).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, "user_id", "{id}");
    }
    for email in [
        "ada",
        "%20",
        "%00",
        "%ff",
        "%40",
        "ada%40",
        "%40example.org",
        "a%40b%40example.org",
        "ada%40localhost",
        "ada%40example.org%0D%0ABcc:%20eve@example.org",
        "ada%2540example.org",
        "ada%40example.org%00",
        "'%20or%201=1%20--",
        &format!("{}%40example.org", "a".repeat(300)),
    ] {
        let answer = by_email(&app, email).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults()[0].0, "email", "{email}");
    }
}

async fn an_address_with_odd_characters_is_found(store: StoreKind) {
    let app = App::on(store).await;
    for (index, (email, encoded)) in [
        ("a+b@example.org", "a+b%40example.org"),
        ("a/b@example.org", "a%2Fb%40example.org"),
        ("a%40b@example.org", "a%2540b%40example.org"),
        ("a?b#c@example.org", "a%3Fb%23c%40example.org"),
        ("jörg@bücher.example", "j%C3%B6rg%40b%C3%BCcher.example"),
        ("o'neil@example.org", "o'neil%40example.org"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{index}");
        let body = json!({"username": name, "email": email, "password": PASSWORD});
        app.post("/auth/register", body).await.ok(201);
        let answer = by_email(&app, encoded).await;
        assert_eq!(answer.ok(200)["username"], name, "{email}");
    }
}

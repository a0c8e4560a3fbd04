use auth_core::time::Duration;
use auth_tests::{PASSWORD, Person, StoreKind, at_once};
use serde_json::json;

use super::{World, claims, hosted};

auth_tests::on_each_store! {
    an_account_is_linked_through_the_browser
    an_account_is_linked_by_an_id_token
    an_id_token_is_shown_once
    of_links_with_one_token_at_once_one_is_made
    nobody_links_without_the_password
    an_identity_of_another_account_is_refused
    an_account_has_one_identity_of_a_provider
    whoever_logged_out_meanwhile_links_nothing
    a_changed_password_stops_a_link_that_was_begun
    a_link_that_another_browser_ends_is_refused
    an_account_without_a_password_needs_a_fresh_login
    a_page_is_where_a_link_ends
}

async fn an_account_is_linked_through_the_browser(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let mut browser = world.browser();
    let there = browser.start_link("google", &ada).await;
    // The address at Google may be any, and unproven: it is not looked at.
    let who = json!({"sub": "ada", "email": "private@example.net", "email_verified": false});
    let query = world.google.agree(&there, who);
    let answer = browser.come_back("google", &query).await;
    let json = answer.ok(200);
    assert!(json["message"].is_string() && json.get("access_token").is_none());
    assert_eq!(json["user"]["id"], ada.id.to_string());
    assert_eq!(json["user"]["email"], "ada@example.org");
    let both = json!(["password", "google"]);
    assert_eq!(json["user"]["sign_in_methods"], both);

    let again = world.sign_in(json!({"sub": "ada"})).await;
    assert_eq!(Person::of(again.ok(200), "").id, ada.id);
    world.app.get("/auth/me").by(&ada).await.ok(200);
    let log = world.app.audit(ada.id).await;
    assert_eq!(log[2..], ["identity_linked", "login_succeeded"]);
    let mails = world.app.mails_to("ada@example.org").await;
    let mail = mails.last().unwrap();
    assert_eq!(mail.template, "google_linked");
    assert!(mail.text.contains("Google") && mail.text.contains("private@example.net"));
}

async fn an_account_is_linked_by_an_id_token(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let link = |token: String| {
        let body = json!({"password": PASSWORD, "id_token": token});
        world.app.post("/auth/link/google", body).by(&ada)
    };
    let answer = link(world.google.id_token(&claims("ada"))).await;
    let both = json!(["password", "google"]);
    assert_eq!(answer.ok(200)["user"]["sign_in_methods"], both);
    assert!(answer.headers.get("set-cookie").is_none());
    // The same identity by another token changes nothing.
    let mut other = claims("ada");
    other["jti"] = json!("2");
    link(world.google.id_token(&other)).await.ok(200);
    let again = world.sign_in(claims("ada")).await;
    assert_eq!(Person::of(again.ok(200), "").id, ada.id);
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "google_linked"]);
}

/// A token that somebody else saw is of no use to them.
async fn an_id_token_is_shown_once(store: StoreKind) {
    let world = World::on(store).await;
    let (ada, eve) = (
        world.app.verified("ada").await,
        world.app.verified("eve").await,
    );
    let token = world.google.id_token(&claims("ada"));
    let link = |person: &Person| {
        let body = json!({"password": PASSWORD, "id_token": token});
        world.app.post("/auth/link/google", body).by(person)
    };
    link(&ada).await.ok(200);
    let body = json!({"password": PASSWORD});
    let unlink = world.app.post("/auth/unlink/google", body).by(&ada);
    unlink.await.ok(200);
    for person in [&eve, &ada] {
        link(person).await.refused(400, "invalid_token");
    }
}

async fn of_links_with_one_token_at_once_one_is_made(store: StoreKind) {
    let world = World::on(store).await;
    let token = world.google.id_token(&claims("ada"));
    let mut calls = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let person = world.app.verified(name).await;
        let body = json!({"password": PASSWORD, "id_token": token});
        calls.push(world.app.post("/auth/link/google", body).by(&person));
    }
    let mut made = 0;
    for answer in at_once(calls).await {
        if answer.status == 200 {
            made += 1;
        } else {
            answer.refused(400, "invalid_token");
        }
    }
    assert_eq!(made, 1);
}

async fn nobody_links_without_the_password(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let unverified = world.app.registered("bob").await;
    let state = world.app.state_of(&ada).await;
    let token = world.google.id_token(&claims("ada"));
    for body in [json!({}), json!({"id_token": token})] {
        let answer = world.app.post("/auth/link/google", body).by(&ada).await;
        answer.refused(422, "validation_failed");
        assert_eq!(answer.faults(), [("password", "required")]);
    }
    for body in [
        json!({"password": "wrong"}),
        json!({"password": "wrong", "id_token": token}),
    ] {
        let answer = world.app.post("/auth/link/google", body).by(&ada).await;
        answer.refused(400, "current_password_invalid");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    let body = json!({"password": PASSWORD, "id_token": token});
    let answer = world.app.post("/auth/link/google", body.clone());
    answer.await.refused(401, "missing_token");
    let answer = world.app.post("/auth/link/google", body).by(&unverified);
    answer.await.refused(403, "email_not_verified");
    let body = json!({"password": PASSWORD, "user_id": ada.id.to_string()});
    let answer = world.app.post("/auth/link/google", body).by(&ada).await;
    answer.refused(422, "validation_failed");
    assert_eq!(world.app.state_of(&ada).await, state);
}

async fn an_identity_of_another_account_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let (ada, eve) = (world.arrived("ada").await, world.app.verified("eve").await);
    let state = world.app.state_of(&eve).await;
    let mut browser = world.browser();
    let there = browser.start_link("google", &eve).await;
    let query = world.google.agree(&there, claims("ada"));
    let answer = browser.come_back("google", &query).await;
    answer.refused(409, "identity_in_use");
    let token = world.google.id_token(&claims("ada"));
    let body = json!({"password": PASSWORD, "id_token": token});
    let answer = world.app.post("/auth/link/google", body).by(&eve).await;
    answer.refused(409, "identity_in_use");
    assert_eq!(world.app.state_of(&eve).await, state);
    let again = world.sign_in(claims("ada")).await;
    assert_eq!(Person::of(again.ok(200), "").id, ada.id);
}

async fn an_account_has_one_identity_of_a_provider(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    for (subject, status) in [("one", 200), ("two", 409)] {
        let token = world.google.id_token(&claims(subject));
        let body = json!({"password": PASSWORD, "id_token": token});
        let answer = world.app.post("/auth/link/google", body).by(&ada).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // And one of another provider beside it.
    let mut browser = world.browser();
    let there = browser.start_link("acme", &ada).await;
    let query = world.acme.agree(&there, claims("one"));
    let answer = browser.come_back("acme", &query).await;
    let all = json!(["password", "acme", "google"]);
    assert_eq!(answer.ok(200)["user"]["sign_in_methods"], all);
    let mails = world.app.mails_to("ada@example.org").await;
    assert!(mails.last().unwrap().text.contains("Acme"));
}

async fn whoever_logged_out_meanwhile_links_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let thief = world.app.logged_in(&ada).await;
    let mut browser = world.browser();
    let there = browser.start_link("google", &thief).await;
    let logout = world.app.call("POST", "/auth/logout?scope=others").by(&ada);
    logout.await.ok(200);
    let query = world.google.agree(&there, claims("eve"));
    let answer = browser.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    let me = world.app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["sign_in_methods"], json!(["password"]));
}

async fn a_changed_password_stops_a_link_that_was_begun(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let mut browser = world.browser();
    let there = browser.start_link("google", &ada).await;
    let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
    let changed = world.app.put("/auth/users/change-password", body);
    let changed = changed.by(&ada).await;
    let ada = Person::of(changed.ok(200), "another long passphrase");
    let query = world.google.agree(&there, claims("eve"));
    let answer = browser.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    let me = world.app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["sign_in_methods"], json!(["password"]));
}

/// The attacker begins to link for the own account and lets the victim agree.
async fn a_link_that_another_browser_ends_is_refused(store: StoreKind) {
    let world = World::on(store).await;
    let eve = world.app.verified("eve").await;
    let there = world.browser().start_link("google", &eve).await;
    let mut victim = world.browser();
    victim.start("google").await;
    let query = world.google.agree(&there, claims("ada"));
    let answer = victim.come_back("google", &query).await;
    answer.refused(400, "invalid_state");
    let me = world.app.get("/auth/me").by(&eve).await;
    assert_eq!(me.ok(200)["sign_in_methods"], json!(["password"]));
}

async fn an_account_without_a_password_needs_a_fresh_login(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    let link = |person: &Person| world.app.post("/auth/link/acme", json!({})).by(person);
    world.app.clock.advance(Duration::minutes(5));
    let answer = link(&ada).await;
    answer.refused(403, "reauthentication_required");
    let ada = world.arrived("ada").await;
    link(&ada).await.ok(200);
}

async fn a_page_is_where_a_link_ends(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let mut browser = world.browser();
    let page = "https://app.example.org/welcome";
    let link = |page: &str| {
        let body = json!({"password": PASSWORD, "redirect_to": page});
        world.app.post("/auth/link/google", body).by(&ada)
    };
    let refused = link("https://evil.example/").await;
    refused.refused(400, "redirect_not_allowed");
    let answer = browser.send(link(page)).await;
    let there = answer.ok(200)["authorization_url"].as_str().unwrap();
    let query = world.google.agree(there, hosted("ada"));
    let answer = browser.come_back("google", &query).await;
    answer.ok(302);
    assert_eq!(answer.header("location"), page);
}

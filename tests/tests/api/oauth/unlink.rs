use auth_core::time::Duration;
use auth_tests::{Call, PASSWORD, Person, StoreKind, at_once};
use serde_json::{Value, json};

use super::{World, claims, hosted};

auth_tests::on_each_store! {
    an_unlinked_identity_opens_nothing
    who_the_provider_says_has_the_address_comes_back
    what_is_not_linked_is_not_unlinked
    the_last_sign_in_method_is_kept
    of_the_last_two_sign_in_methods_at_once_one_is_kept
    nobody_unlinks_without_the_password
    whoever_came_through_an_unlinked_identity_is_out
}

fn unlink(world: &World, name: &str, person: &Person, body: impl Into<Value>) -> Call {
    let path = format!("/auth/unlink/{name}");
    world.app.post(&path, body).by(person)
}

impl World {
    /// Links an identity in a browser.
    async fn link(&self, name: &str, person: &Person, subject: &str) {
        let provider = if name == "google" {
            &self.google
        } else {
            &self.acme
        };
        let mut browser = self.browser();
        let body = if person.password.is_empty() {
            json!({})
        } else {
            json!({"password": person.password})
        };
        let call = self.app.post(&format!("/auth/link/{name}"), body);
        let begun = browser.send(call.by(person)).await;
        let there = begun.ok(200)["authorization_url"].as_str().unwrap();
        let query = provider.agree(there, claims(subject));
        browser.come_back(name, &query).await.ok(200);
    }
}

async fn an_unlinked_identity_opens_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.link("google", &ada, "ada").await;
    let body = json!({"password": PASSWORD});
    let answer = unlink(&world, "google", &ada, body.clone()).await;
    let json = answer.ok(200);
    assert!(json["message"].is_string());
    assert_eq!(json["user"]["sign_in_methods"], json!(["password"]));
    let refused = world.sign_in(claims("ada")).await;
    refused.refused(409, "account_exists");
    let again = unlink(&world, "google", &ada, body).await;
    again.refused(404, "not_linked");
    world.app.get("/auth/me").by(&ada).await.ok(200);
    world.app.logged_in(&ada).await;
    let log = world.app.audit(ada.id).await;
    assert_eq!(log[2..4], ["identity_linked", "identity_unlinked"]);
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(templates, ["welcome", "google_linked", "google_unlinked"]);
    // It may be linked again, by anybody.
    let bob = world.app.verified("bob").await;
    world.link("google", &bob, "ada").await;
}

/// Its owner could have a password mailed as well.
async fn who_the_provider_says_has_the_address_comes_back(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.sign_in(hosted("ada")).await.ok(200);
    let body = json!({"password": PASSWORD});
    unlink(&world, "google", &ada, body).await.ok(200);
    let back = world.sign_in(hosted("ada")).await;
    assert_eq!(Person::of(back.ok(200), PASSWORD).id, ada.id);
    let templates = world.app.templates_to("ada@example.org").await;
    assert_eq!(
        templates,
        [
            "welcome",
            "google_linked",
            "google_unlinked",
            "google_linked"
        ]
    );
}

async fn what_is_not_linked_is_not_unlinked(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let state = world.app.state_of(&ada).await;
    for name in ["google", "acme", "other", "password", "Google", "a%2Fb"] {
        let body = json!({"password": PASSWORD});
        let answer = unlink(&world, name, &ada, body).await;
        answer.refused(404, "not_linked");
    }
    assert_eq!(world.app.state_of(&ada).await, state);
}

async fn the_last_sign_in_method_is_kept(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    let state = world.app.state_of(&ada).await;
    for body in [json!({}), json!({"password": "whatever it is"})] {
        let answer = unlink(&world, "google", &ada, body).await;
        answer.refused(409, "last_sign_in_method");
    }
    assert_eq!(world.app.state_of(&ada).await, state);
    // Also when it is not so fresh any more.
    world.app.clock.advance(Duration::minutes(30));
    let answer = unlink(&world, "google", &ada, json!({})).await;
    answer.refused(409, "last_sign_in_method");

    let ada = world.arrived("ada").await;
    world.link("acme", &ada, "ada").await;
    let answer = unlink(&world, "google", &ada, json!({})).await;
    assert_eq!(answer.ok(200)["user"]["sign_in_methods"], json!(["acme"]));
    let answer = unlink(&world, "acme", &ada, json!({})).await;
    answer.refused(409, "last_sign_in_method");
}

async fn of_the_last_two_sign_in_methods_at_once_one_is_kept(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.arrived("ada").await;
    world.link("acme", &ada, "ada").await;
    let calls = ["google", "acme", "google", "acme"];
    let answers = at_once(calls.map(|name| unlink(&world, name, &ada, json!({})))).await;
    let mut done = 0;
    for answer in &answers {
        match (answer.status, answer.code()) {
            (200, _) => done += 1,
            // Whoever comes later sees what the first one left, or that it changed.
            (409, "last_sign_in_method") | (404, "not_linked") | (401, "invalid_token") => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(done, 1, "{answers:?}");
    let me = world.app.get("/auth/me").by(&ada).await;
    assert_eq!(me.ok(200)["sign_in_methods"].as_array().unwrap().len(), 1);
}

async fn nobody_unlinks_without_the_password(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.link("google", &ada, "ada").await;
    let state = world.app.state_of(&ada).await;
    let answer = unlink(&world, "google", &ada, json!({})).await;
    answer.refused(422, "validation_failed");
    assert_eq!(answer.faults(), [("password", "required")]);
    let answer = unlink(&world, "google", &ada, json!({"password": "wrong"})).await;
    answer.refused(400, "current_password_invalid");
    let body = json!({"password": PASSWORD});
    let answer = world.app.post("/auth/unlink/google", body).await;
    answer.refused(401, "missing_token");
    assert_eq!(world.app.state_of(&ada).await, state);

    let bob = world.arrived("bob").await;
    world.link("acme", &bob, "bob").await;
    world.app.clock.advance(Duration::minutes(5));
    let answer = unlink(&world, "google", &bob, json!({})).await;
    answer.refused(403, "reauthentication_required");
}

async fn whoever_came_through_an_unlinked_identity_is_out(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.link("google", &ada, "eve").await;
    let eve = world.sign_in(claims("eve")).await;
    let eve = Person::of(eve.ok(200), "");
    assert_eq!(eve.id, ada.id);
    let body = json!({"password": PASSWORD});
    unlink(&world, "google", &ada, body).await.ok(200);
    let me = world.app.get("/auth/me").by(&eve).await;
    me.refused(401, "invalid_token");
    let refresh = json!({"refresh_token": eve.refresh_token});
    let refresh = world.app.post("/auth/refresh", refresh).await;
    refresh.refused(401, "invalid_token");
    world.app.get("/auth/me").by(&ada).await.ok(200);
}

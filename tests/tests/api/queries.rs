//! What a request costs at the database.

use auth_tests::{
    ALLOWED_PAGE, App, PASSWORD, Person,
    postgres::{self, Proxy},
    stripe::event,
    stripe_api::StripeApi,
};
use serde_json::{Value, json};

/// `begin` and `commit` count too.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines)] // one list
async fn a_request_costs_no_more_round_trips_than_it_needs() {
    let database = postgres::database().await;
    let proxy = Proxy::before(&database).await;
    let app = App::behind(&proxy).await;
    let stripe = StripeApi::start(app.clock.clone()).await;
    let app = app.sold_by(&stripe);

    let mut counts = Vec::new();
    // The second time: a statement is prepared once on a connection.
    for (name, warm) in [("eve", false), ("ada", true)] {
        let mut count = |what, wanted: usize| {
            let counted = proxy.take_counts();
            if warm {
                counts.push((what, counted, wanted));
            }
        };
        let ada = app.verified(name).await;
        count("", 0);
        app.registered(&format!("{name}2")).await;
        count("register", 1);

        app.get("/auth/me").by(&ada).await.ok(200);
        count("me", 1);

        let second = app.logged_in(&ada).await;
        count("login", 2);

        let wrong = json!({"username": name, "password": "a wrong password"});
        app.post("/auth/login", wrong)
            .await
            .refused(401, "invalid_credentials");
        count("a refused login", 2);

        let body = json!({"refresh_token": second.refresh_token});
        let answer = app.post("/auth/refresh", body).await;
        let second = Person::of(answer.ok(200), PASSWORD);
        count("refresh", 1);

        let body = json!({"token": second.access_token});
        app.post("/auth/refresh", body).await.ok(200);
        count("refresh by an access token", 1);

        app.get("/auth/sessions").by(&ada).await.ok(200);
        count("sessions", 2);

        let path = format!("/auth/sessions/{}", second.session());
        app.delete(&path).by(&ada).await.ok(204);
        count("end a session", 2);

        let reset = json!({"email": ada.email});
        app.post("/auth/password-reset-request", reset)
            .await
            .ok(200);
        count("ask for a reset", 5);

        let nobody = json!({"email": "nobody@example.org"});
        app.post("/auth/password-reset-request", nobody)
            .await
            .ok(200);
        count("ask for a reset of nobody", 2);

        let body = json!({"current_password": PASSWORD, "new_password": "another long passphrase"});
        let answer = app.put("/auth/users/change-password", body).by(&ada).await;
        let ada = Person::of(answer.ok(200), "another long passphrase");
        count("change the password", 8);

        let path = format!("/auth/users/{}/email", ada.id);
        app.get(&path).by_service().await.ok(200);
        count("look a user up", 1);

        let movement = json!({"user_id": ada.id, "amount": "5.00", "reference_id": name});
        for (path, what, statements) in [
            ("/credits/add", "add credits", 1),
            ("/credits/use", "use credits", 1),
            // Refused by the index, then found.
            ("/credits/use", "use credits again", 2),
        ] {
            app.post(path, movement.clone()).by_service().await.ok(200);
            count(what, statements);
        }

        let paid = json!({
            "id": format!("cs_{name}"),
            "mode": "payment",
            "payment_status": "paid",
            "payment_intent": format!("pi_{name}"),
            "metadata": {"user_id": ada.id.to_string(), "item": "small"},
        });
        let id = format!("evt_{name}");
        let paid = event(&id, "checkout.session.completed", app.seconds(), &paid);
        app.delivery(&paid).await.ok(200);
        count("a purchase", 17);
        app.delivery(&paid).await.ok(200);
        count("a purchase that is told again", 4);

        let call = async |what: &str, mut body: Value| {
            body["user_id"] = json!(ada.id.to_string());
            let call = app.post(&format!("/stripe/{what}"), body).by_service();
            call.await.ok(200).clone()
        };
        let setup = call("setup-intent", json!({})).await;
        count("leave a card, as a new customer", 3);
        call("setup-intent", json!({})).await;
        count("leave a card", 2);
        let card = stripe.attach_card(setup["customer_id"].as_str().unwrap(), true);

        let path = format!("/stripe/payment-methods?user_id={}", ada.id);
        app.get(&path).by_service().await.ok(200);
        count("see the cards", 2);

        let page = |item: &str, name: &str| json!({item: name, "success_url": ALLOWED_PAGE, "cancel_url": ALLOWED_PAGE});
        call("create-checkout-session", page("credit_pack", "small")).await;
        count("a page for a pack", 2);
        call("create-checkout-session", page("plan", "basic")).await;
        count("a page for a plan", 3);

        let plan = |name: &str| json!({"plan": name, "payment_method_id": card});
        call("create-subscription", plan("basic")).await;
        count("subscribe", 5);
        for (change, plan) in [
            ("change to a dearer plan", "professional"),
            ("change to a cheaper plan", "basic"),
        ] {
            call("change-subscription", json!({"plan": plan})).await;
            count(change, 2);
        }
        call("cancel-subscription", json!({})).await;
        count("cancel", 2);
        call("cancel-subscription", json!({"at_period_end": false})).await;
        count("cancel at once", 9);

        let body = json!({"password": ada.password});
        let gone = app.delete("/auth/users/delete-account").json(body);
        gone.by(&ada).await.ok(200);
        count("delete the account", 6);

        app.get("/health/ready").await.ok(200);
        count("ready", 1);

        app.get("/health").await.ok(200);
        count("health", 0);
    }
    let wrong: Vec<_> = counts
        .iter()
        .map(|(what, counted, statements)| {
            (
                what,
                (counted.statements, counted.prepared),
                (*statements, 0),
            )
        })
        .filter(|(what, counted, wanted)| !what.is_empty() && counted != wanted)
        .collect();
    assert_eq!(wrong, []);
}

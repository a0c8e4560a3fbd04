//! What Stripe tells against what the ledger says, after an endpoint was away.

use std::{fs::File, process::Stdio};

use auth_core::types::UserId;
use auth_tests::{
    MovableClock, PASSWORD, email_of,
    process::{Ended, Home, Launch, Service, closed_pipe},
    stripe::event,
    stripe_api::{StripeApi, Trouble},
};
use serde_json::{Value, json};

use crate::stripe::{deliver, unix_seconds};

const COMPLETED: &str = "checkout.session.completed";
const DAY: i64 = 24 * 60 * 60;
const NOBODY: &str = "0197f1f0-0000-7000-8000-000000000000";
const ALL_IS_TOLD: &str =
    "0 of them without an entry, 0 of these applied; 0 entries without a payment\n";

struct Shop {
    home: Home,
    service: Service,
    stripe: StripeApi,
    ada: UserId,
}

impl Shop {
    async fn open() -> Self {
        let home = Home::new();
        let stripe = StripeApi::start(MovableClock::default()).await;
        let service = home.service().quick().selling(stripe.address());
        let service = service.start().await;
        let body = json!({"username": "ada", "email": email_of("ada"), "password": PASSWORD});
        let answer = service.post("/auth/register", body).await;
        let ada = UserId::parse(answer.ok(201)["user"]["id"].as_str().unwrap()).unwrap();
        Self {
            home,
            service,
            stripe,
            ada,
        }
    }

    fn command(&self, more: &str) -> Launch {
        let launch = self.home.service().selling(self.stripe.address());
        launch.args(format!("stripe reconcile {more}").trim_end())
    }

    /// Compares the last week.
    async fn reconcile(&self, more: &str) -> Ended {
        self.command(&format!("--since 7days {more}")).run().await
    }

    async fn balance(&self) -> String {
        let path = format!("/credits/balance?user_id={}", self.ada);
        let answer = self.service.get(&path).by_service().await;
        answer.ok(200)["balance"].as_str().unwrap().to_owned()
    }

    /// A pack that Ada paid.
    fn pack(&self, id: &str) -> Value {
        session(id, &self.ada.to_string())
    }

    /// Stripe told it, a day ago, and nobody listened.
    fn missed(&self, id: &str, kind: &str, object: &Value) {
        let told = event(id, kind, unix_seconds() - DAY, object);
        self.stripe.has_told(told);
    }
}

/// As Stripe's description has it.
fn session(id: &str, user: &str) -> Value {
    json!({
        "id": id, "object": "checkout.session", "automatic_tax": {"enabled": false, "liability": null, "status": null},
        "created": unix_seconds() - DAY, "custom_fields": [], "expires_at": unix_seconds(), "livemode": false,
        "custom_text": {"after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null},
        "metadata": {"user_id": user, "item": "small"}, "mode": "payment", "payment_method_types": ["card"], "payment_intent": format!("pi_{id}"),
        "payment_status": "paid", "amount_total": 900, "currency": "eur", "shipping_options": [], "status": "complete",
        "success_url": "https://example.org/",
    })
}

fn invoice(id: &str, user: UserId) -> Value {
    let start = unix_seconds() - DAY;
    let line = json!({
        "amount": 1900, "price": {"id": "price_basic"}, "proration": false, "period": {"start": start, "end": start + 30 * DAY},
    });
    json!({
        "id": id, "object": "invoice", "created": start, "livemode": false, "status": "paid", "billing_reason": "subscription_create",
        "subscription": "sub_1", "subscription_details": {"metadata": {"user_id": user.to_string()}}, "amount_paid": 1900, "total": 1900,
        "currency": "eur", "payment_intent": format!("pi_{id}"), "lines": {"object": "list", "data": [line]},
    })
}

/// What a line says behind its time.
fn said(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| match line.split_once("Z ") {
            Some((_, said)) => said.to_owned(),
            None => line.to_owned(),
        })
        .collect()
}

fn has_status(ended: &Ended, status: i32) {
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_listened_to_is_listed_and_then_applied_once() {
    let shop = Shop::open().await;
    let stand = json!({
        "id": "sub_1", "status": "active", "metadata": {"user_id": shop.ada.to_string()},
        "items": {"data": [{"price": {"id": "price_basic"}}]},
    });
    let refund = json!({
        "id": "ch_1", "payment_intent": "pi_cs_1", "amount": 900, "amount_refunded": 450,
    });
    // As it happens at Stripe, and not as it is applied.
    shop.missed("evt_1", "charge.refunded", &refund);
    shop.missed("evt_2", COMPLETED, &shop.pack("cs_1"));
    shop.missed("evt_3", "invoice.paid", &invoice("in_1", shop.ada));
    shop.missed("evt_4", "customer.subscription.created", &stand);
    let news = json!({"id": "cus_1"});
    shop.missed("evt_5", "customer.updated", &news);
    for purchase in [shop.pack("cs_1"), invoice("in_1", shop.ada)] {
        shop.stripe.has_sold(purchase);
    }

    // A refund of what is not there yet would wait for it.
    let lines = [
        "evt_2: checkout.session.completed (missing)",
        "evt_4: customer.subscription.created (missing)",
        "evt_3: invoice.paid (missing)",
        "evt_1: charge.refunded (unknown_payment)",
        "4 told by Stripe, 4 of them without an entry, 0 of these applied; 0 entries without a payment",
    ];
    for _ in 0..2 {
        let ended = shop.reconcile("").await;
        has_status(&ended, 3);
        assert_eq!(said(&ended), lines);
        assert_eq!(shop.balance().await, "0.00");
    }

    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 0);
    let lines = [
        "evt_2: checkout.session.completed (applied)",
        "evt_4: customer.subscription.created (applied)",
        "evt_3: invoice.paid (applied)",
        "evt_1: charge.refunded (applied)",
        "4 told by Stripe, 4 of them without an entry, 4 of these applied; 0 entries without a payment",
    ];
    assert_eq!(said(&ended), lines);
    assert_eq!(shop.balance().await, "170.00");

    deliver(&shop.service, "evt_2", COMPLETED, &shop.pack("cs_1")).await;
    for more in ["", "--apply"] {
        let ended = shop.reconcile(more).await;
        has_status(&ended, 0);
        assert_eq!(ended.stdout, format!("4 told by Stripe, {ALL_IS_TOLD}"));
    }
    assert_eq!(shop.balance().await, "170.00");
    shop.stripe.judge();
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_applied_when_nobody_hears_of_it() {
    let shop = Shop::open().await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    for (day, output, status, balance) in [
        ("monday", Stdio::from(closed_pipe()), 0, "300.00"),
        ("tuesday", full.into(), 1, "600.00"),
    ] {
        for number in 0..3 {
            let (event, pack) = (format!("evt_{day}_{number}"), format!("cs_{day}_{number}"));
            shop.missed(&event, COMPLETED, &shop.pack(&pack));
        }
        let launch = shop.command("--since 7days --apply").output(output);
        let ended = launch.run().await;
        has_status(&ended, status);
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        assert_eq!(shop.balance().await, balance);
    }
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_nobody_paid_is_listed_and_stays() {
    let shop = Shop::open().await;
    let mut open = invoice("in_open", shop.ada);
    open["status"] = "open".into();
    shop.stripe.has_sold(open);
    // Somebody knows the signing secret.
    let forged = [
        (COMPLETED, shop.pack("cs_forged")),
        ("invoice.paid", invoice("in_open", shop.ada)),
        (COMPLETED, shop.pack("../customers/cus_1")),
    ];
    for (number, (kind, object)) in forged.iter().enumerate() {
        assert!(deliver(&shop.service, &format!("evt_{number}"), kind, object).await);
    }
    // Its name came too late for the list of events: Stripe is asked for it.
    shop.stripe.has_sold(shop.pack("cs_paid"));
    assert!(deliver(&shop.service, "evt_paid", COMPLETED, &shop.pack("cs_paid")).await);

    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 3);
    let ada = shop.ada;
    let lines = [
        format!("cs_forged: 100.00 credits for small to {ada} (unknown)"),
        format!("in_open: 120.00 credits for basic to {ada} (unpaid)"),
        format!("../customers/cus_1: 100.00 credits for small to {ada} (unknown)"),
        "0 told by Stripe, 0 of them without an entry, 0 of these applied; 3 entries without a payment".to_owned(),
    ];
    assert_eq!(said(&ended), lines);
    assert_eq!(shop.balance().await, "420.00");
    assert_eq!(shop.stripe.asked("GET /v1/customers/{id}").len(), 0);
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_listed_with_its_reason() {
    let shop = Shop::open().await;
    let mut unknown = shop.pack("cs_2");
    unknown["metadata"]["item"] = "large".into();
    shop.missed("evt_1", COMPLETED, &session("cs_1", NOBODY));
    shop.missed("evt_2", COMPLETED, &unknown);
    for more in ["", "--apply", "--apply"] {
        let ended = shop.reconcile(more).await;
        has_status(&ended, 3);
        let lines = [
            "evt_1: checkout.session.completed (unknown_user)",
            "evt_2: checkout.session.completed (unknown_item)",
            "2 told by Stripe, 2 of them without an entry, 0 of these applied; 0 entries without a payment",
        ];
        assert_eq!(said(&ended), lines);
    }
    let ended = shop.home.service().args("stripe events").run().await;
    has_status(&ended, 1);
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_ended_half_way_is_made_again() {
    let shop = Shop::open().await;
    for number in 0..130 {
        let id = format!("cs_{number}");
        shop.missed(&format!("evt_{number}"), COMPLETED, &shop.pack(&id));
    }
    let events = "GET /v1/events";
    shop.stripe.trouble(events, Trouble::Later);
    shop.stripe.trouble(
        events,
        Trouble::Say(400, json!({"error": {"type": "invalid_request_error"}})),
    );
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 1);
    assert!(ended.stderr.contains("Stripe answered 400"), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 100, "{ended:?}");
    assert_eq!(shop.balance().await, "10000.00");

    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 0);
    let last = "130 told by Stripe, 30 of them without an entry, 30 of these applied; 0 entries without a payment";
    assert_eq!(ended.stdout.lines().last(), Some(last));
    assert_eq!(shop.balance().await, "13000.00");
    // Two pages and two again, and one of each other group of kinds.
    assert_eq!(shop.stripe.asked(events).len(), 2 + 2 + 4);
    shop.stripe.judge();
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comparisons_beside_deliveries_grant_once() {
    let shop = Shop::open().await;
    let packs: Vec<_> = (0..20)
        .map(|it| (format!("evt_{it}"), shop.pack(&format!("cs_{it}"))))
        .collect();
    for (id, pack) in &packs {
        shop.missed(id, COMPLETED, pack);
    }
    let deliveries = async {
        for (id, pack) in &packs {
            deliver(&shop.service, id, COMPLETED, pack).await;
        }
    };
    let (first, second, ()) = tokio::join!(
        shop.reconcile("--apply"),
        shop.reconcile("--apply"),
        deliveries
    );
    has_status(&first, 0);
    has_status(&second, 0);
    assert_eq!(shop.balance().await, "2000.00");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_has_no_events_of_any_more_is_listed_and_not_applied() {
    let shop = Shop::open().await;
    let old = |mut purchase: Value| {
        purchase["created"] = (unix_seconds() - 40 * DAY).into();
        purchase
    };
    let mut ancient = shop.pack("cs_ancient");
    ancient["created"] = (unix_seconds() - 70 * DAY).into();
    let mut unpaid = old(shop.pack("cs_unpaid"));
    unpaid["payment_status"] = "unpaid".into();
    // A page for a plan that was left.
    let mut left = old(shop.pack("cs_left"));
    left["mode"] = "subscription".into();
    left["status"] = "expired".into();
    left["payment_status"] = "unpaid".into();
    for purchase in [
        ancient,
        unpaid,
        left,
        old(shop.pack("cs_1")),
        old(shop.pack("cs_2")),
    ] {
        shop.stripe.has_sold(purchase);
    }
    let long_ago = "--since 60days";
    shop.command(long_ago).run().await;
    shop.stripe.judge();

    shop.stripe.has_sold(old(invoice("in_1", shop.ada)));
    assert!(deliver(&shop.service, "evt_1", COMPLETED, &shop.pack("cs_1")).await);
    let ended = shop.command(long_ago).run().await;
    has_status(&ended, 3);
    let lines = [
        "cs_2: checkout.session.completed (missing)",
        "in_1: invoice.paid (missing)",
        "3 told by Stripe, 2 of them without an entry, 0 of these applied; 0 entries without a payment",
        "that long ago, refunds, disputes and subscriptions are not compared",
    ];
    assert_eq!(said(&ended), lines);
    let ended = shop.command("--since 10years").run().await;
    has_status(&ended, 3);
    assert!(ended.stdout.contains(" cs_ancient: "), "{ended:?}");

    let asked = shop.stripe.journal().len();
    let ended = shop.command(&format!("{long_ago} --apply")).run().await;
    has_status(&ended, 1);
    assert!(ended.stderr.contains("more than 30 days ago"), "{ended:?}");
    assert_eq!(shop.stripe.journal().len(), asked);
    assert_eq!(shop.balance().await, "100.00");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_refused() {
    let shop = Shop::open().await;
    let mut live = event("evt_1", COMPLETED, unix_seconds() - DAY, &shop.pack("cs_1"));
    live["livemode"] = true.into();
    shop.stripe.has_told(live);
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 1);
    assert!(ended.stderr.contains("for the other mode"), "{ended:?}");
    assert_eq!(ended.stdout, "");
    let events = shop.home.service().args("stripe events").run().await;
    has_status(&events, 0);

    let fake = shop.home.service().set("STRIPE_MODE", "fake");
    let without = shop.home.service();
    for (launch, word) in [(fake, "STRIPE_MODE=fake"), (without, "not configured")] {
        let ended = launch.args("stripe reconcile --since 7days").run().await;
        has_status(&ended, 1);
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
    for since in ["yesterday", "2026-02-30T00:00:00Z", "9999-01-01T00:00:00Z"] {
        has_status(&shop.command(&format!("--since {since}")).run().await, 2);
    }
    has_status(&shop.command("").run().await, 2);
    shop.service.stop().await;
}

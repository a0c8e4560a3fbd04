//! What Stripe tells against what the ledger says, after an endpoint was away.

use std::{fs::File, ops::Range, process::Stdio, sync::Arc};

use auth_core::types::UserId;
use auth_tests::{
    MovableClock, PASSWORD, email_of,
    process::{Ended, Launch, Service, closed_pipe, eventually},
    stripe::event,
    stripe_api::{StripeApi, Trouble},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    data::{Data, on_each_database},
    stripe::{deliver, unix_seconds},
};

const COMPLETED: &str = "checkout.session.completed";
const DAY: i64 = 24 * 60 * 60;
const NOBODY: &str = "0197f1f0-0000-7000-8000-000000000000";
const ALL_IS_TOLD: &str =
    "0 of them without an entry, 0 of these applied; 0 entries without a payment\n";

on_each_database! {
    what_nobody_listened_to_is_listed_and_then_applied_once
    what_stripe_rendered_in_another_version_is_read_as_well
    a_comparison_that_ended_half_way_is_made_again
    comparisons_beside_deliveries_grant_once
}

struct Shop {
    data: Data,
    service: Service,
    stripe: StripeApi,
    ada: UserId,
}

impl Shop {
    async fn open(data: Data) -> Self {
        let stripe = StripeApi::start(MovableClock::default()).await;
        let service = data.service().selling(stripe.address()).start().await;
        let body = json!({"username": "ada", "email": email_of("ada"), "password": PASSWORD});
        let answer = service.post("/auth/register", body).await;
        let ada = UserId::parse(answer.ok(201)["user"]["id"].as_str().unwrap()).unwrap();
        Self {
            data,
            service,
            stripe,
            ada,
        }
    }

    fn command(&self, more: &str) -> Launch {
        let launch = self.data.service().selling(self.stripe.address());
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

async fn what_nobody_listened_to_is_listed_and_then_applied_once(data: Data) {
    let shop = Shop::open(data).await;
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

/// An event keeps the version of the API that the account had when it happened, whatever the endpoint has by now.
async fn what_stripe_rendered_in_another_version_is_read_as_well(data: Data) {
    let shop = Shop::open(data).await;
    let start = unix_seconds() - DAY;
    let metadata = json!({"user_id": shop.ada.to_string()});
    let newer = json!({
        "id": "in_newer", "object": "invoice", "billing_reason": "subscription_create", "amount_paid": 1900, "total": 1900, "currency": "eur",
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_2", "metadata": metadata}},
        "lines": {"object": "list", "data": [{
            "amount": 1900, "pricing": {"price_details": {"price": "price_basic"}}, "period": {"start": start, "end": start + 30 * DAY},
            "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": false}},
        }]},
    });
    let payment = json!({
        "id": "inpay_1", "invoice": "in_newer", "amount_paid": 1900, "status": "paid",
        "payment": {"type": "payment_intent", "payment_intent": "pi_in_newer"},
    });
    // As no version has it.
    let mut odd = invoice("in_odd", shop.ada);
    odd.as_object_mut().unwrap().remove("billing_reason");
    shop.missed("evt_1", "invoice.paid", &invoice("in_older", shop.ada));
    shop.missed("evt_2", "invoice.paid", &odd);
    shop.missed("evt_3", "invoice.paid", &newer);
    shop.missed("evt_4", "invoice_payment.paid", &payment);
    for (id, payment) in [("evt_5", "pi_in_older"), ("evt_6", "pi_in_newer")] {
        let refund = json!({"id": id.replace("evt", "ch"), "payment_intent": payment, "amount": 1900, "amount_refunded": 950});
        shop.missed(id, "charge.refunded", &refund);
    }
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 3);
    let lines = [
        "evt_1: invoice.paid (applied)",
        "evt_2: invoice.paid (unreadable)",
        "evt_3: invoice.paid (applied)",
        "evt_4: invoice_payment.paid (applied)",
        "evt_5: charge.refunded (applied)",
        "evt_6: charge.refunded (applied)",
        "6 told by Stripe, 6 of them without an entry, 5 of these applied; 0 entries without a payment",
    ];
    assert_eq!(said(&ended), lines);
    assert_eq!(shop.balance().await, "120.00");
    let ended = shop.data.service().args("stripe events").run().await;
    has_status(&ended, 1);
    assert_eq!(said(&ended)[0], "evt_2: invoice.paid (unreadable)");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_applied_when_nobody_hears_of_it() {
    let shop = Shop::open(Data::sqlite()).await;
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
    let shop = Shop::open(Data::sqlite()).await;
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
    let shop = Shop::open(Data::sqlite()).await;
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
    let ended = shop.data.service().args("stripe events").run().await;
    has_status(&ended, 1);
    assert_eq!(ended.stdout.lines().count(), 3, "{ended:?}");
    shop.service.stop().await;
}

async fn a_comparison_that_ended_half_way_is_made_again(data: Data) {
    let shop = Shop::open(data).await;
    for number in 0..230 {
        let id = format!("cs_{number}");
        shop.missed(&format!("evt_{number}"), COMPLETED, &shop.pack(&id));
    }
    let events = "GET /v1/events";
    // Three pages are looked at, and the oldest one again; then it ends.
    for _ in 0..4 {
        shop.stripe.trouble(events, Trouble::Later);
    }
    shop.stripe.trouble(
        events,
        Trouble::Say(400, json!({"error": {"type": "invalid_request_error"}})),
    );
    let applied = |numbers: Range<u32>| -> Vec<_> {
        numbers
            .map(|number| format!("evt_{number}: {COMPLETED} (applied)"))
            .collect()
    };
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 1);
    assert!(ended.stderr.contains("Stripe answered 400"), "{ended:?}");
    assert_eq!(said(&ended), applied(0..30));
    assert_eq!(shop.balance().await, "3000.00");

    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 0);
    let last = "230 told by Stripe, 200 of them without an entry, 200 of these applied; 0 entries without a payment";
    let mut lines = applied(30..230);
    lines.push(last.to_owned());
    assert_eq!(said(&ended), lines);
    assert_eq!(shop.balance().await, "23000.00");
    // Of three pages that of the middle twice, and one page of each other group of kinds.
    assert_eq!(shop.stripe.asked(events).len(), 5 + 4 + 4);
    shop.stripe.judge();
    shop.service.stop().await;
}

/// Whoever is first: two processes take deliveries of what two others have read and are about to apply.
async fn comparisons_beside_deliveries_grant_once(data: Data) {
    let shop = Shop::open(data).await;
    let address = shop.stripe.address();
    let second = shop.data.service().selling(address).start().await;
    let packs: Vec<_> = (0..210)
        .map(|it| (format!("evt_{it}"), shop.pack(&format!("cs_{it}"))))
        .collect();
    for (id, pack) in &packs {
        shop.missed(id, COMPLETED, pack);
    }
    // Three pages are read, and the oldest one, of ten, is applied. Then Stripe lets it wait.
    let events = "GET /v1/events";
    let gate = Arc::new(Notify::new());
    for _ in 0..4 {
        shop.stripe.trouble(events, Trouble::Later);
    }
    let held = Trouble::Held(Arc::clone(&gate));
    shop.stripe.trouble(events, held);
    let deliver_all =
        async |service: &Service, packs: &mut dyn Iterator<Item = &(String, Value)>| {
            for (id, pack) in packs {
                assert!(deliver(service, id, COMPLETED, pack).await);
            }
        };
    let deliveries = async {
        eventually("the fifth page", async || {
            (shop.stripe.asked(events).len() == 5).then_some(())
        })
        .await;
        // It believes that these are missing.
        deliver_all(&shop.service, &mut packs[200..].iter()).await;
        gate.notify_one();
        let (mut up, mut down) = (packs.iter(), packs.iter().rev());
        tokio::join!(
            deliver_all(&shop.service, &mut up),
            deliver_all(&second, &mut down),
            async { has_status(&shop.reconcile("--apply").await, 0) }
        );
    };
    let (first, ()) = tokio::join!(shop.reconcile("--apply"), deliveries);
    has_status(&first, 0);
    let applied = first.stdout.lines().count() - 1;
    assert!((10..=200).contains(&applied), "{first:?}");
    let path = format!("/credits/transactions?user_id={}&limit=1", shop.ada);
    let answer = shop.service.get(&path).by_service().await;
    assert_eq!(answer.ok(200)["total_count"], 210);
    assert_eq!(shop.balance().await, "21000.00");
    for service in [shop.service, second] {
        service.stop().await;
    }
    let mails = shop.data.mails().await;
    let bought = mails.iter().filter(|(_, it)| it == "credit_purchase");
    assert_eq!(bought.count(), 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_listed_and_ends_nothing() {
    let shop = Shop::open(Data::sqlite()).await;
    let created = unix_seconds() - DAY;
    shop.missed("evt_1", COMPLETED, &shop.pack("cs_1"));
    for broken in [
        json!({"id": "evt_2", "type": COMPLETED, "created": created, "livemode": false, "data": {"object": "cs_2"}}),
        json!({"id": {}, "type": COMPLETED, "created": created, "livemode": false, "data": {"object": {}}}),
    ] {
        shop.stripe.has_told(broken);
    }
    shop.missed("evt_3", COMPLETED, &shop.pack("cs_3"));
    // It is on a page that is asked for twice.
    for number in 0..100 {
        let card = json!({"id": format!("cs_card_{number}"), "mode": "setup"});
        shop.missed(&format!("evt_card_{number}"), COMPLETED, &card);
    }
    let pack = |number, word| format!("evt_{number}: {COMPLETED} ({word})");
    let broken = [
        "evt_2: no event (unreadable)",
        "something without a name: no event (unreadable)",
    ]
    .map(str::to_owned);
    for (more, packs, sum) in [
        ("", Some("missing"), "4 of them without an entry, 0"),
        ("--apply", Some("applied"), "4 of them without an entry, 2"),
        ("--apply", None, "2 of them without an entry, 0"),
    ] {
        let ended = shop.reconcile(more).await;
        has_status(&ended, 3);
        let mut lines = broken.to_vec();
        if let Some(word) = packs {
            lines.insert(0, pack(1, word));
            lines.push(pack(3, word));
        }
        lines.push(format!(
            "104 told by Stripe, {sum} of these applied; 0 entries without a payment"
        ));
        assert_eq!(said(&ended), lines);
    }
    assert_eq!(shop.balance().await, "200.00");
    let events = shop.data.service().args("stripe events").run().await;
    has_status(&events, 0);

    let mut timeless = shop.pack("cs_2");
    timeless.as_object_mut().unwrap().remove("created");
    let sold = json!({"object": "list", "has_more": false, "data": [timeless]});
    let sold = Trouble::Say(200, sold);
    shop.stripe.trouble("GET /v1/checkout/sessions", sold);
    let ended = shop.command("--since 60days").run().await;
    has_status(&ended, 3);
    assert_eq!(said(&ended)[0], "cs_2: no event (unreadable)");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_goes_in_circles_is_not_read_for_ever() {
    let shop = Shop::open(Data::sqlite()).await;
    let refunded = "charge.refunded";
    let refund =
        json!({"id": "ch_1", "payment_intent": "pi_cs_1", "amount": 900, "amount_refunded": 450});
    shop.missed("evt_pack", COMPLETED, &shop.pack("cs_1"));
    shop.missed("evt_0", refunded, &refund);
    shop.stripe.go_in_circles(Some(refunded));
    let asked = || shop.stripe.asked("GET /v1/events").len();
    let pack = ["evt_pack: checkout.session.completed (applied)"];
    let mut before = asked();
    // A page that leads to itself, and then two that lead to each other.
    for (pages, lines) in [(1, &pack[..]), (2, &[])] {
        let ended = shop.reconcile("--apply").await;
        has_status(&ended, 1);
        assert!(ended.stderr.contains("does not end"), "{ended:?}");
        assert_eq!(said(&ended), lines);
        assert_eq!(shop.balance().await, "100.00");
        // One of each other group of kinds, and the first page of this one again.
        assert_eq!(asked() - before, 4 + pages + 1);
        before = asked();
        for number in 1..=100 {
            shop.missed(&format!("evt_{pages}_{number}"), refunded, &refund);
        }
    }
    shop.stripe.go_in_circles(None);
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 0);
    assert_eq!(
        said(&ended).last().unwrap(),
        "202 told by Stripe, 201 of them without an entry, 201 of these applied; 0 entries without a payment"
    );
    assert_eq!(shop.balance().await, "50.00");
    shop.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_has_no_events_of_any_more_is_listed_and_not_applied() {
    let shop = Shop::open(Data::sqlite()).await;
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
    let shop = Shop::open(Data::sqlite()).await;
    let mut live = event("evt_1", COMPLETED, unix_seconds() - DAY, &shop.pack("cs_1"));
    live["livemode"] = true.into();
    shop.stripe.has_told(live);
    let ended = shop.reconcile("--apply").await;
    has_status(&ended, 1);
    assert!(ended.stderr.contains("for the other mode"), "{ended:?}");
    assert_eq!(ended.stdout, "");
    let events = shop.data.service().args("stripe events").run().await;
    has_status(&events, 0);

    let fake = shop.data.service().set("STRIPE_MODE", "fake");
    let without = shop.data.service();
    for (launch, word) in [(fake, "STRIPE_MODE=fake"), (without, "not configured")] {
        let ended = launch.args("stripe reconcile --since 7days").run().await;
        has_status(&ended, 1);
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
    let days = format!("{}days", 10_u64.pow(18));
    for (since, word) in [
        ("yesterday", "must be a time such as"),
        ("2026-02-30T00:00:00Z", "must be a time such as"),
        ("9999-01-01T00:00:00Z", "lies in the future"),
        ("0001-01-01T00:00:00Z", "lies before 2010"),
        ("9000years", "lies before 2010"),
        (&days, "lies before 2010"),
    ] {
        for command in ["reconcile", "events"] {
            let launch = shop
                .data
                .service()
                .args(&format!("stripe {command} --since {since}"));
            let ended = launch.run().await;
            has_status(&ended, 2);
            assert!(ended.stderr.contains(word), "{ended:?}");
        }
    }
    has_status(&shop.command("").run().await, 2);
    shop.service.stop().await;
}

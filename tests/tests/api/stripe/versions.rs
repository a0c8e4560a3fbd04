//! Events as the API versions of an endpoint lay them out, which are years apart: all of them mean the same.
//!
//! The objects in `versions/` are whole. Those of 2022-11-15 are held against Stripe's published description of its API, which is of that time, and those of
//! 2026-10-28 against the types of Stripe's own SDK, which is for that version.

use auth_core::{ports::BillingStore, time::OffsetDateTime, types::Subscription};
use auth_tests::{
    App, Person, StoreKind,
    stripe::{faults_by_description, faults_by_types},
};
use serde_json::{Value, json};

use super::{alarms, balance, deliver, movements};

auth_tests::on_each_store! {
    an_event_means_the_same_in_every_version
}

/// Objects of one API version, by their types.
struct Version {
    name: &'static str,
    objects: &'static [(&'static str, &'static str)],
}

macro_rules! version {
    ($name:literal: $($kind:literal)*) => {
        Version {
            name: $name,
            objects: &[$(($kind, include_str!(concat!("versions/", $name, "/", $kind, ".json")))),*],
        }
    };
}

const OLDER: Version =
    version!("2022-11-15": "charge" "checkout_session" "dispute" "invoice" "subscription");
const NEWER: Version = version!("2026-10-28": "charge" "checkout_session" "dispute" "invoice" "invoice_payment" "subscription");

impl Version {
    /// An object of that type, of a user; `None` when the version has no such type.
    fn find(&self, kind: &str, user: &Person) -> Option<Value> {
        let (_, text) = self.objects.iter().find(|(name, _)| *name == kind)?;
        let text = text.replace("$USER", &user.id.to_string());
        Some(serde_json::from_str(&text).unwrap())
    }

    fn object(&self, kind: &str, user: &Person) -> Value {
        self.find(kind, user)
            .unwrap_or_else(|| panic!("{} has no {kind}", self.name))
    }
}

/// What came of a subscription that was bought, paid, disputed and ended.
async fn told_by(
    version: &Version,
    store: StoreKind,
) -> (Vec<[String; 4]>, Vec<Subscription>, Vec<&'static str>) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let session = version.object("checkout_session", &ada);
    let mut subscription = version.object("subscription", &ada);
    let invoice = version.object("invoice", &ada);
    let mut dispute = version.object("dispute", &ada);
    let created = "customer.subscription.created";
    assert!(deliver(&app, "evt_1", "checkout.session.completed", &session).await);
    assert!(deliver(&app, "evt_2", created, &subscription).await);
    assert!(deliver(&app, "evt_3", "invoice.paid", &invoice).await);
    assert_eq!(balance(&app, &ada).await, "120.00");
    // Where an invoice does not name what paid it.
    if let Some(payment) = version.find("invoice_payment", &ada) {
        assert!(deliver(&app, "evt_4", "invoice_payment.paid", &payment).await);
    }
    let charge = version.object("charge", &ada);
    assert!(deliver(&app, "evt_5", "charge.refunded", &charge).await);
    assert_eq!(balance(&app, &ada).await, "60.00");
    for (id, status, left) in [
        ("evt_6", "needs_response", "0.00"),
        ("evt_7", "won", "60.00"),
    ] {
        dispute["status"] = json!(status);
        assert!(deliver(&app, id, "charge.dispute.updated", &dispute).await);
        assert_eq!(balance(&app, &ada).await, left);
    }
    let mut renewal = version.object("invoice", &ada);
    for (place, value) in [
        ("/id", json!("in_2")),
        ("/billing_reason", json!("subscription_cycle")),
        ("/lines/data/0/period/start", json!(1_769_904_000)),
        ("/lines/data/0/period/end", json!(1_772_323_200)),
    ] {
        *renewal.pointer_mut(place).unwrap() = value;
    }
    assert!(deliver(&app, "evt_8", "invoice.payment_failed", &renewal).await);
    assert!(deliver(&app, "evt_9", "invoice.paid", &renewal).await);
    subscription["cancel_at_period_end"] = json!(true);
    assert!(
        deliver(
            &app,
            "evt_10",
            "customer.subscription.updated",
            &subscription
        )
        .await
    );
    let kept = app.store.subscriptions(ada.id).await.unwrap();
    subscription["status"] = json!("canceled");
    subscription["ended_at"] = json!(app.seconds());
    assert!(
        deliver(
            &app,
            "evt_11",
            "customer.subscription.deleted",
            &subscription
        )
        .await
    );
    assert_eq!(app.store.subscriptions(ada.id).await.unwrap(), []);
    assert_eq!(alarms(&app).await, []);
    let kept = kept.into_iter().map(|it| Subscription { user: None, ..it });
    (
        movements(&app, &ada).await,
        kept.collect(),
        app.templates_to(&ada.email).await,
    )
}

async fn an_event_means_the_same_in_every_version(store: StoreKind) {
    let older = told_by(&OLDER, store).await;
    assert_eq!(older, told_by(&NEWER, store).await);
    let (moved, kept, mails) = older;
    let moved: Vec<_> = moved
        .iter()
        .map(|[kind, direction, amount, _]| format!("{kind} {direction} {amount}"))
        .collect();
    let expected = [
        "plan_purchase credit 120.00",
        "refund debit 60.00",
        "adjustment debit 60.00",
        "adjustment credit 60.00",
        "plan_renewal credit 120.00",
    ];
    assert_eq!(moved, expected);
    assert_eq!(kept[0].item.as_deref(), Some("basic"));
    assert_eq!(
        kept[0].period_end.map(OffsetDateTime::unix_timestamp),
        Some(1_769_904_000)
    );
    assert_eq!(kept[0].cancel_at, kept[0].period_end);
    let expected = [
        "welcome",
        "subscription_started",
        "payment_failed",
        "subscription_renewed",
        "subscription_cancelled",
    ];
    assert_eq!(mails, expected);
}

#[test]
fn the_objects_are_as_stripe_describes_them() {
    let object = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let lines = |version: &Version, name: fn(&str) -> Value| {
        let lines = version.objects.iter().map(|(kind, text)| {
            let mut line = name(kind);
            line["object"] = object(text);
            line
        });
        lines.collect::<Vec<_>>()
    };
    let older = lines(
        &OLDER,
        |kind| json!({"schema": kind.replace("checkout_", "checkout.")}),
    );
    let newer = lines(&NEWER, |kind| {
        let name = match kind {
            "checkout_session" => "checkout.Session",
            "charge" => "Charge",
            "dispute" => "Dispute",
            "invoice" => "Invoice",
            "invoice_payment" => "InvoicePayment",
            _ => "Subscription",
        };
        json!({"type": name})
    });
    assert_eq!(faults_by_description(&older), "");
    assert_eq!(faults_by_types(&newer), "");
    // They would tell: of either version, the other one's objects are wrong.
    let older = lines(
        &NEWER,
        |kind| json!({"schema": kind.replace("checkout_", "checkout.")}),
    );
    let older: Vec<_> = older
        .into_iter()
        .filter(|it| it["schema"] == "invoice" || it["schema"] == "subscription")
        .collect();
    let told = faults_by_description(&older);
    assert!(
        told.contains("current_period_end") && told.contains("parent"),
        "{told}"
    );
    let invoice = json!({"type": "Invoice", "object": object(OLDER.objects[3].1)});
    let told = faults_by_types(&[invoice]);
    assert!(
        told.contains("Invoice/subscription: there is no such member"),
        "{told}"
    );
}

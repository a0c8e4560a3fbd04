use auth_tests::{App, StoreKind};
use serde_json::json;

use super::{alarms, balance, charge, deliver, movements, newer_invoice, session};

auth_tests::on_each_store! {
    a_refund_and_a_dispute_take_back_what_was_granted
    a_refund_of_a_part_takes_back_its_part
    a_refund_finds_a_purchase_whose_invoice_was_told_first
}

async fn a_refund_and_a_dispute_take_back_what_was_granted(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_1", completed, &session(&ada, "cs_1")).await);
    let refund = charge("pi_cs_1", 300);
    assert!(deliver(&app, "evt_2", "charge.refunded", &refund).await);
    assert_eq!(balance(&app, &ada).await, "66.66");

    // Of a later API version: the refund, the dispute and the invoice meet over the payment, the link comes last.
    assert!(!deliver(&app, "evt_3", "charge.refunded", &charge("pi_2", 450)).await);
    let mut invoice = newer_invoice(&ada, "in_2", "subscription_cycle");
    invoice["amount_paid"] = json!(900);
    assert!(deliver(&app, "evt_4", "invoice.paid", &invoice).await);
    assert_eq!(balance(&app, &ada).await, "186.66");
    let link = json!({
        "id": "inpay_1",
        "object": "invoice_payment",
        "invoice": "in_2",
        "payment": {"type": "payment_intent", "payment_intent": "pi_2"},
        "status": "paid",
    });
    assert!(deliver(&app, "evt_5", "invoice_payment.paid", &link).await);
    assert_eq!(balance(&app, &ada).await, "126.66");
    let dispute = |status: &str| {
        json!({
            "id": "dp_1",
            "object": "dispute",
            "status": status,
            "charge": "ch_pi_2",
            "payment_intent": "pi_2",
            "amount": 900,
        })
    };
    for (id, kind, status, expected) in [
        (
            "evt_6",
            "charge.dispute.created",
            "warning_needs_response",
            "126.66",
        ),
        ("evt_7", "charge.dispute.created", "needs_response", "66.66"),
        ("evt_8", "charge.dispute.closed", "won", "126.66"),
    ] {
        assert!(deliver(&app, id, kind, &dispute(status)).await);
        assert_eq!(balance(&app, &ada).await, expected, "{status}");
    }
    let kinds: Vec<_> = movements(&app, &ada)
        .await
        .into_iter()
        .map(|[kind, direction, amount, _]| format!("{kind} {direction} {amount}"))
        .collect();
    let expected = [
        "one_time_purchase credit 100.00",
        "refund debit 33.34",
        "plan_renewal credit 120.00",
        "refund debit 60.00",
        "adjustment debit 60.00",
        "adjustment credit 60.00",
    ];
    assert_eq!(kinds, expected);
    // The refund that came before its purchase has had its effect by now.
    assert_eq!(alarms(&app).await, []);
}

/// As API versions tell it that let an invoice be paid in parts.
async fn a_refund_of_a_part_takes_back_its_part(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut invoice = newer_invoice(&ada, "in_1", "subscription_cycle");
    invoice["total"] = json!(1900);
    assert!(deliver(&app, "evt_1", "invoice.paid", &invoice).await);
    for (id, payment, paid) in [("evt_2", "pi_1", 950), ("evt_3", "pi_2", 950)] {
        let link = json!({
            "id": format!("inpay_{payment}"),
            "invoice": "in_1",
            "amount_paid": paid,
            "payment": {"type": "payment_intent", "payment_intent": payment},
            "status": "paid",
        });
        assert!(deliver(&app, id, "invoice_payment.paid", &link).await);
    }
    let mut refund = charge("pi_1", 950);
    refund["amount"] = json!(950);
    assert!(deliver(&app, "evt_4", "charge.refunded", &refund).await);
    assert_eq!(balance(&app, &ada).await, "60.00");
    // Two disputes of the other one: the first is won, the second is not.
    for (id, dispute, status, expected) in [
        ("evt_5", "dp_1", "needs_response", "0.00"),
        ("evt_6", "dp_2", "needs_response", "0.00"),
        ("evt_7", "dp_1", "won", "0.00"),
        ("evt_8", "dp_2", "won", "60.00"),
    ] {
        let dispute = json!({"id": dispute, "status": status, "payment_intent": "pi_2"});
        assert!(deliver(&app, id, "charge.dispute.updated", &dispute).await);
        assert_eq!(balance(&app, &ada).await, expected, "{id}");
    }
    let unknown = json!({"id": "dp_3", "status": "of_tomorrow", "payment_intent": "pi_2"});
    assert!(!deliver(&app, "evt_9", "charge.dispute.updated", &unknown).await);
    assert_eq!(alarms(&app).await, [("evt_9".to_owned(), "unreadable")]);
}

async fn a_refund_finds_a_purchase_whose_invoice_was_told_first(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let paid = json!({"invoice": "in_9", "payment": {"payment_intent": "pi_cs_1"}});
    assert!(deliver(&app, "evt_1", "invoice_payment.paid", &paid).await);
    let completed = "checkout.session.completed";
    assert!(deliver(&app, "evt_2", completed, &session(&ada, "cs_1")).await);
    assert!(deliver(&app, "evt_3", "charge.refunded", &charge("pi_cs_1", 900)).await);
    assert_eq!(balance(&app, &ada).await, "0.00");
}

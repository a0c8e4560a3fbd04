use auth_tests::{App, Person, StoreKind};
use serde_json::{Value, json};

use super::{alarms, balance, deliver, movements, newer_invoice};

auth_tests::on_each_store! {
    an_upgrade_grants_the_difference_once_in_a_period
    a_paid_change_of_plan_is_granted_or_told
    a_paid_period_is_granted_or_told
    an_invoice_of_more_lines_than_are_told_is_told
}

/// A part of a period that a change of the plan left: what is credited is below zero.
fn proration(price: &str, amount: i64, start: i64) -> Value {
    json!({
        "amount": amount,
        "quantity": 1,
        "pricing": {"price_details": {"price": price}},
        "parent": {"subscription_item_details": {"proration": true}},
        "period": {"start": start, "end": 1_772_323_200},
    })
}

fn change_of_plan(user: &Person, id: &str, paid: i64, lines: &[Value]) -> Value {
    let mut invoice = newer_invoice(user, id, "subscription_update");
    invoice["amount_paid"] = json!(paid);
    invoice["lines"]["data"] = json!(lines);
    invoice
}

async fn an_upgrade_grants_the_difference_once_in_a_period(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let first = newer_invoice(&ada, "in_0", "subscription_cycle");
    assert!(deliver(&app, "evt_0", "invoice.paid", &first).await);
    let up = |id: &str, paid, start| {
        let lines = [
            proration("price_basic", -1900, start),
            proration("price_professional", 4900, start),
        ];
        change_of_plan(&ada, id, paid, &lines)
    };
    let upgrade = up("in_1", 3000, 1_769_904_000);
    assert!(deliver(&app, "evt_1", "invoice.paid", &upgrade).await);
    let expected = [
        ["plan_renewal", "credit", "120.00", "in_0"].map(str::to_owned),
        ["plan_upgrade", "credit", "380.00", "in_1"].map(str::to_owned),
    ];
    assert_eq!(movements(&app, &ada).await, expected);
    // The way down gives no credits, and takes none; what it gave back pays the way up again.
    let down = [
        proration("price_professional", -4900, 1_770_000_000),
        proration("price_basic", 1900, 1_770_000_000),
    ];
    let down = change_of_plan(&ada, "in_2", 0, &down);
    assert!(!deliver(&app, "evt_2", "invoice.paid", &down).await);
    let again = up("in_3", 0, 1_770_000_100);
    assert!(!deliver(&app, "evt_3", "invoice.paid", &again).await);
    assert_eq!(balance(&app, &ada).await, "500.00");
    assert_eq!(alarms(&app).await, []);
    // Down and up on one invoice.
    let both = change_of_plan(
        &ada,
        "in_4",
        3000,
        &[
            proration("price_professional", -4900, 1_770_000_200),
            proration("price_basic", 1900, 1_770_000_200),
            proration("price_basic", -1900, 1_770_000_300),
            proration("price_professional", 4900, 1_770_000_300),
        ],
    );
    assert!(!deliver(&app, "evt_4", "invoice.paid", &both).await);
    assert_eq!(balance(&app, &ada).await, "500.00");
    assert_eq!(alarms(&app).await, [("evt_4".to_owned(), "unaccounted")]);
    let expected = ["welcome", "subscription_renewed", "plan_upgrade"];
    assert_eq!(app.templates_to(&ada.email).await, expected);
}

/// A name, why the invoice was made, its lines and what came for it; then what it is told as, and what it grants.
type Case = (
    &'static str,
    &'static str,
    Vec<Value>,
    i64,
    &'static str,
    &'static str,
);

/// Each by a user of its own.
async fn assert_granted_or_told(app: &App, cases: Vec<Case>) {
    for (name, reason, lines, paid, outcome, granted) in cases {
        let user = app.registered(&name.replace(' ', "-")).await;
        let id = format!("evt_{}", user.id);
        let mut invoice = change_of_plan(&user, &format!("in_{}", user.id), paid, &lines);
        invoice["billing_reason"] = json!(reason);
        for place in ["customer", "subscription"] {
            invoice[place] = json!(format!("{place}_{}", user.id));
        }
        invoice["parent"]["subscription_details"]["subscription"] = invoice["subscription"].clone();
        let is_processed = deliver(app, &id, "invoice.paid", &invoice).await;
        assert_eq!(is_processed, granted != "0.00", "{name}");
        assert_eq!(balance(app, &user).await, granted, "{name}");
        let told = alarms(app)
            .await
            .into_iter()
            .find(|(alarm, _)| *alarm == id);
        assert_eq!(told.map_or("", |(_, outcome)| outcome), outcome, "{name}");
    }
}

const PERIOD: i64 = 1_769_904_000;

fn part_of(price: &str, amount: i64) -> Value {
    proration(price, amount, PERIOD)
}

fn whole(price: &str, amount: i64) -> Value {
    let mut line = part_of(price, amount);
    line["parent"]["subscription_item_details"]["proration"] = json!(false);
    line
}

fn several(mut line: Value, quantity: Value) -> Value {
    line["quantity"] = quantity;
    line
}

/// Money came, and it is not known what for: somebody has to look.
async fn a_paid_change_of_plan_is_granted_or_told(store: StoreKind) {
    let app = App::on(store).await;
    let update = "subscription_update";
    let old = || part_of("price_basic", -1900);
    let new = || part_of("price_professional", 4900);
    let cases = vec![
        // Without a line that credits the plan before: a period that begins now is paid in full, and a part of one is of who knows what.
        (
            "begun",
            update,
            vec![whole("price_basic", 1900)],
            1900,
            "",
            "120.00",
        ),
        (
            "part",
            update,
            vec![part_of("price_basic", 950)],
            950,
            "unaccounted",
            "0.00",
        ),
        (
            "free",
            update,
            vec![part_of("price_basic", 0)],
            0,
            "",
            "0.00",
        ),
        (
            "unknown",
            update,
            vec![part_of("price_x", 950)],
            950,
            "unknown_item",
            "0.00",
        ),
        (
            "from unknown",
            update,
            vec![part_of("price_x", -1), part_of("price_basic", 2)],
            1,
            "unknown_item",
            "0.00",
        ),
        ("empty", update, vec![], 950, "unaccounted", "0.00"),
        (
            "cheaper",
            update,
            vec![part_of("price_professional", -1), part_of("price_basic", 2)],
            1,
            "unaccounted",
            "0.00",
        ),
        (
            "several",
            update,
            vec![several(old(), json!(3)), new()],
            3000,
            "unaccounted",
            "0.00",
        ),
        // By way of another plan, whose parts are not of one price.
        (
            "two ways at once",
            update,
            vec![
                part_of("price_basic", -1900),
                part_of("price_basic", -1900),
                part_of("price_professional", 4900),
            ],
            1100,
            "unaccounted",
            "0.00",
        ),
    ];
    assert_granted_or_told(&app, cases).await;
}

/// Or for less than came.
async fn a_paid_period_is_granted_or_told(store: StoreKind) {
    let app = App::on(store).await;
    let cycle = "subscription_cycle";
    let old = || part_of("price_basic", -1900);
    let new = || part_of("price_professional", 4900);
    let cases = vec![
        (
            "a trial",
            "subscription_create",
            vec![whole("price_basic", 0)],
            0,
            "",
            "0.00",
        ),
        (
            "seats",
            cycle,
            vec![several(whole("price_basic", 5700), json!(3))],
            5700,
            "unaccounted",
            "0.00",
        ),
        (
            "odd",
            cycle,
            vec![several(whole("price_basic", 1900), json!("1"))],
            1900,
            "unaccounted",
            "0.00",
        ),
        (
            "nulled",
            cycle,
            vec![several(whole("price_basic", 1900), Value::Null)],
            1900,
            "",
            "120.00",
        ),
        (
            "two plans",
            cycle,
            vec![
                whole("price_basic", 1900),
                whole("price_professional", 4900),
            ],
            6800,
            "unaccounted",
            "0.00",
        ),
        (
            "other things",
            cycle,
            vec![whole("price_x", 500), whole("price_basic", 1900)],
            2400,
            "",
            "120.00",
        ),
        // A change of the period before, paid with the next one.
        (
            "upgraded before",
            cycle,
            vec![old(), new(), whole("price_professional", 4900)],
            7900,
            "partly",
            "500.00",
        ),
        (
            "downgraded before",
            cycle,
            vec![
                part_of("price_professional", -4900),
                part_of("price_basic", 1900),
                whole("price_basic", 1900),
            ],
            0,
            "",
            "120.00",
        ),
        (
            "by hand",
            "manual",
            vec![whole("price_basic", 1900)],
            1900,
            "unaccounted",
            "0.00",
        ),
        (
            "of another kind",
            "manual",
            vec![whole("price_x", 1900)],
            1900,
            "",
            "0.00",
        ),
    ];
    assert_granted_or_told(&app, cases).await;
}

/// An event has the first lines only.
async fn an_invoice_of_more_lines_than_are_told_is_told(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    let mut long = newer_invoice(&ada, "in_long", "subscription_cycle");
    long["lines"]["has_more"] = json!(true);
    assert!(!deliver(&app, "evt_long", "invoice.paid", &long).await);
    let known = alarms(&app).await;
    assert!(
        known.contains(&("evt_long".to_owned(), "unaccounted")),
        "{known:?}"
    );
    assert_eq!(balance(&app, &ada).await, "0.00");
}

use std::process::Command;

use auth_tests::{
    API_KEY, App, StoreKind,
    stripe::{OLD_WEBHOOK_SECRET, WEBHOOK_SECRET, event, python, said_by, signature},
};
use serde_json::json;

use super::{alarms, balance, processed, session};

auth_tests::on_each_store! {
    what_stripes_sdk_signs_is_accepted
    what_is_not_signed_changes_nothing
    what_is_signed_and_no_event_is_malformed
}

/// Signs by Stripe's own SDK, and has it check what is signed by us.
fn by_the_sdk(secret: &str, at: i64, body: &str) -> String {
    const SCRIPT: &str = "
import sys, stripe
secret, at = sys.argv[1], int(sys.argv[2])
body = sys.stdin.read()
header = stripe.WebhookSignature.generate_signature_header(body, secret, timestamp=at)
stripe.WebhookSignature.verify_header(body, header, secret, tolerance=None)
stripe.WebhookSignature.verify_header(body, sys.argv[3], secret, tolerance=None)
print(header, end='')
";
    let ours = signature(secret, at, body.as_bytes());
    let mut sdk = Command::new(python());
    sdk.args(["-c", SCRIPT, secret, &at.to_string(), &ours]);
    said_by(&mut sdk, body)
}

/// What Stripe's own SDK says of headers and bodies, at a time, with the secrets that an app has.
fn verdicts_of_the_sdk(now: i64, cases: &[(String, String)]) -> Vec<bool> {
    const SCRIPT: &str = "
import json, sys, time, stripe
told = json.load(sys.stdin)
time.time = lambda: told['now']
def is_good(header, body, secret):
    try:
        return stripe.WebhookSignature.verify_header(body, header, secret, tolerance=300)
    except stripe.SignatureVerificationError:
        return False
print(json.dumps([any(is_good(header, body, it) for it in told['secrets']) for header, body in told['cases']]))
";
    let mut sdk = Command::new(python());
    sdk.args(["-c", SCRIPT]);
    let told = json!({"now": now, "secrets": [WEBHOOK_SECRET, OLD_WEBHOOK_SECRET], "cases": cases});
    serde_json::from_str(&said_by(&mut sdk, &told.to_string())).unwrap()
}

/// Ours, in the same place.
async fn verdicts(app: &App, cases: &[(String, String)]) -> Vec<bool> {
    let mut verdicts = Vec::new();
    for (header, body) in cases {
        let call = app.call("POST", "/stripe/webhook").raw(body.clone());
        let answer = call.header("stripe-signature", header).await;
        if answer.status == 200 {
            verdicts.push(true);
        } else {
            answer.refused(401, "invalid_signature");
            verdicts.push(false);
        }
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines)] // one table
async fn a_signature_is_judged_as_by_stripes_sdk_or_more_strictly() {
    let app = App::start().await;
    let now = app.seconds();
    let body = event("evt_1", "product.created", now, &json!({"id": "prod_1"})).to_string();
    let sign = |secret: &str, at: i64| by_the_sdk(secret, at, &body);
    let good = sign(WEBHOOK_SECRET, now);
    let (time, value) = good.split_once(',').unwrap();
    let hex = value.strip_prefix("v1=").unwrap();
    let foreign = sign("whsec_of_somebody_else", now);
    let (_, wrong) = foreign.split_once(',').unwrap();
    // A name, the header, and whether the SDK and we take it.
    let table = [
        ("as it is signed", good.clone(), true, true),
        (
            "by the secret of before",
            sign(OLD_WEBHOOK_SECRET, now),
            true,
            true,
        ),
        (
            "five minutes old",
            sign(WEBHOOK_SECRET, now - 300),
            true,
            true,
        ),
        ("older", sign(WEBHOOK_SECRET, now - 301), false, false),
        (
            "five minutes ahead",
            sign(WEBHOOK_SECRET, now + 300),
            true,
            true,
        ),
        // A clock that is wrong, or a signature that is made to last: refused here.
        (
            "further ahead",
            sign(WEBHOOK_SECRET, now + 301),
            true,
            false,
        ),
        ("by another secret", foreign.clone(), false, false),
        (
            "of another time",
            format!("t={},{value}", now - 1),
            false,
            false,
        ),
        ("nothing", String::new(), false, false),
        ("no signature", time.to_owned(), false, false),
        ("no time", value.to_owned(), false, false),
        (
            "the scheme v0 alone",
            format!("{time},v0={hex}"),
            false,
            false,
        ),
        (
            "a scheme of tomorrow",
            format!("{time},v2={hex}"),
            false,
            false,
        ),
        (
            "v0 beside v1",
            format!("{time},{value},v0={hex}"),
            true,
            true,
        ),
        (
            "the good one first",
            format!("{time},{value},{wrong}"),
            true,
            true,
        ),
        (
            "the good one last",
            format!("{time},{wrong},{value}"),
            true,
            true,
        ),
        (
            "two wrong ones",
            format!("{time},{wrong},{wrong}"),
            false,
            false,
        ),
        ("the time last", format!("{value},{time}"), true, true),
        ("cut", good[..good.len() - 1].to_owned(), false, false),
        ("longer", format!("{good}0"), false, false),
        (
            "in capitals",
            format!("{time},v1={}", hex.to_uppercase()),
            false,
            false,
        ),
        ("with spaces", format!("{time}, {value}"), false, false),
        (
            "a time that is none",
            format!("t=now,{value}"),
            false,
            false,
        ),
        // Of two times, the SDK takes the first; here the header is refused.
        (
            "two times",
            format!("{time},t={},{value}", now - 1),
            true,
            false,
        ),
        // The SDK reads a number as Python does, and checks the one that it read.
        (
            "a time with a sign",
            format!("t=+{now},{value}"),
            true,
            false,
        ),
        // More than Stripe ever sends.
        (
            "nine signatures",
            format!("{time},{}{value}", format!("{wrong},").repeat(8)),
            true,
            false,
        ),
    ];
    let cases: Vec<_> = table
        .iter()
        .map(|(_, header, ..)| (header.clone(), body.clone()))
        .collect();
    let (theirs, ours) = (
        verdicts_of_the_sdk(now, &cases),
        verdicts(&app, &cases).await,
    );
    for ((name, _, theirs_wanted, ours_wanted), found) in table.iter().zip(theirs.iter().zip(&ours))
    {
        assert_eq!(found, (theirs_wanted, ours_wanted), "{name}");
    }
    let cases: Vec<_> = [
        "",
        " ",
        "{}",
        &body.replace("prod_1", "prod_2"),
        &format!("{body} "),
    ]
    .map(|body| (good.clone(), body.to_owned()))
    .into();
    assert_eq!(verdicts_of_the_sdk(now, &cases), [false; 5]);
    assert_eq!(verdicts(&app, &cases).await, [false; 5]);

    // Whatever becomes of a good header on its way: what the SDK refuses is refused.
    let mut cases = Vec::new();
    for place in 0..good.len() {
        let (before, rest) = good.split_at(place);
        for new in [
            "",
            " ",
            ",",
            "=",
            "0",
            "a",
            "t=1,",
            "v1=,",
            &rest[..1].repeat(2),
        ] {
            cases.push((format!("{before}{new}{}", &rest[1..]), body.clone()));
        }
    }
    let (theirs, ours) = (
        verdicts_of_the_sdk(now, &cases),
        verdicts(&app, &cases).await,
    );
    for ((header, _), (theirs, ours)) in cases.iter().zip(theirs.iter().zip(&ours)) {
        assert!(*theirs || !ours, "{header:?} is refused by the SDK");
    }
    // Some stayed as they were.
    assert!(ours.contains(&true));
}

async fn what_stripes_sdk_signs_is_accepted(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.registered("ada").await;
    for (id, secret) in [("cs_1", WEBHOOK_SECRET), ("cs_2", OLD_WEBHOOK_SECRET)] {
        let paid = session(&ada, id);
        let kind = "checkout.session.completed";
        let body = event(&format!("evt_{id}"), kind, app.seconds(), &paid);
        // As Stripe writes it: the bytes count, not the document.
        let body = serde_json::to_string_pretty(&body).unwrap();
        let header = by_the_sdk(secret, app.seconds(), &body);
        let deliver = |body: &str, header: &str| {
            app.call("POST", "/stripe/webhook")
                .header("stripe-signature", header)
                .raw(body.to_owned())
        };
        let compact = body.replace('\n', "");
        deliver(&compact, &header)
            .await
            .refused(401, "invalid_signature");
        let foreign = by_the_sdk("whsec_of_somebody_else", app.seconds(), &body);
        deliver(&body, &foreign)
            .await
            .refused(401, "invalid_signature");
        let old = by_the_sdk(secret, app.seconds() - 301, &body);
        deliver(&body, &old).await.refused(401, "invalid_signature");
        let relayed = deliver(&body, &header).header("x-api-key", API_KEY);
        assert!(processed(&relayed.await, &format!("evt_{id}")));
    }
    assert_eq!(balance(&app, &ada).await, "200.00");
}

async fn what_is_not_signed_changes_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    let now = app.seconds();
    let paid = session(&ada, "cs_1");
    let body = event("evt_1", "checkout.session.completed", now, &paid).to_string();
    let good = signature(WEBHOOK_SECRET, now, body.as_bytes());
    let call = || app.call("POST", "/stripe/webhook").raw(body.clone());
    let long = format!("{good},{}", "v0=x,".repeat(2000));
    for header in [
        "",
        "t=,v1=",
        "nonsense",
        &signature("", now, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now - 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now + 301, body.as_bytes()),
        &signature(WEBHOOK_SECRET, now, b"{}"),
        &good.replace("v1=", "v0="),
        &long,
    ] {
        let answer = call().header("stripe-signature", header).await;
        answer.refused(401, "invalid_signature");
        assert_eq!(answer.header("www-authenticate"), "Signature");
    }
    call().await.refused(401, "invalid_signature");
    // A key of ours is not a signature of Stripe's, and a wrong one spoils a good signature.
    call().by_service().await.refused(401, "invalid_signature");
    let wrong = call()
        .header("stripe-signature", &good)
        .header("x-api-key", "x".repeat(40));
    wrong.await.refused(401, "invalid_api_key");
    let twice = call()
        .header("stripe-signature", &good)
        .header("stripe-signature", &good);
    twice.await.refused(401, "invalid_signature");
    let bytes = call().header("stripe-signature", b"t=1,v1=\xff".as_slice());
    bytes.await.refused(401, "invalid_signature");
    // Unsigned megabytes are not read.
    let large = app
        .call("POST", "/stripe/webhook")
        .header("stripe-signature", &good)
        .raw(vec![b' '; 512 * 1024 + 1]);
    large.await.refused(413, "payload_too_large");
    assert_eq!(balance(&app, &ada).await, "0.00");
    assert_eq!(app.state_of(&ada).await, state);
    assert_eq!(alarms(&app).await, []);
}

async fn what_is_signed_and_no_event_is_malformed(store: StoreKind) {
    let app = App::on(store).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"id": "evt_1"}"#,
        r#"{"id": 1, "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt 1", "type": "a", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a b", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": "1", "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1e300, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 9223372036854775807, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": -377705116799, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 253402300800, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a\u0000", "created": 1, "data": {"object": {}}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {"object": []}}"#,
        r#"{"id": "evt_1", "type": "a", "created": 1, "data": {}}"#,
        &deep,
    ] {
        let answer = app.signed_delivery(body).await;
        answer.refused(400, "malformed_event");
    }
    assert_eq!(alarms(&app).await, []);
}

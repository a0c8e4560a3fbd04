//! What Stripe would send: events, signed.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use auth_billing::{Catalogue, Mode, SigningSecrets, Stripe};
use auth_core::{ports::Clock, types::Secret};
use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::{App, Call, installed::installed};

/// The secret that events of an [`App`] are signed with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests_0123456789";
/// Another one, which is good, too: as while one replaces the other.
pub const OLD_WEBHOOK_SECRET: &str = "whsec_of_the_tests_before_that";

/// What an [`App`] sells.
pub const CATALOGUE: &str = r#"
[[plans]]
name = "basic"
price_id = "price_basic"
credits = "120.00"
interval = "month"

[[plans]]
name = "professional"
price_id = "price_professional"
credits = "500.00"
interval = "month"

[[credit_packs]]
name = "small"
price_id = "price_small"
credits = "100.00"
"#;

/// What an [`App`] believes.
pub(crate) fn settings() -> Stripe {
    let secrets = [WEBHOOK_SECRET, OLD_WEBHOOK_SECRET].map(|it| Secret::new(it.to_owned()));
    Stripe::new(
        Catalogue::parse(CATALOGUE).unwrap(),
        Mode::Test,
        SigningSecrets::parse(secrets).unwrap(),
    )
}

/// The header that signs a body at a time, in Unix seconds.
pub fn signature(secret: &str, at: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &[at.to_string().as_bytes(), b".", body].concat());
    let mut header = format!("t={at},v1=");
    for byte in tag.as_ref() {
        write!(header, "{byte:02x}").unwrap();
    }
    header
}

/// An event about an object, in the mode of the tests.
pub fn event(id: &str, kind: &str, created: i64, object: &Value) -> Value {
    json!({
        "id": id,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": created,
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null},
        "type": kind,
        "data": {"object": object},
    })
}

impl App {
    /// The time, in Unix seconds.
    pub fn seconds(&self) -> i64 {
        self.clock.now().unix_timestamp()
    }

    /// A delivery of an event, signed now.
    pub fn delivery(&self, event: &Value) -> Call {
        self.signed_delivery(&event.to_string())
    }

    /// A delivery of a body, signed now.
    pub fn signed_delivery(&self, body: &str) -> Call {
        let signature = signature(WEBHOOK_SECRET, self.seconds(), body.as_bytes());
        self.call("POST", "/stripe/webhook")
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature)
            .raw(body.to_owned())
    }
}

/// The Python with Stripe's own SDK.
///
/// # Panics
/// When it is not installed, with what installs it.
pub fn python() -> PathBuf {
    installed("stripe-sdk/bin/python3", ".ci/stripe-sdk")
}

/// What Stripe's published description finds wrong with exchanges and objects of events: a line for each fault.
pub fn faults_by_description(lines: &[Value]) -> String {
    let description = installed("stripe-openapi/stripe.com.json", ".ci/stripe-openapi");
    let mut judge = Command::new(python());
    judge
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/stripe_openapi.py"))
        .arg(description);
    faults(judge, lines)
}

/// What the types of Stripe's SDK find wrong with objects of events: a line for each fault.
pub fn faults_by_types(lines: &[Value]) -> String {
    let mut judge = Command::new(python());
    judge.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/stripe_types.py"));
    faults(judge, lines)
}

fn faults(mut judge: Command, lines: &[Value]) -> String {
    let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
    said_by(&mut judge, &lines.join("\n"))
}

/// What a program says to what it is told.
///
/// # Panics
/// When it does not end well.
pub fn said_by(program: &mut Command, told: &str) -> String {
    let mut program = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program
        .stdin
        .take()
        .unwrap()
        .write_all(told.as_bytes())
        .unwrap();
    let ended = program.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

use std::collections::BTreeSet;

use auth_tests::{PASSWORD, StoreKind, path_of, takes_json};
use auth_tower::Class;
use serde_json::json;

use super::{configured, is_unchanged, json_routes, request, start};

auth_tests::on_each_store! {
    headers_that_are_no_text_do_no_harm
    the_request_id_is_kept_or_replaced
}

async fn headers_that_are_no_text_do_no_harm(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let long = vec![b'a'; 60_000];
    for route in configured() {
        let call = || app.call(route.method.as_str(), &path_of(&route));
        for value in [
            b"Bearer \xff\xfe".as_slice(),
            b"Bearer \xc3\xa4",
            &[b"Bearer ", &*long].concat(),
        ] {
            let answer = call().header("authorization", value).await;
            if route.class == Class::Verified {
                answer.refused(401, "invalid_token");
            }
            assert!(answer.status < 500, "{answer:?}");
        }
        for value in [b"\xff\xfe".as_slice(), b"", &long] {
            let answer = call().header("x-api-key", value).await;
            if route.class == Class::Internal {
                answer.refused(401, "invalid_api_key");
            }
            assert!(answer.status < 500, "{answer:?}");
        }
        if takes_json(&route) {
            for (name, value) in [
                ("user-agent", b"\xff\xfe".as_slice()),
                ("user-agent", &long),
                ("accept-language", b"\xff"),
                ("accept-language", &long),
                ("accept-language", b"de;q=9,,;;*;q=x"),
                ("cookie", b"\xff"),
                ("content-length", b"-1"),
                ("content-length", b"two"),
                ("content-length", b"99999999999999999999999999"),
                ("transfer-encoding", b"chunked, chunked"),
                ("expect", b"200-maybe"),
                ("range", b"bytes=9-1"),
                ("if-match", b"*"),
                ("accept", b"text/\xff"),
                ("x-forwarded-for", b"\xff, 1, ::"),
                ("forwarded", b"for=\xff"),
                ("host", b""),
            ] {
                let answer = request(&app, &route, &ada)
                    .json(json!({}))
                    .header(name, value)
                    .await;
                answer.refused(422, "validation_failed");
            }
            let call = request(&app, &route, &ada).raw("{}");
            let answer = call.header("content-type", b"application/json\xff").await;
            answer.refused(415, "unsupported_media_type");
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn the_request_id_is_kept_or_replaced(store: StoreKind) {
    let (app, ada, _) = start(store).await;
    let longest = "a".repeat(128);
    let calls = || {
        let mut calls = vec![
            app.get("/health"),
            app.get("/nowhere"),
            app.call("BREW", "/health"),
            app.call("OPTIONS", "/health"),
            app.call("HEAD", "/auth/me"),
            app.get("/auth/me"),
            app.get("/auth/me").by(&ada),
        ];
        calls.extend(
            json_routes()
                .iter()
                .map(|route| request(&app, route, &ada).json(json!({}))),
        );
        calls
    };
    for id in ["1", "Req-1_a.b", &longest] {
        for call in calls() {
            let answer = call.header("x-request-id", id).await;
            assert_eq!(answer.header("x-request-id"), id);
            if answer.status >= 400 && !answer.bytes.is_empty() {
                answer.is_problem(); // its document names the same one
            }
        }
    }
    let mut seen = BTreeSet::new();
    let too_long = "a".repeat(129);
    for id in [
        b"".as_slice(),
        b" ",
        b"a b",
        b"a\tb",
        b"\xff",
        b"a\xc3\xa4",
        b"<script>",
        b"a,b",
        b"${x}",
        too_long.as_bytes(),
    ] {
        for call in calls() {
            let answer = call.header("x-request-id", id).await;
            let replaced = answer.header("x-request-id");
            assert_eq!(replaced.len(), 36, "{answer:?}");
            assert!(seen.insert(replaced.to_owned()), "{replaced} came twice");
        }
    }
    let call = app.get("/health").header("x-request-id", "one");
    let answer = call.header("x-request-id", "two").await;
    assert_eq!(answer.header("x-request-id").len(), 36);
    // It is the one in the audit log.
    let body = json!({"username": "ada", "password": PASSWORD});
    let login = app
        .post("/auth/login", body)
        .header("x-request-id", "found-again");
    login.await.ok(200);
    let log = auth_core::ports::AuditLog::audit_entries(&app.store, ada.id, 1).await;
    assert_eq!(log.unwrap()[0].request_id.as_deref(), Some("found-again"));
}

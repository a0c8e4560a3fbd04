use auth_core::{ports::UserStore, types::AccountKey};
use auth_tests::StoreKind;
use auth_tower::Class;
use serde_json::{Map, json};

use super::{is_unchanged, json_routes, plausible, request, required, start};

auth_tests::on_each_store! {
    a_body_that_is_no_json_is_refused
    json_of_the_wrong_shape_is_refused
    members_of_the_wrong_type_are_refused
    members_that_nobody_asked_for_are_refused
    hostile_texts_do_no_harm
    a_token_in_a_body_may_be_anything
}

async fn a_body_that_is_no_json_is_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(3000), close.repeat(3000));
    for (name, body) in [
        ("nothing", b"".to_vec()),
        ("spaces", b" \r\n\t ".to_vec()),
        ("a word", b"token".to_vec()),
        ("a form", b"username=ada&password=x".to_vec()),
        ("an open object", b"{".to_vec()),
        ("a cut member", br#"{"token":"#.to_vec()),
        ("a cut text", br#"{"token":"abc"#.to_vec()),
        ("a trailing comma", br#"{"token":"a",}"#.to_vec()),
        ("trailing bytes", br#"{"token":"a"} x"#.to_vec()),
        ("two documents", br#"{"token":"a"}{"token":"b"}"#.to_vec()),
        ("single quotes", b"{'token':'a'}".to_vec()),
        ("bare names", b"{token:\"a\"}".to_vec()),
        ("a comment", b"{\"token\":\"a\" /* x */}".to_vec()),
        (
            "a byte order mark",
            b"\xef\xbb\xbf{\"token\":\"a\"}".to_vec(),
        ),
        ("UTF-16", b"{\0\"\0t\0\"\0:\0\"\0a\0\"\0}\0".to_vec()),
        ("invalid UTF-8 in a value", b"{\"token\":\"\xff\"}".to_vec()),
        ("invalid UTF-8 in a name", b"{\"\xc3\x28\":\"a\"}".to_vec()),
        ("an overlong NUL", b"{\"token\":\"\xc0\x80\"}".to_vec()),
        (
            "a surrogate in UTF-8",
            b"{\"token\":\"\xed\xa0\x80\"}".to_vec(),
        ),
        ("a lone surrogate", br#"{"token":"\ud800"}"#.to_vec()),
        (
            "surrogates in the wrong order",
            br#"{"token":"\udc00\ud800"}"#.to_vec(),
        ),
        (
            "a raw line break in a text",
            b"{\"token\":\"a\nb\"}".to_vec(),
        ),
        ("a raw NUL in a text", b"{\"token\":\"a\0b\"}".to_vec()),
        ("an unknown escape", br#"{"token":"\x41"}"#.to_vec()),
        ("NaN", br#"{"token":NaN}"#.to_vec()),
        ("a leading zero", br#"{"token":01}"#.to_vec()),
        ("a number out of range", br#"{"token":1e99999}"#.to_vec()),
        ("a member twice", br#"{"token":"a","token":"a"}"#.to_vec()),
        (
            "a member twice, once escaped",
            br#"{"token":"a","\u0074oken":"b"}"#.to_vec(),
        ),
        ("an unknown member twice", br#"{"x":1,"x":2}"#.to_vec()),
        (
            "a member twice, deeper",
            br#"{"x":[{"a":1,"a":2}]}"#.to_vec(),
        ),
        ("deep arrays", deep("[", "]").into_bytes()),
        ("deep objects", deep(r#"{"a":"#, "}").into_bytes()),
        ("only brackets", vec![b'['; 60_000]),
        ("bytes", (0..=255).collect()),
    ] {
        for route in json_routes() {
            let call = request(&app, &route, &ada).raw(body.clone());
            let answer = call.header("content-type", "application/json").await;
            assert_eq!(answer.code(), "malformed_json", "{name}: {answer:?}");
            answer.refused(400, "malformed_json");
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn json_of_the_wrong_shape_is_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let many: Vec<_> = (0..3000).map(|n| format!(r#""m{n}":1"#)).collect();
    let many = format!("{{{}}}", many.join(","));
    for body in [
        "null",
        "true",
        "7",
        "-1.5e3",
        r#""token""#,
        "[]",
        r#"["ada","ada@example.org","correct horse battery staple"]"#,
        r#"[{"token":"a"}]"#,
        r#"{"":""}"#,
        r#"{"__proto__":{"is_admin":true}}"#,
        r#"{"$where":"1"}"#,
        &many,
    ] {
        for route in json_routes() {
            let call = request(&app, &route, &ada).raw(body.to_owned());
            let answer = call.header("content-type", "application/json").await;
            answer.refused(422, "validation_failed");
            // The answer does not grow with the request.
            let faults = answer.faults();
            assert!((1..=32).contains(&faults.len()), "{answer:?}");
            if !body.starts_with('{') {
                assert_eq!(faults, [("body", "invalid_type")]);
            }
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn members_of_the_wrong_type_are_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in json_routes() {
        for field in required(&app, &route, &ada).await {
            for wrong in [
                json!(null),
                json!(true),
                json!(0),
                json!(1.5),
                json!(["a"]),
                json!({"a": "b"}),
                json!({"$ne": null}),
            ] {
                let call = request(&app, &route, &ada).json(json!({&*field: wrong}));
                let answer = call.await;
                answer.refused(422, "validation_failed");
                // An amount may be a number; what is wrong with it then, the tests of credits tell.
                if field == "amount" && wrong.is_number() {
                    continue;
                }
                let fault = (field.as_str(), "invalid_type");
                assert!(answer.faults().contains(&fault), "{wrong}: {answer:?}");
            }
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn members_that_nobody_asked_for_are_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in json_routes() {
        let fields = required(&app, &route, &ada).await;
        for (extra, value) in [
            ("is_admin", json!(true)),
            ("is_verified", json!("true")),
            ("user_id", json!(ada.id.to_string())),
            ("id", json!(ada.id.to_string())),
            ("role", json!(["admin"])),
            ("Token", json!("a")),
            ("token ", json!("a")),
            ("\u{0}", json!("a")),
        ] {
            if fields.iter().any(|field| field == extra) {
                continue;
            }
            // With everything else as it should be, and it is refused all the same.
            let mut body = plausible(&fields, &ada);
            body.insert(extra.to_owned(), value);
            let answer = request(&app, &route, &ada).json(body).await;
            answer.refused(422, "validation_failed");
            assert_eq!(answer.faults(), [(extra, "unknown_field")]);
        }
    }
    is_unchanged(&app, &ada, &state).await;
    let nobody = AccountKey::login_name("someone").unwrap();
    assert!(app.store.account(&nobody).await.unwrap().is_none());
}

async fn hostile_texts_do_no_harm(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let long = "x".repeat(20_000);
    for text in [
        "",
        " ",
        "\0",
        "a\0b",
        "\r\nSet-Cookie: a=b",
        "' or 1=1 --",
        "\"; drop table auth_users; --",
        "{{7*7}}${7*7}<%= 7*7 %>",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "%00%0a%ff",
        "%s%s%n",
        "null",
        "[]",
        "-1",
        "\u{feff}\u{202e}\u{200b}",
        "\u{10ffff}\u{fffe}",
        "🔥👩‍👩‍👧‍👧",
        "e\u{301}\u{301}\u{301}\u{301}",
        "ﷺ".repeat(500).as_str(),
        "a@b@c",
        "@",
        "postmaster@[127.0.0.1]",
        "\"a b\"@example.org",
        "a.b.c",
        "eyJhbGciOiJub25lIn0.e30.",
        &long,
    ] {
        for route in json_routes() {
            let fields = required(&app, &route, &ada).await;
            let body: Map<_, _> = fields.into_iter().map(|f| (f, json!(text))).collect();
            let answer = request(&app, &route, &ada).json(body).await;
            // Whoever asks to end a token that is none has what he wants.
            if answer.status == 200 {
                assert_eq!(route.path, "/auth/revoke", "{answer:?}");
                continue;
            }
            answer.is_problem();
            assert!(answer.status < 500, "{text:?}: {answer:?}");
            assert!(
                matches!(
                    answer.code(),
                    "validation_failed"
                        | "invalid_token"
                        | "invalid_credentials"
                        | "invalid_code"
                        | "current_password_invalid"
                        | "too_many_attempts"
                        | "payload_too_large"
                ),
                "{text:?}: {answer:?}"
            );
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn a_token_in_a_body_may_be_anything(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let dots = ".".repeat(30_000);
    let long = format!(
        "{}.{}.{}",
        "a".repeat(9000),
        "b".repeat(9000),
        "c".repeat(9000)
    );
    let nested = "[".repeat(20_000);
    let deep = {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.encode(nested)
    };
    let deep_header = format!("{deep}.e30.c2ln");
    let deep_claims = format!("eyJhbGciOiJIUzI1NiJ9.{deep}.c2ln");
    let mut seen = 0;
    for route in json_routes() {
        let fields = required(&app, &route, &ada).await;
        let Some(member) = fields.iter().find(|field| field.ends_with("token")) else {
            continue;
        };
        seen += 1;
        for token in [
            "",
            " ",
            ".",
            "..",
            "...",
            "\0",
            "a.b.c",
            "e30.e30.",
            "e30.e30.e30",
            "bnVsbA.bnVsbA.bnVsbA",
            "W10.W10.W10",
            "eyJhbGciOiJub25lIn0.e30.",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.c2ln",
            "ÿ.ÿ.ÿ",
            "🔑",
            "Bearer a.b.c",
            &dots,
            &long,
            &deep_header,
            &deep_claims,
        ] {
            let mut body = plausible(&fields, &ada);
            body.insert(member.clone(), json!(token));
            let answer = request(&app, &route, &ada).json(body).await;
            match (route.path, route.class) {
                ("/auth/revoke", _) => {
                    answer.ok(200);
                }
                (_, Class::AuthenticatedByBody) => {
                    answer.refused(401, "invalid_token");
                }
                _ => {
                    answer.refused(400, "invalid_token");
                }
            }
        }
    }
    assert!(seen >= 5);
    is_unchanged(&app, &ada, &state).await;
}

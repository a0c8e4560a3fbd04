//! What no client should send, for every route of the table: an answer with its code, and nothing changes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use auth_core::{ports::UserStore, types::AccountKey};
use auth_tests::{Answer, App, Call, PASSWORD, Person, StoreKind, path_of, takes_json};
use auth_tower::{Class, Input, RouteInfo, routes};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Map, Value, json};

auth_tests::on_each_store! {
    a_body_that_is_no_json_is_refused
    json_of_the_wrong_shape_is_refused
    members_of_the_wrong_type_are_refused
    members_that_nobody_asked_for_are_refused
    hostile_texts_do_no_harm
    bodies_of_other_types_are_refused
    large_bodies_are_refused
    the_checks_come_in_their_order
    a_path_is_taken_as_it_is
    methods_that_a_path_lacks_are_told
    options_are_told_to_everybody
    head_is_get_without_a_body
    queries_are_read_strictly
    headers_that_are_no_text_do_no_harm
    the_request_id_is_kept_or_replaced
    a_token_in_a_body_may_be_anything
    a_client_that_vanishes_while_it_sends_changes_nothing
    a_client_that_vanishes_while_it_waits_loses_nothing
}

/// With the proof of every class.
fn admitted(call: Call, ada: &Person) -> Call {
    call.by(ada).by_service()
}

fn request(app: &App, route: &RouteInfo, ada: &Person) -> Call {
    admitted(app.call(route.method.as_str(), &path_of(route)), ada)
}

/// Without those of providers, of which there are none here: 501, whatever is sent.
fn configured() -> impl Iterator<Item = RouteInfo> {
    routes().filter(|route| !route.path.contains("{provider}"))
}

fn json_routes() -> Vec<RouteInfo> {
    let routes: Vec<_> = configured().filter(takes_json).collect();
    assert!(routes.len() >= 12);
    routes
}

/// The members that a route cannot do without, as it says itself.
async fn required(app: &App, route: &RouteInfo, ada: &Person) -> Vec<String> {
    let answer = request(app, route, ada).json(json!({})).await;
    answer.refused(422, "validation_failed");
    let faults = answer.faults();
    assert!(
        faults.iter().all(|(_, code)| *code == "required"),
        "{answer:?}"
    );
    faults
        .iter()
        .map(|(field, _)| (*field).to_owned())
        .collect()
}

/// Ada, who must be as she was, and what she was.
async fn start(store: StoreKind) -> (App, Person, String) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let state = app.state_of(&ada).await;
    (app, ada, state)
}

async fn is_unchanged(app: &App, ada: &Person, state: &str) {
    assert_eq!(app.state_of(ada).await, state);
    app.get("/auth/me").by(ada).await.ok(200);
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

/// Values that a route would take, or at least look at.
fn plausible(fields: &[String], ada: &Person) -> Map<String, Value> {
    let value = |field: &str| match field {
        "amount" => "1.00",
        "username" => "someone",
        "success_url" | "cancel_url" => "https://app.example.org/welcome",
        "user_id" => "0197f1f0-0000-7000-8000-000000000000",
        "email" | "new_email" => "someone@example.org",
        "refresh_token" => ada.refresh_token.as_str(),
        "token" => ada.access_token.as_str(),
        "new_password" => "another long passphrase",
        _ => PASSWORD,
    };
    fields
        .iter()
        .map(|field| (field.clone(), json!(value(field))))
        .collect()
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

async fn bodies_of_other_types_are_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for headers in [
        &[][..],
        &[("content-type", "")],
        &[("content-type", "json")],
        &[("content-type", "text/json")],
        &[("content-type", "text/plain")],
        &[("content-type", "text/plain; application/json")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/json+x")],
        &[("content-type", "application/problem+json")],
        &[("content-type", "application/json, text/plain")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/xml")],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ],
        &[
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        &[
            ("content-type", "application/json"),
            ("content-encoding", "identity, br"),
        ],
    ] {
        for route in json_routes() {
            let mut call = request(&app, &route, &ada).raw("{}");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            call.await.refused(415, "unsupported_media_type");
        }
    }
    // Forms are what OAuth2 clients send to log in and to revoke.
    for route in json_routes() {
        let answer = request(&app, &route, &ada).form("a=b").await;
        if route.input == Input::JsonOrForm {
            assert!(["/auth/login", "/auth/revoke"].contains(&route.path));
            answer.refused(422, "validation_failed");
        } else {
            answer.refused(415, "unsupported_media_type");
        }
    }
    for good in [
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=UTF-8",
        "application/json ; charset=\"utf-8\"",
    ] {
        for route in json_routes() {
            let call = request(&app, &route, &ada).raw("{}");
            let answer = call.header("content-type", good).await;
            answer.refused(422, "validation_failed");
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

/// Comes in pieces, without a length.
struct Pieces {
    left: VecDeque<Bytes>,
    end: End,
}

enum End {
    /// The connection broke.
    Broken,
    /// Nothing more comes, and it does not end.
    Never,
    /// It was all.
    Proper,
}

impl Pieces {
    fn new(pieces: impl IntoIterator<Item = impl Into<Bytes>>, end: End) -> Self {
        Self {
            left: pieces.into_iter().map(Into::into).collect(),
            end,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match (self.left.pop_front(), &self.end) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, End::Broken) => {
                let broken = io::Error::new(io::ErrorKind::ConnectionReset, "the peer is gone");
                Poll::Ready(Some(Err(broken)))
            }
            (None, End::Never) => Poll::Pending,
            (None, End::Proper) => Poll::Ready(None),
        }
    }
}

async fn large_bodies_are_refused(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in json_routes() {
        let json = |call: Call| call.header("content-type", "application/json");
        let limit = route.body_limit;
        assert_eq!(limit, 64 * 1024, "{}", route.path);
        let sized = |size: usize| format!("{{{}}}", " ".repeat(size - 2));
        let whole = json(request(&app, &route, &ada).raw(sized(limit))).await;
        whole.refused(422, "validation_failed");
        let pieces = Pieces::new(vec![sized(limit)], End::Proper);
        let whole = json(request(&app, &route, &ada).stream(pieces)).await;
        whole.refused(422, "validation_failed");

        for body in [sized(limit + 1), sized(limit * 4), "x".repeat(limit + 1)] {
            let answer = json(request(&app, &route, &ada).raw(body)).await;
            answer.refused(413, "payload_too_large");
        }
        // Without a length, and without an end.
        for end in [End::Proper, End::Never, End::Broken] {
            let pieces = Pieces::new(vec![" ".repeat(1000); 66], end);
            let answer = json(request(&app, &route, &ada).stream(pieces)).await;
            answer.refused(413, "payload_too_large");
        }
        // The length alone is enough: nothing of the body is waited for.
        for announced in [limit + 1, usize::MAX] {
            let pieces = Pieces::new(Vec::<Bytes>::new(), End::Never);
            let call = json(request(&app, &route, &ada).stream(pieces));
            let answer = call.header("content-length", announced.to_string()).await;
            answer.refused(413, "payload_too_large");
        }
    }
    // Where no body is read, none is waited for.
    for route in routes().filter(|route| !takes_json(route) && route.method == "GET") {
        let call = request(&app, &route, &ada).stream(Pieces::new(["x"], End::Never));
        let answer = call.await;
        assert!(!matches!(answer.status, 400 | 413 | 415), "{answer:?}");
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn the_checks_come_in_their_order(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let too_large = "x".repeat(64 * 1024 + 1);
    for route in json_routes() {
        let (method, path) = (route.method.as_str(), path_of(&route));
        // Each request has all of the faults that follow.
        let answer = app
            .call("PATCH", &format!("{path}/x/x/x/x"))
            .raw(too_large.clone())
            .await;
        answer.refused(404, "not_found");
        let answer = app.call("PATCH", &path).raw(too_large.clone()).await;
        answer.refused(405, "method_not_allowed");
        let nobody = app.call(method, &path).raw(too_large.clone()).await;
        match route.class {
            Class::Verified => nobody.refused(401, "missing_token"),
            Class::Diagnostic | Class::Internal => nobody.refused(401, "invalid_api_key"),
            _ => nobody.refused(415, "unsupported_media_type"),
        };
        let answer = request(&app, &route, &ada).raw(too_large.clone()).await;
        answer.refused(415, "unsupported_media_type");
        let json = |call: Call| call.header("content-type", "application/json");
        let answer = json(request(&app, &route, &ada).raw(too_large.clone())).await;
        answer.refused(413, "payload_too_large");
        let answer = json(request(&app, &route, &ada).raw(r#"{"x":1,"x":2}"#)).await;
        answer.refused(400, "malformed_json");
        let answer = json(request(&app, &route, &ada).raw(r#"{"x":1}"#)).await;
        answer.refused(422, "validation_failed");
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn a_path_is_taken_as_it_is(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in routes() {
        let path = path_of(&route);
        let (parent, last) = path.rsplit_once('/').unwrap();
        let mut paths = vec![
            format!("/{path}"),
            format!("//{path}"),
            format!("/.{path}"),
            format!("/x/..{path}"),
            format!("{parent}//{last}"),
            format!("{parent}/./{last}"),
            format!("{parent}/x/../{last}"),
            format!("{parent}%2F{last}"),
            format!("{parent}%2f{last}"),
            format!("{parent}\\{last}"),
            path.to_uppercase(),
            format!("/%{:02x}{}", path.as_bytes()[1], &path[2..]),
            format!("{path}/"),
            format!("{path}//"),
            format!("{path}/x"),
            format!("{path}/.."),
        ];
        for suffix in ["%00", "%20", ".json", ";x=1", "%3Fx=1", "%23", "%ff", "."] {
            paths.push(format!("{path}{suffix}"));
        }
        for path in paths {
            // What is no address at all, no server would hand on.
            if path.parse::<http::Uri>().is_err() || is_declared(&path) {
                continue;
            }
            for method in [route.method.as_str(), "OPTIONS", "HEAD"] {
                let answer = admitted(app.call(method, &path), &ada)
                    .json(json!({}))
                    .await;
                answer.refused(404, "not_found");
            }
        }
    }
    for path in [
        "*",
        "/",
        "/auth",
        "/auth/",
        "/auth/users",
        "/auth/users/",
        "/favicon.ico",
        "/.env",
    ] {
        app.get(path).await.refused(404, "not_found");
    }
    let long = format!("/auth/{}", "x".repeat(60_000));
    app.get(&long).await.refused(404, "not_found");
    is_unchanged(&app, &ada, &state).await;
}

/// Whether a path is one of the table, segment by segment.
fn is_declared(path: &str) -> bool {
    routes().any(|route| {
        let (pattern, path) = (route.path.split('/'), path.split('/'));
        pattern.clone().count() == path.clone().count()
            && pattern.zip(path).all(|(pattern, segment)| {
                pattern == segment || (pattern.starts_with('{') && !segment.is_empty())
            })
    })
}

/// The methods of each path.
fn methods() -> BTreeMap<String, BTreeSet<String>> {
    let mut methods: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for route in routes() {
        let path = methods.entry(path_of(&route)).or_default();
        path.insert(route.method.to_string());
        path.insert("OPTIONS".to_owned());
        if route.method == "GET" {
            path.insert("HEAD".to_owned());
        }
    }
    methods
}

#[track_caller]
fn allows(answer: &Answer, methods: &BTreeSet<String>) {
    let allowed: Vec<_> = answer
        .header("allow")
        .split(", ")
        .map(str::to_owned)
        .collect();
    assert_eq!(allowed.len(), methods.len(), "{answer:?}");
    assert_eq!(BTreeSet::from_iter(allowed), *methods, "{answer:?}");
}

async fn methods_that_a_path_lacks_are_told(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for (path, methods) in methods() {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND",
            "BREW", "get", "post",
        ] {
            if methods.contains(method) {
                continue;
            }
            for call in [
                app.call(method, &path),
                admitted(app.call(method, &path), &ada).json(json!({})),
            ] {
                let answer = call.await;
                answer.refused(405, "method_not_allowed");
                allows(&answer, &methods);
            }
        }
    }
    // A method is what the request line says.
    let delete = app
        .get("/auth/me")
        .by(&ada)
        .header("x-http-method-override", "DELETE");
    delete.header("x-method-override", "DELETE").await.ok(200);
    is_unchanged(&app, &ada, &state).await;
}

async fn options_are_told_to_everybody(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for (path, methods) in methods() {
        for call in [
            app.call("OPTIONS", &path),
            app.call("OPTIONS", &path).bearer("x").raw("{"),
            admitted(app.call("OPTIONS", &path), &ada).json(json!({})),
        ] {
            let answer = call.await;
            answer.ok(204);
            allows(&answer, &methods);
            assert!(answer.bytes.is_empty());
            assert!(!answer.headers.contains_key("content-type"));
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

async fn head_is_get_without_a_body(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    let mut seen = 0;
    for route in routes().filter(|route| route.method == "GET") {
        seen += 1;
        for call in [
            |app: &App, method: &str, path: &str, _: &Person| app.call(method, path),
            |app: &App, method: &str, path: &str, ada: &Person| {
                admitted(app.call(method, path), ada)
            },
        ] {
            let path = path_of(&route);
            let head = call(&app, "HEAD", &path, &ada)
                .header("x-request-id", "same")
                .await;
            assert!(head.bytes.is_empty(), "{head:?}");
            if route.has_effect {
                // Nobody knows what GET would say, and HEAD does not find out.
                let is_refused = route.class != Class::Public && head.status == 401;
                assert!(head.status == 200 || is_refused, "{head:?}");
                continue;
            }
            let get = call(&app, "GET", &path, &ada)
                .header("x-request-id", "same")
                .await;
            assert_eq!(head.status, get.status);
            assert_eq!(head.headers, get.headers, "{head:?}");
            assert_eq!(get.header("content-length"), get.bytes.len().to_string());
        }
    }
    assert!(seen >= 7);
    is_unchanged(&app, &ada, &state).await;
}

async fn queries_are_read_strictly(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in configured() {
        let path = path_of(&route);
        for (query, fault) in [
            ("x=1", ("x", "unknown_field")),
            ("is_admin=true", ("is_admin", "unknown_field")),
            ("x=1&x=1", ("x", "duplicate_field")),
            ("x=%ff", ("x", "invalid_encoding")),
            ("x=%c0%80", ("x", "invalid_encoding")),
            ("x", ("x", "unknown_field")),
            ("=x", ("", "unknown_field")),
            ("%78=1", ("x", "unknown_field")),
        ] {
            if route.input != Input::Query {
                continue;
            }
            let call = app.call(route.method.as_str(), &format!("{path}?{query}"));
            let answer = admitted(call, &ada).await;
            answer.refused(422, "validation_failed");
            assert!(answer.faults().contains(&fault), "{query}: {answer:?}");
        }
        // Elsewhere nothing of it is looked at: what a body lacks cannot come from there.
        if takes_json(&route) {
            for field in required(&app, &route, &ada).await {
                let path = format!("{path}?{field}=correct+horse");
                let call = admitted(app.call(route.method.as_str(), &path), &ada);
                let answer = call.json(json!({})).await;
                answer.refused(422, "validation_failed");
                assert!(answer.faults().contains(&(&*field, "required")));
            }
        }
    }
    for (query, code) in [
        ("token=", "invalid_token"),
        ("token=x", "invalid_token"),
        ("token=%00", "invalid_token"),
        ("token=a.b.c", "invalid_token"),
        ("&&token=x&", "invalid_token"),
    ] {
        let answer = app.get(&format!("/auth/verify-email?{query}")).await;
        answer.refused(400, code);
    }
    for query in [
        "",
        "token=a&token=a",
        "token=a&TOKEN=a",
        "TOKEN=a",
        "token=%ff",
        "token[]=a",
    ] {
        let answer = app.get(&format!("/auth/verify-email?{query}")).await;
        answer.refused(422, "validation_failed");
    }
    is_unchanged(&app, &ada, &state).await;
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

async fn a_client_that_vanishes_while_it_sends_changes_nothing(store: StoreKind) {
    let (app, ada, state) = start(store).await;
    for route in json_routes() {
        let fields = required(&app, &route, &ada).await;
        let body = Value::from(plausible(&fields, &ada)).to_string();
        for cut in [0, 1, body.len() / 2, body.len() - 1, body.len()] {
            // The whole document may be there: without a proper end it is not all that was meant.
            let pieces = Pieces::new([body[..cut].to_owned()], End::Broken);
            let call = request(&app, &route, &ada).stream(pieces);
            let answer = call.header("content-type", "application/json").await;
            answer.refused(400, "malformed_json");

            let pieces = Pieces::new([body[..cut].to_owned()], End::Never);
            let call = request(&app, &route, &ada).stream(pieces);
            let call = call.header("content-type", "application/json");
            let mut waiting = call.into_future();
            for _ in 0..50 {
                let answer = tokio::select! {
                    biased;
                    answer = &mut waiting => Some(answer),
                    () = tokio::task::yield_now() => None,
                };
                assert!(answer.is_none(), "{answer:?}");
            }
            drop(waiting);
        }
    }
    is_unchanged(&app, &ada, &state).await;
}

/// Whatever the moment at which the client goes: all of it is done, and nobody else is hurt.
async fn a_client_that_vanishes_while_it_waits_loses_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let hold = app.store.hold("register");
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let call = app.post("/auth/register", body);
    let client = tokio::spawn(async move { call.await });
    hold.reached().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    hold.release();

    let key = AccountKey::login_name("ada").unwrap();
    let written = async {
        loop {
            match app.store.account(&key).await.unwrap() {
                Some(account) => break account,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(20), written).await;
    let account = written.expect("the registration is lost");
    assert_eq!(app.audit(account.user.id).await, ["registered"]);
    assert_eq!(app.templates_to("ada@example.org").await, ["welcome"]);
    let login = json!({"username": "ada", "password": PASSWORD});
    app.post("/auth/login", login).await.ok(200);

    // Twenty that come and go leave the store as good as it was.
    for round in 0..20 {
        let name = format!("user{round}");
        let body =
            json!({"username": name, "email": format!("{name}@example.org"), "password": PASSWORD});
        let call = app.post("/auth/register", body);
        let client = tokio::spawn(async move { call.await });
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        client.abort();
        let _ = client.await;
    }
    let eve = app.verified("eve").await;
    app.get("/auth/me").by(&eve).await.ok(200);
    app.get("/health/ready").await.ok(200);
}

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use auth_core::{ports::UserStore, types::AccountKey};
use auth_tests::{App, Call, PASSWORD, StoreKind, path_of, takes_json};
use auth_tower::{Class, Input, routes};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};

use super::{is_unchanged, json_routes, plausible, request, required, start};

auth_tests::on_each_store! {
    bodies_of_other_types_are_refused
    large_bodies_are_refused
    the_checks_come_in_their_order
    a_client_that_vanishes_while_it_sends_changes_nothing
    a_client_that_vanishes_while_it_waits_loses_nothing
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

use std::collections::{BTreeMap, BTreeSet};

use auth_tests::{Answer, App, Person, StoreKind, path_of, takes_json};
use auth_tower::{Class, Input, routes};
use serde_json::json;

use super::{admitted, configured, is_unchanged, required, start};

auth_tests::on_each_store! {
    a_path_is_taken_as_it_is
    methods_that_a_path_lacks_are_told
    options_are_told_to_everybody
    head_is_get_without_a_body
    queries_are_read_strictly
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

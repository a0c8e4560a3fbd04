//! What no client should send, for every route of the table: an answer with its code, and nothing changes.

mod bodies;
mod headers;
mod paths;
mod senders;

use auth_tests::{App, Call, PASSWORD, Person, StoreKind, path_of, takes_json};
use auth_tower::{RouteInfo, routes};
use serde_json::{Map, Value, json};

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

//! The `OpenAPI` document says what the endpoints do: requests are made after it, and judged by what comes back.

use std::collections::BTreeSet;

use auth_tests::{API_KEY, Answer, App, Call, Person, StoreKind, path_of};
use auth_tower::{Class, Endpoint, Input, RouteInfo, openapi, routes};
use serde_json::{Map, Value, json};

fn document() -> Value {
    serde_json::from_str(&openapi(routes())).unwrap()
}

fn operation<'a>(document: &'a Value, route: &RouteInfo) -> &'a Value {
    let method = route.method.as_str().to_ascii_lowercase();
    let operation = &document["paths"][route.path][method];
    assert!(operation.is_object(), "{} {}", route.method, route.path);
    operation
}

/// Names of fields, as the document has them: all, and those that are required.
fn fields(operation: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let query = operation["parameters"].as_array().into_iter().flatten();
    let query: Vec<_> = query.filter(|it| it["in"] == "query").collect();
    let name = |value: &Value| value.as_str().unwrap().to_owned();
    let members = schema["properties"].as_object().into_iter().flatten();
    let all = members
        .map(|(name, _)| name.clone())
        .chain(query.iter().map(|it| name(&it["name"])));
    let needed = schema["required"].as_array().into_iter().flatten();
    let needed = needed.map(name).chain(
        query
            .iter()
            .filter(|it| it["required"] == true)
            .map(|it| name(&it["name"])),
    );
    (all.collect(), needed.collect())
}

fn as_somebody(call: Call, route: &RouteInfo, person: &Person) -> Call {
    match route.class {
        Class::Diagnostic | Class::Internal => call.header("x-api-key", API_KEY),
        Class::Verified => call.by(person),
        _ => call,
    }
}

/// The fields that an answer finds fault with, for one of these reasons.
fn faulty(answer: &Answer, code: &str) -> BTreeSet<String> {
    let faults = answer.refused(422, "validation_failed").faults();
    faults
        .into_iter()
        .filter(|(_, found)| *found == code)
        .map(|(field, _)| field.to_owned())
        .collect()
}

#[tokio::test]
async fn every_field_of_the_document_is_read_and_every_required_one_is_asked_for() {
    let app = App::on(StoreKind::Memory).await;
    let ada = app.verified("ada").await;
    let document = document();
    for route in routes() {
        let (all, needed) = fields(operation(&document, &route));
        let path = path_of(&route);
        match route.input {
            Input::Json | Input::JsonOrForm => {
                let all: Map<_, _> = all.into_iter().map(|name| (name, json!([]))).collect();
                let mut ill_typed = Value::Object(all);
                ill_typed["no_such_field"] = json!([]);
                let call = app.call(route.method.as_str(), &path).json(ill_typed);
                let answer = as_somebody(call, &route, &ada).await;
                assert_eq!(
                    faulty(&answer, "unknown_field"),
                    ["no_such_field".to_owned()].into(),
                    "{path}"
                );
                if needed.is_empty() {
                    continue;
                }
                let call = app.call(route.method.as_str(), &path).json(json!({}));
                let answer = as_somebody(call, &route, &ada).await;
                let mut asked_for = faulty(&answer, "required");
                // One of two: the document says it in words.
                let one_of_two = match route.endpoint {
                    Endpoint::CreateCheckoutSession => "plan",
                    Endpoint::Login => "username",
                    _ => "",
                };
                assert_eq!(asked_for.remove(one_of_two), !one_of_two.is_empty());
                assert_eq!(asked_for, needed, "{path}");
            }
            Input::Query => {
                let query: Vec<_> = all.iter().map(|name| format!("{name}=x")).collect();
                let path = format!("{path}?{}&no_such_field=x", query.join("&"));
                let call = app.call(route.method.as_str(), &path);
                let answer = as_somebody(call, &route, &ada).await;
                // The callback passes over what a provider adds.
                if route.endpoint != Endpoint::OauthCallback {
                    let unknown = faulty(&answer, "unknown_field");
                    assert_eq!(unknown, ["no_such_field".to_owned()].into(), "{path}");
                }
            }
            _ => assert!(all.is_empty(), "{path}"),
        }
    }
}

#[test]
fn the_document_is_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for route in routes() {
        let operation = operation(&document, &route);
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
        assert_eq!(operation["summary"], route.summary);
        let security = match route.class {
            Class::AuthenticatedByBody | Class::Public => json!([]),
            Class::Signed => json!([{"stripeSignature": []}]),
            Class::Verified => json!([{"accessToken": []}]),
            _ => json!([{"apiKey": []}]),
        };
        assert_eq!(operation["security"], security, "{}", route.path);
    }
    let listed: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum();
    assert_eq!(listed, ids.len());

    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1);
    for reference in references.map(|rest| rest.split_once('"').unwrap().0) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(
            text.contains(&format!("\"#/components/schemas/{name}\"")),
            "nothing refers to {name}"
        );
    }
}

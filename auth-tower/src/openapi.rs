//! The endpoints as an `OpenAPI` 3.1 document: paths, classes and summaries out of the table, fields and answers out of this file.
//! `tests/tests/api/openapi.rs` sends requests after it.

use auth_core::types::EntryKind;
use serde_json::{Map, Value, json};

use crate::{
    read::Input,
    router::{Class, Endpoint, RouteInfo},
};

/// Routes as a document of `OpenAPI` 3.1, in JSON.
///
/// ```
/// let document = auth_tower::openapi(auth_tower::routes());
/// assert!(document.contains(r#""/auth/login""#));
/// ```
pub fn openapi(routes: impl IntoIterator<Item = RouteInfo>) -> String {
    let mut paths = Map::new();
    for route in routes {
        let path = paths
            .entry(route.path)
            .or_insert_with(|| Value::Object(Map::new()));
        path[route.method.as_str().to_ascii_lowercase()] = operation(&route);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "auth-tower",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Accounts, sessions and credits. Every error is a problem document (RFC 9457) with a stable `code` and the `request_id` of its answer.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "accounts", "description": "Accounts, sessions and sign-in"},
            {"name": "credits", "description": "The ledger, for other services"},
            {"name": "payments", "description": "For the payment provider, and for other services"},
            {"name": "health", "description": "For operators"},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The access token of a user.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "The key of another service.",
                },
                "stripeSignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Stripe-Signature",
                    "description": "The signature of the payment provider over the body.",
                },
            },
        },
    });
    // Pretty, so that two versions can be compared line by line.
    format!("{document:#}")
}

/// What the table does not know of an endpoint.
struct Shape {
    fields: Vec<Field>,
    /// Status, what it says, and the schema of its body if it has one.
    answers: Vec<(u16, &'static str, Option<&'static str>)>,
    /// What it may refuse beside what follows from its class and its input.
    refusals: &'static [u16],
    takes_idempotency_key: bool,
}

struct Field {
    name: &'static str,
    is_required: bool,
    schema: Value,
}

fn required(name: &'static str, schema: Value) -> Field {
    Field {
        name,
        is_required: true,
        schema,
    }
}

fn optional(name: &'static str, schema: Value) -> Field {
    Field {
        name,
        is_required: false,
        schema,
    }
}

impl Shape {
    fn new<const N: usize>(fields: [Field; N], status: u16, schema: &'static str) -> Self {
        Self {
            fields: fields.into(),
            answers: vec![(status, "Done.", Some(schema))],
            refusals: &[],
            takes_idempotency_key: false,
        }
    }

    fn or(mut self, status: u16, says: &'static str, schema: Option<&'static str>) -> Self {
        self.answers.push((status, says, schema));
        self
    }

    fn refuses(mut self, statuses: &'static [u16]) -> Self {
        self.refusals = statuses;
        self
    }

    const fn once(mut self) -> Self {
        self.takes_idempotency_key = true;
        self
    }
}

#[allow(clippy::match_same_arms, clippy::too_many_lines)] // one table
fn shape(endpoint: Endpoint) -> Shape {
    use Endpoint as E;
    let text = || json!({"type": "string"});
    let email = || json!({"type": "string", "format": "email", "maxLength": 254});
    let uri = || json!({"type": "string", "format": "uri"});
    let uuid = || json!({"type": "string", "format": "uuid"});
    let password =
        || json!({"type": "string", "format": "password", "minLength": 8, "maxLength": 128});
    let attempt = || json!({"type": "string", "format": "password"});
    let movement = || {
        let amount = json!({
            "description": "0.01 to 10,000,000.00, with at most two decimals.",
            "type": ["string", "number"],
            "pattern": "^[0-9]+(\\.[0-9]{1,2})?$",
        });
        [
            required("user_id", uuid()),
            required("amount", amount),
            optional(
                "reference_id",
                json!({"type": "string", "minLength": 1, "maxLength": 255}),
            ),
            optional(
                "description",
                json!({"type": "string", "minLength": 1, "maxLength": 500}),
            ),
        ]
    };
    match endpoint {
        E::AddCredits => Shape::new(movement(), 200, "Transaction").once().refuses(&[404, 409]),
        E::Balance => Shape::new([required("user_id", uuid())], 200, "Balance").refuses(&[404]),
        E::CancelEmailChange => Shape::new([required("token", text())], 200, "Message"),
        E::CancelSubscription => Shape::new(
            [required("user_id", uuid()), optional("at_period_end", json!({"type": "boolean", "default": true}))],
            200,
            "CancelledSubscription",
        )
        .refuses(&[404, 501, 502]),
        E::ChangeEmail => Shape::new(
            [required("new_email", email()), required("current_password", attempt())],
            202,
            "Message",
        )
        .refuses(&[400, 409]),
        E::ChangePassword => Shape::new(
            [required("current_password", attempt()), required("new_password", password())],
            200,
            "Tokens",
        )
        .refuses(&[400]),
        E::ChangeSubscription => {
            Shape::new([required("user_id", uuid()), required("plan", text())], 200, "ChangedSubscription").refuses(&[404, 409, 501, 502])
        }
        E::CreateCheckoutSession => Shape::new(
            [
                required("user_id", uuid()),
                optional("plan", json!({"type": "string", "description": "The name of a plan in the catalogue."})),
                optional("credit_pack", json!({"type": "string", "description": "The name of a credit pack in the catalogue; one of the two is required."})),
                required("success_url", uri()),
                required("cancel_url", uri()),
            ],
            200,
            "CheckoutSession",
        )
        .once()
        .refuses(&[404, 409, 501, 502]),
        E::CreateSubscription => Shape::new(
            [
                required("user_id", uuid()),
                required("plan", text()),
                optional("payment_method_id", json!({"type": "string", "minLength": 1, "maxLength": 255})),
            ],
            200,
            "Subscription",
        )
        .refuses(&[404, 409, 501, 502]),
        E::DeleteAccount => {
            Shape::new([optional("password", attempt())], 200, "Message").refuses(&[400])
        }
        E::EmailOfUser => Shape::new([], 200, "EmailOfUser").refuses(&[404]),
        E::EndSession => Shape {
            answers: vec![(204, "The session has ended.", None)],
            ..Shape::new([], 204, "Message").refuses(&[404])
        },
        E::Health => Shape::new([], 200, "Health"),
        E::Link => Shape::new(
            [
                optional("password", attempt()),
                optional("id_token", text()),
                optional("redirect_to", uri()),
            ],
            200,
            "Linking",
        )
        .refuses(&[400, 409, 501, 502]),
        E::Login => Shape::new(
            [
                optional("username", json!({"type": "string", "description": "Username or e-mail address."})),
                optional("email", json!({"type": "string", "description": "Another name for `username`; one of the two is required."})),
                required("password", attempt()),
            ],
            200,
            "Tokens",
        )
        .refuses(&[401]),
        E::Logout => Shape::new(
            [optional("scope", json!({"type": "string", "enum": ["current", "others", "all"], "default": "current"}))],
            200,
            "Message",
        ),
        E::Me => Shape::new([], 200, "User"),
        E::OauthCallback => Shape::new(
            ["state", "code", "error", "iss"].map(|name| optional(name, text())),
            200,
            "SignedIn",
        )
        .or(302, "Back to the page that the sign-in began for, with its code or an error.", None)
        .refuses(&[400, 409, 501, 502]),
        E::OauthExchange => Shape::new(
            [required("code", text()), optional("code_verifier", text())],
            200,
            "Tokens",
        ),
        E::OauthLogin => Shape::new(
            [
                optional("redirect_to", uri()),
                optional(
                    "code_challenge",
                    json!({"type": "string", "minLength": 43, "maxLength": 43}),
                ),
                optional(
                    "code_challenge_method",
                    json!({"type": "string", "enum": ["S256"]}),
                ),
                optional("mode", json!({"type": "string", "enum": ["json"]})),
            ],
            200,
            "Departure",
        )
        .or(302, "To the provider.", None)
        .refuses(&[400, 501, 502]),
        E::PaymentMethods => Shape::new([required("user_id", uuid())], 200, "PaymentMethods").refuses(&[404, 501, 502]),
        E::Ready => Shape::new([], 200, "Readiness").or(503, "Something that is needed does not serve.", Some("Readiness")),
        E::Refresh => Shape::new(
            [
                optional("refresh_token", text()),
                optional("token", json!({"type": "string", "description": "A valid access token; one of the two is required."})),
            ],
            200,
            "Tokens",
        ),
        E::Register => Shape::new(
            [
                required("username", json!({"type": "string", "pattern": "^[A-Za-z0-9_.\\-]{3,32}$"})),
                required("email", email()),
                required("password", password()),
            ],
            201,
            "Tokens",
        )
        .or(202, "With enumeration protection: the rest is in a mail.", Some("Message"))
        .refuses(&[409]),
        E::RequestPasswordReset => Shape::new([required("email", email())], 200, "Message"),
        E::ResendVerification => Shape::new([required("email", email())], 200, "Message")
            .or(202, "With enumeration protection: the rest is in a mail.", Some("Message"))
            .refuses(&[404]),
        E::ResetPassword => Shape::new(
            [required("token", text()), required("new_password", password())],
            200,
            "Message",
        ),
        E::Revoke => Shape::new([required("token", text())], 200, "Message"),
        E::Sessions => Shape::new([], 200, "Sessions"),
        E::SetupIntent => Shape::new([required("user_id", uuid())], 200, "SetupIntent").once().refuses(&[404, 409, 501, 502]),
        E::StripeWebhook => Shape::new([], 200, "Received").refuses(&[400, 501]),
        E::TestEmail => Shape::new([], 200, "TestMail"),
        E::Transactions => Shape::new(
            [
                required("user_id", uuid()),
                optional("type", json!({"$ref": "#/components/schemas/TransactionType"})),
                optional("limit", json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50})),
                optional("cursor", json!({"type": "string", "description": "The `next_cursor` of the page before."})),
            ],
            200,
            "Transactions",
        )
        .refuses(&[404]),
        E::Unlink => {
            Shape::new([optional("password", attempt())], 200, "Changed").refuses(&[400, 404, 409])
        }
        E::UseCredits => Shape::new(movement(), 200, "Transaction").once().refuses(&[402, 404, 409]),
        E::UserByEmail => Shape::new([], 200, "User").refuses(&[404]),
        E::VerifyEmail | E::VerifyEmailLink => {
            Shape::new([required("token", text())], 200, "Verified").refuses(&[400])
        }
        E::VerifyEmailTemplates => Shape::new([], 200, "TemplateReports"),
    }
}

fn operation(route: &RouteInfo) -> Value {
    let shape = shape(route.endpoint);
    let mut parameters: Vec<Value> = path_parameters(route.path);
    let mut body = None;
    match route.input {
        Input::Json | Input::JsonOrForm => body = Some(request_body(route, &shape.fields)),
        Input::Raw => body = Some(raw_body()),
        Input::Query => parameters.extend(shape.fields.iter().map(|field| {
            json!({"name": field.name, "in": "query", "required": field.is_required, "schema": field.schema})
        })),
        Input::None => {}
    }
    if shape.takes_idempotency_key {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A call that is repeated with the same key has no second effect.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        }));
    }
    let mut operation = json!({
        "operationId": route.endpoint.as_str(),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "security": security(route.class),
        "responses": responses(route, &shape, !parameters.is_empty()),
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

fn tag(path: &str) -> &'static str {
    if path.starts_with("/credits") {
        "credits"
    } else if path.starts_with("/stripe") {
        "payments"
    } else if path.starts_with("/health") {
        "health"
    } else {
        "accounts"
    }
}

fn security(class: Class) -> Value {
    match class {
        Class::AuthenticatedByBody | Class::Public => json!([]),
        Class::Diagnostic | Class::Internal => json!([{"apiKey": []}]),
        Class::Signed => json!([{"stripeSignature": []}]),
        Class::Verified => json!([{"accessToken": []}]),
    }
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = match name {
                "email" => json!({"type": "string", "format": "email"}),
                "provider" => json!({"type": "string", "examples": ["google"]}),
                _ => json!({"type": "string", "format": "uuid"}),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect()
}

/// As it was signed.
fn raw_body() -> Value {
    json!({"required": true, "content": {"application/json": {"schema": {"type": "object"}}}})
}

fn request_body(route: &RouteInfo, fields: &[Field]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), field.schema.clone()))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.is_required)
        .map(|field| field.name)
        .collect();
    let json = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let mut content = json!({"application/json": {"schema": json}});
    if route.input == Input::JsonOrForm {
        // Forms carry what OAuth2 clients add to them.
        let mut form = json;
        form["additionalProperties"] = true.into();
        content["application/x-www-form-urlencoded"] = json!({"schema": form});
    }
    json!({"required": true, "content": content})
}

fn responses(route: &RouteInfo, shape: &Shape, has_parameters: bool) -> Value {
    let mut all = Map::new();
    let mut refuse = |status: u16| {
        all.insert(status.to_string(), problem(status));
    };
    // As the checks come: 429, the class, 415, 413, 400, 422; and what may always happen.
    for status in [429, 500, 503] {
        refuse(status);
    }
    match route.class {
        Class::AuthenticatedByBody | Class::Diagnostic | Class::Internal | Class::Signed => {
            refuse(401);
        }
        Class::Public => {}
        Class::Verified => [401, 403].into_iter().for_each(&mut refuse),
    }
    match route.input {
        Input::Json | Input::JsonOrForm => {
            [400, 413, 415, 422].into_iter().for_each(&mut refuse);
        }
        Input::Query => refuse(422),
        Input::Raw => refuse(413),
        Input::None if has_parameters => refuse(422),
        Input::None => {}
    }
    shape.refusals.iter().copied().for_each(&mut refuse);
    for (status, says, schema) in &shape.answers {
        let mut answer = json!({"description": says});
        if let Some(schema) = schema {
            answer["content"] = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
        }
        all.insert(status.to_string(), answer);
    }
    Value::Object(all)
}

fn problem(status: u16) -> Value {
    let says = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Refused");
    json!({
        "description": says,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    })
}

/// An object that has all of these members.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: Map<String, Value> = members
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({"type": "object", "properties": properties, "required": required})
}

#[allow(clippy::too_many_lines)] // one table
fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe = || json!({"type": ["string", "null"]});
    let flag = || json!({"type": "boolean"});
    let uuid = || json!({"type": "string", "format": "uuid"});
    let time = || json!({"type": "string", "format": "date-time"});
    let seconds = || json!({"type": "integer", "minimum": 0});
    let amount = || json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]{2}$"});
    let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let list = |items: Value| json!({"type": "array", "items": items});
    let mut tokens = object([
        ("access_token", text()),
        ("token_type", json!({"type": "string", "const": "bearer"})),
        ("expires_in", seconds()),
        ("user", of("User")),
    ]);
    tokens["properties"]["refresh_token"] = text();
    tokens["properties"]["refresh_expires_in"] = seconds();
    let mut problem = object([
        ("type", text()),
        ("title", text()),
        ("status", json!({"type": "integer"})),
        ("detail", text()),
        (
            "code",
            json!({"type": "string", "description": "Stable and `snake_case`."}),
        ),
        ("request_id", text()),
    ]);
    problem["properties"]["errors"] = list(object([
        ("field", text()),
        ("code", text()),
        ("message", text()),
    ]));
    problem["properties"]["balance"] = amount();
    let maybe_time = || json!({"type": ["string", "null"], "format": "date-time"});
    let mut card = object([
        ("brand", text()),
        ("last4", text()),
        ("exp_month", json!({"type": "integer"})),
        ("exp_year", json!({"type": "integer"})),
    ]);
    card["type"] = json!(["object", "null"]);
    let mut subscription = object([
        ("subscription_id", text()),
        ("status", text()),
        ("current_period_end", maybe_time()),
    ]);
    subscription["properties"]["client_secret"] = text();
    let mut report = object([("name", text()), ("locale", text()), ("ok", flag())]);
    report["properties"]["error"] = text();
    json!({
        "Balance": object([("user_id", uuid()), ("balance", amount()), ("updated_at", time())]),
        "CancelledSubscription": object([("subscription_id", text()), ("status", text()), ("cancel_at", maybe_time())]),
        "Changed": object([("message", text()), ("user", of("User"))]),
        "ChangedSubscription": object([("subscription_id", text()), ("status", text()), ("plan", maybe())]),
        "CheckoutSession": object([("session_id", text()), ("url", json!({"type": "string", "format": "uri"}))]),
        "Departure": object([("authorization_url", json!({"type": "string", "format": "uri"}))]),
        "EmailOfUser": object([("user_id", uuid()), ("email", text()), ("is_verified", flag())]),
        "Health": object([("status", text())]),
        "Linking": {"oneOf": [of("Changed"), of("Departure")]},
        "Message": object([("message", text())]),
        "PaymentMethod": object([
            ("id", text()),
            ("type", text()),
            ("card", card),
            ("is_default", flag()),
        ]),
        "PaymentMethods": object([("payment_methods", list(of("PaymentMethod")))]),
        "Problem": problem,
        "Readiness": object([
            ("status", text()),
            ("dependencies", list(object([("name", text()), ("status", text())]))),
        ]),
        "Received": object([("received", flag()), ("event_id", text()), ("processed", flag())]),
        "Session": object([
            ("id", uuid()),
            ("created_at", time()),
            ("last_used_at", time()),
            ("expires_at", time()),
            ("ip", maybe()),
            ("user_agent", maybe()),
            ("current", flag()),
        ]),
        "Sessions": object([("sessions", list(of("Session")))]),
        "SetupIntent": object([("setup_intent_id", text()), ("client_secret", text()), ("customer_id", text())]),
        "SignedIn": {"oneOf": [of("Tokens"), of("Changed")]},
        "Subscription": subscription,
        "TemplateReports": object([("templates", list(report))]),
        "TestMail": object([("message", text()), ("to", text())]),
        "Tokens": tokens,
        "Transaction": object([
            ("id", uuid()),
            ("user_id", uuid()),
            ("type", of("TransactionType")),
            ("direction", json!({"type": "string", "enum": ["credit", "debit"]})),
            ("amount", amount()),
            ("new_balance", amount()),
            ("reference_id", maybe()),
            ("description", maybe()),
            ("created_at", time()),
        ]),
        "TransactionType": {
            "type": "string",
            "enum": EntryKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        },
        "Transactions": object([
            ("transactions", list(of("Transaction"))),
            ("next_cursor", maybe()),
            ("total_count", json!({"type": "integer", "minimum": 0})),
        ]),
        "User": object([
            ("id", uuid()),
            ("username", text()),
            ("email", text()),
            ("is_verified", flag()),
            ("is_admin", flag()),
            ("created_at", time()),
            ("updated_at", time()),
            ("sign_in_methods", list(text())),
        ]),
        "Verified": object([
            ("message", text()),
            ("status", json!({"type": "string", "enum": ["verified", "already_verified"]})),
            ("user", of("User")),
        ]),
    })
}

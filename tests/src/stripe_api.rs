//! A Stripe that does what a test wants: what its documentation says, in as much as is asked here, or trouble.
//!
//! It listens on the loopback address and lives as long as its handle. Its time is that of the test's clock. What it was asked and what it answered is
//! kept, to be held against Stripe's published description ([`StripeApi::judge`]).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use auth_billing::StripeProvider;
use auth_core::{ports::Clock, types::Secret};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{MovableClock, stripe::faults_by_description};

/// The key that a scripted Stripe knows.
pub const STRIPE_KEY: &str = "sk_test_of_the_tests_0123456789";
/// The length of every period, in seconds.
pub const PERIOD: i64 = 30 * 24 * 60 * 60;
/// How long an app waits for it: on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a Stripe does instead of its work, or after it.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// It has too much to do: 429, and nothing is kept under the key.
    Busy,
    /// It closes the connection.
    Cut,
    /// It does its work, and the answer is cut off.
    CutAfterwards,
    /// It does its work, and says nothing.
    Hang,
    /// It does its work, and answers when it is told to.
    Held(Arc<Notify>),
    /// It does its work: what is told next meets the request after it.
    Later,
    /// It answers so, and keeps that under the key.
    Say(u16, Value),
}

/// How answers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Before 2025-03-31: periods on the subscription.
    Older,
    /// Since then: periods on its items, and the secret of a payment on the invoice.
    Newer,
}

/// A running Stripe.
#[derive(Clone)]
pub struct StripeApi {
    inner: Arc<Inner>,
}

struct Inner {
    address: String,
    clock: MovableClock,
    layout: Layout,
    books: Mutex<Books>,
    server: OnceLock<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(server) = self.server.get() {
            server.abort();
        }
    }
}

#[derive(Default)]
struct Books {
    made: u32,
    customers: BTreeMap<String, Value>,
    methods: Vec<(String, Value)>,
    subscriptions: BTreeMap<String, Value>,
    schedules: BTreeMap<String, Value>,
    /// The newest invoice of each subscription.
    invoices: BTreeMap<String, Value>,
    /// What it tells again, the oldest first.
    events: Vec<Value>,
    /// The kind of events whose lists begin again where they end.
    circles: Option<String>,
    /// Invoices and sessions that were made without it being asked, the oldest first.
    purchases: Vec<Value>,
    kept: HashMap<String, (String, (u16, Value))>,
    troubles: VecDeque<(String, Trouble)>,
    declines: bool,
    journal: Vec<Exchange>,
}

/// A request, and what was answered.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// `POST /v1/customers`: with names in braces in place of ids.
    pub what: String,
    /// Of the request, with ids.
    pub path: String,
    /// Of the request, nested.
    pub form: Value,
    /// Of the request.
    pub key: Option<String>,
    /// Of the answer.
    pub status: u16,
    /// It was kept under the key, and nothing was done.
    pub is_replay: bool,
    query: String,
    body: String,
    answer: Value,
}

impl fmt::Debug for StripeApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StripeApi")
            .field(&self.inner.address)
            .finish()
    }
}

type Answer = (u16, Value);

fn refusal(status: u16, kind: &str, code: &str, param: Option<&str>) -> Answer {
    let message = "Words of Stripe, about sk_test_***789 and ada@example.org";
    let mut error = json!({"type": kind, "code": code, "message": message});
    if let Some(param) = param {
        error["param"] = param.into();
    }
    (status, json!({"error": error}))
}

fn missing(status: u16, param: &str) -> Answer {
    refusal(
        status,
        "invalid_request_error",
        "resource_missing",
        Some(param),
    )
}

/// What a card that is declined is answered with.
pub fn declined() -> Value {
    refusal(402, "card_error", "card_declined", None).1
}

/// `a[b][0]=c` as `{"a": {"b": {"0": "c"}}}`.
fn nested(form: &str) -> Value {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(form).unwrap();
    let mut whole = Value::Object(Map::new());
    for (name, value) in pairs {
        let mut place = &mut whole;
        for step in name.split(['[', ']']).filter(|step| !step.is_empty()) {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[step];
        }
        *place = value.into();
    }
    whole
}

fn text<'a>(form: &'a Value, place: &str) -> Option<&'a str> {
    form.pointer(place).and_then(Value::as_str)
}

fn amount_of(price: &str) -> Option<i64> {
    Some(match price {
        "price_small" => 900,
        "price_basic" => 1900,
        "price_professional" => 4900,
        _ => return None,
    })
}

impl StripeApi {
    /// One that does the right thing.
    pub async fn start(clock: MovableClock) -> Self {
        Self::laid_out(clock, Layout::Older).await
    }

    /// With answers of another version.
    pub async fn laid_out(clock: MovableClock, layout: Layout) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            address: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            layout,
            books: Mutex::default(),
            server: OnceLock::new(),
        });
        let app = Router::new()
            .fallback(any(answer))
            .with_state(Arc::downgrade(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        inner.server.set(server).unwrap();
        Self { inner }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// It, as an app asks it.
    pub fn provider(&self) -> StripeProvider {
        let key = Secret::new(STRIPE_KEY.to_owned());
        let provider = StripeProvider::new(&key).unwrap();
        provider.at(self.address()).unwrap().timeout(PATIENCE)
    }

    /// The next request of that kind, such as `POST /v1/customers`, meets trouble; told more than once, the ones after it too.
    pub fn trouble(&self, what: &str, trouble: Trouble) {
        self.books().troubles.push_back((what.to_owned(), trouble));
    }

    /// From now on payments are declined, or accepted again.
    pub fn decline(&self, declines: bool) {
        self.books().declines = declines;
    }

    /// What it was asked by now, the oldest first.
    pub fn journal(&self) -> Vec<Exchange> {
        self.books().journal.clone()
    }

    /// What it was asked of one kind.
    pub fn asked(&self, what: &str) -> Vec<Exchange> {
        let journal = self.journal().into_iter();
        journal.filter(|it| it.what == what).collect()
    }

    /// How many customers there are, deleted ones too.
    pub fn customers(&self) -> usize {
        self.books().customers.len()
    }

    /// Somebody deletes a customer at its dashboard: their subscriptions end.
    pub fn delete_customer(&self, id: &str) {
        let now = self.now();
        let books = &mut *self.books();
        books.customers.get_mut(id).unwrap()["deleted"] = true.into();
        for subscription in books.subscriptions.values_mut() {
            if subscription["customer"] == id {
                end(subscription, now);
            }
        }
    }

    /// A customer leaves a card: `pm_…`.
    pub fn attach_card(&self, customer: &str, is_default: bool) -> String {
        let now = self.now();
        let books = &mut *self.books();
        let id = books.name("pm");
        let card = json!({
            "brand": "visa", "exp_month": 12, "exp_year": 2031, "last4": "4242", "funding": "credit", "country": "AT",
            "fingerprint": "f", "checks": null, "networks": null, "three_d_secure_usage": null, "wallet": null, "generated_from": null,
        });
        let method = json!({
            "id": id, "object": "payment_method", "type": "card", "created": now, "livemode": false, "customer": customer, "metadata": {},
            "billing_details": {"address": null, "email": null, "name": null, "phone": null}, "card": card,
        });
        books.methods.push((customer.to_owned(), method));
        if is_default {
            books.customers.get_mut(customer).unwrap()["invoice_settings"]["default_payment_method"] =
                id.clone().into();
        }
        id
    }

    /// The first payment of a subscription is made.
    pub fn pay(&self, subscription: &str) {
        self.books().subscriptions.get_mut(subscription).unwrap()["status"] = "active".into();
    }

    /// A subscription as it is, in the layout of its answers.
    pub fn subscription(&self, id: &str) -> Value {
        let books = self.books();
        shown(&books.subscriptions[id], self.inner.layout)
    }

    /// The subscriptions that have not ended.
    pub fn living(&self) -> Vec<String> {
        let books = self.books();
        let living = books
            .subscriptions
            .iter()
            .filter(|(_, it)| it["status"] != "canceled");
        living.map(|(id, _)| id.clone()).collect()
    }

    /// The schedule of a subscription.
    pub fn schedule_of(&self, subscription: &str) -> Option<Value> {
        let books = self.books();
        let id = books.subscriptions[subscription]["schedule"].as_str()?;
        Some(books.schedules[id].clone())
    }

    /// The newest invoice of a subscription, as its event would have it.
    pub fn invoice_of(&self, subscription: &str) -> Value {
        self.books().invoices[subscription].clone()
    }

    /// It has told an event, and tells it again to who asks.
    pub fn has_told(&self, event: Value) {
        self.books().events.push(event);
    }

    /// From now on lists with a kind of events begin again where they end.
    pub fn go_in_circles(&self, kind: Option<&str>) {
        self.books().circles = kind.map(str::to_owned);
    }

    /// It has an invoice or a session.
    pub fn has_sold(&self, purchase: Value) {
        self.books().purchases.push(purchase);
    }

    /// Holds all that was asked and answered against Stripe's published description.
    ///
    /// # Panics
    /// With every fault, and when what judges is not installed.
    pub fn judge(&self) {
        let lines = self.journal().into_iter().map(|it| {
            // The description is of the older layout.
            let is_known = self.inner.layout == Layout::Older || it.status != 200;
            let answer = if is_known { it.answer } else { Value::Null };
            let (method, _) = it.what.split_once(' ').unwrap();
            json!({
                "method": method, "path": it.path, "query": it.query, "body": it.body, "status": it.status, "answer": answer,
            })
        });
        assert_eq!(faults_by_description(&lines.collect::<Vec<_>>()), "");
    }

    fn now(&self) -> i64 {
        self.inner.now()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.inner.books()
    }
}

impl Inner {
    fn now(&self) -> i64 {
        self.clock.now().unix_timestamp()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes back, and what happens to it on the way.
    fn exchange(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: &str,
        headers: &HeaderMap,
    ) -> (Answer, Option<Trouble>) {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|it| it.to_str().ok())
                .map(str::to_owned)
        };
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let (what, id) = operation(method, &segments);
        let key = header("idempotency-key");
        // Of a GET or a DELETE it makes nothing of the key.
        let remembered = key.clone().filter(|_| method == "POST");
        let books = &mut *self.books();
        let place = books
            .troubles
            .iter()
            .position(|(where_, _)| *where_ == what);
        let trouble = place
            .and_then(|place| books.troubles.remove(place))
            .map(|(_, it)| it);
        let form = nested(if method == "GET" { query } else { body });
        // Parameters have no order.
        let content = format!("{method} {path} {form}");
        let mut is_replay = false;
        let is_known = header("authorization").as_deref() == Some(&format!("Bearer {STRIPE_KEY}"));
        let answer = if is_known {
            match trouble {
                Some(Trouble::Busy) => refusal(429, "invalid_request_error", "rate_limit", None),
                Some(Trouble::Cut) => (200, Value::Null),
                _ => match remembered.as_ref().and_then(|key| books.kept.get(key)) {
                    Some((other, _)) if *other != content => {
                        refusal(400, "idempotency_error", "idempotency_error", None)
                    }
                    Some((_, answer)) => {
                        is_replay = true;
                        answer.clone()
                    }
                    None => {
                        let answer = match &trouble {
                            Some(Trouble::Say(status, said)) => (*status, said.clone()),
                            _ => books.act(&what, id, &form, self.now(), self.layout),
                        };
                        if let Some(key) = &remembered {
                            books.kept.insert(key.clone(), (content, answer.clone()));
                        }
                        answer
                    }
                },
            }
        } else {
            refusal(401, "invalid_request_error", "api_key_expired", None)
        };
        books.journal.push(Exchange {
            what,
            path: path.to_owned(),
            form,
            key,
            status: answer.0,
            is_replay,
            query: query.to_owned(),
            body: body.to_owned(),
            answer: answer.1.clone(),
        });
        (answer, trouble)
    }
}

/// What is asked, and about what.
fn operation<'a>(method: &str, segments: &[&'a str]) -> (String, &'a str) {
    let (path, id) = match *segments {
        [one] => (one.to_owned(), ""),
        ["checkout", "sessions"] => ("checkout/sessions".to_owned(), ""),
        ["checkout", "sessions", id] => ("checkout/sessions/{id}".to_owned(), id),
        [one, id] => (format!("{one}/{{id}}"), id),
        [one, id, of] => (format!("{one}/{{id}}/{of}"), id),
        _ => (segments.join("/"), ""),
    };
    (format!("{method} /v1/{path}"), id)
}

fn end(subscription: &mut Value, now: i64) {
    subscription["status"] = "canceled".into();
    subscription["ended_at"] = now.into();
    subscription["canceled_at"] = now.into();
}

fn count(form: &Value, place: &str) -> Option<i64> {
    text(form, place).and_then(|it| it.parse().ok())
}

/// A page of what is asked for, the newest first.
fn page(all: &[Value], form: &Value, url: &str) -> Answer {
    let since = count(form, "/created/gte").unwrap_or(0);
    let limit = count(form, "/limit").map_or(10, |limit| usize::try_from(limit).unwrap());
    let kinds = form["types"].as_object();
    let status = text(form, "/status");
    let begins = match text(form, "/starting_after") {
        None => all.len(),
        Some(after) => match all.iter().position(|it| it["id"] == after) {
            Some(place) => place,
            None => return missing(400, "starting_after"),
        },
    };
    let mut found = all[..begins].iter().rev().filter(|it| {
        it["created"].as_i64().unwrap() >= since
            && kinds.is_none_or(|kinds| kinds.values().any(|kind| *kind == it["type"]))
            && status.is_none_or(|status| it["status"] == status)
    });
    let data: Vec<_> = found.by_ref().take(limit).collect();
    let has_more = found.next().is_some();
    (
        200,
        json!({"object": "list", "has_more": has_more, "url": url, "data": data}),
    )
}

fn price_object(price: &str, now: i64) -> Value {
    json!({
        "id": price, "object": "price", "active": true, "billing_scheme": "per_unit", "created": now, "currency": "eur", "livemode": false,
        "metadata": {}, "product": "prod_1", "type": "recurring", "unit_amount": amount_of(price), "nickname": null, "lookup_key": null,
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    })
}

impl Books {
    fn name(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}_{:06}", self.made)
    }

    fn act(&mut self, what: &str, id: &str, form: &Value, now: i64, layout: Layout) -> Answer {
        match what {
            "POST /v1/customers" => {
                let id = self.name("cus");
                let customer = json!({
                    "id": id, "object": "customer", "created": now, "livemode": false, "metadata": form["metadata"], "email": null,
                    "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null},
                });
                self.customers.insert(id, customer.clone());
                (200, customer)
            }
            "GET /v1/customers/{id}" => match self.customers.get(id) {
                None => missing(404, "id"),
                Some(it) if it["deleted"] == true => (
                    200,
                    json!({"id": id, "object": "customer", "deleted": true}),
                ),
                Some(it) => (200, it.clone()),
            },
            "GET /v1/customers/{id}/payment_methods" => {
                let methods = self.methods.iter().rev().filter(|(whose, _)| whose == id);
                let data: Vec<_> = methods.map(|(_, method)| method).collect();
                let url = format!("/v1/customers/{id}/payment_methods");
                (
                    200,
                    json!({"object": "list", "has_more": false, "url": url, "data": data}),
                )
            }
            "POST /v1/checkout/sessions" => self.checkout(form, now),
            "GET /v1/checkout/sessions" => page(
                &self.sold("checkout.session"),
                form,
                "/v1/checkout/sessions",
            ),
            "GET /v1/invoices" => page(&self.sold("invoice"), form, "/v1/invoices"),
            "GET /v1/checkout/sessions/{id}" | "GET /v1/invoices/{id}" => {
                match self.purchases.iter().find(|it| it["id"] == id) {
                    None => missing(404, "id"),
                    Some(it) => (200, it.clone()),
                }
            }
            "GET /v1/events" => self.retell(form),
            "POST /v1/setup_intents" => self.set_up(form, now),
            "GET /v1/subscriptions" => self.list(form, layout),
            "POST /v1/subscriptions" => self.subscribe(form, now, layout),
            "GET /v1/subscriptions/{id}" => match self.subscriptions.get(id) {
                None => missing(404, "id"),
                Some(it) => (200, shown(it, layout)),
            },
            "POST /v1/subscriptions/{id}" => self.update(id, form, now, layout),
            "DELETE /v1/subscriptions/{id}" => match self.subscriptions.get_mut(id) {
                Some(it) if it["status"] != "canceled" => {
                    end(it, now);
                    let ended = it.clone();
                    (200, shown(&ended, layout))
                }
                _ => missing(404, "id"),
            },
            "POST /v1/subscription_schedules" => self.schedule(form, now),
            "POST /v1/subscription_schedules/{id}" => self.plan_phases(id, form),
            "POST /v1/subscription_schedules/{id}/release" => self.release(id),
            _ => refusal(404, "invalid_request_error", "url_invalid", None),
        }
    }

    fn retell(&self, form: &Value) -> Answer {
        let url = "/v1/events";
        let kinds = form["types"].as_object();
        let is_asked =
            |kind: &String| kinds.is_some_and(|kinds| kinds.values().any(|it| it == kind));
        let (status, mut list) = page(&self.events, form, url);
        if self.circles.as_ref().is_some_and(is_asked) {
            if list["data"] == json!([]) {
                let mut first = form.clone();
                first["starting_after"].take();
                list = page(&self.events, &first, url).1;
            }
            list["has_more"] = true.into();
        }
        (status, list)
    }

    fn sold(&self, what: &str) -> Vec<Value> {
        let sold = self.purchases.iter().filter(|it| it["object"] == what);
        sold.cloned().collect()
    }

    fn set_up(&mut self, form: &Value, now: i64) -> Answer {
        if let Some(refusal) = self.refused_customer(form) {
            return refusal;
        }
        let id = self.name("seti");
        let intent = json!({
            "id": id, "object": "setup_intent", "client_secret": format!("{id}_secret_1"), "created": now, "customer": form["customer"],
            "livemode": false, "metadata": form["metadata"], "payment_method_types": ["card"], "status": "requires_payment_method",
            "usage": form["usage"],
        });
        (200, intent)
    }

    fn list(&self, form: &Value, layout: Layout) -> Answer {
        if let Some(refusal) = self.refused_customer(form) {
            return refusal;
        }
        let all = self.subscriptions.values().rev();
        let data: Vec<_> = all
            .filter(|it| it["customer"] == form["customer"])
            .map(|it| shown(it, layout))
            .collect();
        (
            200,
            json!({"object": "list", "has_more": false, "url": "/v1/subscriptions", "data": data}),
        )
    }

    fn schedule(&mut self, form: &Value, now: i64) -> Answer {
        let of = text(form, "/from_subscription")
            .unwrap_or_default()
            .to_owned();
        let Some(subscription) = self.subscriptions.get(&of).cloned() else {
            return missing(404, "from_subscription");
        };
        if !subscription["schedule"].is_null() {
            return refusal(
                400,
                "invalid_request_error",
                "parameter_invalid",
                Some("from_subscription"),
            );
        }
        let id = self.name("sub_sched");
        let schedule = json!({
            "id": id, "object": "subscription_schedule", "created": now, "customer": subscription["customer"], "livemode": false,
            "default_settings": {"billing_cycle_anchor": "automatic"}, "end_behavior": "release", "phases": [], "status": "active",
            "subscription": of,
        });
        self.schedules.insert(id.clone(), schedule.clone());
        self.subscriptions.get_mut(&of).unwrap()["schedule"] = id.into();
        (200, schedule)
    }

    fn plan_phases(&mut self, id: &str, form: &Value) -> Answer {
        let Some(schedule) = self
            .schedules
            .get_mut(id)
            .filter(|it| it["status"] == "active")
        else {
            return missing(404, "schedule");
        };
        schedule["end_behavior"] = form["end_behavior"].clone();
        let number = |value: &Value| value.as_str().and_then(|it| it.parse::<i64>().ok());
        let phases = form["phases"].as_object().unwrap().values().map(|phase| {
                    json!({
                        "add_invoice_items": [], "currency": "eur", "proration_behavior": phase["proration_behavior"],
                        "start_date": number(&phase["start_date"]), "end_date": number(&phase["end_date"]),
                        "items": [{"price": phase["items"]["0"]["price"], "quantity": 1}],
                    })
                });
        schedule["phases"] = phases.collect();
        (200, schedule.clone())
    }

    fn release(&mut self, id: &str) -> Answer {
        let Some(schedule) = self
            .schedules
            .get_mut(id)
            .filter(|it| it["status"] == "active")
        else {
            return missing(404, "schedule");
        };
        schedule["status"] = "released".into();
        let of = schedule["subscription"].as_str().unwrap().to_owned();
        let released = schedule.clone();
        self.subscriptions.get_mut(&of).unwrap()["schedule"] = Value::Null;
        (200, released)
    }

    fn refused_customer(&self, form: &Value) -> Option<Answer> {
        let customer = text(form, "/customer").and_then(|id| self.customers.get(id));
        match customer {
            Some(it) if it["deleted"] != true => None,
            _ => Some(missing(400, "customer")),
        }
    }

    fn checkout(&mut self, form: &Value, now: i64) -> Answer {
        if let Some(refusal) = self.refused_customer(form) {
            return refusal;
        }
        if text(form, "/line_items/0/price")
            .and_then(amount_of)
            .is_none()
        {
            return missing(400, "line_items[0][price]");
        }
        let id = self.name("cs_test");
        let session = json!({
            "id": id, "object": "checkout.session", "automatic_tax": {"enabled": false, "liability": null, "status": null}, "created": now,
            "client_reference_id": form["client_reference_id"], "custom_fields": [], "expires_at": now + 24 * 60 * 60, "livemode": false,
            "custom_text": {"after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null},
            "customer": form["customer"], "metadata": form["metadata"], "mode": form["mode"], "payment_method_types": ["card"],
            "payment_status": "unpaid", "shipping_options": [], "success_url": form["success_url"], "cancel_url": form["cancel_url"],
            "status": "open", "url": format!("https://checkout.stripe.com/c/pay/{id}"),
        });
        (200, session)
    }

    fn subscribe(&mut self, form: &Value, now: i64, layout: Layout) -> Answer {
        if let Some(refusal) = self.refused_customer(form) {
            return refusal;
        }
        let Some(amount) = text(form, "/items/0/price").and_then(amount_of) else {
            return missing(400, "items[0][price]");
        };
        let method = text(form, "/default_payment_method");
        if let Some(method) = method
            && !self
                .methods
                .iter()
                .any(|(whose, it)| form["customer"] == **whose && it["id"] == method)
        {
            return missing(400, "default_payment_method");
        }
        let pays = method.is_some() && !self.declines;
        let id = self.name("sub");
        let line = self.name("si");
        let price = text(form, "/items/0/price").unwrap();
        let subscription = json!({
            "id": id, "object": "subscription", "automatic_tax": {"enabled": false, "liability": null}, "billing_cycle_anchor": now,
            "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null, "collection_method": "charge_automatically", "created": now,
            "currency": "eur", "current_period_start": now, "current_period_end": now + PERIOD, "customer": form["customer"], "ended_at": null,
            "default_payment_method": method, "livemode": false, "metadata": form["metadata"], "start_date": now, "schedule": null,
            "status": if pays { "active" } else { "incomplete" }, "latest_invoice": null, "pending_update": null,
            "items": {"object": "list", "has_more": false, "url": "/v1/subscription_items", "data": [{
                "id": line, "object": "subscription_item", "created": now, "metadata": {}, "price": price_object(price, now), "quantity": 1,
                "subscription": id,
            }]},
        });
        self.subscriptions.insert(id.clone(), subscription);
        self.invoice(&id, "subscription_create", amount, &[(amount, price)], now);
        (200, shown(&self.subscriptions[&id], layout))
    }

    /// Notes the newest invoice of a subscription: what is charged, and for which prices.
    fn invoice(&mut self, of: &str, reason: &str, amount: i64, lines: &[(i64, &str)], start: i64) {
        let id = self.name("in");
        let subscription = self.subscriptions.get_mut(of).unwrap();
        subscription["latest_invoice"] = id.clone().into();
        let end = subscription["current_period_end"].clone();
        let lines: Vec<_> = lines
            .iter()
            .map(|(amount, price)| {
                json!({
                    "amount": amount, "price": {"id": price}, "proration": reason == "subscription_update",
                    "period": {"start": start, "end": end},
                })
            })
            .collect();
        let invoice = json!({
            "id": id, "object": "invoice", "billing_reason": reason, "subscription": of, "customer": subscription["customer"],
            "subscription_details": {"metadata": subscription["metadata"]}, "amount_paid": amount, "amount_due": amount, "currency": "eur",
            "payment_intent": format!("pi_{id}"), "lines": {"object": "list", "data": lines},
        });
        self.invoices.insert(of.to_owned(), invoice);
    }

    fn update(&mut self, id: &str, form: &Value, now: i64, layout: Layout) -> Answer {
        let Some(subscription) = self
            .subscriptions
            .get_mut(id)
            .filter(|it| it["status"] != "canceled")
        else {
            return missing(404, "id");
        };
        if !subscription["schedule"].is_null() {
            return refusal(
                400,
                "invalid_request_error",
                "parameter_invalid",
                Some("items"),
            );
        }
        if text(form, "/cancel_at_period_end") == Some("true") {
            subscription["cancel_at_period_end"] = true.into();
            subscription["cancel_at"] = subscription["current_period_end"].clone();
            subscription["canceled_at"] = now.into();
        }
        if let Some(price) = text(form, "/items/0/price") {
            let line = &subscription["items"]["data"][0];
            let (Some(new), true) = (amount_of(price), form["items"]["0"]["id"] == line["id"])
            else {
                return missing(400, "items[0][price]");
            };
            let old_price = line["price"]["id"].as_str().unwrap().to_owned();
            let old = amount_of(&old_price).unwrap();
            let period = |name: &str| subscription[name].as_i64().unwrap();
            let (start, until) = (period("current_period_start"), period("current_period_end"));
            let from = text(form, "/proration_date")
                .and_then(|it| it.parse().ok())
                .unwrap_or(now);
            if from < start || from > until {
                return refusal(
                    400,
                    "invalid_request_error",
                    "parameter_invalid",
                    Some("proration_date"),
                );
            }
            let share = |amount: i64| amount * (until - from) / (until - start);
            let difference = share(new) - share(old);
            if self.declines {
                subscription["pending_update"] = json!({"expires_at": now + 23 * 60 * 60});
            } else {
                subscription["items"]["data"][0]["price"] = price_object(price, now);
            }
            if old != new {
                let lines = [(-share(old), &*old_price), (share(new), price)];
                self.invoice(id, "subscription_update", difference, &lines, from);
            }
        }
        (200, shown(&self.subscriptions[id], layout))
    }
}

fn shown(subscription: &Value, layout: Layout) -> Value {
    let mut shown = subscription.clone();
    if layout == Layout::Newer {
        for name in ["current_period_start", "current_period_end"] {
            let moved = shown.as_object_mut().unwrap().remove(name).unwrap();
            shown["items"]["data"][0][name] = moved;
        }
        let invoice = subscription["latest_invoice"].as_str().unwrap_or_default();
        shown["latest_invoice"] = json!({
            "id": invoice, "object": "invoice",
            "confirmation_secret": {"client_secret": format!("{invoice}_secret_1"), "type": "payment_intent"},
        });
    }
    shown
}

async fn answer(State(inner): State<Weak<Inner>>, request: Request) -> Response {
    let Some(inner) = inner.upgrade() else {
        return respond(503, &Value::Null);
    };
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let query = head.uri.query().unwrap_or_default();
    let (answer, trouble) = inner.exchange(
        head.method.as_str(),
        head.uri.path(),
        query,
        &body,
        &head.headers,
    );
    drop(inner);
    match trouble {
        Some(Trouble::Hang) => std::future::pending().await,
        Some(Trouble::Held(gate)) => {
            gate.notified().await;
            respond(answer.0, &answer.1)
        }
        Some(Trouble::Cut | Trouble::CutAfterwards) => {
            let broken =
                futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            Response::new(Body::from_stream(broken))
        }
        _ => respond(answer.0, &answer.1),
    }
}

fn respond(status: u16, answer: &Value) -> Response {
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

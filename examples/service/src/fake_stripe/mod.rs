//! A payment provider for development, which takes no money: it sells what the catalogue has, by pages of this service, and tells what happened by events that
//! are signed as Stripe's are and take the same way in.
//!
//! It lives as long as the process: a customer or a subscription of an earlier run is one that somebody has deleted at the provider.

mod events;
mod state;

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use async_trait::async_trait;
use auth_billing::{Catalogue, Mode, SigningSecrets, SigningSecretsError, Stripe};
use auth_core::{
    ports::{
        Card, Checkout, CheckoutPage, Clock, NewSubscription, PaymentMethod, PaymentProvider,
        PaymentProviderError, PaymentSetup, PurchaseState, Retelling, Retold, SubscriptionState,
        SystemClock,
    },
    time::OffsetDateTime,
    types::{IdempotencyKey, Invalid, PaymentRef, RedirectUri, Secret, UserId},
};
use auth_tower::{AuthService, PeerAddr};
use aws_lc_rs::hmac;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;
use tower::ServiceExt;

pub(crate) use self::state::{Payment, Session, Subscription};
use self::{events::Event, state::State};
use crate::secrets;

pub(crate) const CURRENCY: &str = "eur";
/// Where its pages are.
pub(crate) const PATH: &str = "/fake-stripe";

const WEBHOOK: &str = "/stripe/webhook";
const CARD: &str = "pm_fake_card";

/// What is for sale where no file says so.
pub(crate) const CATALOGUE: &str = include_str!("catalogue.toml");

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct FakeStripe(Arc<Inner>);

struct Inner {
    catalogue: Catalogue,
    signing_secret: String,
    state: Mutex<State>,
    /// Known once the service is put together.
    own_address: OnceLock<String>,
    api: OnceLock<AuthService>,
}

impl FakeStripe {
    pub(crate) fn new(catalogue: Catalogue) -> Self {
        Self(Arc::new(Inner {
            catalogue,
            signing_secret: format!("whsec_{}", secrets::draw()),
            state: Mutex::new(State::new(SystemClock.now())),
            own_address: OnceLock::new(),
            api: OnceLock::new(),
        }))
    }

    /// What sells by it and believes it.
    pub(crate) fn stripe(&self) -> Result<Stripe, SigningSecretsError> {
        let secrets = SigningSecrets::parse([Secret::new(self.0.signing_secret.clone())])?;
        let stripe = Stripe::new(self.0.catalogue.clone(), Mode::Test, secrets);
        Ok(stripe.provider(self.clone()))
    }

    /// Its first page.
    pub(crate) fn page(own_address: &str) -> Result<RedirectUri, Invalid> {
        RedirectUri::parse(&format!("{own_address}{PATH}"))
    }

    /// From now on pages have an address, and events somebody who takes them.
    pub(crate) fn open(&self, own_address: &str, api: AuthService) {
        // Once in a process.
        let _ = self.0.own_address.set(own_address.to_owned());
        let _ = self.0.api.set(api);
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session(&self, id: &str) -> Option<Session> {
        self.state().sessions.get(id).cloned()
    }

    /// The newest first.
    pub(crate) fn payments(&self) -> Vec<(String, Payment)> {
        let state = self.state();
        let all = state.payments.iter().rev();
        all.map(|(id, payment)| (id.clone(), payment.clone()))
            .collect()
    }

    /// The newest first.
    pub(crate) fn subscriptions(&self) -> Vec<(String, Subscription)> {
        let state = self.state();
        let all = state.subscriptions.iter().rev();
        all.map(|(id, subscription)| (id.clone(), subscription.clone()))
            .collect()
    }

    /// Does what a button says, and tells it; `false` when there is nothing to be done any more.
    pub(crate) async fn press(&self, button: Button, id: &str) -> bool {
        let now = SystemClock.now();
        let told = {
            let mut state = self.state();
            match button {
                Button::Pay => state.pay(id, now),
                Button::Refund => state.refund(id),
                Button::Renew => state.next_period(id, true, now),
                Button::Fail => state.next_period(id, false, now),
                Button::Cancel => state.cancel(id, now),
            }
        };
        match told {
            Some(told) => {
                // A task of its own: whoever closes the page has pressed the button all the same.
                let fake = self.clone();
                tokio::spawn(async move { fake.tell(told).await })
                    .await
                    .is_ok()
            }
            None => false,
        }
    }

    /// Tells events one after the other, each as a request of its own.
    async fn tell(&self, events: Vec<Event>) {
        for event in events {
            let kind = event.kind;
            match self.deliver(event).await {
                Some(StatusCode::OK) => tracing::debug!(kind, "an event of the fake was taken"),
                status => tracing::error!(
                    kind,
                    status = status.map(|status| status.as_u16()),
                    "an event of the fake was not taken"
                ),
            }
        }
    }

    async fn deliver(&self, event: Event) -> Option<StatusCode> {
        let api = self.0.api.get()?.clone();
        let now = SystemClock.now().unix_timestamp();
        let id = self.state().id("evt");
        let body = json!({
            "id": id,
            "object": "event",
            "type": event.kind,
            "created": now,
            "livemode": false,
            "data": { "object": event.object },
        })
        .to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.signing_secret.as_bytes());
        let tag = hmac::sign(&key, format!("{now}.{body}").as_bytes());
        let tag = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
            // A String takes any text.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let request = Request::post(WEBHOOK)
            .header("stripe-signature", format!("t={now},v1={tag}"))
            .header("content-type", "application/json")
            .extension(PeerAddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .body(Body::from(body))
            .ok()?;
        let Ok(answer) = api.oneshot(request).await;
        Some(answer.status())
    }

    /// Tells without being waited for, as Stripe does.
    fn tell_later(&self, events: Vec<Event>) {
        let fake = self.clone();
        tokio::spawn(async move { fake.tell(events).await });
    }

    /// Makes something under a key: once.
    fn once(
        &self,
        key: &IdempotencyKey,
        asked: String,
        make: impl FnOnce(&mut State) -> Result<(String, Vec<Event>), PaymentProviderError>,
    ) -> Result<String, PaymentProviderError> {
        let (id, events) = {
            let mut state = self.state();
            if let Some((before, id)) = state.keys.get(key) {
                return if *before == asked {
                    Ok(id.clone())
                } else {
                    Err(PaymentProviderError::Conflict)
                };
            }
            let (id, events) = make(&mut state)?;
            state.keys.insert(key.clone(), (asked, id.clone()));
            state.trim();
            (id, events)
        };
        self.tell_later(events);
        Ok(id)
    }

    /// The name and the amount of a price of the catalogue: here a credit costs as much as the unit of the money.
    fn item(&self, price: &str) -> Option<(String, i64)> {
        let catalogue = &self.0.catalogue;
        let plan = catalogue.plan_by_price(price);
        let pack = || catalogue.packs().iter().find(|pack| pack.price_id == price);
        let (name, credits) = match plan {
            Some(plan) => (&plan.name, plan.credits),
            None => pack().map(|pack| (&pack.name, pack.credits))?,
        };
        Some((name.clone(), credits.credits().as_hundredths()))
    }

    fn state_of(&self, id: &str) -> Option<SubscriptionState> {
        let state = self.state();
        let subscription = state.subscriptions.get(id)?;
        let end = match subscription.status {
            "canceled" => Some(subscription.period.1),
            _ => subscription
                .ends_with_period
                .then_some(subscription.period.1),
        };
        Some(SubscriptionState {
            id: reference(id).ok()?,
            status: subscription.status.to_owned(),
            line: format!("si_{id}"),
            price: subscription.price.clone(),
            created_at: subscription.created_at,
            period_start: Some(subscription.period.0),
            period_end: Some(subscription.period.1),
            cancel_at: end,
            client_secret: None,
            latest_invoice: subscription
                .latest_invoice
                .as_deref()
                .and_then(|id| reference(id).ok()),
            schedule: None,
        })
    }

    fn subscribed(&self, id: &str) -> Result<SubscriptionState, PaymentProviderError> {
        self.state_of(id).ok_or_else(nothing)
    }
}

/// What a person can press.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Button {
    Pay,
    Refund,
    Renew,
    Fail,
    Cancel,
}

fn nothing() -> PaymentProviderError {
    PaymentProviderError::Refused("there is nothing of that name".into())
}

fn reference(id: &str) -> Result<PaymentRef, PaymentProviderError> {
    PaymentRef::parse(id).map_err(|error| PaymentProviderError::Failed(Box::new(error)))
}

impl State {
    fn knows(&self, customer: &PaymentRef) -> Result<(), PaymentProviderError> {
        if self.customers.contains_key(customer.as_str()) {
            Ok(())
        } else {
            Err(PaymentProviderError::CustomerGone)
        }
    }
}

#[async_trait]
impl PaymentProvider for FakeStripe {
    async fn create_customer(
        &self,
        user: UserId,
        key: &IdempotencyKey,
    ) -> Result<PaymentRef, PaymentProviderError> {
        let made = self.once(key, format!("customer {user}"), |state| {
            let id = state.id("cus");
            state.customers.insert(id.clone(), user);
            Ok((id, Vec::new()))
        })?;
        reference(&made)
    }

    async fn create_checkout(
        &self,
        checkout: &Checkout<'_>,
        key: &IdempotencyKey,
    ) -> Result<CheckoutPage, PaymentProviderError> {
        let (item, amount) = self.item(checkout.price).ok_or_else(nothing)?;
        let id = self.once(key, format!("checkout {checkout:?}"), |state| {
            state.knows(checkout.customer)?;
            let id = state.id("cs");
            let session = Session {
                user: checkout.user,
                customer: checkout.customer.to_string(),
                sale: checkout.sale,
                item,
                price: checkout.price.to_owned(),
                amount,
                success_url: checkout.success_url.to_string(),
                cancel_url: checkout.cancel_url.to_string(),
                is_open: true,
            };
            state.sessions.insert(id.clone(), session);
            Ok((id, Vec::new()))
        })?;
        let own_address = self.0.own_address.get().map_or("", String::as_str);
        Ok(CheckoutPage {
            session: reference(&id)?,
            url: format!("{own_address}{PATH}/checkout/{id}"),
        })
    }

    async fn create_setup(
        &self,
        user: UserId,
        customer: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<PaymentSetup, PaymentProviderError> {
        let id = self.once(key, format!("setup {user} {customer}"), |state| {
            state.knows(customer)?;
            Ok((state.id("seti"), Vec::new()))
        })?;
        Ok(PaymentSetup {
            client_secret: Secret::new(format!("{id}_secret_fake")),
            id: reference(&id)?,
        })
    }

    async fn payment_methods(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<PaymentMethod>, PaymentProviderError> {
        self.state().knows(customer)?;
        Ok(vec![PaymentMethod {
            id: reference(CARD)?,
            kind: "card".to_owned(),
            card: Some(Card {
                brand: "visa".to_owned(),
                last4: "4242".to_owned(),
                exp_month: 12,
                exp_year: 2099,
            }),
            is_default: true,
        }])
    }

    async fn subscriptions_of(
        &self,
        customer: &PaymentRef,
    ) -> Result<Vec<SubscriptionState>, PaymentProviderError> {
        self.state().knows(customer)?;
        let ids: Vec<String> = self
            .subscriptions()
            .into_iter()
            .filter(|(_, subscription)| subscription.customer == customer.as_str())
            .map(|(id, _)| id)
            .collect();
        Ok(ids.iter().filter_map(|id| self.state_of(id)).collect())
    }

    async fn subscription(
        &self,
        id: &PaymentRef,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError> {
        Ok(self.state_of(id.as_str()))
    }

    /// Paid at once: everybody has a card here.
    async fn create_subscription(
        &self,
        new: &NewSubscription<'_>,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let (item, amount) = self.item(new.price).ok_or_else(nothing)?;
        let id = self.once(key, format!("subscription {new:?}"), |state| {
            state.knows(new.customer)?;
            let who = (new.user, new.customer.as_str());
            Ok(state.begin(who, (&item, new.price, amount), SystemClock.now()))
        })?;
        self.subscribed(&id)
    }

    async fn change_now(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let (item, amount) = self.item(price).ok_or_else(nothing)?;
        let id = subscription.id.as_str();
        self.once(key, format!("change {id} {price}"), |state| {
            let told = state.change(id, (&item, price, amount), SystemClock.now());
            Ok((id.to_owned(), told.ok_or_else(nothing)?))
        })?;
        self.subscribed(id)
    }

    async fn change_at_period_end(
        &self,
        subscription: &SubscriptionState,
        price: &str,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError> {
        let (item, amount) = self.item(price).ok_or_else(nothing)?;
        let id = subscription.id.as_str();
        self.once(key, format!("change {id} later {price}"), |state| {
            let found = state.subscriptions.get_mut(id).ok_or_else(nothing)?;
            found.next = Some((item, price.to_owned(), amount));
            found.ends_with_period = false;
            Ok((id.to_owned(), Vec::new()))
        })?;
        Ok(())
    }

    async fn keep_price(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<(), PaymentProviderError> {
        let id = subscription.id.as_str();
        self.once(key, format!("keep {id}"), |state| {
            let found = state.subscriptions.get_mut(id).ok_or_else(nothing)?;
            found.next = None;
            Ok((id.to_owned(), Vec::new()))
        })?;
        Ok(())
    }

    async fn cancel_at_period_end(
        &self,
        subscription: &SubscriptionState,
        key: &IdempotencyKey,
    ) -> Result<SubscriptionState, PaymentProviderError> {
        let id = subscription.id.as_str();
        self.once(key, format!("end {id}"), |state| {
            let told = state.end_with_period(id, SystemClock.now());
            Ok((id.to_owned(), told.ok_or_else(nothing)?))
        })?;
        self.subscribed(id)
    }

    async fn cancel_now(
        &self,
        id: &PaymentRef,
        key: &IdempotencyKey,
    ) -> Result<Option<SubscriptionState>, PaymentProviderError> {
        let id = id.as_str();
        self.once(key, format!("cancel {id}"), |state| {
            let told = state.cancel(id, SystemClock.now());
            Ok((id.to_owned(), told.unwrap_or_default()))
        })?;
        Ok(self.state_of(id))
    }

    async fn retell(
        &self,
        _what: Retelling<'_>,
        _since: OffsetDateTime,
        _after: Option<&PaymentRef>,
    ) -> Result<Retold, PaymentProviderError> {
        Err(forgets())
    }

    async fn purchase(&self, _id: &PaymentRef) -> Result<PurchaseState, PaymentProviderError> {
        Err(forgets())
    }
}

/// What was told by another process is not known here, and nobody should take that for money that never came.
fn forgets() -> PaymentProviderError {
    PaymentProviderError::Refused(
        "STRIPE_MODE=fake remembers nothing that could be compared".into(),
    )
}

//! What a payment provider's pages are in development: nobody pays, and buttons say what happened.

use auth_billing::{Billing, CreateCheckout, Item};
use auth_core::{
    Auth, Error,
    types::{Credits, Email, RedirectUri},
};
use auth_tower::PeerAddr;
use axum::{
    Form,
    extract::{FromRequestParts, Path},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use minijinja::{Value, context};
use serde::Deserialize;

use super::{Pages, mails::is_local};
use crate::fake_stripe::{Button, CURRENCY, FakeStripe, PATH, Session};

/// Of payments and of subscriptions.
const NEWEST: usize = 20;

/// A form that is sent leads on to the page that the seller named, wherever that is.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action http: https:; frame-ancestors 'none'; base-uri 'none'";

/// What the pages sell by.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) billing: Billing,
    pub(crate) stripe: FakeStripe,
    /// Where a browser goes that has paid, or not.
    pub(crate) back: RedirectUri,
}

#[derive(Deserialize)]
pub(super) struct Order {
    #[serde(default)]
    email: String,
    #[serde(default)]
    item: String,
}

/// The shop, for those who may look into it: nobody else comes to any page of it.
pub(super) struct Open {
    pages: Pages,
    shop: Shop,
}

impl FromRequestParts<Pages> for Open {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, StatusCode> {
        let peer = parts.extensions.get::<PeerAddr>();
        let shop = peer.and_then(|peer| pages.shop_for(peer, &parts.headers));
        Ok(Self {
            pages: pages.clone(),
            shop: shop.ok_or(StatusCode::NOT_FOUND)?.clone(),
        })
    }
}

impl Open {
    fn session(&self, id: &str) -> Result<Session, StatusCode> {
        self.shop.stripe.session(id).ok_or(StatusCode::NOT_FOUND)
    }
}

pub(super) async fn shop(Open { pages, shop }: Open) -> Response {
    pages.show_shop(StatusCode::OK, &shop, None).await
}

pub(super) async fn buy(Open { pages, shop }: Open, Form(order): Form<Order>) -> Response {
    match shop.order(&pages.auth, &order).await {
        Ok(page) => Redirect::to(&page).into_response(),
        Err(error) => {
            let message = match error {
                Error::UserNotFound => "There is no account with this address.".to_owned(),
                Error::AlreadySubscribed => "This account has a plan already.".to_owned(),
                other => crate::chain(&other),
            };
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            pages.show_shop(status, &shop, Some(message)).await
        }
    }
}

pub(super) async fn checkout(open: Open, Path(id): Path<String>) -> Result<Response, StatusCode> {
    let session = open.session(&id)?;
    let values = context! {
        amount => money(session.amount),
        id,
        is_open => session.is_open,
        item => session.item,
        path => PATH,
    };
    let pages = &open.pages;
    Ok(pages.show_under(POLICY, StatusCode::OK, "checkout.html", values))
}

pub(super) async fn pay(open: Open, Path(id): Path<String>) -> Result<Redirect, StatusCode> {
    let session = open.session(&id)?;
    // Pressed twice, it is paid once, and the second one comes to the same page.
    open.shop.stripe.press(Button::Pay, &id).await;
    Ok(Redirect::to(&session.success_url))
}

pub(super) async fn decline(open: Open, Path(id): Path<String>) -> Result<Redirect, StatusCode> {
    Ok(Redirect::to(&open.session(&id)?.cancel_url))
}

pub(super) async fn press(
    Open { pages, shop }: Open,
    Path((button, id)): Path<(String, String)>,
) -> Response {
    let button = match &*button {
        "refund" => Button::Refund,
        "renew" => Button::Renew,
        "fail" => Button::Fail,
        "cancel" => Button::Cancel,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if shop.stripe.press(button, &id).await {
        Redirect::to(PATH).into_response()
    } else {
        let message = "There is nothing left to do about it.".to_owned();
        pages
            .show_shop(StatusCode::CONFLICT, &shop, Some(message))
            .await
    }
}

impl Shop {
    async fn order(&self, auth: &Auth, order: &Order) -> Result<String, Error> {
        let email = Email::parse(order.email.trim());
        let email = email.map_err(|reason| Error::invalid("email", reason))?;
        let user = auth.user_by_email(&email).await?;
        let catalogue = self.stripe.catalogue();
        let item = if catalogue.plan(&order.item).is_some() {
            Item::Plan(order.item.clone())
        } else {
            Item::Pack(order.item.clone())
        };
        let page = self
            .billing
            .create_checkout(CreateCheckout {
                user: user.id,
                item,
                success_url: self.back.clone(),
                cancel_url: self.back.clone(),
                once: None,
            })
            .await?;
        Ok(page.url)
    }
}

impl Pages {
    /// The shop, for those who may look into it.
    pub(super) fn shop_for(&self, peer: &PeerAddr, headers: &HeaderMap) -> Option<&Shop> {
        self.shop.as_ref().filter(|_| is_local(peer, headers))
    }

    async fn show_shop(
        &self,
        status: StatusCode,
        shop: &Shop,
        message: Option<String>,
    ) -> Response {
        let mut payments = Vec::new();
        for (id, payment) in shop.stripe.payments().into_iter().take(NEWEST) {
            let balance = shop.billing.balance(payment.user).await.ok();
            payments.push(context! {
                amount => money(payment.amount),
                balance => balance.map(|found| found.balance.to_string()),
                id,
                is_refunded => payment.is_refunded,
                item => payment.item,
                user => payment.user.to_string(),
            });
        }
        let subscriptions: Value = shop
            .stripe
            .subscriptions()
            .into_iter()
            .take(NEWEST)
            .map(|(id, subscription)| {
                context! {
                    amount => money(subscription.amount),
                    ends => subscription.ends_with_period,
                    id,
                    item => subscription.item,
                    period_end => subscription.period.1.date().to_string(),
                    status => subscription.status,
                    user => subscription.user.to_string(),
                }
            })
            .collect();
        let catalogue = shop.stripe.catalogue();
        let plans = catalogue.plans().iter().map(|plan| {
            context! { name => plan.name.clone(), credits => plan.credits.credits().to_string() }
        });
        let packs = catalogue.packs().iter().map(|pack| {
            context! { name => pack.name.clone(), credits => pack.credits.credits().to_string() }
        });
        let values = context! {
            message,
            packs => packs.collect::<Value>(),
            path => PATH,
            payments => payments.into_iter().collect::<Value>(),
            plans => plans.collect::<Value>(),
            subscriptions,
        };
        self.show_under(POLICY, status, "shop.html", values)
    }
}

fn money(hundredths: i64) -> String {
    let amount = Credits::from_hundredths(hundredths).unwrap_or(Credits::ZERO);
    format!("{amount} {}", CURRENCY.to_uppercase())
}

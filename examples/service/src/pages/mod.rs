//! The pages that the service shows a person: the start page, the mails of development, and the three that mailed links open.

mod links;
mod mails;
mod payments;
mod problem;
mod start;

use std::sync::Arc;

use auth_core::Auth;
use auth_tower::{
    ClientIp, RouteInfo,
    rate_limit::{RateClass, RateLimits},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, StatusCode, header},
    middleware::from_fn_with_state,
    response::{Html, IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use minijinja::{Environment, Value, context};

pub(crate) use self::payments::Shop;

use crate::{fake_stripe, mail_folder::MailFolder, settings::Server};

/// No script, no foreign resource, no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Beside the policy: no frame for browsers without one, and no token in a `Referer` (ASVS 3.4.3–3.4.6).
const HEADERS: [(HeaderName, &str); 4] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
];

#[derive(Clone)]
pub(crate) struct Pages {
    auth: Auth,
    client_ip: ClientIp,
    limits: RateLimits,
    /// In development only.
    mails: Option<MailFolder>,
    /// What the start page lists.
    routes: Value,
    /// In development only.
    shop: Option<Shop>,
    service_name: Arc<str>,
    templates: Arc<Environment<'static>>,
}

impl Pages {
    pub(crate) fn new(
        auth: Auth,
        mails: Option<MailFolder>,
        routes: impl Iterator<Item = RouteInfo>,
        server: &Server,
    ) -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        for (name, source) in [
            ("checkout.html", include_str!("checkout.html")),
            ("layout.html", include_str!("layout.html")),
            ("link.html", include_str!("link.html")),
            ("mail.html", include_str!("mail.html")),
            ("problem.html", include_str!("problem.html")),
            ("shop.html", include_str!("shop.html")),
            ("start.html", include_str!("start.html")),
        ] {
            templates.add_template(name, source)?;
        }
        Ok(Self {
            auth,
            client_ip: server.client_ip.clone(),
            limits: server.rate_limits.clone(),
            mails,
            routes: routes
                .map(|route| {
                    context! {
                        class => route.class.as_str(),
                        method => route.method.as_str(),
                        path => route.path,
                        summary => route.summary,
                    }
                })
                .collect(),
            shop: None,
            service_name: server.service_name.as_str().into(),
            templates: Arc::new(templates),
        })
    }

    /// With the pages of a payment provider that takes no money.
    pub(crate) fn selling(mut self, shop: Shop) -> Self {
        self.shop = Some(shop);
        self
    }

    /// The routes; `beside_api` lets the API answer the other methods of a path that a page shares with it.
    pub(crate) fn router(
        self,
        beside_api: impl FnOnce(MethodRouter<Self>) -> MethodRouter<Self>,
    ) -> Router {
        let limited = |class| self.limits.layer(class, self.client_ip.clone());
        // What a page does with a token is what the API does with it, and takes from the same budget.
        let (shown, done) = (limited(RateClass::Default), limited(RateClass::Auth));
        let mut router = Router::new()
            .route("/", get(start::start).layer(shown.clone()))
            .route("/style.css", get(style).layer(shown.clone()))
            .route(
                "/verify-email",
                get(links::verify_email).layer(shown.clone()),
            )
            .route(
                "/verify-email/confirm",
                post(links::confirm_verify_email).layer(done.clone()),
            )
            .route(
                "/update-password",
                beside_api(get(links::update_password).layer(shown.clone())),
            )
            .route(
                "/update-password/confirm",
                post(links::confirm_update_password).layer(done.clone()),
            )
            .route(
                "/cancel-email-change",
                get(links::cancel_email_change).layer(shown.clone()),
            )
            .route(
                "/cancel-email-change/confirm",
                post(links::confirm_cancel_email_change).layer(done),
            );
        if self.mails.is_some() {
            router = router
                .route("/mails/{name}", get(mails::mail).layer(shown.clone()))
                .route("/mails/{name}/html", get(mails::html).layer(shown.clone()));
        }
        if self.shop.is_some() {
            let pages = Router::new()
                .route("/", get(payments::shop))
                .route("/buy", post(payments::buy))
                .route("/checkout/{id}", get(payments::checkout))
                .route("/checkout/{id}/pay", post(payments::pay))
                .route("/checkout/{id}/fail", post(payments::decline))
                .route("/{button}/{id}", post(payments::press))
                .layer(shown);
            router = router.nest(fake_stripe::PATH, pages);
        }
        router
            .layer(DefaultBodyLimit::max(16 * 1024))
            .layer(from_fn_with_state(self.clone(), problem::explain))
            .with_state(self)
    }

    fn show(&self, status: StatusCode, template: &str, values: Value) -> Response {
        self.show_under(POLICY, status, template, values)
    }

    fn show_under(
        &self,
        policy: &'static str,
        status: StatusCode,
        template: &str,
        values: Value,
    ) -> Response {
        let values = context! { service => &*self.service_name, ..values };
        match self
            .templates
            .get_template(template)
            .and_then(|template| template.render(values))
        {
            Ok(page) => {
                let policy = [(header::CONTENT_SECURITY_POLICY, policy)];
                (status, HEADERS, policy, Html(page)).into_response()
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    template,
                    "a page does not render"
                );
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// An answer of the API on a path whose GET is a page: Allow lists that, too (RFC 9110 §10.2.1).
pub(crate) fn beside_a_page<B>(mut answer: Response<B>) -> Response<B> {
    if let Some(allow) = answer.headers_mut().get_mut(header::ALLOW)
        && let Ok(methods) = allow.to_str()
        && let Ok(all) = format!("GET, HEAD, {methods}").parse()
    {
        *allow = all;
    }
    answer
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("style.css")).into_response()
}

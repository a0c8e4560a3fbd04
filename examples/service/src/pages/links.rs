//! What mailed links open. Opening a page consumes nothing, for mail scanners open links too; its button does. No script is needed.

use auth_core::{
    Error, VerifiedStatus, to_its_end,
    types::{Client, Password, Secret},
};
use auth_tower::RequestId;
use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
    response::Response,
};
use minijinja::context;
use serde::Deserialize;

use super::Pages;

/// What differs between the pages.
struct Page {
    action: &'static str,
    asks_password: bool,
    button: &'static str,
    explanation: &'static str,
    title: &'static str,
}

const VERIFY_EMAIL: Page = Page {
    action: "/verify-email/confirm",
    asks_password: false,
    button: "Confirm this address",
    explanation: "Confirm that this email address is yours and that you asked for it to be used here.",
    title: "Confirm your email address",
};

const UPDATE_PASSWORD: Page = Page {
    action: "/update-password/confirm",
    asks_password: true,
    button: "Set the new password",
    explanation: "Afterwards you are logged out everywhere and log in with the new password.",
    title: "Choose a new password",
};

const CANCEL_EMAIL_CHANGE: Page = Page {
    action: "/cancel-email-change/confirm",
    asks_password: false,
    button: "Keep the old address",
    explanation: "The new address is dropped, and every device is logged out. If it was not you who asked for the change, set a new password as well.",
    title: "Keep your email address",
};

#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(super) struct Confirmation {
    #[serde(default)]
    token: String,
    #[serde(default)]
    new_password: String,
}

pub(super) async fn verify_email(pages: State<Pages>, link: Query<Link>) -> Response {
    open(&pages, &VERIFY_EMAIL, &link.token)
}

pub(super) async fn update_password(pages: State<Pages>, link: Query<Link>) -> Response {
    open(&pages, &UPDATE_PASSWORD, &link.token)
}

pub(super) async fn cancel_email_change(pages: State<Pages>, link: Query<Link>) -> Response {
    open(&pages, &CANCEL_EMAIL_CHANGE, &link.token)
}

pub(super) async fn confirm_verify_email(
    State(pages): State<Pages>,
    parts: Parts,
    Form(form): Form<Confirmation>,
) -> Response {
    let (auth, token, client) = (
        pages.auth.clone(),
        Secret::new(form.token),
        client(&pages, &parts),
    );
    match to_its_end(async move { auth.verify_email(&token, &client).await }).await {
        Ok(verified) if verified.status == VerifiedStatus::AlreadyVerified => done(
            &pages,
            &VERIFY_EMAIL,
            "This address was confirmed before. There is nothing left to do.",
        ),
        Ok(_) => done(
            &pages,
            &VERIFY_EMAIL,
            "Thank you: your email address is confirmed.",
        ),
        Err(error) => failed(&pages, &VERIFY_EMAIL, &error, &parts.headers),
    }
}

pub(super) async fn confirm_update_password(
    State(pages): State<Pages>,
    parts: Parts,
    Form(form): Form<Confirmation>,
) -> Response {
    let password = match Password::parse(&form.new_password) {
        Ok(password) => password,
        Err(reason) => return ask_again(&pages, &UPDATE_PASSWORD, &form.token, reason.message),
    };
    let (auth, token, client) = (
        pages.auth.clone(),
        Secret::new(form.token.clone()),
        client(&pages, &parts),
    );
    match to_its_end(async move { auth.reset_password(&token, password, &client).await }).await {
        Ok(()) => done(
            &pages,
            &UPDATE_PASSWORD,
            "Your new password is set. You can log in with it now.",
        ),
        Err(Error::Invalid(fields)) => {
            let message = fields
                .first()
                .map_or("This password cannot be used.", |field| {
                    field.reason.message
                });
            ask_again(&pages, &UPDATE_PASSWORD, &form.token, message)
        }
        Err(error) => failed(&pages, &UPDATE_PASSWORD, &error, &parts.headers),
    }
}

pub(super) async fn confirm_cancel_email_change(
    State(pages): State<Pages>,
    parts: Parts,
    Form(form): Form<Confirmation>,
) -> Response {
    let (auth, token, client) = (
        pages.auth.clone(),
        Secret::new(form.token),
        client(&pages, &parts),
    );
    match to_its_end(async move { auth.cancel_email_change(&token, &client).await }).await {
        Ok(()) => done(
            &pages,
            &CANCEL_EMAIL_CHANGE,
            "Your old address stays, and every device is logged out. If it was not you who asked for the change, set a new password now.",
        ),
        Err(error) => failed(&pages, &CANCEL_EMAIL_CHANGE, &error, &parts.headers),
    }
}

fn client(pages: &Pages, parts: &Parts) -> Client {
    let text = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let mut client =
        Client::default().with_user_agent(text(header::USER_AGENT).unwrap_or_default());
    client.ip = pages.client_ip.find(parts);
    client.request_id = text(RequestId::HEADER).map(str::to_owned);
    client
}

fn open(pages: &Pages, page: &Page, token: &str) -> Response {
    if token.is_empty() {
        let message = "This link is not complete. Open it from the mail again, or copy all of it.";
        return pages.show(
            StatusCode::BAD_REQUEST,
            "link.html",
            context! { title => page.title, message, problem => true, token => () },
        );
    }
    form(pages, StatusCode::OK, page, token, None)
}

fn ask_again(pages: &Pages, page: &Page, token: &str, problem: &str) -> Response {
    form(
        pages,
        StatusCode::UNPROCESSABLE_ENTITY,
        page,
        token,
        Some(problem),
    )
}

fn form(
    pages: &Pages,
    status: StatusCode,
    page: &Page,
    token: &str,
    problem: Option<&str>,
) -> Response {
    let values = context! {
        action => page.action,
        asks_password => page.asks_password,
        button => page.button,
        explanation => page.explanation,
        message => problem,
        problem => problem.is_some(),
        title => page.title,
        token,
    };
    pages.show(status, "link.html", values)
}

fn done(pages: &Pages, page: &Page, message: &str) -> Response {
    pages.show(
        StatusCode::OK,
        "link.html",
        context! { title => page.title, message, problem => false, token => () },
    )
}

fn failed(pages: &Pages, page: &Page, error: &Error, headers: &HeaderMap) -> Response {
    let (status, message) = match error {
        Error::EmailTaken => (
            StatusCode::CONFLICT,
            "This address belongs to another account by now.",
        ),
        Error::InvalidToken => (
            StatusCode::BAD_REQUEST,
            "This link was used before or is not valid. Ask for a new one.",
        ),
        Error::TokenExpired => (
            StatusCode::BAD_REQUEST,
            "This link has expired. Ask for a new one.",
        ),
        Error::Overloaded | Error::Unavailable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The service is busy. Go back and try again in a moment.",
        ),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong here. Go back and try again in a moment.",
        ),
    };
    if status.is_server_error() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            page = page.action,
            request_id = RequestId::of(headers).as_str(),
            "a mailed link could not be served"
        );
    }
    pages.show(
        status,
        "link.html",
        context! { title => page.title, message, problem => true, token => () },
    )
}

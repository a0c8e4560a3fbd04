//! The start page.

use auth_tower::PeerAddr;
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use minijinja::{Value, context};

use super::{Pages, mails};
use crate::fake_stripe;

pub(super) async fn start(
    State(pages): State<Pages>,
    Extension(peer): Extension<PeerAddr>,
    headers: HeaderMap,
) -> Response {
    let folder = pages.mails_for(&peer, &headers);
    let mails = match folder {
        Some(folder) => mails::newest(folder).await,
        None => Value::from(()),
    };
    let shop = pages.shop_for(&peer, &headers).map(|_| fake_stripe::PATH);
    let folder = folder.map(|folder| folder.path().display().to_string());
    pages.show(
        StatusCode::OK,
        "start.html",
        context! { routes => pages.routes.clone(), mails, folder, shop },
    )
}

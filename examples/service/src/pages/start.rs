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
    let folder = folder.map(|folder| folder.path().display().to_string());
    pages.show(
        StatusCode::OK,
        "start.html",
        context! { routes => pages.routes.clone(), mails, folder },
    )
}

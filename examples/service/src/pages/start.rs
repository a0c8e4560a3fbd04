//! The start page, and the mails of a development service.

use std::net::IpAddr;

use auth_tower::PeerAddr;
use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
};
use mail_parser::{Message, MessageParser};
use minijinja::{Value, context};

use super::Pages;
use crate::mail_folder::MailFolder;

const NEWEST: usize = 10;

pub(super) async fn start(
    State(pages): State<Pages>,
    Extension(peer): Extension<PeerAddr>,
    headers: HeaderMap,
) -> Response {
    let folder = pages.mails.as_ref().filter(|_| is_local(&peer, &headers));
    let mails = match folder {
        Some(folder) => newest(folder).await,
        None => Value::from(()),
    };
    let folder = folder.map(|folder| folder.path().display().to_string());
    pages.show(
        StatusCode::OK,
        "start.html",
        context! { routes => pages.routes.clone(), mails, folder },
    )
}

async fn newest(folder: &MailFolder) -> Value {
    let mut lines = Vec::new();
    for name in folder.newest(NEWEST).await.unwrap_or_default() {
        let Ok(Some(bytes)) = folder.read(&name).await else {
            continue;
        };
        let Some(mail) = MessageParser::default().parse(&bytes) else {
            continue;
        };
        lines.push(context! { name, subject => subject(&mail), to => recipient(&mail) });
    }
    lines.into_iter().collect()
}

pub(super) async fn mail(
    State(pages): State<Pages>,
    Extension(peer): Extension<PeerAddr>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    let Some(folder) = pages.mails.as_ref().filter(|_| is_local(&peer, &headers)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(Some(bytes)) = folder.read(&name).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(mail) = MessageParser::default().parse(&bytes) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let text = mail.body_text(0).unwrap_or_default();
    let links: Vec<&str> = text
        .split_whitespace()
        .filter(|word| word.starts_with("http"))
        .collect();
    let values = context! {
        subject => subject(&mail),
        to => recipient(&mail),
        links => links.into_iter().collect::<Value>(),
        text => text.as_ref(),
    };
    pages.show(StatusCode::OK, "mail.html", values)
}

fn subject(mail: &Message<'_>) -> String {
    mail.subject().unwrap_or("(no subject)").to_owned()
}

fn recipient(mail: &Message<'_>) -> String {
    mail.to()
        .and_then(|to| to.first()?.address())
        .unwrap_or_default()
        .to_owned()
}

/// Mails open accounts: they are shown on this machine only, and not to a page whose name was pointed at it (DNS rebinding).
fn is_local(peer: &PeerAddr, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let local_name = host.is_some_and(|host| {
        let name = host.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    // What a proxy passes on comes from this machine, and from anywhere.
    let direct = !PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
    peer.0.ip().to_canonical().is_loopback() && local_name && direct
}

const PROXY_HEADERS: [&str; 5] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
];

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{PeerAddr, is_local};

    #[test]
    fn mails_are_shown_on_this_machine_only() {
        let local = |peer: &str, host: &str| {
            let headers =
                HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
            is_local(&PeerAddr(peer.parse().unwrap()), &headers)
        };
        assert!(local("127.0.0.1:1", "localhost:8080"));
        assert!(local("[::1]:1", "[::1]:8080"));
        assert!(local("[::ffff:127.0.0.1]:1", "127.0.0.1"));
        assert!(!local("192.0.2.1:1", "localhost:8080"));
        assert!(!local("127.0.0.1:1", "rebound.test:8080"));
        let here = PeerAddr("127.0.0.1:1".parse().unwrap());
        assert!(!is_local(&here, &HeaderMap::new()));
        let mut forwarded =
            HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        assert!(is_local(&here, &forwarded));
        forwarded.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert!(!is_local(&here, &forwarded));
    }
}

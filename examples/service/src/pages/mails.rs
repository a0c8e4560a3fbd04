//! The mails of a development service, as their readers get them. They hold what users typed, so they are shown as a stranger's page would be.

use std::net::IpAddr;

use auth_tower::PeerAddr;
use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header, uri::Authority},
    response::{Html, IntoResponse, Response},
};
use mail_parser::{Message, MessageParser};
use minijinja::{Value, context};

use super::{HEADERS, Pages};
use crate::mail_folder::MailFolder;

const NEWEST: usize = 20;

/// The HTML part: its own styles and nothing else; no script, no request, no form, also when it is opened by itself.
const PART_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'self'; base-uri 'none'";

/// The page round it: it frames that part, and every other page refuses to be framed.
const FRAMING_POLICY: &str = "default-src 'none'; frame-src 'self'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

pub(super) async fn newest(folder: &MailFolder) -> Value {
    let mut lines = Vec::new();
    for name in folder.newest(NEWEST).await.unwrap_or_default() {
        let Ok(Some(bytes)) = folder.read(&name).await else {
            continue;
        };
        if let Some(mail) = MessageParser::default().parse(&bytes) {
            lines.push(summary(&name, &mail));
        }
    }
    lines.into_iter().collect()
}

pub(super) async fn mail(
    State(pages): State<Pages>,
    Extension(peer): Extension<PeerAddr>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    let Some(bytes) = pages.read_mail(&peer, &headers, &name).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(mail) = MessageParser::default().parse(&bytes) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let text = mail.body_text(0).unwrap_or_default();
    let links = text.split_whitespace().filter(|word| {
        ["http://", "https://"]
            .iter()
            .any(|start| word.starts_with(start))
    });
    let values = context! {
        headers => mail
            .headers_raw()
            .map(|(name, value)| context! { name, value => value.trim() })
            .collect::<Value>(),
        links => links.collect::<Value>(),
        mail => summary(&name, &mail),
        text => text.as_ref(),
    };
    pages.show_under(FRAMING_POLICY, StatusCode::OK, "mail.html", values)
}

pub(super) async fn html(
    State(pages): State<Pages>,
    Extension(peer): Extension<PeerAddr>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    let Some(bytes) = pages.read_mail(&peer, &headers, &name).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mail = MessageParser::default().parse(&bytes);
    let Some(html) = mail.as_ref().and_then(|mail| mail.body_html(0)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let framed = [
        (header::CONTENT_SECURITY_POLICY, PART_POLICY),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    ];
    (HEADERS, framed, Html(html.into_owned())).into_response()
}

fn summary(name: &str, mail: &Message<'_>) -> Value {
    let to = mail.to().and_then(|to| to.first()?.address());
    context! {
        date => mail.date().map(mail_parser::DateTime::to_rfc3339),
        name,
        subject => mail.subject().unwrap_or("(no subject)"),
        to => to.unwrap_or_default(),
    }
}

impl Pages {
    /// The folder of mails, for those who may look into it.
    pub(super) fn mails_for(&self, peer: &PeerAddr, headers: &HeaderMap) -> Option<&MailFolder> {
        self.mails.as_ref().filter(|_| is_local(peer, headers))
    }

    async fn read_mail(&self, peer: &PeerAddr, headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
        self.mails_for(peer, headers)?.read(name).await.ok()?
    }
}

/// Mails open accounts, and payments of development cost nothing: they are shown on this machine only, and not to a page whose name was pointed at it (DNS rebinding).
pub(super) fn is_local(peer: &PeerAddr, headers: &HeaderMap) -> bool {
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

//! The mails of a development service in the browser, and what pages answer when they cannot be shown.

use std::fs;

use auth_tests::{Answer, process::Service};

use crate::page::Page;

/// The address of the page of the only mail.
async fn only_mail(service: &Service) -> String {
    let page = Page::open(service, "/").await;
    let (_, rest) = page.html().split_once("<a href=\"/mails/").unwrap();
    format!("/mails/{}", rest.split_once('"').unwrap().0)
}

#[track_caller]
fn is_a_page_that_says(service: &Service, answer: &Answer, status: u16, title: &str) {
    let page = Page::answered(service, answer);
    assert_eq!(page.status, status);
    assert_eq!(page.text_of("h1").as_deref(), Some(title));
    assert_eq!(page.text_of("code").unwrap(), answer.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_shown_in_both_parts_and_with_its_headers() {
    let service = Service::start().await;
    let ada = service.registered("ada").await;
    let welcome = service.home().mail("welcome", &ada.email).await;
    let path = only_mail(&service).await;

    let page = Page::open(&service, &path).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.text_of("pre").unwrap(), welcome.text);
    for header in ["From", "To", "Subject", "Message-ID", "Content-Type"] {
        let row = format!("<th scope=\"row\">{header}</th>");
        assert!(page.html().contains(&row), "{header}");
    }
    let frame = format!("<iframe sandbox title=\"HTML part\" src=\"{path}/html\"></iframe>");
    assert!(page.html().contains(&frame), "{page:?}");

    let part = service.get(&format!("{path}/html")).await;
    assert_eq!(part.status, 200);
    assert_eq!(part.text(), welcome.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_mail_does_nothing_to_who_looks_at_it() {
    let service = Service::start().await;
    let markup = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}";
    let html = format!(
        "<html><head><meta http-equiv=\"refresh\" content=\"0;url=http://evil.test/\"></head>{markup}<form action=\"http://evil.test/\"></form></html>"
    );
    let mail = format!(
        "From: {markup} <a@example.org>\r\nTo: {markup} <b@example.org>\r\nSubject: {markup}\r\nX-Other: {markup}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{markup} javascript:alert(1)\r\n\
         http://a\"onclick=alert(1)\r\n--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n--x--\r\n"
    );
    let file = service.home().path().join("auth-service-mail/0197.eml");
    fs::write(file, mail).unwrap();

    // What they may hold is checked where they are opened.
    for path in ["/", "/mails/0197.eml"] {
        let page = Page::open(&service, path).await;
        assert_eq!(page.status, 200);
        for active in [
            "<img",
            "onerror=alert(1)>",
            "http://a\"",
            "49",
            "href=\"javascript",
        ] {
            assert!(!page.html().contains(active), "{active} in {page:?}");
        }
    }
    // As it is, for its reader's program does not change it either; what it may do is nothing, framed or not.
    let part = service.get("/mails/0197.eml/html").await;
    assert_eq!((part.status, part.text().trim_end()), (200, html.as_str()));
    for (header, value) in [
        (
            "content-security-policy",
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'self'; base-uri 'none'",
        ),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(part.header(header), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_read_on_this_machine_only_and_nothing_else_of_its_disk() {
    let service = Service::start().await;
    let ada = service.registered("ada").await;
    service.home().mail("welcome", &ada.email).await;
    let path = only_mail(&service).await;

    // A name that was pointed at this machine must not read mails (DNS rebinding).
    for host in [
        "rebound.example.org",
        "127.0.0.1.example.org",
        "localhost.example.org:80",
    ] {
        let answer = service.get("/").header("host", host).await;
        assert_eq!(answer.status, 200);
        for shown in ["Newest mails", ".eml", "@example.org", "auth-service-mail"] {
            assert!(!answer.text().contains(shown), "{shown} at {host}");
        }
        for path in [path.clone(), format!("{path}/html")] {
            let answer = service.get(&path).header("host", host).await;
            is_a_page_that_says(&service, &answer, 404, "There is nothing here");
        }
    }
    for path in [
        "/mails/..%2Fauth-service.secrets",
        "/mails/..%2Fauth-service.db.eml",
        "/mails/..%2Fauth-service.secrets/html",
        "/mails/.eml",
        "/mails/a%00.eml",
        "/mails/a%00.eml/html",
        "/mails/",
    ] {
        assert_eq!(service.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_shown_says_so_as_a_page() {
    let service = Service::start().await;
    for (path, allow) in [
        ("/", "GET,HEAD"),
        ("/verify-email", "GET,HEAD"),
        ("/verify-email/confirm", "POST"),
        ("/mails/0197.eml", "GET,HEAD"),
    ] {
        let answer = service.call("DELETE", path).await;
        is_a_page_that_says(&service, &answer, 405, "This page cannot do that");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    let form = || service.call("POST", "/update-password/confirm");
    for (kind, body, status, title) in [
        ("text/plain", "token=x", 415, "This was not understood"),
        (
            "application/x-www-form-urlencoded",
            "token=x&token=y",
            422,
            "This was not understood",
        ),
        (
            "application/x-www-form-urlencoded",
            &"x".repeat(20_000),
            413,
            "That is too much",
        ),
    ] {
        let answer = form()
            .header("content-type", kind)
            .raw(body.to_owned())
            .await;
        is_a_page_that_says(&service, &answer, status, title);
    }
    // Of each request its own id, or the one that it brings.
    let kept = service.get("/").header("x-request-id", "mine-1").await;
    assert_eq!(kept.header("x-request-id"), "mine-1");
    let replaced = service
        .get("/style.css")
        .header("x-request-id", "<b>")
        .await;
    assert_eq!(replaced.header("x-request-id").len(), 36);
}

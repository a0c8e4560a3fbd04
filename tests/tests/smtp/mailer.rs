//! `SmtpMailer` by itself.

use std::time::Duration;

use auth_core::{
    adapters::{Sender, SmtpEncryption, SmtpMailer, SmtpMailerBuilder},
    ports::{Mailer, MailerError, OutgoingMail},
    time::OffsetDateTime,
    types::{Email, MailId, Secret},
    uuid::Uuid,
};
use auth_tests::smtp::{Encryption, PASSWORD, SmtpServer, USERNAME};
use mail_parser::{HeaderValue, MessageParser};

/// Towards a server, with all that it asks for.
pub(crate) fn towards(server: &SmtpServer, encryption: SmtpEncryption) -> SmtpMailerBuilder {
    SmtpMailer::builder("localhost", sender())
        .port(server.port())
        .encryption(encryption)
        .login(USERNAME, Secret::new(PASSWORD.to_owned()))
        .root_certificates(server.roots())
}

pub(crate) fn sender() -> Sender {
    Sender::parse("\"Prüfstand, Ltd.\" <no-reply@example.org>").unwrap()
}

pub(crate) fn mail(to: &str) -> OutgoingMail {
    OutgoingMail {
        id: MailId::from_uuid(Uuid::from_u128(7)),
        created_at: OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap(),
        to: Email::parse(to).unwrap(),
        subject: "Grüße \u{1f980} an \"alle\"".to_owned(),
        html: format!("<p>ein <b>fetter</b> Gruß</p>\n{}", "x".repeat(2000)),
        text: "ein Gruß\n.\nnach einem Punkt".to_owned(),
    }
}

/// What became of it, in words.
async fn refusal(mailer: &SmtpMailer, mail: &OutgoingMail) -> (bool, String) {
    let error = mailer.send(mail).await.unwrap_err();
    let is_permanent = matches!(error, MailerError::Permanent(_));
    let source = std::error::Error::source(&error).unwrap();
    (is_permanent, source.to_string())
}

#[tokio::test]
async fn a_mail_arrives_over_each_kind_of_connection_as_it_was_written() {
    for (offered, asked_for) in [
        (Encryption::StartTls, SmtpEncryption::StartTls),
        (Encryption::Implicit, SmtpEncryption::Implicit),
        (Encryption::Clear, SmtpEncryption::ClearText),
    ] {
        let server = SmtpServer::start(offered).await;
        let mailer = match offered {
            Encryption::Clear => SmtpMailer::builder("localhost", sender())
                .encryption(asked_for)
                .port(server.port()),
            _ => towards(&server, asked_for),
        };
        mailer
            .build()
            .unwrap()
            .send(&mail("ada@example.org"))
            .await
            .unwrap();

        let received = server.mail_to("ada@example.org").await;
        let is_protected = offered != Encryption::Clear;
        assert_eq!(received.is_encrypted(), is_protected, "{offered:?}");
        assert_eq!(received.is_authenticated(), is_protected, "{offered:?}");
        for (name, value) in [
            ("from", "\"Prüfstand, Ltd.\" <no-reply@example.org>"),
            ("to", "ada@example.org"),
            ("subject", "Grüße \u{1f980} an \"alle\""),
            ("date", "Tue, 14 Nov 2023 22:13:20 +0000"),
            (
                "message-id",
                "<00000000-0000-0000-0000-000000000007@example.org>",
            ),
            ("auto-submitted", "auto-generated"),
            ("mime-version", "1.0"),
        ] {
            assert_eq!(received.header(name), [value], "{name}");
        }
        let parsed = received.parsed();
        assert_eq!(parsed["type"], "multipart/alternative");
        assert_eq!(parsed["defects"].as_array().unwrap().len(), 0);
        assert_eq!(parsed["text"], "ein Gruß\n.\nnach einem Punkt");
        assert_eq!(parsed["html"], mail("ada@example.org").html);
    }
}

#[tokio::test]
async fn two_parsers_agree_on_a_mail_and_no_line_is_too_long() {
    let server = SmtpServer::start(Encryption::StartTls).await;
    let mailer = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    mailer.send(&mail("ada@example.org")).await.unwrap();
    let received = server.mail_to("ada@example.org").await;
    let raw = received.raw();
    // RFC 5322 §2.1.1, and nothing that an old relay would have to change.
    assert!(
        raw.split(|byte| *byte == b'\n')
            .all(|line| line.len() <= 99)
    );
    assert!(raw.is_ascii());

    let other = MessageParser::default().parse(&raw).unwrap();
    assert_eq!(other.subject(), Some(received.header("subject")[0]));
    let same = |ours: &str, python: &str| {
        let unify = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
        assert_eq!(unify(ours), unify(python));
    };
    same(
        &other.body_text(0).unwrap(),
        received.parsed()["text"].as_str().unwrap(),
    );
    same(
        &other.body_html(0).unwrap(),
        received.parsed()["html"].as_str().unwrap(),
    );
    let id = other.message_id().unwrap();
    assert_eq!(received.header("message-id"), [format!("<{id}>")]);
    assert!(
        matches!(other.header("Auto-Submitted"), Some(HeaderValue::Text(text)) if text == "auto-generated")
    );
}

#[tokio::test]
async fn unusual_addresses_and_words_stay_in_their_places() {
    let server = SmtpServer::start(Encryption::StartTls).await;
    let mailer = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    let label = "d".repeat(58);
    let long = format!("{}@{label}.{label}.d{label}.example.org", "l".repeat(64));
    assert_eq!(long.len(), 254);
    for address in [
        "o'hara+tag%x@example.org",
        "{{7*7}}|`id`@example.org",
        "-dash@example.org",
        "jörg.\u{1f980}@example.org",
        &long,
    ] {
        let strange = OutgoingMail {
            subject: "first\r\nBcc: eve@example.org\r\n\r\n\u{202e}<script>".to_owned(),
            ..mail(address)
        };
        mailer.send(&strange).await.unwrap();
        let received = server.mail_to(address).await;
        assert_eq!(received.to(), address);
        assert_eq!(received.header("to"), [address]);
        assert!(received.header("bcc").is_empty(), "{address}");
        assert_eq!(received.header("subject").len(), 1);
        assert_eq!(received.parsed()["type"], "multipart/alternative");
    }
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_gets_no_mail() {
    for (offered, asked_for) in [
        (Encryption::StartTls, SmtpEncryption::StartTls),
        (Encryption::Implicit, SmtpEncryption::Implicit),
    ] {
        let elsewhere = SmtpServer::named("elsewhere.test", offered).await;
        let stranger = SmtpServer::start(offered).await;
        for (server, mailer, reason) in [
            (&elsewhere, towards(&elsewhere, asked_for), "only valid for"),
            (
                &stranger,
                towards(&stranger, asked_for).root_certificates(elsewhere.roots()),
                "invalid peer certificate",
            ),
        ] {
            let mailer = mailer.build().unwrap();
            let (is_permanent, why) = refusal(&mailer, &mail("ada@example.org")).await;
            assert!(!is_permanent && why.contains(reason), "{why}");
            assert!(server.received().is_empty());
        }
        // Nor is the web's trust enough for a private authority.
        let mailer = SmtpMailer::builder("localhost", sender())
            .port(stranger.port())
            .encryption(asked_for)
            .build()
            .unwrap();
        assert!(!refusal(&mailer, &mail("ada@example.org")).await.0);
        assert!(stranger.received().is_empty());
    }
}

#[tokio::test]
async fn nothing_is_sent_in_clear_text_to_a_server_without_starttls() {
    let server = SmtpServer::start(Encryption::Clear).await;
    let mailer = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    let (is_permanent, why) = refusal(&mailer, &mail("ada@example.org")).await;
    assert!(!is_permanent && why.contains("STARTTLS"), "{why}");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_wrong_password_says_nothing_about_the_mail_and_is_told_to_nobody() {
    let server = SmtpServer::start(Encryption::Implicit).await;
    let mailer = towards(&server, SmtpEncryption::Implicit)
        .login(USERNAME, Secret::new("hunter2".to_owned()))
        .build()
        .unwrap();
    let (is_permanent, why) = refusal(&mailer, &mail("ada@example.org")).await;
    assert!(!is_permanent && why.starts_with("AUTH: 535"), "{why}");
    assert!(!format!("{why}{mailer:?}").contains("hunter2"));

    let nobody = SmtpMailer::builder("localhost", sender())
        .port(server.port())
        .encryption(SmtpEncryption::Implicit)
        .root_certificates(server.roots())
        .build()
        .unwrap();
    let (is_permanent, why) = refusal(&nobody, &mail("ada@example.org")).await;
    assert!(!is_permanent && why.starts_with("MAIL FROM: 530"), "{why}");
}

#[tokio::test]
async fn refusals_are_told_apart_by_their_code() {
    let server = SmtpServer::start(Encryption::StartTls).await;
    let mailer = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    for command in ["MAIL", "RCPT", "DATA"] {
        for (code, permanent) in [
            ("451 4.3.0 later", false),
            ("552 5.2.2 too much", true),
            ("421 4.3.2 closing", false),
        ] {
            server.behave(&format!("{command} {code}"));
            let (is_permanent, why) = refusal(&mailer, &mail("ada@example.org")).await;
            // MAIL FROM says nothing about the mail: it names our own address.
            let permanent = permanent && command != "MAIL";
            assert_eq!(is_permanent, permanent, "{command} {why}");
            assert!(why.ends_with(code), "{why}");
        }
    }
    assert!(server.received().is_empty());
    server.behave("accept");
    mailer.send(&mail("ada@example.org")).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_hangs_or_hangs_up_fails_the_mail_for_now() {
    let mut server = SmtpServer::start(Encryption::StartTls).await;
    let patient = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    server.behave("drop");
    assert!(!refusal(&patient, &mail("ada@example.org")).await.0);

    let mailer = towards(&server, SmtpEncryption::StartTls)
        .patience(Duration::from_secs(2))
        .build()
        .unwrap();
    for command in ["MAIL", "RCPT", "DATA"] {
        server.behave(&format!("hang {command}"));
        let (is_permanent, why) = refusal(&mailer, &mail("ada@example.org")).await;
        assert!(!is_permanent && why.ends_with("no answer in time"), "{why}");
    }
    server.go_away().await;
    let (is_permanent, why) = refusal(&patient, &mail("ada@example.org")).await;
    assert!(!is_permanent && why.starts_with("connecting: "), "{why}");
    server.behave("accept");
    server.come_back().await;
    patient.send(&mail("ada@example.org")).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_mail_whose_answer_was_lost_is_known_by_its_message_id() {
    let server = SmtpServer::start(Encryption::StartTls).await;
    let mailer = towards(&server, SmtpEncryption::StartTls).build().unwrap();
    server.behave("lose-answer");
    assert!(!refusal(&mailer, &mail("ada@example.org")).await.0);
    server.behave("accept");
    mailer.send(&mail("ada@example.org")).await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert_eq!(
        received[0].header("message-id"),
        received[1].header("message-id")
    );
    assert_eq!(received[0].header("date"), received[1].header("date"));
}

#[test]
fn senders_are_addresses_with_or_without_a_name() {
    for (raw, address) in [
        ("a@example.org", "a@example.org"),
        (" Ada <a@Example.ORG> ", "a@example.org"),
        ("\"Ada, Ltd.\" <a@example.org>", "a@example.org"),
        ("<a@example.org>", "a@example.org"),
    ] {
        assert_eq!(
            Sender::parse(raw).unwrap().email().as_str(),
            address,
            "{raw}"
        );
    }
    for raw in [
        "",
        "Ada",
        "Ada <>",
        "a@example.org\r\nBcc: b@example.org",
        "Ada\n <a@example.org>",
        "a@b.org, c@d.org",
    ] {
        assert!(Sender::parse(raw).is_err(), "{raw:?}");
    }
}

#[test]
fn a_file_without_certificates_is_refused() {
    for pem in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n",
    ] {
        let built = SmtpMailer::builder("localhost", sender())
            .root_certificates(pem)
            .build();
        assert!(built.is_err(), "{pem:?}");
    }
}

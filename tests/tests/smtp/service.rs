//! The service, from a request to an inbox.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use auth_tests::{
    email_of, postgres,
    process::{Home, Launch, eventually},
    smtp::{Encryption, PASSWORD, Received, SmtpServer, USERNAME},
};

/// A service that sends its mails over a server.
fn over(server: &SmtpServer, encryption: Encryption, home: &Home) -> Launch {
    let (tls, starttls) = match encryption {
        Encryption::Clear => ("false", "false"),
        Encryption::Implicit => ("true", "false"),
        Encryption::StartTls => ("True", "True"),
    };
    let launch = home
        .service()
        .quick()
        .set("MAIL_SERVER", "localhost")
        .set("MAIL_PORT", &server.port().to_string())
        .set("MAIL_FROM", "Example <no-reply@example.org>")
        .set("MAIL_SSL_TLS", tls)
        .set("MAIL_STARTTLS", starttls);
    if encryption == Encryption::Clear {
        return launch;
    }
    launch
        .set("MAIL_USERNAME", USERNAME)
        .set("MAIL_PASSWORD", PASSWORD)
        .set("MAIL_CA_FILE", server.roots_file().to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_in_the_inbox_within_two_seconds() {
    for encryption in [
        Encryption::StartTls,
        Encryption::Implicit,
        Encryption::Clear,
    ] {
        let server = SmtpServer::start(encryption).await;
        let service = over(&server, encryption, &Home::new()).start().await;
        let asked = Instant::now();
        service.registered("ada").await;
        let mail = server.mail_to(&email_of("ada")).await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(mail.is_encrypted(), encryption != Encryption::Clear);
        assert_eq!(mail.header("from"), ["Example <no-reply@example.org>"]);
        assert!(mail.header("message-id")[0].ends_with("@example.org>"));
        assert!(
            mail.parsed()["text"]
                .as_str()
                .unwrap()
                .contains("/verify-email?token=")
        );

        let greeting = service.greeting();
        let told = greeting
            .lines()
            .find(|line| line.contains("  mail "))
            .unwrap();
        assert!(
            told.contains(&format!("sent by localhost:{}", server.port())),
            "{greeting}"
        );
        assert!(!greeting.contains(PASSWORD) && !service.log().contains(PASSWORD));
        let warned = greeting.contains("mails and their tokens can be read on their way");
        assert_eq!(warned, encryption == Encryption::Clear, "{greeting}");
    }
}

/// Registers while the server misbehaves, mends it, and waits for the one mail.
async fn a_registration_does_not_notice(behaviour: &str) {
    let mut server = SmtpServer::start(Encryption::StartTls).await;
    let service = over(&server, Encryption::StartTls, &Home::new())
        .start()
        .await;
    if behaviour == "away" {
        server.go_away().await;
    } else {
        server.behave(behaviour);
    }
    let asked = Instant::now();
    service.registered("ada").await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{behaviour}");
    if !behaviour.starts_with("hang") {
        service.logged("it is tried again").await;
    }
    service.get("/health/ready").await.ok(200);

    server.behave("accept");
    if behaviour == "away" {
        server.come_back().await;
    }
    server.mail_to(&email_of("ada")).await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_delays_a_mail_and_nothing_else() {
    a_registration_does_not_notice("away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_for_now_delays_a_mail_and_nothing_else() {
    a_registration_does_not_notice("RCPT 451 4.7.1 greylisted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_delays_a_mail_and_nothing_else() {
    a_registration_does_not_notice("hang DATA").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_delays_a_mail_and_nothing_else() {
    a_registration_does_not_notice("drop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_somebody_else_delays_a_mail_until_the_right_one_is_there() {
    let (home, server) = (Home::new(), SmtpServer::start(Encryption::Implicit).await);
    let elsewhere = SmtpServer::start(Encryption::Implicit).await;
    let service = over(&server, Encryption::Implicit, &home)
        .set("MAIL_CA_FILE", elsewhere.roots_file().to_str().unwrap())
        .start()
        .await;
    service.registered("ada").await;
    service.logged("invalid peer certificate").await;
    assert!(service.stop().await.status.success());
    assert!(server.received().is_empty());
    let _service = over(&server, Encryption::Implicit, &home).start().await;
    server.mail_to(&email_of("ada")).await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_listed_tried_again_or_dropped() {
    let (home, server) = (Home::new(), SmtpServer::start(Encryption::StartTls).await);
    let service = over(&server, Encryption::StartTls, &home).start().await;
    server.behave("RCPT 550 5.1.1 no such user <ada@example.org>, see http://x/?token=hunter2");
    for name in ["ada", "ben"] {
        service.registered(name).await;
    }
    let mail = async |arguments: &[&str]| {
        let launch = home.service().arg("mail");
        let launch = arguments
            .iter()
            .fold(launch, |launch, argument| launch.arg(argument));
        let ended = launch.run().await;
        (ended.status.code(), ended.stdout, ended.stderr)
    };
    let listed = eventually("two dead letters", async || {
        let (status, listed, _) = mail(&["list"]).await;
        assert_eq!(status, Some(0));
        listed.contains("2 given up, 0 queued").then_some(listed)
    })
    .await;
    let lines: Vec<&str> = listed.lines().collect();
    for (line, masked) in lines
        .iter()
        .zip(["a\u{2026}@example.org", "b\u{2026}@example.org"])
    {
        assert!(
            line.contains(masked) && line.contains("  welcome  1 try  "),
            "{line}"
        );
        assert!(line.contains("RCPT TO: 550 5.1.1 no such user"), "{line}");
        assert!(
            !line.contains("hunter2") && !line.contains("ada@"),
            "{line}"
        );
    }
    assert!(!service.log().contains("ada@"), "{}", service.log());
    let id = lines[0].split_whitespace().next().unwrap();

    server.behave("accept");
    let again = mail(&["retry", id]).await;
    assert_eq!((again.0, &*again.1), (Some(0), "1 queued\n"));
    server.mail_to(&email_of("ada")).await;
    let twice = mail(&["retry", id]).await;
    assert_eq!(
        (twice.0, &*twice.2),
        (Some(1), "no mail of this id was given up\n")
    );
    assert_eq!(mail(&["drop", id]).await.0, Some(1));

    let dropped = mail(&["drop", "--all"]).await;
    assert_eq!((dropped.0, &*dropped.1), (Some(0), "1 deleted\n"));
    assert_eq!(mail(&["retry", "--all"]).await.1, "0 queued\n");
    assert_eq!(mail(&["list"]).await.1, "0 given up, 0 queued\n");
    assert_eq!(server.received().len(), 1);
    for wrong in [
        &["retry"][..],
        &["drop"],
        &["drop", "not-an-id"],
        &["drop", id, "--all"],
        &[],
    ] {
        assert_eq!(mail(wrong).await.0, Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_mails_and_a_worker_that_is_killed_each_is_delivered() {
    let database = postgres::database().await;
    let server = SmtpServer::start(Encryption::StartTls).await;
    let start = async || {
        over(&server, Encryption::StartTls, &Home::new())
            .set("ENVIRONMENT", "test")
            .set("SECRET_KEY", auth_tests::SECRET)
            .set("DATABASE_URL", &database.url)
            .start()
            .await
    };
    let (victim, _survivor) = (start().await, start().await);
    let mut connection = database.raw().await;
    sqlx::query(
        r#"insert into auth.outbox (id, recipient, locale, letter, due_at, created_at, queued_at)
           select gen_random_uuid(), format('user%s@example.org', n), 'en', '{"template": "test"}', now(), now(), now()
           from generate_series(1, 1000) as n"#,
    )
    .execute(&mut connection)
    .await
    .unwrap();
    eventually("a third of the mails", async || {
        (server.received_count() > 300).then_some(())
    })
    .await;
    victim.kill().await;

    // The survivor does what nobody holds; the rest is the victim's, until its leases end.
    let mut before = vec![uuid::Uuid::nil()];
    for look in 0.. {
        assert!(look < 100, "mails that nobody holds are not sent");
        let held: Vec<uuid::Uuid> = sqlx::query_scalar("select id from auth.outbox order by id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        if held == before && held.len() <= 8 {
            break;
        }
        before = held;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    sqlx::query("update auth.outbox set due_at = now(), lease = now()")
        .execute(&mut connection)
        .await
        .unwrap();
    eventually("an empty queue", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from auth.outbox")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        (left == 0).then_some(())
    })
    .await;

    let received = server.received();
    let ids: Vec<&str> = received
        .iter()
        .map(|mail| mail.header("message-id")[0])
        .collect();
    let recipients: HashSet<&str> = received.iter().map(Received::to).collect();
    assert_eq!(recipients.len(), 1000, "each is delivered");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
    // What the victim had handed over and could not mark any more comes twice, and can be told by its Message-ID.
    assert!(
        received.len() <= 1000 + before.len(),
        "{} came",
        received.len()
    );
}

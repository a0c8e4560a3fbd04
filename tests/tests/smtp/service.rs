//! The service, from a request to an inbox.

use std::time::{Duration, Instant};

use auth_tests::{
    email_of,
    process::{Home, Launch},
    smtp::{Encryption, PASSWORD, SmtpServer, USERNAME},
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

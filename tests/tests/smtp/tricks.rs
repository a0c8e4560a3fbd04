//! What somebody between us and the server may try, with servers of a few lines.

use auth_core::{
    adapters::{SmtpEncryption, SmtpMailer},
    ports::Mailer,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::mailer::{mail, sender};

/// The next line that the client sends, without its end.
async fn line(client: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = client.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn say(client: &mut BufReader<TcpStream>, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn answers_that_were_slipped_in_before_the_encryption_count_for_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut client = BufReader::new(listener.accept().await.unwrap().0);
        say(&mut client, "220 mail.test\r\n").await;
        assert!(line(&mut client).await.unwrap().starts_with("EHLO "));
        say(&mut client, "250-mail.test\r\n250 STARTTLS\r\n").await;
        assert_eq!(line(&mut client).await.unwrap(), "STARTTLS");
        // As answers to EHLO, MAIL, RCPT, DATA and the message, all in one packet.
        let slipped_in = "250 mail.test\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 accepted\r\n";
        say(&mut client, &format!("220 go ahead\r\n{slipped_in}")).await;
        // It hears no more than the beginning of a handshake.
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("MAIL FROM"));
    });
    let mailer = SmtpMailer::builder("127.0.0.1", sender())
        .port(port)
        .build()
        .unwrap();
    let error = mailer.send(&mail("ada@example.org")).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    // Left in a buffer they would have gone unseen, and the handshake unanswered, until the time was up.
    assert!(
        why.starts_with("STARTTLS: ") && !why.contains("no answer in time"),
        "{why}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_comes_late_is_not_taken_for_one_to_the_next_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, message_is_there) = oneshot::channel();
    let server = tokio::spawn(async move {
        // The first conversation hangs before its last answer; the second one ends with a refusal.
        let mut first = BufReader::new(listener.accept().await.unwrap().0);
        converse_up_to_the_message(&mut first).await;
        tell.send(()).unwrap();
        let mut second = BufReader::new(listener.accept().await.unwrap().0);
        let _ = first.write_all(b"250 accepted, late\r\n").await;
        converse_up_to_the_message(&mut second).await;
        let quoted = "https://app.example.org/update-password?token=eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
        say(&mut second, &format!("550 never with {quoted} in it\r\n")).await;
    });
    let mailer = SmtpMailer::builder("127.0.0.1", sender())
        .port(port)
        .encryption(SmtpEncryption::ClearText)
        .build()
        .unwrap();
    let first = mail("ada@example.org");
    // The worker's patience ends first: the conversation is dropped half-way.
    tokio::select! {
        _ = mailer.send(&first) => panic!("nobody answered"),
        told = message_is_there => told.unwrap(),
    }
    let error = mailer.send(&mail("ben@example.org")).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(why, "the message: 550 never with … in it");
    server.await.unwrap();
}

async fn converse_up_to_the_message(client: &mut BufReader<TcpStream>) {
    say(client, "220 mail.test\r\n").await;
    for answer in [
        "250 mail.test\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 go on\r\n",
    ] {
        line(client).await.unwrap();
        say(client, answer).await;
    }
    while line(client).await.is_some_and(|line| line != ".") {}
}

#[tokio::test]
async fn connections_are_used_again_while_they_are_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut client = BufReader::new(listener.accept().await.unwrap().0);
        converse_up_to_the_message(&mut client).await;
        say(&mut client, "250 accepted\r\n").await;
        assert_eq!(line(&mut client).await.unwrap(), "NOOP");
        say(&mut client, "250 ok\r\n").await;
        for answer in ["250 ok\r\n", "250 ok\r\n", "354 go on\r\n"] {
            line(&mut client).await.unwrap();
            say(&mut client, answer).await;
        }
        while line(&mut client).await.is_some_and(|line| line != ".") {}
        say(&mut client, "250 accepted\r\n").await;
        // Gone without a word: the next mail finds out, and takes another connection.
        drop(client);
        let mut client = BufReader::new(listener.accept().await.unwrap().0);
        converse_up_to_the_message(&mut client).await;
        say(&mut client, "250 accepted\r\n").await;
    });
    let mailer = SmtpMailer::builder("127.0.0.1", sender())
        .port(port)
        .encryption(SmtpEncryption::ClearText)
        .build()
        .unwrap();
    for address in ["ada@example.org", "ben@example.org", "cyd@example.org"] {
        mailer.send(&mail(address)).await.unwrap();
    }
    server.await.unwrap();
}

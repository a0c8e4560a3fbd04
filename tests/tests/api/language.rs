use auth_core::{
    Error,
    ports::{Clock, OsRandom},
    types::UserId,
};
use auth_tests::{App, PASSWORD, StoreKind};
use serde_json::json;

auth_tests::on_each_store! {
    mails_are_in_the_language_of_the_registration
    the_language_of_mails_can_be_changed
}

async fn subject_of_reset(app: &App, email: &str) -> String {
    let body = json!({"email": email});
    app.post("/auth/password-reset-request", body).await.ok(200);
    app.deliver().await;
    app.mailbox.last_to(email).subject
}

async fn mails_are_in_the_language_of_the_registration(store: StoreKind) {
    let app = App::on(store).await;
    for (name, languages, subject) in [
        ("ada", &b"de-AT, en;q=0.5"[..], "Willkommen bei "),
        ("bob", b"fr, it-CH;q=0.9", "Ti diamo il benvenuto su "),
        ("cyd", b"fr", "Welcome to "),
        ("dan", b"de;q=9, ;;, \xff", "Welcome to "),
        ("eve", b"", "Welcome to "),
    ] {
        let email = format!("{name}@example.org");
        let body = json!({"username": name, "email": email, "password": PASSWORD});
        let call = app.post("/auth/register", body);
        call.header("accept-language", languages).await.ok(201);
        app.deliver().await;
        let mail = app.mailbox.last_to(&email);
        assert!(
            mail.subject.starts_with(subject),
            "{name}: {}",
            mail.subject
        );
    }
    // A list may come in lines.
    let body = json!({"username": "fay", "email": "fay@example.org", "password": PASSWORD});
    let call = app.post("/auth/register", body);
    let call = call.header("accept-language", "fr");
    call.header("accept-language", "it;q=0.9").await.ok(201);
    app.deliver().await;
    let mail = app.mailbox.last_to("fay@example.org");
    assert!(mail.subject.starts_with("Ti diamo"), "{}", mail.subject);
    // Not that of whoever asks.
    let body = json!({"email": "ada@example.org"});
    let call = app.post("/auth/password-reset-request", body);
    call.header("accept-language", "it").await.ok(200);
    app.deliver().await;
    let mail = app.mailbox.last_to("ada@example.org");
    assert!(mail.subject.contains("zurücksetzen"), "{}", mail.subject);
}

async fn the_language_of_mails_can_be_changed(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    for (preferred, set) in [("it-IT, de;q=0.4", "it"), ("tlh", "en"), ("de-CH", "de")] {
        let language = app.auth.set_language(ada.id, preferred).await.unwrap();
        assert_eq!(language, set);
    }
    let subject = subject_of_reset(&app, &ada.email).await;
    assert!(subject.contains("zurücksetzen"), "{subject}");
    app.get("/auth/me").by(&ada).await.ok(200);

    let nobody = UserId::generate(app.clock.now(), &OsRandom);
    let outcome = app.auth.set_language(nobody, "de").await;
    assert!(matches!(outcome, Err(Error::UserNotFound)), "{outcome:?}");
}

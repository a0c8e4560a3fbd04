//! Nothing that opens an account is kept in the clear, printed or logged.

use auth_core::{
    ChangeEmail, ChangePassword, Login, Refresh, Register, Registration,
    ports::{AuditLog, Outbox, UserStore},
    time,
    types::{
        AccountKey, Client, Digest, Email, NewAccount, Password, PasswordAttempt, PasswordHash,
        Secret, Username,
    },
};
use auth_tests::{API_KEY, App, PASSWORD, Person, SECRET, StoreKind, forge, signing_keys};
use serde_json::json;

auth_tests::on_each_store! {
    a_stolen_database_opens_nothing
    the_outbox_has_no_signed_token
    the_audit_log_tells_no_secret
    what_is_printed_tells_no_secret
    no_answer_tells_a_secret_that_it_was_sent
}

/// Everything there is to steal, and the secrets that must not be found in it.
async fn whole_life(app: &App) -> Vec<String> {
    let ada = app.verified("ada").await;
    let mut secrets = vec![SECRET.to_owned(), API_KEY.to_owned(), PASSWORD.to_owned()];
    let body = json!({"refresh_token": ada.refresh_token});
    let answer = app.post("/auth/refresh", body).await;
    let second = Person::of(answer.ok(200), PASSWORD);
    let body = json!({"username": "ada", "password": "a wrong guess, nearly right"});
    app.post("/auth/login", body)
        .await
        .refused(401, "invalid_credentials");
    let body = json!({"email": "ada@example.org"});
    app.post("/auth/password-reset-request", body).await.ok(200);
    let body = json!({"new_email": "new@example.org", "current_password": PASSWORD});
    app.put("/auth/users/change-email", body)
        .by(&second)
        .await
        .ok(202);
    secrets.push("a wrong guess, nearly right".to_owned());
    for person in [&ada, &second] {
        secrets.extend([person.access_token.clone(), person.refresh_token.clone()]);
    }
    secrets
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

async fn a_stolen_database_opens_nothing(store: StoreKind) {
    let app = App::on(store).await;
    let mut secrets = whole_life(&app).await;
    let Some(before) = app.stored_bytes().await else {
        return; // memory has nothing to steal
    };
    app.deliver().await;
    for mail in app.mailbox.all() {
        if mail.text.contains("token=") {
            // The token as a whole, and what makes it one: its signature.
            secrets.push(mail.token().to_owned());
            secrets.push(mail.token().rsplit('.').next().unwrap().to_owned());
        }
    }
    assert!(secrets.len() >= 16, "{}", secrets.len());
    let after = app.stored_bytes().await.unwrap();
    assert!(
        contains(&after, "ada@example.org"),
        "these are not the right bytes"
    );
    for secret in secrets {
        assert!(
            !contains(&before, &secret) && !contains(&after, &secret),
            "{secret}"
        );
    }
}

async fn the_outbox_has_no_signed_token(store: StoreKind) {
    use auth_core::ports::Clock;
    let app = App::on(store).await;
    app.registered("ada").await;
    let body = json!({"email": "ada@example.org"});
    app.post("/auth/password-reset-request", body).await.ok(200);
    let now = app.clock.now();
    let lease = time::Duration::MINUTE;
    let claims = app.store.claim_mails(now, lease, 10).await.unwrap();
    assert_eq!(claims.mails.len(), 2);
    for claim in claims.mails {
        let row = serde_json::to_string(&claim.mail.letter).unwrap();
        assert!(row.contains("jti"), "{row}");
        let shown = format!("{claim:?}");
        assert!(!shown.contains("jti"), "{shown}");
        // A JWT begins with `{"`.
        assert!(!row.contains("eyJ"), "{row}");
        let given_back = app
            .store
            .mail_failed(claim.mail.id, claim.lease, Some(now), "given back")
            .await;
        assert!(given_back.unwrap());
    }
    // What the rows say is not enough to make one: only the worker, with the key, does.
    let token = app.mailed_token("ada@example.org").await;
    let body =
        json!({"token": forge::claims(&token)["jti"], "new_password": "another long passphrase"});
    app.post("/update-password", body)
        .await
        .refused(400, "invalid_token");
}

async fn the_audit_log_tells_no_secret(store: StoreKind) {
    let app = App::on(store).await;
    let secrets = whole_life(&app).await;
    let key = AccountKey::login_name("ada").unwrap();
    let ada = app.store.account(&key).await.unwrap().unwrap().user;
    let log = app.store.audit_entries(ada.id, 100).await.unwrap();
    assert!(log.len() >= 5);
    let log = format!("{log:?}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
}

async fn what_is_printed_tells_no_secret(store: StoreKind) {
    let app = App::on(store).await;
    let secret = |text: &str| Secret::new(text.to_owned());
    let (attempt, password) = (
        PasswordAttempt::new(PASSWORD),
        Password::parse(PASSWORD).unwrap(),
    );
    let email = Email::parse("ada@example.org").unwrap();
    let register = Register {
        username: Username::parse("ada").unwrap(),
        email: email.clone(),
        password: password.clone(),
    };
    let mut printed = vec![
        format!("{register:?}"),
        format!(
            "{:?}",
            Login {
                name: "ada".to_owned(),
                password: attempt.clone()
            }
        ),
        format!(
            "{:?}",
            ChangePassword {
                current: attempt.clone(),
                new: password
            }
        ),
        format!(
            "{:?}",
            ChangeEmail {
                new_email: email,
                current: attempt
            }
        ),
        format!("{:?}", Refresh::AccessToken(secret(PASSWORD))),
        format!("{:?}", Refresh::RefreshToken(secret(PASSWORD))),
        format!("{:?}", secret(PASSWORD)),
        format!("{:?}", PasswordHash::new(PASSWORD)),
        format!("{:?}", Digest::of(PASSWORD)),
        format!("{:?}", signing_keys()),
        format!("{:?}", App::internal_keys()),
        format!("{:?}", app.auth),
        format!("{:?}", app.router()),
        format!("{:?}", app.router().into_service()),
        format!("{:?}", app.router().into_layer()),
    ];
    let opened = app
        .auth
        .register(register, &Client::default())
        .await
        .unwrap();
    printed.push(format!("{opened:?}"));
    let Registration::Opened(tokens) = opened else {
        panic!("no session");
    };
    printed.push(format!("{tokens:?}"));
    let key = AccountKey::login_name("ada").unwrap();
    let account = app.store.account(&key).await.unwrap().unwrap();
    let hash = account.password.clone().unwrap();
    printed.push(format!("{account:?}"));
    printed.push(format!(
        "{:?}",
        NewAccount {
            user: account.user,
            password: Some(hash.clone()),
            session: None,
            token: None,
            identity: None,
        }
    ));
    let who = app
        .auth
        .authenticate(tokens.access_token.expose())
        .await
        .unwrap();
    printed.push(format!("{who:?}"));

    let refresh = tokens.refresh.as_ref().unwrap().token.expose();
    let digest: String = format!("{:?}", Digest::of(PASSWORD).as_bytes());
    for text in printed {
        for secret in [
            PASSWORD,
            SECRET,
            API_KEY,
            hash.as_str(),
            tokens.access_token.expose(),
            refresh,
            &digest,
        ] {
            assert!(!text.contains(secret), "{text}");
        }
        // An address is personal data.
        assert!(!text.contains("ada@"), "{text}");
    }
}

async fn no_answer_tells_a_secret_that_it_was_sent(store: StoreKind) {
    let app = App::on(store).await;
    let ada = app.verified("ada").await;
    let secret = "s3cret-value-that-was-sent";
    let body = json!({
        "username": secret, "email": secret, "password": secret, "token": secret, "refresh_token": secret,
        "new_password": secret, "new_email": secret, "current_password": secret,
    });
    for route in auth_tower::routes() {
        let path = route.path.replace(['{', '}'], "");
        let call = app.call(
            route.method.as_str(),
            &format!("{path}?token={secret}&x={secret}"),
        );
        let call = call.by(&ada).by_service().json(body.clone());
        let answer = call.await;
        assert!(!answer.text().contains(secret), "{answer:?}");
        assert!(
            !format!("{:?}", answer.headers).contains(secret),
            "{answer:?}"
        );
    }
}

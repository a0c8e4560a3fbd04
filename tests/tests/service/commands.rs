//! `config`, `keys`, `user` and `openapi`: what an operator does beside the running service.

use std::{
    collections::BTreeSet,
    fs::{self, File},
};

use auth_tests::{
    PASSWORD,
    process::{Ended, Home, Service, closed_pipe},
};
use serde_json::{Value, json};

use crate::start::WRONG_SETTINGS;

const SECRET: &str = "0fX3mN8qLr5tVw2yZb6cKd9eHg1jPs4u";

#[track_caller]
fn ended(ended: &Ended, status: i32) {
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_and_shown_without_a_secret_or_a_trace() {
    let home = Home::new();
    fs::write(home.path().join("key"), SECRET).unwrap();
    fs::write(
        home.path().join(".env"),
        "SERVICE_NAME='Of a file'\nHOST=::1\n",
    )
    .unwrap();
    let url = "postgres://app:hunter2@127.0.0.1/app";
    let launch = |what: &str| {
        home.service()
            .set("DATABASE_URL", url)
            .set("HOST", "127.0.0.2")
            .set("INTERNAL_API_KEY", "hunter2-hunter2-hunter2-hunter2-")
            .set("MAIL_USERNAME", "hunter2")
            .set("SECRET_KEY_FILE", "key")
            .args(what)
    };
    let checked = launch("config check").run().await;
    ended(&checked, 0);
    assert!(
        checked.stdout.ends_with("the settings are good\n"),
        "{checked:?}"
    );

    let shown = launch("config show").run().await;
    ended(&shown, 0);
    for line in [
        "ALGORITHM is not set",
        "DATABASE_URL=Postgres, 127.0.0.1/app (environment)",
        "HOST=127.0.0.2 (environment)",
        "INTERNAL_API_KEY is set and not shown (environment)",
        "SECRET_KEY is set and not shown (key)",
        "SERVICE_NAME=Of a file (.env)",
    ] {
        assert!(
            shown.stdout.lines().any(|it| it == line),
            "{line}: {shown:?}"
        );
    }

    for what in ["config check", "config show"] {
        let wrong = launch(what)
            .set("PORT", "hunter2")
            .set("DEBUG", "x")
            .run()
            .await;
        ended(&wrong, 1);
        let faults = "auth-service cannot start; 2 setting(s) to mend:\n  DEBUG: must be true or false\n  PORT: must be a number from 0 to 65535\n";
        assert_eq!(wrong.stderr, faults);
        assert_eq!(
            wrong.stdout.contains("DEBUG=x (environment)"),
            what == "config show"
        );
    }
    for ended in [checked, shown] {
        let told = ended.stdout + &ended.stderr;
        assert!(
            !told.contains("hunter2") && !told.contains(SECRET),
            "{told}"
        );
    }
    // Nor were the secrets of a development service drawn to be looked at.
    let left: BTreeSet<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, [".env", "key"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn drawn_keys_are_fit_for_production_and_rotate_without_a_logout() {
    let home = Home::new();
    let value = |ended: &Ended, name: &str| {
        let line = ended
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.unwrap().strip_prefix('=').unwrap().to_owned()
    };
    // Also where nothing else is right yet.
    let keys = home
        .service()
        .set("PORT", "x")
        .args("keys generate")
        .run()
        .await;
    ended(&keys, 0);
    assert_eq!(keys.stdout.lines().count(), 2);
    let (old, api_key) = (value(&keys, "SECRET_KEY"), value(&keys, "INTERNAL_API_KEY"));
    let rotated = home.service().args("keys rotate").run().await;
    ended(&rotated, 0);
    let new = value(&rotated, "SECRET_KEY");
    assert!(rotated.stderr.contains("SECRET_KEY_PREVIOUS"));
    assert!(rotated.stdout.lines().count() == 1 && new != old && api_key != old);

    let start = async |secret: &str, previous: &str| {
        let launch = home.service().quick().set("ENVIRONMENT", "test");
        let launch = launch
            .set("INTERNAL_API_KEY", &api_key)
            .set("SECRET_KEY", secret);
        launch.set("SECRET_KEY_PREVIOUS", previous).start().await
    };
    let production = home.service().set("ENVIRONMENT", "production");
    let production = production
        .set("SECRET_KEY", &old)
        .set("INTERNAL_API_KEY", &api_key)
        .set("FRONTEND_URL", "https://app.example.org");
    ended(&production.args("config check").run().await, 0);

    // The steps that `rotate` tells, in the order of a roll-out.
    let service = start(&old, "").await;
    let ada = service.verified("ada").await;
    service.stop().await;
    for (secret, previous) in [(&old, &new), (&new, &old)] {
        let service = start(secret, previous).await;
        service.get("/auth/me").by(&ada).await.ok(200);
        service.stop().await;
    }
    let service = start(&new, "").await;
    service
        .get("/auth/me")
        .by(&ada)
        .await
        .refused(401, "invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_and_changes_accounts() {
    let service = Service::start().await;
    let home = service.home().clone();
    let run = async |arguments: &str, input: &str| {
        let launch = home.service().quick().args(arguments);
        launch.input(input).run().await
    };
    let create = "user create --username ada --email ada@example.org --admin";
    let made = run(create, &format!("{PASSWORD}\n")).await;
    ended(&made, 0);
    assert!(made.stdout.ends_with(" ada, administrator\n"), "{made:?}");
    let login = async |name: &str| {
        let body = json!({"username": name, "password": PASSWORD});
        service.post("/auth/login", body).await
    };
    let answer = login("ada").await;
    let user = &answer.ok(200)["user"];
    assert_eq!(
        (&user["is_admin"], &user["is_verified"]),
        (&json!(true), &json!(true))
    );
    // No mail, and no session that nobody holds.
    assert!(home.mails().is_empty());

    for (arguments, input, told) in [
        (create, PASSWORD, " is taken"),
        (
            "user create --username eve --email eve@example.org",
            "short",
            "password: ",
        ),
        (
            "user create --username eve --email eve@example.org",
            "eve@example.org!",
            "password: ",
        ),
        ("user create --username e --email eve", PASSWORD, "email: "),
        ("user disable nobody", "-", "there is no such user"),
        ("user disable a%b", "-", "there is no such user"),
    ] {
        let refused = run(arguments, input).await;
        ended(&refused, 1);
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert!(!refused.stderr.contains(input), "{refused:?}");
    }
    for arguments in [
        "user create --username eve",
        "user disable",
        "user create --password x",
    ] {
        ended(&run(arguments, "-").await, 2);
    }

    for who in ["ada", "ADA@example.org", user["id"].as_str().unwrap()] {
        let disabled = run(&format!("user disable {who}"), "-").await;
        ended(&disabled, 0);
        assert!(disabled.stdout.ends_with(" ada, administrator, disabled\n"));
        login("ada").await.refused(401, "invalid_credentials");
        ended(&run(&format!("user enable {who}"), "-").await, 0);
        login("ada").await.ok(200);
    }
    ended(&run("user set-admin ada --revoke", "-").await, 0);
    assert_eq!(login("ada").await.ok(200)["user"]["is_admin"], false);
    ended(&run("user set-admin ada", "-").await, 0);
    assert_eq!(login("ada").await.ok(200)["user"]["is_admin"], true);

    let unverified = "user create --username bob --email bob@example.org --unverified";
    ended(&run(unverified, PASSWORD).await, 0);
    assert_eq!(login("bob").await.ok(200)["user"]["is_verified"], false);
    service.stop().await;
    // It changes accounts, and no schema.
    ended(&home.service().args("migrate down --to 1").run().await, 0);
    let old = run("user disable ada", "-").await;
    ended(&old, 1);
    assert!(old.stderr.contains("`auth-service migrate up`"), "{old:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_are_printed_as_a_document() {
    let printed = Home::new()
        .service()
        .set("PORT", "x")
        .args("openapi")
        .run()
        .await;
    ended(&printed, 0);
    let document: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/auth/login"]["post"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_does_its_work_and_does_not_panic_when_nobody_listens() {
    let home = Home::new();
    for arguments in [
        "migrate up",
        "migrate status",
        "config check",
        "config show",
        "keys generate",
        "keys rotate",
        "ledger verify",
        "mail list",
        "mail retry --all",
        "openapi",
        "stripe debts",
        "stripe events",
        "user create --username ada --email ada@example.org",
        "user disable ada",
    ] {
        let launch = |arguments: &str| {
            let launch = home.service().quick().args(arguments);
            launch.input(PASSWORD)
        };
        let unheard = launch(arguments).output(closed_pipe()).run().await;
        ended(&unheard, 0);
        assert!(!unheard.stderr.contains("panicked"), "{unheard:?}");
        // Where there is somebody who misses it, that is another matter.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let unsaid = launch(&arguments.replace("ada", "bob")).output(full).run();
        let unsaid = unsaid.await;
        if arguments == "user disable ada" {
            // The account is there, though nobody was told.
            ended(&launch("user enable bob").run().await, 0);
        }
        ended(&unsaid, 1);
        let told = "auth-service: not all of the answer could be written: No space left on device (os error 28)\n";
        assert!(unsaid.stderr.ends_with(told), "{arguments}: {unsaid:?}");
    }
    let wrong = home.service().set("PORT", "x").log(closed_pipe());
    ended(&wrong.args("mail list").run().await, WRONG_SETTINGS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_log_nobody_reads_goes_on() {
    for json in ["false", "true"] {
        let launch = Home::new().service().quick().set("JSON_LOGS", json);
        let service = launch.log(closed_pipe()).start().await;
        for name in ["ada", "bob"] {
            service.verified(name).await;
            service.get("/nowhere").await.refused(404, "not_found");
        }
        ended(&service.stop().await, 0);
    }
}

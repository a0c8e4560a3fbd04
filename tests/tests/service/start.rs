//! What the service needs to start, what it says when it cannot, and what its start page shows.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use auth_core::types::SessionId;
use auth_store_sqlite::sqlx;
use auth_tests::{
    PASSWORD,
    process::{Ended, Home, Launch, Service},
};
use serde_json::json;

use crate::page::Page;

const STRONG: &str = "0fX3mN8qLr5tVw2yZb6cKd9eHg1jPs4u";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(home: &Home) -> BTreeSet<String> {
    fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Tells whoever starts it that another start changes nothing.
pub(crate) const WRONG_SETTINGS: i32 = 78;

/// It ended for its settings, with these lines, and served nobody.
#[track_caller]
fn refused(ended: &Ended, lines: &[&str]) {
    assert_eq!(ended.status.code(), Some(WRONG_SETTINGS), "{ended:?}");
    assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), lines);
    assert_eq!(ended.stdout, "");
}

fn production(home: &Home) -> Launch {
    home.service()
        .set("ENVIRONMENT", "production")
        .set("SECRET_KEY", STRONG)
        .set("FRONTEND_URL", "https://app.example.org")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_environment_serves() {
    let home = Home::new();
    let service = home.service().start().await;
    service.get("/health/ready").await.ok(200);

    let here = home.path().canonicalize().unwrap();
    let greeting = service.greeting();
    let lines: Vec<&str> = greeting.trim_end().lines().collect();
    assert_eq!(
        lines[0],
        format!("authService (development) listens on {}", service.base())
    );
    assert!(service.base().starts_with("http://127.0.0.1:"));
    assert_eq!(
        lines[1..],
        [
            "  database      SQLite, auth-service.db".to_owned(),
            format!(
                "  mail          not sent: files in {}",
                here.join("auth-service-mail").display()
            ),
            "  secrets       where not set: auth-service.secrets (SECRET_KEY, INTERNAL_API_KEY)"
                .to_owned(),
            "  enumeration   not protected (ENUMERATION_PROTECTION=true)".to_owned(),
            "  google        off (GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET)".to_owned(),
            "  stripe        off (STRIPE_MODE=fake, or STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, CATALOG_FILE)"
                .to_owned(),
        ]
    );

    // Neither secrets nor mails, which carry tokens, are for other users of the machine.
    assert_eq!(mode(&home.path().join("auth-service.secrets")), 0o600);
    assert_eq!(mode(&home.path().join("auth-service-mail")), 0o700);

    // What was not set is what the documents say.
    service.registered("ada").await;
    let hash: String = sqlx::query_scalar("select password_hash from auth_users")
        .fetch_one(&mut home.database().await)
        .await
        .unwrap();
    assert!(hash.starts_with("$2b$12$"));

    let ended = service.stop().await;
    assert!(ended.status.success(), "{ended:?}");
    // No colours where nobody sees them.
    assert!(
        ended.stderr.contains("INFO auth_service: asked to stop"),
        "{ended:?}"
    );
    // The write-ahead log was folded into the database.
    let left = [
        "auth-service-mail",
        "auth-service.db",
        "auth-service.secrets",
    ];
    assert_eq!(files(&home), left.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_on_all_addresses_says_so_and_where_this_machine_finds_it() {
    let launch = Home::new().service().quick().set("HOST", "0.0.0.0");
    let service = launch.start().await;
    let (host, port) = service.authority().split_once(':').unwrap();
    assert_eq!(host, "0.0.0.0");
    let greeting = service.greeting();
    let found = greeting.lines().nth(1).unwrap();
    let found = found.strip_prefix("  this machine  ").unwrap();
    assert_eq!(found, format!("http://127.0.0.1:{port}"));
    let answer = service.http().get(format!("{found}/health")).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    // Links that nobody gave another address lead there.
    service.registered("ada").await;
    let mail = service.home().mail("welcome", "ada@example.org").await;
    assert!(mail.link().starts_with(found), "{}", mail.link());
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_secrets_outlive_a_restart() {
    let service = Service::start().await;
    let home = service.home().clone();
    let file = home.path().join("auth-service.secrets");
    let ada = service.verified("ada").await;
    let secrets = fs::read_to_string(&file).unwrap();
    let api_key = secrets
        .lines()
        .find_map(|line| line.strip_prefix("INTERNAL_API_KEY="));
    let path = format!("/auth/users/{}/email", ada.id);

    let service = service.restart().await;
    assert_eq!(fs::read_to_string(&file).unwrap(), secrets);
    service.get("/auth/me").by(&ada).await.ok(200);
    let body = json!({"refresh_token": ada.refresh_token});
    service.post("/auth/refresh", body).await.ok(200);
    let email = service.get(&path).header("x-api-key", api_key.unwrap());
    assert_eq!(email.await.ok(200)["email"], "ada@example.org");
    let email = service.get(&path).header("x-api-key", "something else");
    email.await.refused(401, "invalid_api_key");

    // One that others can read is no secret any more.
    service.stop().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let ended = home.service().run().await;
    let lines = [
        "auth-service cannot start; 1 setting(s) to mend:",
        "  auth-service.secrets: can be read by others; `chmod go= …` mends it",
    ];
    refused(&ended, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_settings_is_told_at_once() {
    let ended = Home::new()
        .service()
        .set("ENVIRONMENT", "test")
        .set("ACCESS_TOKEN_EXPIRE_MINUTES", "soon")
        .set("ALGORITHM", "none")
        .set("BCRYPT_COST", "99")
        .set("DATABASE_URL", "mysql://localhost/auth")
        .set("DEBUG", "perhaps")
        .set("FRONTEND_URL", "app.example.org")
        .set("HOST", "localhost")
        .set("INTERNAL_API_KEYS", "billing")
        .set("LOG_LEVEL", "loud")
        .set("MAIL_FROM", "nobody")
        .set("PORT", "80000")
        .set("UNVERIFIED_ACCOUNT_TTL", "5 minutes")
        .run()
        .await;
    let lines = [
        "auth-service cannot start; 13 setting(s) to mend:",
        "  DATABASE_URL: must be sqlite:PATH, sqlite::memory: or postgres://…",
        "  DEBUG: must be true or false",
        "  LOG_LEVEL: must be trace, debug, info, warn or error",
        "  MAIL_FROM: must be an e-mail address, or `Name <address>` in one line",
        "  FRONTEND_URL: links need an absolute http or https address without user, query and fragment",
        "  HOST: must be an IP address",
        "  INTERNAL_API_KEYS: must be name:key,name:key",
        "  PORT: must be a number from 0 to 65535",
        "  ALGORITHM: the algorithm is not one of HS256, HS384, HS512",
        "  SECRET_KEY: must be set outside of development; `openssl rand -base64 48` makes one",
        "  ACCESS_TOKEN_EXPIRE_MINUTES: must be a number of minutes from 1 to 1440",
        "  BCRYPT_COST: must be a number from 10 to 20 (from 4 outside of production)",
        "  UNVERIFIED_ACCOUNT_TTL: must be from one hour to ten years",
    ];
    refused(&ended, &lines);

    let ended = Home::new().service().set("ENVIRONMENT", "prod").run().await;
    let lines = [
        "auth-service cannot start; 1 setting(s) to mend:",
        "  ENVIRONMENT: must be development, test, staging or production",
    ];
    refused(&ended, &lines);
}

/// A mount comes later, and a disk is full for a while: the unit tries again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_or_written_ends_the_start_with_status_1() {
    for (name, value, told) in [
        (
            "SERVICE_NAME_FILE",
            "not-there",
            "SERVICE_NAME_FILE: the file cannot be read (entity not found)",
        ),
        (
            "DATABASE_URL",
            "sqlite:not-there/auth.db",
            "not-there/auth.secrets: No such file or directory (os error 2)",
        ),
    ] {
        let ended = Home::new().service().set(name, value).run().await;
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let lines = [
            "auth-service cannot start; 1 setting(s) to mend:",
            &format!("  {told}"),
        ];
        assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), lines);
    }
}

/// Or it would say the same every two seconds, for ever.
#[test]
fn the_unit_starts_no_service_again_whose_settings_are_wrong() {
    let unit = include_str!("../../../deploy/auth-service.service");
    let line = format!("RestartPreventExitStatus={WRONG_SETTINGS}");
    assert!(unit.lines().any(|it| it == line), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_needs_settings_ends_as_the_service_does_where_they_are_wrong() {
    for command in ["migrate up", "ledger verify", "mail list"] {
        let launch = Home::new().service().args(command);
        let ended = launch.set("PORT", "80000").run().await;
        let lines = [
            "auth-service cannot start; 1 setting(s) to mend:",
            "  PORT: must be a number from 0 to 65535",
        ];
        refused(&ended, &lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_ends_with_status_2() {
    let home = Home::new();
    for argument in ["--port=80", "nonsense", ""] {
        let ended = home.service().arg(argument).run().await;
        assert_eq!(ended.status.code(), Some(2), "{argument:?}: {ended:?}");
        assert!(ended.stderr.contains("Usage: auth-service"), "{ended:?}");
    }
    for argument in ["--help", "--version"] {
        let ended = home.service().arg(argument).run().await;
        assert_eq!(ended.status.code(), Some(0), "{argument:?}: {ended:?}");
        assert!(ended.stdout.contains("auth-service"), "{ended:?}");
    }
    assert_eq!(files(&home), BTreeSet::new());
    home.service().arg("serve").start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_refuses_what_is_weak_and_runs_with_what_is_strong() {
    let home = Home::new();
    let ended = home
        .service()
        .set("ENVIRONMENT", "production")
        .set("BCRYPT_COST", "9")
        .set("CORS_ALLOWED_ORIGINS", "*")
        .set("DEBUG", "true")
        .set("FRONTEND_URL", "http://app.example.org")
        .set(
            "INTERNAL_API_KEYS",
            "billing:changeme-changeme-changeme-changeme",
        )
        .set("MAIL_TEST_TO", "ada")
        .set("SECRET_KEY", "your-secret-key-your-secret-key-0123")
        .run()
        .await;
    let lines = [
        "auth-service cannot start; 7 setting(s) to mend:",
        "  DEBUG: must be false in production",
        "  MAIL_TEST_TO: must be an e-mail address",
        "  CORS_ALLOWED_ORIGINS: must name the origins in production",
        "  FRONTEND_URL: must be https in production: mailed links carry tokens",
        "  INTERNAL_API_KEYS: the key named \"billing\" looks like a placeholder",
        "  SECRET_KEY: looks like a placeholder; `openssl rand -base64 48` makes a good one",
        "  BCRYPT_COST: must be a number from 10 to 20 (from 4 outside of production)",
    ];
    refused(&ended, &lines);
    let ended = home.service().set("ENVIRONMENT", "production").run().await;
    let lines = [
        "auth-service cannot start; 2 setting(s) to mend:",
        "  FRONTEND_URL: must be set in production: mailed links lead there",
        "  SECRET_KEY: must be set outside of development; `openssl rand -base64 48` makes one",
    ];
    refused(&ended, &lines);
    assert_eq!(files(&home), BTreeSet::new());

    let service = production(&home).start().await;
    let greeting = service.greeting();
    assert!(greeting.starts_with("authService (production) listens on "));
    // Nothing of development is there: no generated secrets, no mails in a folder.
    let left = [
        "auth-service.db",
        "auth-service.db-shm",
        "auth-service.db-wal",
    ];
    assert_eq!(files(&home), left.map(str::to_owned).into());
    // For machines that read the log.
    service.post("/auth/logout", json!({})).await;
    let ended = service.stop().await;
    assert!(ended.stderr.lines().count() > 0);
    for line in ended.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn diagnostics_of_production_are_for_who_has_a_key() {
    let home = Home::new();
    let service = production(&home)
        .set("INTERNAL_API_KEY", "Qm4Zt8Xw2Lc6Vb0Nj3Hd7Fs1Gk5Rp9Ya")
        .set("MAIL_SERVER", "127.0.0.1")
        .set("MAIL_FROM", "auth@example.org")
        .start()
        .await;
    for path in ["/auth/test-email", "/auth/verify-email-templates"] {
        service.get(path).await.refused(401, "invalid_api_key");
    }
    let templates = service.get("/auth/verify-email-templates");
    let templates = templates.header("x-api-key", "Qm4Zt8Xw2Lc6Vb0Nj3Hd7Fs1Gk5Rp9Ya");
    templates.await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_may_come_from_a_file_and_from_dot_env() {
    let home = Home::new();
    let put = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    put("key", &format!("{STRONG}\n"));
    put("name", "From a file\n");
    put(
        ".env",
        "# settings\nENVIRONMENT=test\nBCRYPT_COST=4\nSECRET_KEY_FILE=key\nexport INTERNAL_API_KEY=\"api-key=of#the:tests,0123456789abcdef\"\n",
    );
    let service = home
        .service()
        .set("SERVICE_NAME_FILE", "name")
        .start()
        .await;
    let greeting = service.greeting();
    assert!(greeting.starts_with("From a file (test) listens on "));
    assert!(!home.path().join("auth-service.secrets").exists());
    let ada = service.registered("ada").await;
    let claims = auth_tests::forge::claims(&ada.access_token);
    // A name to show: the issuer of tokens does not change with it.
    assert_eq!(claims["iss"], "auth-tower");
    assert!(SessionId::parse(claims["sid"].as_str().unwrap()).is_ok());
    let path = format!("/auth/users/{}/email", ada.id);
    let call = service.get(&path);
    let call = call.header("x-api-key", "api-key=of#the:tests,0123456789abcdef");
    call.await.ok(200);
    service.stop().await;

    // The environment wins over `.env`; what is empty is not set.
    let launch = home.service().set("BCRYPT_COST", "").set("PORT", "0");
    let service = launch.set("SERVICE_NAME", "From outside").start().await;
    assert!(service.greeting().starts_with("From outside (test)"));
    service.stop().await;

    let ended = home.service().set("SECRET_KEY", STRONG).run().await;
    let lines = [
        "auth-service cannot start; 1 setting(s) to mend:",
        "  SECRET_KEY: is set, and so is SECRET_KEY_FILE: one of the two",
    ];
    refused(&ended, &lines);
    put(".env", "PORT=\"80");
    let ended = home.service().run().await;
    let lines = [
        "auth-service cannot start; 1 setting(s) to mend:",
        "  .env: cannot be parsed",
    ];
    refused(&ended, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_in_use_is_told_in_words() {
    let first = Service::start().await;
    let (host, port) = first.authority().split_once(':').unwrap();
    let ended = Home::new().service().set("PORT", port).run().await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let line = format!("error={host}:{port} cannot be listened on: Address already in use");
    // After the line of the log that tells of the migration.
    let told = ended.stderr.lines().last().unwrap_or_default();
    assert!(told.contains(&line), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 2);
    assert_eq!(ended.stdout, "");
    first.get("/health").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_too_new_or_none_is_refused_in_words() {
    let service = Service::start().await;
    let home = service.home().clone();
    service.stop().await;
    let file = home.path().join("auth-service.db");
    let mut database = home.database().await;
    sqlx::query(
        "insert into _auth_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, x'00', 0)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    drop(database);
    let ended = home.service().run().await;
    let known = auth_migrations::SQLITE.last().unwrap().version;
    let line = format!(
        "ERROR auth_service: the service ends error=the database has schema version 9999, but this program knows only versions up to {known}: \
         run the newer program that migrated it, or let that one migrate it down first\n"
    );
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.ends_with(&line), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");

    fs::write(&file, "this is a letter to my aunt, and no database at all").unwrap();
    let ended = home.service().run().await;
    let start = "error=the database could not be opened: ";
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(start), "{ended:?}");
    assert!(ended.stderr.contains("not a database"), "{ended:?}");
    let letter = fs::read_to_string(&file).unwrap();
    assert!(letter.starts_with("this is a letter"));
}

/// Method and path of every row of the table.
fn listed(page: &Page) -> Vec<(String, String)> {
    let (_, table) = page.html().split_once("<tbody>").unwrap();
    let cell = |cell: &str| {
        let cell = cell.split_once("</td>").unwrap().0;
        let cell = cell.replace("<code>", "").replace("</code>", "");
        cell.replace("&#x2f;", "/")
    };
    table
        .split("<tr>")
        .skip(1)
        .map(|row| {
            let mut cells = row.split("<td>").skip(1).map(cell);
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect()
}

async fn lists_what_is_mounted(service: &Service, has_mailer: bool) {
    let page = Page::open(service, "/").await;
    assert_eq!(page.status, 200);
    let (mounted, left_out): (Vec<_>, Vec<_>) =
        auth_tower::routes().partition(|route| has_mailer || !route.needs_mailer);
    assert_eq!(left_out.is_empty(), has_mailer);
    let expected: Vec<_> = mounted
        .iter()
        .map(|route| (route.method.to_string(), route.path.to_owned()))
        .collect();
    assert_eq!(listed(&page), expected);
    for route in mounted {
        let options = service.call("OPTIONS", route.path).await;
        options.ok(204);
        let allow: Vec<&str> = options.header("allow").split(", ").collect();
        assert!(allow.contains(&route.method.as_str()), "{options:?}");
    }
    for route in left_out {
        let answer = service.call(route.method.as_str(), route.path).await;
        answer.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_page_lists_what_is_mounted_and_in_development_the_newest_mails() {
    let service = Service::start().await;
    lists_what_is_mounted(&service, true).await;
    let none = "There is none yet.";
    assert!(Page::open(&service, "/").await.html().contains(none));

    let mut links = Vec::new();
    for n in 0..22 {
        let ada = service.registered(&format!("ada{n}")).await;
        service.home().mail("welcome", &ada.email).await;
        links.push(ada.email);
    }
    let page = Page::open(&service, "/").await;
    let shown: Vec<&str> = page
        .html()
        .split("<li>")
        .skip(1)
        .map(|line| line.split_once("</a> to <bdi>").unwrap().1)
        .map(|line| line.split_once("</bdi>").unwrap().0)
        .collect();
    links.reverse();
    assert_eq!(shown, links[..20]);

    // A mail leads to the page that its link opens.
    let (_, rest) = page.html().split_once("<li><a href=\"").unwrap();
    let link = rest.split_once('"').unwrap().0.to_owned();
    let mail = Page::open(&service, &link).await;
    assert_eq!(mail.status, 200);
    assert_eq!(
        mail.text_of("h1").as_deref(),
        Some("<bdi>Welcome to authService")
    );
    let welcome = service.home().mail("welcome", &links[0]).await;
    let verify = mail.text_of("a href=\"http").unwrap();
    assert_eq!(verify, welcome.link());
    let form = Page::open(&service, &verify).await.form();
    assert_eq!(form.submit().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_development_no_mail_is_shown() {
    for environment in ["production", "staging", "test"] {
        let home = Home::new();
        let launch = production(&home).set("ENVIRONMENT", environment);
        let service = launch.start().await;
        let writes_mails = environment == "test";
        lists_what_is_mounted(&service, writes_mails).await;
        let path = if writes_mails {
            service.registered("ada").await;
            home.mail("welcome", "ada@example.org").await;
            let folder = fs::read_dir(home.path().join("auth-service-mail")).unwrap();
            let file = folder.map(|entry| entry.unwrap().file_name()).next();
            format!("/mails/{}", file.unwrap().to_str().unwrap())
        } else {
            assert!(!home.path().join("auth-service-mail").exists());
            "/mails/0197.eml".to_owned()
        };
        let page = Page::open(&service, "/").await;
        assert!(!page.html().contains("Newest mails"), "{environment}");
        assert!(!page.html().contains(".eml"), "{environment}");
        service.get(&path).await.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mailed_links_lead_to_the_frontend_that_is_set() {
    let home = Home::new();
    let launch = home.service().quick();
    let service = launch
        .set("FRONTEND_URL", "https://app.example.org/account/")
        .start()
        .await;
    let body = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let call = service.post("/auth/register", body);
    call.header("host", "evil.example.org").await.ok(201);
    let mail = home.mail("welcome", "ada@example.org").await;
    let start = "https://app.example.org/account/verify-email?token=";
    assert!(mail.link().starts_with(start), "{}", mail.link());
    assert!(!mail.html.contains("evil") && !mail.text.contains("evil"));
}

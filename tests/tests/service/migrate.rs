//! `auth-service migrate`, and services that migrate when they start.

use auth_tests::{
    postgres::{self, PgBouncer},
    process::Ended,
};
use tokio::task::JoinSet;

use crate::data::{Data, on_each_database};

on_each_database! {
    the_schema_goes_up_and_down_step_by_step
    down_to_nothing_and_up_again_is_the_same_schema
    a_wrong_call_changes_nothing
    a_newer_schema_is_refused_by_every_command
    a_step_that_fails_leaves_nothing_half_done
    who_waits_goes_on_when_another_process_has_migrated
    who_waits_in_vain_is_told
    of_ten_replicas_that_start_at_once_one_migrates_and_all_serve
}

/// What it calls the steps, the first one first.
fn steps() -> Vec<(i64, &'static str)> {
    let steps = auth_migrations::POSTGRES.iter();
    steps.map(|step| (step.version, step.name)).collect()
}

fn newest() -> i64 {
    steps().last().unwrap().0
}

async fn migrate(data: &Data, arguments: &[&str]) -> Ended {
    let launch = data.service().arg("migrate");
    let launch = arguments
        .iter()
        .fold(launch, |launch, word| launch.arg(word));
    launch.run().await
}

/// It ended with this status, and the table says how far the schema is.
#[track_caller]
fn told(ended: &Ended, status: i32, version: i64) {
    assert_eq!(ended.status.code(), Some(status), "{ended:?}");
    let table: Vec<_> = steps()
        .iter()
        .map(|(step, name)| {
            let state = if *step <= version { "done" } else { "to do" };
            format!("{step:04} {name:<24} {state}")
        })
        .collect();
    assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), table);
}

/// It did nothing and says why, in one line.
#[track_caller]
fn refused(ended: &Ended, why: &str) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

async fn the_schema_goes_up_and_down_step_by_step(data: Data) {
    told(&migrate(&data, &["status"]).await, 1, 0);
    for version in 1..=newest() {
        let to = version.to_string();
        told(&migrate(&data, &["up", "--to", &to]).await, 0, version);
        let status = i32::from(version < newest());
        told(&migrate(&data, &["status"]).await, status, version);
    }
    // There is nothing to do, or it is done already.
    told(&migrate(&data, &["up"]).await, 0, newest());
    told(&migrate(&data, &["up", "--to", "1"]).await, 0, newest());
    told(&migrate(&data, &["wait"]).await, 0, newest());

    for version in (0..newest()).rev() {
        let to = version.to_string();
        told(&migrate(&data, &["down", "--to", &to]).await, 0, version);
        told(&migrate(&data, &["status"]).await, 1, version);
    }
    told(&migrate(&data, &["down", "--all"]).await, 0, 0);
    told(&migrate(&data, &["up"]).await, 0, newest());
}

async fn down_to_nothing_and_up_again_is_the_same_schema(data: Data) {
    let service = data.service().start().await;
    service.registered("ada").await;
    service.stop().await;
    let before = data.schema().await;
    assert!(before.contains("users_username"), "{before}");

    told(&migrate(&data, &["down", "--all"]).await, 0, 0);
    let nothing = data.schema().await;
    assert!(!nothing.contains("users"), "{nothing}");

    told(&migrate(&data, &["up"]).await, 0, newest());
    assert_eq!(data.schema().await, before);
    // The old data are gone, and new ones come.
    let service = data.service().start().await;
    service.registered("ada").await;
}

async fn a_wrong_call_changes_nothing(data: Data) {
    migrate(&data, &["up"]).await;
    let too_far = (newest() + 1).to_string();
    for arguments in [
        &["down"] as &[&str],
        &["down", "--all", "--to", "0"],
        &["down", "--to", "all"],
        &["down", "--to=-1"],
        &["down", "--to", &too_far],
        &["up", "--to", &too_far],
        &["up", "--all"],
        &["wait", "--timeout", "soon"],
        &["sideways"],
        &[],
    ] {
        let ended = migrate(&data, arguments).await;
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "");
    }
    told(&migrate(&data, &["status"]).await, 0, newest());
}

async fn a_newer_schema_is_refused_by_every_command(data: Data) {
    migrate(&data, &["up"]).await;
    data.execute(
        "insert into auth._migrations (version, description, success, checksum, execution_time) values (9999, 'of the future', true, '', 0)",
    )
    .await;
    let before = data.schema().await;
    let why = format!(
        "the database has schema version 9999, but this program knows only versions up to {}: \
         run the newer program that migrated it, or let that one migrate it down first",
        newest()
    );
    for arguments in [
        &["status"] as &[&str],
        &["up"],
        &["down", "--all"],
        &["wait"],
    ] {
        refused(&migrate(&data, arguments).await, &why);
    }
    refused(&data.service().run().await, &why);
    assert_eq!(data.schema().await, before);
}

/// A table of somebody else is in the way of the first step.
async fn a_step_that_fails_leaves_nothing_half_done(data: Data) {
    told(&migrate(&data, &["status"]).await, 1, 0);
    if data.has_schemas() {
        data.execute("create schema auth").await;
    }
    data.execute("create table auth.audit_log (theirs integer)")
        .await;
    let before = data.schema().await;
    for launch in [data.service().arg("migrate").arg("up"), data.service()] {
        let ended = launch.run().await;
        refused(&ended, "the schema could not be migrated: ");
        assert!(ended.stderr.contains("already exists"), "{ended:?}");
        assert_eq!(data.schema().await, before);
    }
    data.execute("drop table auth.audit_log").await;
    told(&migrate(&data, &["up"]).await, 0, newest());
}

async fn who_waits_goes_on_when_another_process_has_migrated(data: Data) {
    let wait = data.service().arg("migrate").arg("wait");
    let waiting = tokio::spawn(wait.run());
    data.is_in_use().await;
    told(&migrate(&data, &["up"]).await, 0, newest());
    let waited = waiting.await.unwrap();
    told(&waited, 0, newest());
}

async fn who_waits_in_vain_is_told(data: Data) {
    let ended = migrate(&data, &["wait", "--timeout", "1"]).await;
    told(&ended, 1, 0);
    let last = ended.stderr.lines().last().unwrap_or_default();
    let why = format!(
        "auth-service: the schema is at version 0, and nobody took it to {} in 1 s",
        newest()
    );
    assert_eq!(last, why);
}

async fn of_ten_replicas_that_start_at_once_one_migrates_and_all_serve(data: Data) {
    let mut starting = JoinSet::new();
    for _ in 0..10 {
        starting.spawn(data.service().start());
    }
    let replicas = starting.join_all().await;
    replicas[0].registered("ada").await;
    let mut migrated = 0;
    for replica in replicas {
        let me = serde_json::json!({"username": "ada", "password": auth_tests::PASSWORD});
        replica.post("/auth/login", me).await.ok(200);
        let ended = replica.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        assert!(!ended.stderr.contains("ERROR"), "{ended:?}");
        migrated += ended.stderr.matches("the schema was migrated").count();
    }
    assert_eq!(migrated, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_waited_for_no_longer_than_asked() {
    let cluster = postgres::Cluster::start();
    cluster.stop();
    let data = Data::of(Some(postgres::Database { url: cluster.url() }));
    let ended = migrate(&data, &["wait", "--timeout", "1"]).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let mut lines = ended.stderr.lines();
    let progress = lines.next().unwrap_or_default();
    assert!(
        progress.starts_with("waiting for the database (Postgres, 127.0.0.1:"),
        "{ended:?}"
    );
    let why = "auth-service: the database could not be opened: ";
    assert!(
        lines.last().unwrap_or_default().starts_with(why),
        "{ended:?}"
    );

    // It comes while somebody waits.
    let waiting = tokio::spawn(data.service().arg("migrate").arg("up").run());
    let waiting_long = tokio::spawn(data.service().arg("migrate").arg("wait").run());
    cluster.resume();
    told(&waiting.await.unwrap(), 0, newest());
    told(&waiting_long.await.unwrap(), 0, newest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_up_prepared_statements_is_refused_in_words() {
    let database = postgres::empty_database().await;
    let pooler = PgBouncer::before(&database, &["pool_mode = transaction"]);
    let mixed = Data::of(Some(pooler.database.clone()));
    let why = "the connection pooler before the database mixes up prepared statements: \
               set its pool_mode to session, or take PgBouncer 1.21 or newer with max_prepared_statements = 200: ";
    for arguments in [&["wait"] as &[&str], &["up"]] {
        refused(&migrate(&mixed, arguments).await, why);
    }
    refused(&mixed.service().run().await, why);

    let pooler = PgBouncer::before(&database, &["pool_mode = session"]);
    let service = Data::of(Some(pooler.database.clone()))
        .service()
        .start()
        .await;
    service.verified("ada").await;
}

//! `auth-service ledger verify`, also over a database to which somebody else wrote.

use auth_core::types::UserId;
use auth_tests::{
    API_KEY, PASSWORD, email_of,
    process::{Ended, Home, Service},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};

/// A service with credits in it, and the users who have them.
async fn with_credits(home: &Home) -> (Service, Vec<UserId>) {
    let service = home
        .service()
        .quick()
        .set("INTERNAL_API_KEY", API_KEY)
        .start()
        .await;
    let mut users = Vec::new();
    for name in ["ada", "bob", "cleo", "dora"] {
        let body = json!({"username": name, "email": email_of(name), "password": PASSWORD});
        let answer = service.post("/auth/register", body).await;
        let user = UserId::parse(answer.ok(201)["user"]["id"].as_str().unwrap()).unwrap();
        for (path, amount) in [("add", "10"), ("use", "2.50"), ("add", "1")] {
            let body = json!({"user_id": user.to_string(), "amount": amount});
            let call = service.post(&format!("/credits/{path}"), body);
            call.by_service().await.ok(200);
        }
        users.push(user);
    }
    (service, users)
}

async fn verify(home: &Home) -> Ended {
    home.service().arg("ledger").arg("verify").run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn books_that_are_right_are_told_so_beside_the_running_service() {
    let home = Home::new();
    let (service, _) = with_credits(&home).await;
    let ended = verify(&home).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "4 balance(s), 12 entries, 0 breach(es)\n");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_cook_the_books_is_told() {
    let home = Home::new();
    let (service, users) = with_credits(&home).await;
    service.stop().await;
    let mut database = home.database().await;
    let id = |user: UserId| format!("x'{}'", user.as_uuid().simple());
    let [ada, bob, cleo, dora] = [0, 1, 2, 3].map(|place| id(users[place]));
    // Whoever can write can also take the guards away.
    database
        .execute(AssertSqlSafe(format!(
            "drop trigger auth_credit_entries_no_update; drop trigger auth_credit_entries_no_delete; drop trigger auth_credit_accounts_no_delete;
             update auth_credit_accounts set balance = 99900 where user_id = {ada};
             update auth_credit_entries set change = -150 where user_id = {bob} and number = 2;
             delete from auth_credit_entries where user_id = {cleo} and number = 2;
             delete from auth_credit_accounts where user_id = {dora}"
        )))
        .await
        .unwrap();
    drop(database);
    let ended = verify(&home).await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let [ada, bob, cleo, dora] = [0, 1, 2, 3].map(|place| users[place]);
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.pop(), Some("3 balance(s), 8 entries, 7 breach(es)"));
    let expected = [
        format!("user {ada}: the balance is 999.00 and the entries sum up to 8.50"),
        format!("user {bob}: entry 2 does not follow from the one before it"),
        format!("user {bob}: the balance is 8.50 and the entries sum up to 9.50"),
        format!("user {cleo}: entry 2 is missing"),
        format!("user {cleo}: entry 3 does not follow from the one before it"),
        format!("user {cleo}: the balance is 8.50 and the entries sum up to 11.00"),
        format!("user {dora}: there are entries, but no balance"),
    ];
    assert_eq!(lines, expected);
}

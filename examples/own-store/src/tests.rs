#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use auth_core::{
    Auth, Hashing, Links,
    contract::fixtures::sweep,
    ports::{Clock, SystemClock, UserStore},
    time::Duration,
    types::{AccountKey, Username},
};
use auth_store_postgres::sqlx::{self, Executor, PgConnection, PgPool};
use auth_tests::{
    Client, Mailbox, PASSWORD, Person, email_of,
    postgres::{self, Database},
    signing_keys,
};
use serde_json::json;

use crate::members::{Member, MemberStore};

async fn open(database: &Database) -> MemberStore {
    let pool = PgPool::connect(&database.url).await.unwrap();
    let members = MemberStore::on(pool);
    members.migrate().await.unwrap();
    members
}

mod contract {
    use std::sync::Arc;

    use auth_core::contract::Stores;

    use super::{open, postgres};

    async fn stores() -> Stores {
        let database = postgres::database().await;
        Stores {
            first: Arc::new(open(&database).await),
            second: Arc::new(open(&database).await),
        }
    }

    auth_core::store_contract!(stores);
}

struct Library {
    auth: Auth,
    client: Client,
    mailbox: Mailbox,
    members: MemberStore,
    outside: PgConnection,
}

impl Library {
    async fn opened() -> Self {
        let database = postgres::empty_database().await;
        let members = open(&database).await;
        let mailbox = Mailbox::default();
        let auth = Auth::builder(members.clone(), signing_keys())
            .hashing(Hashing::bcrypt(4).unwrap())
            .mailer(
                mailbox.clone(),
                Links::to("https://library.example").unwrap(),
            )
            .build()
            .unwrap();
        Self {
            client: Client::of(crate::library(&auth, members.clone())),
            auth,
            mailbox,
            members,
            outside: database.raw().await,
        }
    }

    async fn registered(&self, name: &str) -> Person {
        let body = json!({"username": name, "email": email_of(name), "password": PASSWORD});
        let answer = self.client.post("/auth/register", body).await;
        Person::of(answer.ok(201), PASSWORD)
    }

    /// Follows the link in the newest mail to an address.
    async fn follow_the_link(&self, address: &str) {
        self.auth.send_due_mails().await.unwrap();
        let link = json!({"token": self.mailbox.last_to(address).token()});
        self.client.post("/auth/verify-email", link).await.ok(200);
    }

    async fn member(&self, person: &Person) -> Option<Member> {
        self.members.member(person.id).await.unwrap()
    }

    async fn rows(&mut self) -> i64 {
        sqlx::query_scalar("select count(*) from members")
            .fetch_one(&mut self.outside)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_comes_changes_and_goes_with_the_account() {
    let library = Library::opened().await;
    let ada = library.registered("ada").await;
    let unproven = Member {
        card_number: 1001,
        called: "ada".to_owned(),
        reach_at: None,
    };
    assert_eq!(library.member(&ada).await.unwrap(), unproven);
    let card = library.client.get("/card").by(&ada).await;
    card.refused(403, "email_not_verified");

    library.follow_the_link("ada@example.org").await;
    let member = library.member(&ada).await.unwrap();
    assert_eq!(member.reach_at.as_deref(), Some("ada@example.org"));
    let card = library.client.get("/card").by(&ada).await;
    assert_eq!(card.text(), "ada has card 1001");

    let body = json!({"new_email": "countess@example.org", "current_password": PASSWORD});
    let change = library.client.put("/auth/users/change-email", body);
    change.by(&ada).await.ok(202);
    library.follow_the_link("countess@example.org").await;
    let member = library.member(&ada).await.unwrap();
    assert_eq!(member.reach_at.as_deref(), Some("countess@example.org"));
    assert_eq!(member.card_number, 1001);

    let login = json!({"username": "ada", "password": PASSWORD});
    let login = library.client.post("/auth/login", login).await;
    let ada = Person::of(login.ok(200), PASSWORD);
    let delete = library.client.delete("/auth/users/delete-account").by(&ada);
    delete.json(json!({"password": PASSWORD})).await.ok(200);
    assert_eq!(library.member(&ada).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_goes_when_the_account_is_swept() {
    let mut library = Library::opened().await;
    library.registered("ada").await;
    let tomorrow = SystemClock.now() + Duration::DAY;
    let swept = sweep(&library.members, tomorrow, tomorrow).await.unwrap();
    assert_eq!((swept.accounts, library.rows().await), (1, 0));
}

/// A name that the host's table does not take: nobody has an account without a card, and the name stays free.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_member_is_refused_was_never_made() {
    let mut library = Library::opened().await;
    let strict = "alter table members add constraint strict check (called <> 'eve')";
    library.outside.execute(strict).await.unwrap();
    let body = json!({"username": "eve", "email": email_of("eve"), "password": PASSWORD});
    let refused = library.client.post("/auth/register", body).await;
    refused.refused(500, "internal");
    let eve = AccountKey::Username(Username::parse("eve").unwrap());
    assert!(library.members.account(&eve).await.unwrap().is_none());
    assert_eq!(library.auth.send_due_mails().await.unwrap(), 0);
    assert_eq!(library.rows().await, 0);

    let lenient = "alter table members drop constraint strict";
    library.outside.execute(lenient).await.unwrap();
    let eve = library.registered("eve").await;
    assert!(library.member(&eve).await.is_some());
}

/// The server ends one of two that wait for each other: whoever it was gets its account all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_met_a_deadlock_is_done_again() {
    let mut library = Library::opened().await;
    // A sequence counts on when what it was asked in is rolled back.
    for part in [
        "create sequence tries",
        "create function meet_another() returns trigger language plpgsql as $$
         begin
             if nextval('tries') < 3 then
                 raise exception 'deadlock detected' using errcode = '40P01';
             end if;
             return new;
         end $$",
        "create trigger meet_another before insert on members for each row execute function meet_another()",
    ] {
        library.outside.execute(part).await.unwrap();
    }
    let ada = library.registered("ada").await;
    assert!(library.member(&ada).await.is_some());
    let tries: i64 = sqlx::query_scalar("select last_value from tries")
        .fetch_one(&mut library.outside)
        .await
        .unwrap();
    assert_eq!((tries, library.rows().await), (3, 1));
    assert_eq!(library.auth.send_due_mails().await.unwrap(), 1);

    // One that meets others for ever is an outage, and leaves nothing.
    let for_ever = "alter sequence tries minvalue -1000 restart with -1000";
    library.outside.execute(for_ever).await.unwrap();
    let body = json!({"username": "eve", "email": email_of("eve"), "password": PASSWORD});
    let refused = library.client.post("/auth/register", body).await;
    refused.refused(503, "unavailable");
    let eve = AccountKey::Username(Username::parse("eve").unwrap());
    assert!(library.members.account(&eve).await.unwrap().is_none());
    assert_eq!(library.rows().await, 1);
}

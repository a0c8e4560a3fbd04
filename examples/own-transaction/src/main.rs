//! An account, its welcome mail, its first credits and a row of the host in one commit: all of it or nothing.
//!
//! ```sh
//! DATABASE_URL=postgres://localhost/playground cargo run -p own-transaction
//! ```
//!
//! It makes the schema `auth` and a table `workspaces` there, and leaves one more account and workspace with each run.
#![allow(clippy::print_stdout)] // it tells what happened

use std::error::Error;

use async_trait::async_trait;
use auth_billing::{Billing, Movement, Origin};
use auth_core::{
    Auth, Links, Register, Registration, SigningKeys,
    ports::{Mailer, MailerError, OsRandom, OutgoingMail, Random},
    types::{Amount, Caller, Client, Email, Password, User, Username},
};
use auth_store_postgres::{
    PgScope, PgStore,
    sqlx::{self, Executor, PgPool, Postgres, Transaction},
};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    #[allow(clippy::disallowed_methods)] // the host's settings are the host's business
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a database to play with")?;
    let pool = PgStore::pool_options().connect(&url).await?;
    let store = PgStore::from_pool(pool.clone());
    store.migrate().await?;
    pool.execute("create table if not exists workspaces (name text not null, owner uuid not null references auth.users on delete cascade)")
        .await?;

    let mut secret = [0; 48];
    OsRandom.fill(&mut secret); // a real host keeps it, or nobody's link works after a restart
    let auth = Auth::builder(store.clone(), SigningKeys::parse(secret)?)
        .mailer(Console, Links::to("https://app.example")?)
        .build()?;
    let billing = Billing::new(&auth, store);

    println!("1. Everything goes well.");
    let name = fresh_name();
    let (user, mut tx) = register(&auth, &billing, &pool, &name).await?;
    make_workspace(&mut tx, &user, "the first workspace").await?;
    println!("   before the commit: {}", seen(&pool, &name).await?);
    println!("   mails sent: {}", auth.send_due_mails().await?);
    tx.commit().await?;
    println!("   after the commit: {}", seen(&pool, &name).await?);
    println!("   mails sent: {}", auth.send_due_mails().await?);

    println!(
        "2. The host's part fails: the account goes with it, and so do the mail and the credits."
    );
    let other = fresh_name();
    let (_, mut tx) = register(&auth, &billing, &pool, &other).await?;
    let refused = tx
        .execute("insert into workspaces (name) values ('nobody owns this')")
        .await;
    println!("   the host's row is refused: {}", refused.is_err());
    tx.rollback().await?;
    println!("   afterwards: {}", seen(&pool, &other).await?);
    println!("   mails sent: {}", auth.send_due_mails().await?);

    println!("3. Our part is refused: the host's transaction goes on.");
    let scope = PgScope::adopt(pool.begin().await?);
    let twice = auth
        .within(scope.clone())
        .register(command(&name)?, &Client::default())
        .await;
    println!("   the name is taken: {}", twice.is_err());
    let mut tx = scope.release().await?;
    make_workspace(&mut tx, &user, "another workspace").await?;
    tx.commit().await?;
    println!("   afterwards: {}", seen(&pool, &name).await?);
    Ok(())
}

/// Registers and welcomes with ten credits, inside a transaction of ours, which comes back open.
async fn register(
    auth: &Auth,
    billing: &Billing,
    pool: &PgPool,
    name: &str,
) -> Result<(User, Transaction<'static, Postgres>), Failure> {
    let scope = PgScope::adopt(pool.begin().await?);
    let registration = auth
        .within(scope.clone())
        .register(command(name)?, &Client::default())
        .await?;
    let Registration::Opened(tokens) = registration else {
        return Err("only with enumeration protection, which is off here".into());
    };
    let welcome = Movement::of(tokens.user.id, Amount::parse("10")?);
    let origin = Origin::of(Caller::parse("welcome")?);
    billing.within(scope.clone()).add(welcome, &origin).await?;
    Ok((tokens.user, scope.release().await?))
}

fn command(name: &str) -> Result<Register, Failure> {
    Ok(Register {
        username: Username::parse(name)?,
        email: Email::parse(&format!("{name}@example.org"))?,
        password: Password::parse("correct horse battery staple")?,
    })
}

async fn make_workspace(
    tx: &mut Transaction<'static, Postgres>,
    owner: &User,
    name: &str,
) -> sqlx::Result<()> {
    sqlx::query("insert into workspaces (name, owner) values ($1, $2)")
        .bind(name)
        .bind(owner.id.as_uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What everybody else sees.
async fn seen(pool: &PgPool, name: &str) -> sqlx::Result<String> {
    let (accounts, hundredths, workspaces): (i64, i64, i64) = sqlx::query_as(
        "select count(distinct u.id), coalesce(max(c.balance), 0), count(w.owner) from auth.users u
         left join auth.credit_accounts c on c.owner = u.id left join workspaces w on w.owner = u.id where u.username = $1",
    )
    .bind(name)
    .fetch_one(pool)
    .await?;
    let credits = hundredths / 100;
    Ok(format!(
        "accounts {accounts}, credits {credits}, workspaces {workspaces}"
    ))
}

fn fresh_name() -> String {
    let mut bits = [0; 4];
    OsRandom.fill(&mut bits);
    format!("ada{}", u32::from_be_bytes(bits))
}

/// Prints instead of sending.
struct Console;

#[async_trait]
impl Mailer for Console {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        println!("   a mail to {}: {}", mail.to, mail.subject);
        Ok(())
    }
}

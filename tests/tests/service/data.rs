//! Where a service keeps its data, and a look at it from outside, while a service runs and after one was killed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use auth_store_sqlite::sqlx::{self, AssertSqlSafe};
use auth_tests::{
    postgres::{self, Database},
    process::{Home, Launch, eventually},
};

/// Makes a test of each behaviour over each database that the service can run on; a behaviour is an async function that takes [`Data`].
macro_rules! on_each_database {
    ($($behaviour:ident)*) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $behaviour() {
                    Box::pin(super::$behaviour($crate::data::Data::sqlite())).await;
                }
            )*
        }
        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $behaviour() {
                    Box::pin(super::$behaviour($crate::data::Data::postgres().await)).await;
                }
            )*
        }
    };
}
pub(crate) use on_each_database;

/// A home with nothing in it, and a database with nothing in it.
pub(crate) struct Data {
    pub(crate) home: Home,
    /// `None`: a file in the home.
    postgres: Option<Database>,
    sent: Mutex<BTreeMap<String, Mail>>,
}

/// Tables have a prefix there, for want of schemas.
fn in_sqlite(sql: &str) -> String {
    sql.replace("auth._", "_auth_").replace("auth.", "auth_")
}

/// Recipient and template.
pub(crate) type Mail = (String, String);

impl Data {
    pub(crate) fn sqlite() -> Self {
        Self::of(None)
    }

    pub(crate) async fn postgres() -> Self {
        Self::of(Some(postgres::empty_database().await))
    }

    pub(crate) fn of(postgres: Option<Database>) -> Self {
        Self {
            home: Home::new(),
            postgres,
            sent: Mutex::default(),
        }
    }

    pub(crate) const fn has_schemas(&self) -> bool {
        self.postgres.is_some()
    }

    pub(crate) fn url(&self) -> &str {
        let postgres = self.postgres.as_ref();
        postgres.map_or("sqlite:auth-service.db", |database| &database.url)
    }

    /// A replica, to be started.
    pub(crate) fn service(&self) -> Launch {
        self.home.service().quick().set("DATABASE_URL", self.url())
    }

    /// The rows of one text column. Tables are called as in Postgres.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        match &self.postgres {
            Some(database) => sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_all(&mut database.raw().await)
                .await
                .unwrap(),
            None => sqlx::query_scalar(AssertSqlSafe(in_sqlite(sql)))
                .fetch_all(&mut self.home.database().await)
                .await
                .unwrap(),
        }
    }

    /// Does something to the database.
    pub(crate) async fn execute(&self, sql: &str) {
        if let Some(database) = &self.postgres {
            let sql = sqlx::raw_sql(AssertSqlSafe(sql));
            sql.execute(&mut database.raw().await).await.unwrap();
        } else {
            let sql = sqlx::raw_sql(AssertSqlSafe(in_sqlite(sql)));
            sql.execute(&mut self.home.database().await).await.unwrap();
        }
    }

    /// The rows of every table of ours, as text, with the name of the table as in Postgres.
    pub(crate) async fn everything(&self) -> Vec<(String, String)> {
        let names = match &self.postgres {
            Some(_) => "select tablename::text from pg_tables where schemaname = 'auth' order by 1",
            None => {
                "select substr(name, 6) from sqlite_schema where type = 'table' and name like 'auth#_%' escape '#' order by 1"
            }
        };
        let mut tables = Vec::new();
        for table in self.rows(names).await {
            let row = if self.postgres.is_some() {
                "row_to_json(it)::text".to_owned()
            } else {
                let columns = format!(
                    "select 'quote(' || name || ')' from pragma_table_info('auth_{table}')"
                );
                self.rows(&columns).await.join(" || ' ' || ")
            };
            let rows = self
                .rows(&format!("select {row} from auth.{table} as it"))
                .await;
            tables.push((table, rows.join("\n")));
        }
        tables
    }

    /// Until a process has opened the database.
    pub(crate) async fn is_in_use(&self) {
        let ours = "select application_name from pg_stat_activity where datname = current_database() and application_name = 'auth-tower'";
        eventually("a process with the database", async || {
            let is_open = match &self.postgres {
                Some(_) => !self.rows(ours).await.is_empty(),
                None => self.home.path().join("auth-service.db").exists(),
            };
            is_open.then_some(())
        })
        .await;
    }

    /// The whole of it, as text: two that are the same have the same text.
    pub(crate) async fn schema(&self) -> String {
        match &self.postgres {
            Some(database) => database.dump_schema(),
            None => self
                .rows("select name || coalesce(sql, '') from sqlite_schema order by name")
                .await
                .join("\n"),
        }
    }

    /// As if the time had gone by that a worker may hold a mail.
    pub(crate) async fn leases_are_over(&self) {
        self.execute(
            "update auth.outbox set due_at = created_at, lease = null where lease is not null",
        )
        .await;
    }

    /// Until the server has done what a service asked for before it was killed.
    pub(crate) async fn is_quiet(&self) {
        let others = "select count(*)::text from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        if self.postgres.is_some() {
            eventually("the end of all sessions", async || {
                (self.rows(others).await == ["0"]).then_some(())
            })
            .await;
        }
    }

    /// Every mail that was ever handed over, and of those that wait their recipients and templates. A mail that left just before the end of a service
    /// may wait, too.
    pub(crate) async fn mails(&self) -> Vec<Mail> {
        let mut mails = self.sent();
        let id = match &self.postgres {
            Some(_) => "replace(cast(id as text), '-', '')",
            None => "lower(hex(id))",
        };
        let waiting = format!(
            "select recipient || ' ' || (letter ->> 'template') || ' ' || {id} from auth.outbox"
        );
        for row in self.rows(&waiting).await {
            let mut words = row.split(' ').map(str::to_owned);
            let mail = (words.next().unwrap(), words.next().unwrap());
            mails.insert(words.next().unwrap(), mail);
        }
        let mut mails: Vec<_> = mails.into_values().collect();
        mails.sort_unstable();
        mails
    }

    /// Until no mail waits any more.
    pub(crate) async fn everything_is_sent(&self) {
        eventually("an empty outbox", async || {
            let waiting = self.rows("select recipient from auth.outbox").await;
            waiting.is_empty().then_some(())
        })
        .await;
    }

    /// By their ids. The folder is emptied, so that it need not be read again and again.
    fn sent(&self) -> BTreeMap<String, Mail> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for mail in self.home.take_mails() {
            let about = (mail.to.to_string(), mail.template.to_owned());
            sent.insert(mail.id.replace('-', ""), about);
        }
        sent.clone()
    }
}

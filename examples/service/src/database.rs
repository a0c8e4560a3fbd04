//! The store that `DATABASE_URL` names, by its scheme.

use std::{error::Error as StdError, fmt, path::PathBuf, str::FromStr, time::Duration};

use auth_billing::Billing;
use auth_core::{
    Auth, AuthBuilder, SigningKeys,
    ports::{BillingStore, Connections, CreditStore, Outbox, Store, StoreError, UserStore},
    types::Secret,
};
use auth_store_postgres::{PgStore, SchemaError};
use auth_store_sqlite::SqliteStore;
use tokio::time::{Instant, sleep_until};

type BoxError = Box<dyn StdError + Send + Sync>;

/// How long a start waits for a database that does not answer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Of whoever watches: one for each of two questions.
const WATCHING: u32 = 2;

/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Where the data lies.
#[derive(Clone)]
pub(crate) enum DatabaseUrl {
    Postgres(Secret<String>),
    SqliteFile(PathBuf),
    SqliteMemory,
}

impl DatabaseUrl {
    /// Where the secrets of a development service lie; nothing of a database in memory outlives the process.
    pub(crate) fn secrets_file(&self) -> Option<PathBuf> {
        match self {
            Self::Postgres(_) => Some("auth-service.secrets".into()),
            Self::SqliteFile(path) => Some(path.with_extension("secrets")),
            Self::SqliteMemory => None,
        }
    }
}

/// For the operator: without a password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => {
                let place = url.expose().rsplit('@').next().unwrap_or_default();
                write!(
                    f,
                    "Postgres, {}",
                    place.split('?').next().unwrap_or_default()
                )
            }
            Self::SqliteFile(path) => write!(f, "SQLite, {}", path.display()),
            Self::SqliteMemory => f.write_str("SQLite in memory: gone when the service stops"),
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        if matches!(scheme, "postgres" | "postgresql" | "postgresql+asyncpg") {
            return Ok(Self::Postgres(Secret::new(url.to_owned())));
        }
        if scheme != "sqlite" {
            return Err("must be sqlite:PATH, sqlite::memory: or postgres://…");
        }
        match rest.strip_prefix("//").unwrap_or(rest) {
            ":memory:" => Ok(Self::SqliteMemory),
            "" => Err("names no file"),
            path if path.contains('?') => Err("takes no parameters after the path"),
            path => Ok(Self::SqliteFile(path.into())),
        }
    }
}

/// Whether a server does not answer now, and may later.
pub(crate) fn is_unavailable(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    error
        .downcast_ref::<SchemaError>()
        .is_some_and(SchemaError::is_unavailable)
}

/// An open store.
#[derive(Clone)]
pub(crate) enum Database {
    Postgres(PgStore),
    Sqlite(SqliteStore),
}

impl Database {
    /// Opens it; a server that does not answer is waited for, up to the deadline, with a line of progress through `tell`.
    pub(crate) async fn open(
        url: &DatabaseUrl,
        connections: u32,
        deadline: Instant,
        tell: impl Fn(&str),
    ) -> Result<Self, BoxError> {
        match url {
            DatabaseUrl::SqliteFile(path) => Ok(Self::Sqlite(SqliteStore::open(path).await?)),
            DatabaseUrl::SqliteMemory => Ok(Self::Sqlite(SqliteStore::in_memory().await?)),
            DatabaseUrl::Postgres(address) => loop {
                match PgStore::connect_with(
                    address.expose(),
                    PgStore::pool_options().max_connections(connections),
                )
                .await
                {
                    Ok(store) => return Ok(Self::Postgres(store)),
                    Err(error) if error.is_unavailable() && Instant::now() < deadline => {
                        let left = deadline.duration_since(Instant::now()).as_secs();
                        tell(&format!(
                            "waiting for the database ({url}), {left} s left: {}",
                            crate::chain(&error)
                        ));
                        sleep_until(deadline.min(Instant::now() + TRY_AGAIN)).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            },
        }
    }

    /// The same data for whoever watches: over connections of their own to a server, so that they neither wait for clients nor take their place. How long
    /// they wait says nothing about the work, and is not told.
    /// A server that has none left is waited for as in [`open`](Self::open).
    pub(crate) async fn to_watch(
        &self,
        url: &DatabaseUrl,
        deadline: Instant,
        tell: impl Fn(&str),
    ) -> Result<Self, BoxError> {
        let opened = match url {
            DatabaseUrl::Postgres(_) => Self::open(url, WATCHING, deadline, tell).await?,
            // It is opened once.
            DatabaseUrl::SqliteFile(_) | DatabaseUrl::SqliteMemory => self.clone(),
        };
        Ok(match opened {
            Self::Postgres(store) => Self::Postgres(store.unmetered()),
            Self::Sqlite(store) => Self::Sqlite(store.unmetered()),
        })
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(store) => store.ping().await,
            Self::Sqlite(store) => store.ping().await,
        }
    }

    pub(crate) fn auth(&self, keys: SigningKeys) -> AuthBuilder {
        match self {
            Self::Postgres(store) => Auth::builder(store.clone(), keys),
            Self::Sqlite(store) => Auth::builder(store.clone(), keys),
        }
    }

    pub(crate) fn billing(&self, auth: &Auth) -> Billing {
        match self {
            Self::Postgres(store) => Billing::new(auth, store.clone()),
            Self::Sqlite(store) => Billing::new(auth, store.clone()),
        }
    }

    pub(crate) fn connections(&self) -> Connections {
        match self {
            Self::Postgres(store) => store.connections(),
            Self::Sqlite(store) => store.connections(),
        }
    }

    pub(crate) fn ledger(&self) -> &dyn CreditStore {
        match self {
            Self::Postgres(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    pub(crate) fn payments(&self) -> &dyn BillingStore {
        match self {
            Self::Postgres(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    pub(crate) fn outbox(&self) -> &dyn Outbox {
        match self {
            Self::Postgres(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    pub(crate) fn users(&self) -> &dyn UserStore {
        match self {
            Self::Postgres(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    pub(crate) async fn migrate(&self) -> Result<(), BoxError> {
        match self {
            Self::Postgres(store) => Ok(store.migrate().await?),
            Self::Sqlite(store) => Ok(store.migrate().await?),
        }
    }

    pub(crate) async fn migrate_up(&self, to: i64) -> Result<(), BoxError> {
        match self {
            Self::Postgres(store) => Ok(store.migrate_up(to).await?),
            Self::Sqlite(store) => Ok(store.migrate_up(to).await?),
        }
    }

    pub(crate) async fn migrate_down(&self, to: i64) -> Result<(), BoxError> {
        match self {
            Self::Postgres(store) => Ok(store.migrate_down(to).await?),
            Self::Sqlite(store) => Ok(store.migrate_down(to).await?),
        }
    }

    pub(crate) async fn schema_version(&self) -> Result<i64, BoxError> {
        match self {
            Self::Postgres(store) => Ok(store.schema_version().await?),
            Self::Sqlite(store) => Ok(store.schema_version().await?),
        }
    }

    /// The steps that this program knows, oldest first.
    pub(crate) const fn known_steps(&self) -> &'static [auth_migrations::Migration] {
        match self {
            Self::Postgres(_) => auth_migrations::POSTGRES,
            Self::Sqlite(_) => auth_migrations::SQLITE,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DatabaseUrl;

    #[test]
    fn the_scheme_selects_the_store_and_no_password_is_shown() {
        let shown = |url: &str| url.parse::<DatabaseUrl>().map(|url| url.to_string());
        assert_eq!(shown("sqlite:a.db"), Ok("SQLite, a.db".to_owned()));
        assert_eq!(
            shown("sqlite:///data/a.db"),
            Ok("SQLite, /data/a.db".to_owned())
        );
        assert!(matches!(
            "sqlite::memory:".parse(),
            Ok(DatabaseUrl::SqliteMemory)
        ));
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            let url = format!("{scheme}://app:hunter2@db:5432/app?password=hunter2");
            assert_eq!(shown(&url), Ok("Postgres, db:5432/app".to_owned()));
        }
        for url in [
            "",
            "auth.db",
            "mysql://db",
            "sqlite:",
            "sqlite:a.db?mode=ro",
        ] {
            assert!(shown(url).is_err(), "{url}");
        }
    }
}

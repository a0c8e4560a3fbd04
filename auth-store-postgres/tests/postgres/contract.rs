//! The suites that any store must pass.

use std::sync::Arc;

use auth_core::contract::Stores;
use auth_store_postgres::{PgScope, PgStore, sqlx::postgres::PgPoolOptions};
use auth_tests::postgres;

/// Two replicas on one database.
mod store {
    use super::{Arc, Stores, postgres};

    async fn stores() -> Stores {
        let database = postgres::database().await;
        Stores {
            first: Arc::new(database.store().await),
            second: Arc::new(database.store().await),
        }
    }

    auth_core::store_contract!(stores);
}

/// A store on the host's pool beside one on its own, with the strictest default that a database can have.
mod shared_pool {
    use super::{Arc, PgPoolOptions, PgStore, Stores, postgres};

    async fn stores() -> Stores {
        let database = postgres::database().await;
        let url = format!(
            "{}?options[default_transaction_isolation]=serializable",
            database.url
        );
        let pool = PgPoolOptions::new().connect(&url).await.unwrap();
        Stores {
            first: Arc::new(PgStore::from_pool(pool)),
            second: Arc::new(PgStore::connect(&url).await.unwrap()),
        }
    }

    auth_core::store_contract!(stores);
}

/// All of it in one transaction of a host.
mod scope {
    use super::{Arc, PgPoolOptions, PgScope, Stores, postgres};

    async fn stores() -> Stores {
        let database = postgres::database().await;
        let pool = PgPoolOptions::new().connect(&database.url).await.unwrap();
        let scope = PgScope::adopt(pool.begin().await.unwrap());
        Stores {
            first: Arc::new(scope.clone()),
            second: Arc::new(scope),
        }
    }

    auth_core::store_contract!(stores);
}

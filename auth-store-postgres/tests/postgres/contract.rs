//! The suites that any store must pass.

use auth_core::contract::{CreditStores, Stores};
use auth_store_postgres::{PgScope, PgStore, sqlx::postgres::PgPoolOptions};
use auth_tests::postgres;

/// Two replicas on one database.
mod store {
    use super::{CreditStores, PgStore, Stores, postgres};

    async fn handles() -> (PgStore, PgStore) {
        let database = postgres::database().await;
        (database.store().await, database.store().await)
    }

    async fn stores() -> Stores {
        let (first, second) = handles().await;
        Stores::of(first, second)
    }

    async fn credit_stores() -> CreditStores {
        let (first, second) = handles().await;
        CreditStores::of(first, second)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
}

/// A store on the host's pool beside one on its own, with the strictest default that a database can have.
mod shared_pool {
    use super::{CreditStores, PgPoolOptions, PgStore, Stores, postgres};

    async fn handles() -> (PgStore, PgStore) {
        let database = postgres::database().await;
        let url = format!(
            "{}?options[default_transaction_isolation]=serializable",
            database.url
        );
        let pool = PgPoolOptions::new().connect(&url).await.unwrap();
        (
            PgStore::from_pool(pool),
            PgStore::connect(&url).await.unwrap(),
        )
    }

    async fn stores() -> Stores {
        let (first, second) = handles().await;
        Stores::of(first, second)
    }

    async fn credit_stores() -> CreditStores {
        let (first, second) = handles().await;
        CreditStores::of(first, second)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
}

/// All of it in one transaction of a host.
mod scope {
    use super::{CreditStores, PgPoolOptions, PgScope, Stores, postgres};

    async fn scope() -> PgScope {
        let database = postgres::database().await;
        let pool = PgPoolOptions::new().connect(&database.url).await.unwrap();
        PgScope::adopt(pool.begin().await.unwrap())
    }

    async fn stores() -> Stores {
        let scope = scope().await;
        Stores::of(scope.clone(), scope)
    }

    async fn credit_stores() -> CreditStores {
        let scope = scope().await;
        CreditStores::of(scope.clone(), scope)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
}

//! The suites that any store must pass.

use auth_core::contract::{BillingStores, CreditStores, Stores};
use auth_store_postgres::{PgScope, PgStore, sqlx::postgres::PgPoolOptions};
use auth_tests::postgres;

/// Two replicas on one database.
mod store {
    use super::{BillingStores, CreditStores, PgStore, Stores, postgres};

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

    async fn billing_stores() -> BillingStores {
        let (first, second) = handles().await;
        BillingStores::of(first, second)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
    auth_core::billing_contract!(billing_stores);
}

/// A store on the host's pool beside one on its own, with the strictest default that a database can have.
mod shared_pool {
    use super::{BillingStores, CreditStores, PgPoolOptions, PgStore, Stores, postgres};

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

    async fn billing_stores() -> BillingStores {
        let (first, second) = handles().await;
        BillingStores::of(first, second)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
    auth_core::billing_contract!(billing_stores);
}

/// All of it in one transaction of a host.
mod scope {
    use super::{BillingStores, CreditStores, PgPoolOptions, PgScope, Stores, postgres};

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

    async fn billing_stores() -> BillingStores {
        let scope = scope().await;
        BillingStores::of(scope.clone(), scope)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
    auth_core::billing_contract!(billing_stores);
}

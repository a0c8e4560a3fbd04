//! The suites that any store must pass.
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use std::cell::RefCell;

use auth_core::contract::{BillingStores, CreditStores, Stores};
use auth_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// Two processes' worth of connections on one file.
mod one_file {
    use super::{BillingStores, CreditStores, RefCell, SqliteStore, Stores, TempDir};

    thread_local! {
        /// Deleted with the thread of the test: the suites have no hand that could hold it.
        static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
    }

    async fn handles() -> (SqliteStore, SqliteStore) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.db");
        DIRECTORIES.with_borrow_mut(|kept| kept.push(directory));
        let first = SqliteStore::open(&path).await.unwrap();
        first.migrate().await.unwrap();
        let second = SqliteStore::open(&path).await.unwrap();
        (first, second)
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

mod memory {
    use super::{BillingStores, CreditStores, SqliteStore, Stores};

    async fn store() -> SqliteStore {
        let store = SqliteStore::in_memory().await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn stores() -> Stores {
        let store = store().await;
        Stores::of(store.clone(), store)
    }

    async fn credit_stores() -> CreditStores {
        let store = store().await;
        CreditStores::of(store.clone(), store)
    }

    async fn billing_stores() -> BillingStores {
        let store = store().await;
        BillingStores::of(store.clone(), store)
    }

    auth_core::store_contract!(stores);
    auth_core::credit_contract!(credit_stores);
    auth_core::billing_contract!(billing_stores);
}

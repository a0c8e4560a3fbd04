//! The suites that any store must pass.
#![allow(clippy::unwrap_used)] // test code: what cannot go on has failed

use std::{cell::RefCell, sync::Arc};

use auth_core::contract::Stores;
use auth_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// Two processes' worth of connections on one file.
mod one_file {
    use super::{Arc, RefCell, SqliteStore, Stores, TempDir};

    thread_local! {
        /// Deleted with the thread of the test: the suites have no hand that could hold it.
        static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
    }

    async fn stores() -> Stores {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.db");
        DIRECTORIES.with_borrow_mut(|kept| kept.push(directory));
        let first = SqliteStore::open(&path).await.unwrap();
        first.migrate().await.unwrap();
        let second = SqliteStore::open(&path).await.unwrap();
        Stores {
            first: Arc::new(first),
            second: Arc::new(second),
        }
    }

    auth_core::store_contract!(stores);
}

mod memory {
    use super::{Arc, SqliteStore, Stores};

    async fn stores() -> Stores {
        let store = SqliteStore::in_memory().await.unwrap();
        store.migrate().await.unwrap();
        Stores {
            first: Arc::new(store.clone()),
            second: Arc::new(store),
        }
    }

    auth_core::store_contract!(stores);
}

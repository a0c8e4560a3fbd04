//! The store in memory passes the suites of every store.

use std::sync::Arc;

use auth_core::{adapters::MemoryStore, contract::Stores};

#[allow(clippy::unused_async)] // the suites take an async function: most stores have to connect
async fn stores() -> Stores {
    let store = MemoryStore::default();
    Stores {
        first: Arc::new(store.clone()),
        second: Arc::new(store),
    }
}

auth_core::store_contract!(stores);

//! The store in memory passes the suites of every store.

use auth_core::{
    adapters::MemoryStore,
    contract::{BillingStores, CreditStores, Stores},
};

#[allow(clippy::unused_async)] // the suites take an async function: most stores have to connect
async fn stores() -> Stores {
    let store = MemoryStore::default();
    Stores::of(store.clone(), store)
}

#[allow(clippy::unused_async)]
async fn credit_stores() -> CreditStores {
    let store = MemoryStore::default();
    CreditStores::of(store.clone(), store)
}

#[allow(clippy::unused_async)]
async fn billing_stores() -> BillingStores {
    let store = MemoryStore::default();
    BillingStores::of(store.clone(), store)
}

auth_core::store_contract!(stores);
auth_core::credit_contract!(credit_stores);
auth_core::billing_contract!(billing_stores);

//! One file a feature, each with its own `impl Billing`.

mod add;
mod balance;
mod movement;
mod spend;
mod transactions;
mod verify;

pub use movement::{Movement, Origin, Receipt};
pub use transactions::{Transactions, TransactionsPage};
pub use verify::{Breach, Checked, check_ledger};

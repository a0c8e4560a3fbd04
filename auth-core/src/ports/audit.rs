use async_trait::async_trait;

use super::StoreError;
use crate::types::{AuditEntry, UserId};

/// The audit log; entries come in with the changes they tell of.
#[async_trait]
pub trait AuditLog: Send + Sync + 'static {
    /// The entries of a user, the newest first; they outlive the account.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`].
    async fn audit_entries(&self, user: UserId, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}

use auth_core::{
    Error,
    types::{Direction, EntryKind},
};

use super::{Movement, Origin, Receipt};
use crate::Billing;

impl Billing {
    /// Adds credits.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; [`Error::IdempotencyConflict`] when the key or the reference was used for something else;
    /// [`Error::Invalid`] when the balance would be too large.
    ///
    /// # Security
    /// The caller decides who may do this.
    pub async fn add(&self, movement: Movement, origin: &Origin) -> Result<Receipt, Error> {
        self.book(EntryKind::CreditAdded, Direction::Credit, movement, origin)
            .await
    }
}

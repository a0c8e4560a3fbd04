use auth_core::{
    Error,
    types::{Direction, EntryKind},
};

use super::{Movement, Origin, Receipt};
use crate::Billing;

impl Billing {
    /// Uses credits: all of the amount, or none of it.
    ///
    /// # Errors
    /// [`Error::InsufficientCredits`], which spends neither key nor reference; [`Error::UserNotFound`];
    /// [`Error::IdempotencyConflict`] when the key or the reference was used for something else.
    pub async fn spend(&self, movement: Movement, origin: &Origin) -> Result<Receipt, Error> {
        self.book(EntryKind::CreditUsed, Direction::Debit, movement, origin)
            .await
    }
}

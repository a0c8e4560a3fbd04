//! Batch after batch: a sweep has no end in sight, and there is one writer for all.

use auth_core::ports::{StoreError, Swept};
use uuid::Uuid;

use crate::sql::{BATCH, users::Place};

/// Deletes until a batch is not full.
pub(crate) async fn all<F>(delete: impl Fn() -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut all = 0;
    loop {
        let gone = delete().await?;
        all += gone;
        if gone < u64::from(BATCH) {
            return Ok(all);
        }
    }
}

/// Deletes accounts, those of a refused batch one by one, and goes on after the ones that cannot go.
pub(crate) async fn accounts<N, D>(
    swept: &mut Swept,
    next: impl Fn(Option<Place>) -> N,
    delete: impl Fn(Vec<Uuid>) -> D,
) -> Result<(), StoreError>
where
    N: Future<Output = Result<Vec<Place>, StoreError>>,
    D: Future<Output = Result<u64, StoreError>>,
{
    let mut last = None;
    loop {
        let batch = next(last).await?;
        let Some(place) = batch.last() else {
            return Ok(());
        };
        last = Some(*place);
        let ids: Vec<Uuid> = batch.iter().map(|(_, id)| *id).collect();
        match delete(ids.clone()).await {
            Ok(gone) => swept.accounts += gone,
            Err(StoreError::Backend(_)) => {
                for id in ids {
                    match delete(vec![id]).await {
                        Ok(gone) => swept.accounts += gone,
                        Err(StoreError::Backend(_)) => swept.held += 1,
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
}

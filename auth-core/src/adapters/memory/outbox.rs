use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Data, MailRow, MailState, MemoryStore};
use crate::{
    ports::{ClaimedMail, MailCounts, Outbox, StoreError},
    types::MailId,
};

#[async_trait]
impl Outbox for MemoryStore {
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<ClaimedMail>, StoreError> {
        let data = &mut *self.lock();
        let mut due: Vec<&mut MailRow> = data
            .mails
            .values_mut()
            .filter(|row| row.is_due(now))
            .collect();
        due.sort_by_key(|row| (row.mail.created_at, row.mail.id));
        Ok(due
            .into_iter()
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|row| {
                row.state = MailState::Claimed { lease };
                ClaimedMail {
                    mail: row.mail.clone(),
                    attempts: row.attempts,
                    lease,
                }
            })
            .collect())
    }

    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let ours = data.claimed(mail, lease).is_some();
        if ours {
            data.mails.remove(&mail);
        }
        Ok(ours)
    }

    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        // A store with a screen would keep it for its operator; nobody can look in here.
        _reason: &str,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(row) = data.claimed(mail, lease) else {
            return Ok(false);
        };
        row.attempts = row.attempts.saturating_add(1);
        row.state = match retry_at {
            Some(due_at) => MailState::Waiting { due_at },
            None => MailState::Dead,
        };
        Ok(true)
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        let data = &*self.lock();
        let mut counts = MailCounts::default();
        for row in data.mails.values() {
            match row.state {
                MailState::Dead => counts.dead += 1,
                MailState::Claimed { .. } | MailState::Waiting { .. } => counts.queued += 1,
            }
        }
        Ok(counts)
    }
}

impl Data {
    /// A mail under the claim that `lease` names.
    fn claimed(&mut self, mail: MailId, lease: OffsetDateTime) -> Option<&mut MailRow> {
        self.mails
            .get_mut(&mail)
            .filter(|row| matches!(row.state, MailState::Claimed { lease: held } if held == lease))
    }
}

impl MailRow {
    fn is_due(&self, now: OffsetDateTime) -> bool {
        match self.state {
            MailState::Claimed { lease } => lease <= now,
            MailState::Dead => false,
            MailState::Waiting { due_at } => due_at <= now,
        }
    }
}

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::{Data, MailRow, MailState, MemoryStore};
use crate::{
    ports::{
        ClaimedMail, Claims, DeadMail, DeadMails, GIVE_UP_AFTER, LOST, MOST_COUNTED, MailCounts,
        Outbox, StoreError,
    },
    types::{Letter, MailId},
};

#[async_trait]
impl Outbox for MemoryStore {
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError> {
        let data = &mut *self.lock();
        let mut due: Vec<&mut MailRow> = data
            .mails
            .values_mut()
            .filter(|row| row.is_due(now))
            .collect();
        due.sort_by_key(|row| (row.due_at, row.mail.id));
        let mut claims = Claims::default();
        for row in due {
            let first_try_at = *row.first_try_at.get_or_insert(now);
            let is_lost = matches!(row.state, MailState::Claimed { .. });
            if is_lost && now >= first_try_at + GIVE_UP_AFTER {
                row.state = MailState::Dead {
                    reason: LOST.to_owned(),
                };
                claims.given_up.push(row.mail.id);
                continue;
            }
            if claims.mails.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
            row.due_at = now + lease * (1 << row.attempts.min(5));
            row.attempts = row.attempts.saturating_add(1);
            row.state = MailState::Claimed { lease: now + lease };
            claims.mails.push(ClaimedMail {
                mail: row.mail.clone(),
                attempts: row.attempts,
                first_try_at,
                lease: now + lease,
            });
        }
        Ok(claims)
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
        reason: &str,
    ) -> Result<bool, StoreError> {
        let data = &mut *self.lock();
        let Some(row) = data.claimed(mail, lease) else {
            return Ok(false);
        };
        row.state = match retry_at {
            Some(due_at) => {
                row.due_at = due_at;
                MailState::Waiting
            }
            None => MailState::Dead {
                reason: reason.to_owned(),
            },
        };
        Ok(true)
    }

    async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
        let data = &*self.lock();
        let (dead, mut waiting): (Vec<&MailRow>, Vec<&MailRow>) = data
            .mails
            .values()
            .partition(|row| matches!(row.state, MailState::Dead { .. }));
        waiting.sort_unstable_by_key(|row| (row.due_at, row.mail.id));
        waiting.truncate(MOST_COUNTED as usize);
        Ok(MailCounts {
            queued: waiting.len() as u64,
            dead: (dead.len() as u64).min(MOST_COUNTED.into()),
            oldest: waiting.iter().map(|row| row.queued_at).min(),
        })
    }

    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
        let data = &*self.lock();
        let mut dead: Vec<DeadMail> = data.mails.values().filter_map(MailRow::dead).collect();
        dead.sort_by_key(|mail| (mail.created_at, mail.id));
        dead.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(dead)
    }

    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let data = &mut *self.lock();
        let mut count = 0;
        for row in data.mails.values_mut().filter(|row| row.is_dead(which)) {
            *row = MailRow::queued(row.mail.clone(), now);
            count += 1;
        }
        Ok(count)
    }

    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
        let data = &mut *self.lock();
        let before = data.mails.len();
        data.mails.retain(|_, row| !row.is_dead(which));
        Ok(u64::try_from(before - data.mails.len()).unwrap_or(u64::MAX))
    }

    async fn watch_mails(&self, _: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
        Ok(())
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

/// As a store in a database finds it in the JSON.
fn template(letter: &Letter) -> String {
    let json = serde_json::to_value(letter).unwrap_or_default();
    json["template"].as_str().unwrap_or_default().to_owned()
}

impl MailRow {
    fn dead(&self) -> Option<DeadMail> {
        let MailState::Dead { reason } = &self.state else {
            return None;
        };
        Some(DeadMail {
            id: self.mail.id,
            to: self.mail.to.as_str().to_owned(),
            template: template(&self.mail.letter),
            attempts: self.attempts,
            reason: reason.clone(),
            created_at: self.mail.created_at,
        })
    }

    fn is_dead(&self, which: DeadMails) -> bool {
        let is_meant = match which {
            DeadMails::All => true,
            DeadMails::One(id) => self.mail.id == id,
        };
        is_meant && matches!(self.state, MailState::Dead { .. })
    }

    fn is_due(&self, now: OffsetDateTime) -> bool {
        let is_free = match self.state {
            MailState::Claimed { lease } => lease <= now,
            MailState::Dead { .. } => false,
            MailState::Waiting => true,
        };
        is_free && self.due_at <= now
    }
}

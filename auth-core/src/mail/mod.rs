//! From a row of the outbox to a mail that left.

mod duty;
mod links;
mod worker;

use std::{sync::Arc, time::Duration};

pub(crate) use duty::{Duty, Role};
pub use duty::{MailQueue, MailWorkers, WorkerState};
pub use links::{Links, LinksError};
use worker::{chain, presentable};

use auth_templates::{Amount, Mail, Moment, Money, Templates};
use tokio::time::timeout;

use crate::{
    error::Error,
    jwt::KeyRing,
    ports::{Mailer, MailerError, OutgoingMail},
    types::{Letter, PaidPeriod, PendingToken, QueuedMail, Secret},
};

/// All that sending takes.
pub(crate) struct Post {
    pub(crate) mailer: Arc<dyn Mailer>,
    pub(crate) links: Links,
    pub(crate) templates: Templates,
    pub(crate) service_name: String,
}

/// For one mail, everything included.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

impl Post {
    /// Gives a mail to the mailer, which has half a minute.
    pub(crate) async fn hand_over(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        timeout(SEND_TIMEOUT, self.mailer.send(mail))
            .await
            .unwrap_or_else(|_| Err(MailerError::Temporary("the mailer took too long".into())))
    }

    /// Signs the token of a queued mail and renders it: by the built-in templates where those of the host cannot, which no trial showed.
    pub(crate) fn write(&self, queued: &QueuedMail, keys: &KeyRing) -> Result<OutgoingMail, Error> {
        let mail = self.fill(queued, keys)?;
        let rendered = self
            .templates
            .render(&queued.locale, &self.service_name, &mail)
            .or_else(|error| {
                let Some(builtin) = self.templates.fallback() else {
                    return Err(error);
                };
                let reason = presentable(&chain(&error));
                tracing::error!(mail = %queued.id, reason, "a mail is sent in the built-in words: the templates of the host cannot show it");
                builtin.render(&queued.locale, &self.service_name, &mail)
            })
            .map_err(|error| Error::Internal(error.into()))?;
        Ok(OutgoingMail {
            id: queued.id,
            created_at: queued.created_at,
            to: queued.to.clone(),
            subject: rendered.subject,
            html: rendered.html,
            text: rendered.text,
        })
    }

    #[allow(clippy::too_many_lines)] // one arm a letter
    fn fill(&self, queued: &QueuedMail, keys: &KeyRing) -> Result<Mail, Error> {
        let at = Moment::from(queued.created_at);
        let link = |token: &PendingToken| -> Result<String, Error> {
            let signed: Secret<String> = keys.sign_mailed(token)?;
            Ok(self.links.open(token.purpose, &signed))
        };
        let hours = |token: &PendingToken| lifetime(token) / 3600;
        let minutes = |token: &PendingToken| lifetime(token) / 60;
        Ok(match queued.letter.clone() {
            Letter::AccountDeleted { username } => Mail::AccountDeleted { username, at },
            Letter::AccountExists { username, token } => Mail::AccountExists {
                username,
                link: link(&token)?,
                valid_minutes: minutes(&token),
            },
            Letter::CreditPurchase {
                username,
                item,
                credits,
                balance,
                price,
                currency,
            } => Mail::CreditPurchase {
                username,
                item,
                credits: Amount::new(credits),
                balance: Amount::new(balance),
                price: Money::new(price, currency),
                at,
            },
            Letter::EmailChangeNotice {
                username,
                new_email,
                token,
            } => Mail::EmailChangeNotice {
                username,
                new_email,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::EmailChangeVerify { username, token } => Mail::EmailChangeVerify {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::GoogleLinked {
                username,
                provider,
                identity,
            } => Mail::GoogleLinked {
                username,
                provider,
                identity,
                at,
            },
            Letter::GoogleUnlinked { username, provider } => Mail::GoogleUnlinked {
                username,
                provider,
                at,
            },
            Letter::PasswordChanged { username } => Mail::PasswordChanged { username, at },
            Letter::PasswordReset { username, token } => Mail::PasswordReset {
                username,
                link: link(&token)?,
                valid_minutes: minutes(&token),
            },
            Letter::PaymentFailed {
                username,
                plan,
                price,
                currency,
                retry_at,
                link,
            } => Mail::PaymentFailed {
                username,
                plan,
                price: Money::new(price, currency),
                retry_at: retry_at.map(Moment::from),
                link,
            },
            Letter::PlanUpgrade {
                username,
                old_plan,
                paid,
            } => Mail::PlanUpgrade {
                username,
                old_plan,
                paid: period(paid),
            },
            Letter::SubscriptionCancelled {
                username,
                plan,
                ends_at,
            } => Mail::SubscriptionCancelled {
                username,
                plan,
                ends_at: ends_at.into(),
            },
            Letter::SubscriptionRenewed { username, paid } => Mail::SubscriptionRenewed {
                username,
                paid: period(paid),
            },
            Letter::SubscriptionStarted { username, paid } => Mail::SubscriptionStarted {
                username,
                paid: period(paid),
            },
            Letter::Test => Mail::Test { at },
            Letter::VerifyEmail { username, token } => Mail::VerifyEmail {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
            Letter::Welcome { username, token } => Mail::Welcome {
                username,
                link: link(&token)?,
                valid_hours: hours(&token),
            },
        })
    }
}

fn period(paid: PaidPeriod) -> auth_templates::PaidPeriod {
    auth_templates::PaidPeriod {
        plan: paid.plan,
        credits: Amount::new(paid.credits),
        balance: Amount::new(paid.balance),
        price: Money::new(paid.price, paid.currency),
        period_end: paid.period_end.into(),
    }
}

/// In seconds.
fn lifetime(token: &PendingToken) -> u32 {
    u32::try_from(token.expires_at - token.issued_at).unwrap_or(0)
}

use std::{fmt, sync::Arc};

use auth_core::{
    Error,
    ports::PaymentProvider,
    time::OffsetDateTime,
    types::{
        EntryId, EntryIds, EventOutcome, MailId, PaymentEvent, PaymentFact, PaymentRef, Processed,
    },
};
use serde_json::Value;

use super::{
    event,
    fields::{moment, text, word},
    signature::{Signature, SigningSecrets},
};
use crate::{Billing, Catalogue};

/// What it takes to believe Stripe, to know what was bought, and to ask Stripe for something.
#[derive(Clone)]
pub struct Stripe {
    catalogue: Arc<Catalogue>,
    mode: Mode,
    secrets: SigningSecrets,
    provider: Option<Arc<dyn PaymentProvider>>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe")
            .field("catalogue", &self.catalogue)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Stripe {
    /// Over a catalogue, for money of one mode, with the signing secrets of the webhook's endpoint.
    pub fn new(catalogue: Catalogue, mode: Mode, secrets: SigningSecrets) -> Self {
        Self {
            catalogue: Arc::new(catalogue),
            mode,
            secrets,
            provider: None,
        }
    }

    /// Asks Stripe by it, such as `StripeProvider`. Without one nothing is sold here, and events are taken all the same.
    ///
    /// # Security
    /// Its key is to be of the same [`Mode`] as the events that are believed.
    #[must_use]
    pub fn provider(mut self, provider: impl PaymentProvider) -> Self {
        self.provider = Some(Arc::new(provider));
        self
    }

    pub(super) fn port(&self) -> Result<&dyn PaymentProvider, Error> {
        self.provider.as_deref().ok_or(Error::PaymentsNotConfigured)
    }

    /// What is for sale.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
}

/// Whether money is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Live,
    /// Nobody pays.
    Test,
}

impl Mode {
    /// The mode that a secret or restricted key of Stripe's is for; `None` when it is no such key.
    pub fn of_key(key: &str) -> Option<Self> {
        let rest = key
            .strip_prefix("sk_")
            .or_else(|| key.strip_prefix("rk_"))?;
        if rest.starts_with("live_") {
            Some(Self::Live)
        } else if rest.starts_with("test_") {
            Some(Self::Test)
        } else {
            None
        }
    }
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Stripe's name for it.
    pub event_id: String,
    /// What became of it, now or the first time.
    pub outcome: EventOutcome,
}

/// Why a delivery is not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The store failed: Stripe delivers it again.
    #[error(transparent)]
    Core(#[from] Error),
    /// It is signed, and no event.
    #[error("the body is no event")]
    Malformed,
    /// The host has set nothing up that could be believed.
    #[error("payments are not configured")]
    NotConfigured,
    /// Nobody whom we trust has signed it within five minutes.
    #[error("the signature is not valid")]
    Signature,
}

/// Kinds are words with dots; what is longer is not looked at.
const MAX_KIND: usize = 100;

impl Billing {
    /// Keeps an event of Stripe's and applies it, in one commit: once, however often, in whatever order and by however many processes it is received.
    /// What it moves is kept with the id of the request, if there is one.
    ///
    /// # Errors
    /// [`WebhookError`]. Then nothing was kept, and Stripe tries again, for three days, what was no success.
    ///
    /// # Security
    /// `body` must be the bytes as they were received: a document that was parsed and written again has another signature.
    pub async fn receive(
        &self,
        signature: &Signature,
        body: &[u8],
        request_id: Option<String>,
    ) -> Result<Delivered, WebhookError> {
        let delivered = self.keep(signature, body, request_id).await;
        if let (Err(error), Some(meters)) = (&delivered, &self.meters) {
            meters.refused(error);
        }
        delivered
    }

    async fn keep(
        &self,
        signature: &Signature,
        body: &[u8],
        request_id: Option<String>,
    ) -> Result<Delivered, WebhookError> {
        let stripe = self.stripe.as_ref().ok_or(WebhookError::NotConfigured)?;
        let now = self.auth.now();
        if !stripe.secrets.have_signed(signature, body, now) {
            return Err(WebhookError::Signature);
        }
        let event = self.read(stripe, body, now);
        let event = PaymentEvent {
            request_id,
            ..event.ok_or(WebhookError::Malformed)?
        };
        let event_id = event.id.to_string();
        let outcome = self.apply(event).await?.outcome;
        Ok(Delivered { event_id, outcome })
    }

    /// Keeps an event that is believed, and applies it.
    pub(super) async fn apply(&self, event: PaymentEvent) -> Result<Processed, Error> {
        let (event_id, kind) = (event.id.to_string(), event.kind.clone());
        let processed = self.store.apply_payment_event(event).await?;
        if let Some(meters) = &self.meters {
            meters.received(processed);
        }
        let outcome = processed.outcome;
        if outcome.is_processed() && !processed.is_replay {
            self.auth.mail_was_queued();
        }
        if outcome.is_alarming() && !processed.is_replay {
            tracing::warn!(
                event = event_id,
                kind,
                outcome = outcome.as_str(),
                "an event of the payment provider did not have the effect that it should: somebody should look"
            );
        }
        Ok(processed)
    }

    /// What a body says that is believed; `None` when it is no event.
    pub(super) fn read(
        &self,
        stripe: &Stripe,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Option<PaymentEvent> {
        let document: Value = serde_json::from_slice(body).ok()?;
        let id = PaymentRef::parse(text(&document, &["/id"])?).ok()?;
        let kind = word(&document, "/type", MAX_KIND)?;
        let created_at = moment(&document, "/created")?;
        let object = document
            .pointer("/data/object")
            .filter(|it| it.is_object())?;
        let is_live = document.get("livemode").and_then(Value::as_bool);
        let fact = if document.get("account").is_some_and(|it| !it.is_null()) {
            PaymentFact::Noted(EventOutcome::OtherAccount)
        } else if is_live != Some(stripe.mode == Mode::Live) {
            PaymentFact::Noted(EventOutcome::OtherMode)
        } else {
            event::fact(kind, object, created_at, &stripe.catalogue)
        };
        let random = self.auth.random();
        Some(PaymentEvent {
            id,
            kind: kind.to_owned(),
            created_at,
            received_at: now,
            fact,
            request_id: None,
            entries: EntryIds {
                gives: EntryId::generate(now, random),
                settles: EntryId::generate(now, random),
                takes: EntryId::generate(now, random),
            },
            mail: self
                .auth
                .has_mailer()
                .then(|| MailId::generate(now, random)),
        })
    }
}

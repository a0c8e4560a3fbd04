use auth_billing::{Catalogue, SigningSecrets, Stripe, StripeProvider};
use auth_core::types::Secret;

use super::reader::Reader;
use crate::fake_stripe::{self, FakeStripe};

const NAMES: [&str; 3] = ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "CATALOG_FILE"];

/// What is sold, and by whom.
pub(crate) struct Payments {
    pub(crate) stripe: Stripe,
    /// Where nobody pays.
    pub(crate) fake: Option<FakeStripe>,
}

impl Payments {
    /// `None` when nothing is sold.
    pub(super) fn read(reader: &mut Reader, production: bool) -> Option<Self> {
        match reader.get("STRIPE_MODE").as_deref() {
            None => Self::real(reader),
            Some("fake") => Self::fake(reader, production),
            Some(_) => {
                reader.fault("STRIPE_MODE", "must be fake, or not set");
                None
            }
        }
    }

    fn fake(reader: &mut Reader, production: bool) -> Option<Self> {
        if production {
            reader.fault(
                "STRIPE_MODE",
                "sells credits for nothing, which production refuses",
            );
        }
        for name in [
            "STRIPE_SECRET_KEY",
            "STRIPE_WEBHOOK_SECRET",
            "STRIPE_API_BASE",
        ] {
            if reader.get(name).is_some() {
                reader.fault(name, "is set, and STRIPE_MODE=fake has no use for it");
            }
        }
        let catalogue = match reader.get("CATALOG_FILE") {
            Some(file) => catalogue(reader, &file)?,
            None => parsed(reader, fake_stripe::CATALOGUE)?,
        };
        let fake = FakeStripe::new(catalogue);
        let stripe = fake.stripe();
        let stripe = stripe
            .map_err(|error| reader.fault("STRIPE_MODE", error))
            .ok()?;
        Some(Self {
            stripe,
            fake: Some(fake),
        })
    }

    fn real(reader: &mut Reader) -> Option<Self> {
        let base = reader.get("STRIPE_API_BASE");
        if base.is_none() && !NAMES.iter().any(|name| reader.is_set(name)) {
            return None;
        }
        for name in NAMES {
            reader.require(name, "is missing, and other settings of Stripe are there");
        }
        let provider = reader.optional("STRIPE_SECRET_KEY", |key| {
            StripeProvider::new(&Secret::new(key.to_owned()))
        });
        let provider = match (provider, base) {
            (Some(provider), Some(base)) => provider
                .at(&base)
                .map_err(|error| reader.fault("STRIPE_API_BASE", error))
                .ok(),
            (provider, _) => provider,
        };
        let secrets = reader.optional("STRIPE_WEBHOOK_SECRET", |list| {
            SigningSecrets::parse(
                list.split(',')
                    .map(|secret| Secret::new(secret.trim().to_owned())),
            )
        });
        let file = reader.get("CATALOG_FILE");
        let catalogue = file.and_then(|file| catalogue(reader, &file));
        let provider = provider?;
        Some(Self {
            stripe: Stripe::new(catalogue?, provider.mode(), secrets?).provider(provider),
            fake: None,
        })
    }
}

fn catalogue(reader: &mut Reader, file: &str) -> Option<Catalogue> {
    let toml = match std::fs::read_to_string(file) {
        Ok(toml) => toml,
        Err(error) => {
            reader.unread("CATALOG_FILE", &error);
            return None;
        }
    };
    parsed(reader, &toml)
}

fn parsed(reader: &mut Reader, toml: &str) -> Option<Catalogue> {
    match Catalogue::parse(toml) {
        Ok(catalogue) => Some(catalogue),
        Err(error) => {
            for fault in error.faults() {
                reader.fault("CATALOG_FILE", fault);
            }
            None
        }
    }
}

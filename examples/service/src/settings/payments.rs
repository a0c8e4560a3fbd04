use auth_billing::{Catalogue, SigningSecrets, Stripe, StripeProvider};
use auth_core::types::Secret;

use super::reader::Reader;

const NAMES: [&str; 3] = ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "CATALOG_FILE"];

/// What is sold, and by whose word it is paid; `None` when nothing is.
pub(super) fn read(reader: &mut Reader) -> Option<Stripe> {
    let base = reader.get("STRIPE_API_BASE");
    if base.is_none() && !NAMES.iter().any(|name| reader.is_set(name)) {
        return None;
    }
    for name in NAMES {
        if !reader.is_set(name) {
            reader.fault(name, "is missing, and other settings of Stripe are there");
        }
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
    Some(Stripe::new(catalogue?, provider.mode(), secrets?).provider(provider))
}

fn catalogue(reader: &mut Reader, file: &str) -> Option<Catalogue> {
    let toml = match std::fs::read_to_string(file) {
        Ok(toml) => toml,
        Err(error) => {
            reader.fault(
                "CATALOG_FILE",
                format_args!("the file cannot be read ({})", error.kind()),
            );
            return None;
        }
    };
    match Catalogue::parse(&toml) {
        Ok(catalogue) => Some(catalogue),
        Err(error) => {
            for fault in error.faults() {
                reader.fault("CATALOG_FILE", fault);
            }
            None
        }
    }
}

use auth_billing::{Catalogue, Mode, SigningSecrets, Stripe};
use auth_core::types::Secret;

use super::reader::Reader;

const NAMES: [&str; 3] = ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "CATALOG_FILE"];

/// What is sold, and by whose word it is paid; `None` when nothing is.
pub(super) fn read(reader: &mut Reader) -> Option<Stripe> {
    if !NAMES.iter().any(|name| reader.is_set(name)) {
        return None;
    }
    for name in NAMES {
        if !reader.is_set(name) {
            reader.fault(name, "is missing, and other settings of Stripe are there");
        }
    }
    let mode = reader.optional("STRIPE_SECRET_KEY", |key| {
        Mode::of_key(key)
            .ok_or("must be a key of Stripe: sk_live_…, sk_test_…, rk_live_… or rk_test_…")
    });
    let secrets = reader.optional("STRIPE_WEBHOOK_SECRET", |list| {
        SigningSecrets::parse(
            list.split(',')
                .map(|secret| Secret::new(secret.trim().to_owned())),
        )
    });
    let file = reader.get("CATALOG_FILE");
    let catalogue = file.and_then(|file| catalogue(reader, &file));
    Some(Stripe::new(catalogue?, mode?, secrets?))
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

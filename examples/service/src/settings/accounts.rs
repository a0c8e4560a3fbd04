use auth_core::{Algorithm, Hashing, SigningKeys, time::Duration, types::Secret};

use super::{
    Environment, is_placeholder,
    reader::{Reader, flag},
};
use crate::secrets;

/// What accounts and their sessions rest on.
pub(crate) struct Accounts {
    pub(crate) access_token_lifetime: Duration,
    pub(crate) enumeration_protection: bool,
    pub(crate) hashing: Hashing,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) unverified_lifetime: Duration,
}

impl Accounts {
    /// `None` without a signing key, which is among the faults then.
    pub(super) fn read(
        reader: &mut Reader,
        environment: Environment,
        generated_key: Option<String>,
    ) -> Option<Self> {
        let production = environment == Environment::Production;
        let signing_keys = signing_keys(reader, environment, generated_key);
        let minutes = |minutes: i64| Duration::minutes(minutes);
        Some(Self {
            access_token_lifetime: reader.or("ACCESS_TOKEN_EXPIRE_MINUTES", minutes(60), |text| {
                text.parse()
                    .ok()
                    .filter(|m| (1..=1440).contains(m))
                    .map(minutes)
                    .ok_or("must be a number of minutes from 1 to 1440")
            }),
            enumeration_protection: reader.or("ENUMERATION_PROTECTION", false, flag),
            hashing: reader.or("BCRYPT_COST", Hashing::default(), |text| {
                let least = if production { 10 } else { 4 };
                let cost = text
                    .parse()
                    .ok()
                    .filter(|cost| (least..=20).contains(cost))
                    .unwrap_or(0);
                Hashing::bcrypt(cost)
                    .map_err(|_| "must be a number from 10 to 20 (from 4 outside of production)")
            }),
            unverified_lifetime: reader.or("UNVERIFIED_ACCOUNT_TTL", Duration::days(7), |text| {
                let ttl = humantime::parse_duration(text)
                    .map_err(|_| "must be a duration such as `7 days` or `36h`")?;
                Duration::try_from(ttl)
                    .ok()
                    .filter(|ttl| (Duration::HOUR..Duration::days(3650)).contains(ttl))
                    .ok_or("must be from one hour to ten years")
            }),
            // Last: what comes before it collects its faults first.
            signing_keys: signing_keys?,
        })
    }
}

fn signing_keys(
    reader: &mut Reader,
    environment: Environment,
    generated: Option<String>,
) -> Option<SigningKeys> {
    let algorithm = reader.or("ALGORITHM", Algorithm::default(), Algorithm::parse);
    let secret = match reader.get("SECRET_KEY").or(generated) {
        Some(secret) => Secret::new(secret),
        // A database in memory: nothing outlives the process, its key neither.
        None if environment == Environment::Development => Secret::new(secrets::draw()),
        None => {
            reader.require(
                "SECRET_KEY",
                "must be set outside of development; `openssl rand -base64 48` makes one",
            );
            return None;
        }
    };
    if environment == Environment::Production && is_placeholder(secret.expose()) {
        reader.fault(
            "SECRET_KEY",
            "looks like a placeholder; `openssl rand -base64 48` makes a good one",
        );
    }
    let keys = SigningKeys::with_algorithm(algorithm, secret.expose())
        .map_err(|error| reader.fault("SECRET_KEY", error))
        .ok()?;
    // Who knows it opens accounts as with the present one, so it must be as strong.
    let Some(previous) = reader.get("SECRET_KEY_PREVIOUS").map(Secret::new) else {
        return Some(keys);
    };
    if environment == Environment::Production && is_placeholder(previous.expose()) {
        reader.fault("SECRET_KEY_PREVIOUS", "looks like a placeholder");
    }
    keys.with_previous(previous.expose())
        .map_err(|error| reader.fault("SECRET_KEY_PREVIOUS", error))
        .ok()
}

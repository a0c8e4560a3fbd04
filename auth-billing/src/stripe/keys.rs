//! Keys under which the provider does a thing once. It remembers them for a day, with what it answered: two wishes never have one key, or the later one
//! would get the answer of the earlier.

use std::fmt::Write;

use auth_core::{
    Error,
    ports::Random,
    types::{Caller, Digest, IdempotencyKey, Invalid, PaymentRef, UserId},
};

/// Names an attempt of a caller, who can send it again.
#[derive(Debug, Clone)]
pub struct Once {
    /// Who named it: two callers may choose the same name.
    pub caller: Caller,
    /// The name.
    pub key: IdempotencyKey,
}

fn key(text: &str) -> Result<IdempotencyKey, Error> {
    IdempotencyKey::parse(text).map_err(|reason: Invalid| Error::Internal(Box::new(reason)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes any text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Of parts, none of which can be taken for the end of one and the beginning of the next.
fn digest(parts: &[&str]) -> String {
    let text = parts.iter().fold(String::new(), |mut text, part| {
        // A String takes any text.
        let _ = write!(text, "{}:{part}", part.len());
        text
    });
    hex(Digest::of(text).as_bytes())
}

/// The customer of a user: the first one, or the one after another that is gone.
pub(super) fn of_customer(
    user: UserId,
    gone: Option<&PaymentRef>,
) -> Result<IdempotencyKey, Error> {
    match gone {
        None => key(&format!("customer-{user}")),
        Some(gone) => key(&format!(
            "customer-{}",
            digest(&[&user.to_string(), gone.as_str()])
        )),
    }
}

/// What a caller wants made for a customer: the same for each attempt under one name, and another one for what has no name.
pub(super) fn of_wish(
    what: &str,
    once: Option<&Once>,
    customer: &PaymentRef,
    random: &dyn Random,
) -> Result<IdempotencyKey, Error> {
    match once {
        None => of_moment(what, random),
        Some(Once { caller, key: name }) => {
            let parts = [caller.as_str(), name.as_str(), customer.as_str()];
            key(&format!("{what}-{}", digest(&parts)))
        }
    }
}

/// Of a call that leads to the same however often it is made: only its own tries are one.
pub(super) fn of_moment(what: &str, random: &dyn Random) -> Result<IdempotencyKey, Error> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    key(&format!("{what}-{}", hex(&bytes)))
}

/// A subscription of a user that is to begin, by its number.
pub(super) fn of_subscription(
    user: UserId,
    customer: &PaymentRef,
    wish: u32,
) -> Result<IdempotencyKey, Error> {
    let parts = [&*user.to_string(), customer.as_str()];
    key(&format!("subscription-{wish}-{}", digest(&parts)))
}

/// A change from one state of a subscription.
pub(super) fn of_change(parts: &[&str]) -> Result<IdempotencyKey, Error> {
    key(&format!("change-{}", digest(parts)))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn parts_that_are_cut_elsewhere_have_another_digest() {
        let all = [
            digest(&["ab", "c"]),
            digest(&["a", "bc"]),
            digest(&["abc"]),
            digest(&["abc", ""]),
            digest(&["", "abc"]),
            digest(&["1:a", "b"]),
        ];
        for (place, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!all[..place].contains(one), "{place}");
        }
    }
}

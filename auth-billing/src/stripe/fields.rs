//! What is read of an object of Stripe's: a few fields, wherever the API version of the endpoint puts them. What else there is, and what it is called in
//! other versions, is not looked at.

use auth_core::{
    time::OffsetDateTime,
    types::{Payer, PaymentRef, UserId},
};
use serde_json::Value;

/// A value at one of several places, the first that has one.
pub(super) fn text<'a>(object: &'a Value, places: &[&str]) -> Option<&'a str> {
    places
        .iter()
        .find_map(|place| object.pointer(place)?.as_str())
}

pub(super) fn number(object: &Value, place: &str) -> Option<i64> {
    object.pointer(place)?.as_i64()
}

/// An amount of money, in the least unit of its currency; `None` also when it is below zero.
pub(super) fn money(object: &Value, place: &str) -> Option<u64> {
    u64::try_from(number(object, place)?).ok()
}

/// The last second of the year 9999: what is later, no store has to take.
const END_OF_TIME: i64 = 253_402_300_799;

/// Unix seconds, not before 1970.
pub(super) fn moment(object: &Value, place: &str) -> Option<OffsetDateTime> {
    let seconds = number(object, place).filter(|at| (0..=END_OF_TIME).contains(at))?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

/// A text of visible ASCII, which every store takes, of a bounded length.
pub(super) fn word<'a>(object: &'a Value, place: &str, longest: usize) -> Option<&'a str> {
    text(object, &[place]).filter(|word| {
        (1..=longest).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic())
    })
}

/// The id of a thing, which stands as it is or, expanded, as an object that has it.
pub(super) fn reference(object: &Value, places: &[&str]) -> Option<PaymentRef> {
    places.iter().find_map(|place| {
        let found = object.pointer(place)?;
        let id = found.as_str().or_else(|| found.get("id")?.as_str())?;
        PaymentRef::parse(id).ok()
    })
}

pub(super) fn list<'a>(object: &'a Value, place: &str) -> &'a [Value] {
    object
        .pointer(place)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Who pays, by the `user_id` that we wrote into the metadata at one of these places, and for which subscription, by one of those.
pub(super) fn payer(object: &Value, users: &[&str], subscriptions: &[&str]) -> Payer {
    Payer {
        user: text(object, users).and_then(|raw| UserId::parse(raw).ok()),
        customer: reference(object, &["/customer"]),
        subscription: reference(object, subscriptions),
    }
}

use fluent_bundle::FluentArgs;
use minijinja::Value;
use serde::Serialize;
use time::{OffsetDateTime, UtcOffset};

use crate::error::TextError;
use crate::texts::Texts;

/// A decimal such as `1250.00`, shown as the reader's language writes it.
///
/// What is no decimal is shown as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "as", rename = "amount")]
pub struct Amount {
    amount: String,
}

/// A price: a decimal of a currency, shown as the reader's language writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "as", rename = "money")]
pub struct Money {
    amount: String,
    currency: String,
}

/// A moment, shown in UTC as the reader's language writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "as", rename = "moment")]
pub struct Moment {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
}

impl Amount {
    /// An amount as digits with at most one point between them, without sign: `1250.00`.
    pub fn new(amount: impl Into<String>) -> Self {
        Self {
            amount: amount.into(),
        }
    }
}

impl Money {
    /// An amount as of [`Amount::new`], and the code of its currency: `EUR`, in any case.
    pub fn new(amount: impl Into<String>, currency: impl Into<String>) -> Self {
        Self {
            amount: amount.into(),
            currency: currency.into().to_ascii_uppercase(),
        }
    }
}

impl From<OffsetDateTime> for Moment {
    fn from(at: OffsetDateTime) -> Self {
        let at = at.to_offset(UtcOffset::UTC);
        Self {
            year: at.year(),
            month: at.month().into(),
            day: at.day(),
            hour: at.hour(),
            minute: at.minute(),
        }
    }
}

/// The words for a serialised [`Amount`], [`Money`] or [`Moment`]; `None` for any other value.
pub(crate) fn words(
    value: &Value,
    texts: &Texts,
    language: usize,
) -> Option<Result<String, TextError>> {
    let field = |name: &str| value.get_attr(name).unwrap_or_default();
    let amount = || decimal(&field("amount").to_string(), texts, language);
    let mut args = FluentArgs::new();
    let message = field("as");
    match message.as_str()? {
        "amount" => return Some(amount()),
        "money" => {
            match amount() {
                Ok(amount) => args.set("amount", amount),
                Err(error) => return Some(Err(error)),
            }
            args.set("currency", field("currency").to_string());
        }
        _ => {
            for name in ["year", "month", "day"] {
                args.set(name, i64::try_from(field(name)).ok()?);
            }
            for name in ["hour", "minute"] {
                args.set(name, format!("{:0>2}", field(name).to_string()));
            }
        }
    }
    Some(texts.format(language, message.as_str()?, &args))
}

/// With the separators of the language, in groups of three digits.
fn decimal(text: &str, texts: &Texts, language: usize) -> Result<String, TextError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Ok(text.to_owned());
    }
    let separator = |id| texts.format(language, id, &FluentArgs::new());
    let mut written = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position) % 3 == 0 {
            written += &separator("digit-group")?;
        }
        written.push(digit);
    }
    if !fraction.is_empty() {
        written += &separator("decimal-point")?;
        written += fraction;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;
    use time::Duration;

    use super::*;
    use crate::files::File;

    fn texts() -> Texts {
        let text = "decimal-point = ,\ndigit-group = .\nmoney = { $currency } { $amount }\nmoment = { $day }/{ $month }/{ $year } { $hour }:{ $minute }";
        Texts::load(vec![File {
            path: "en.ftl".to_owned(),
            text: text.to_owned(),
        }])
        .unwrap()
    }

    #[test]
    fn amounts_are_written_with_the_separators_of_the_language() {
        for (amount, want) in [
            ("0.01", "0,01"),
            ("12", "12"),
            ("999.50", "999,50"),
            ("1000.00", "1.000,00"),
            ("10000000.00", "10.000.000,00"),
        ] {
            let value = Value::from(Serde(Amount::new(amount)));
            assert_eq!(words(&value, &texts(), 0).unwrap().unwrap(), want);
        }
    }

    #[test]
    fn what_is_no_decimal_is_shown_as_it_stands() {
        for amount in ["", ".5", "-1.00", "1.2.3", "1e9", "abc", "١٢"] {
            let value = Value::from(Serde(Amount::new(amount)));
            assert_eq!(words(&value, &texts(), 0).unwrap().unwrap(), amount);
        }
    }

    #[test]
    fn prices_and_moments_are_messages() {
        let price = Value::from(Serde(Money::new("1234.00", "JPY")));
        assert_eq!(words(&price, &texts(), 0).unwrap().unwrap(), "JPY 1.234,00");
        // Half past midnight in Berlin is still the day before in UTC.
        let berlin = UtcOffset::from_hms(1, 0, 0).unwrap();
        let at = OffsetDateTime::UNIX_EPOCH + Duration::days(365) - Duration::minutes(30);
        let moment = Value::from(Serde(Moment::from(at.to_offset(berlin))));
        assert_eq!(
            words(&moment, &texts(), 0).unwrap().unwrap(),
            "31/12/1970 23:30"
        );
        assert!(words(&Value::from("amount"), &texts(), 0).is_none());
    }
}

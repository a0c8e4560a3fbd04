use std::fmt;

use serde::{Serialize, Serializer};

use super::Invalid;

/// Credits in integer hundredths, never below zero: there is no float in a balance.
///
/// Written and read as a decimal string with two decimals (`"12.50"`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Credits(i64);

impl Credits {
    /// The most that a balance can hold.
    pub const MAX: Self = Self(i64::MAX);
    /// None.
    pub const ZERO: Self = Self(0);

    /// Reads `digits`, `digits.d` or `digits.dd`: no sign, space, exponent or further digit, so that nothing is rounded.
    ///
    /// # Errors
    /// [`Invalid`]: `invalid_amount`, or `out_of_range` above [`MAX`](Self::MAX).
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let (whole, fraction) = raw.split_once('.').unwrap_or((raw, "00"));
        let are_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !matches!(fraction.len(), 1 | 2)
            || !are_digits(whole)
            || !are_digits(fraction)
        {
            return Err(Invalid::new(
                "invalid_amount",
                "An amount is a decimal number with at most two decimals, without sign, spaces or exponent.",
            ));
        }
        let padding = if fraction.len() == 1 { "0" } else { "" };
        [whole, fraction, padding]
            .iter()
            .flat_map(|part| part.bytes())
            .try_fold(0_i64, |hundredths, digit| {
                hundredths
                    .checked_mul(10)?
                    .checked_add(i64::from(digit - b'0'))
            })
            .map(Self)
            .ok_or(Invalid::new("out_of_range", "The amount is too large."))
    }

    /// For stores: `None` below zero.
    pub const fn from_hundredths(hundredths: i64) -> Option<Self> {
        if hundredths < 0 {
            None
        } else {
            Some(Self(hundredths))
        }
    }

    /// For stores.
    pub const fn as_hundredths(self) -> i64 {
        self.0
    }

    /// The sum, unless it is above [`MAX`](Self::MAX).
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, unless it is below zero.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Self::from_hundredths(difference),
            None => None,
        }
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What one call may move: 0.01 to 10,000,000.00 credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Credits);

impl Amount {
    /// The most that one call may move.
    pub const MAX: Self = Self(Credits(1_000_000_000));
    /// The least: a hundredth.
    pub const MIN: Self = Self(Credits(1));

    /// An amount within the bounds.
    ///
    /// # Errors
    /// [`Invalid`]: `out_of_range`.
    pub fn new(credits: Credits) -> Result<Self, Invalid> {
        if (Self::MIN.0..=Self::MAX.0).contains(&credits) {
            Ok(Self(credits))
        } else {
            Err(Invalid::new(
                "out_of_range",
                "An amount is at least 0.01 and at most 10000000.00.",
            ))
        }
    }

    /// Reads an amount, by the rules of [`Credits::parse`].
    ///
    /// # Errors
    /// [`Invalid`]: `invalid_amount` or `out_of_range`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        Credits::parse(raw).and_then(Self::new)
    }

    /// How much.
    pub const fn credits(self) -> Credits {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Credits};

    #[test]
    fn amounts_are_read_exactly() {
        for (raw, hundredths, shown) in [
            ("0", 0, "0.00"),
            ("0.01", 1, "0.01"),
            ("0.1", 10, "0.10"),
            ("0.29", 29, "0.29"),
            ("12.5", 1250, "12.50"),
            ("12.50", 1250, "12.50"),
            ("007", 700, "7.00"),
            ("10000000.00", 1_000_000_000, "10000000.00"),
            ("92233720368547758.07", i64::MAX, "92233720368547758.07"),
        ] {
            let credits = Credits::parse(raw).unwrap();
            assert_eq!(credits.as_hundredths(), hundredths, "{raw}");
            assert_eq!(credits.to_string(), shown, "{raw}");
        }
    }

    #[test]
    fn what_would_be_rounded_or_guessed_is_refused() {
        for raw in [
            "",
            ".",
            "1.",
            ".5",
            "1.234",
            "1.000",
            "-1",
            "+1",
            "-0",
            " 1",
            "1 ",
            "1e3",
            "1E3",
            "1,5",
            "1_000",
            "1,000.00",
            "0x10",
            "NaN",
            "inf",
            "1.2.3",
            "1..2",
            "\u{661}",
            "1.\u{661}",
            "1\0",
            "12.5\n",
            "--1",
            "1.-5",
            "1.+5",
        ] {
            assert_eq!(
                Credits::parse(raw).unwrap_err().code,
                "invalid_amount",
                "{raw:?}"
            );
        }
        for raw in ["92233720368547758.08", "1".repeat(60_000).as_str()] {
            assert_eq!(Credits::parse(raw).unwrap_err().code, "out_of_range");
        }
    }

    #[test]
    fn sums_and_differences_never_wrap() {
        let one = Credits::parse("0.01").unwrap();
        assert_eq!(Credits::MAX.checked_add(one), None);
        assert_eq!(Credits::ZERO.checked_sub(one), None);
        assert_eq!(Credits::ZERO.checked_add(Credits::MAX), Some(Credits::MAX));
        assert_eq!(Credits::from_hundredths(-1), None);
    }

    #[test]
    fn one_call_has_its_bounds() {
        for raw in ["0.01", "1", "10000000", "10000000.00"] {
            assert!(Amount::parse(raw).is_ok(), "{raw}");
        }
        for raw in ["0", "0.00", "10000000.01", "92233720368547758.07"] {
            assert_eq!(
                Amount::parse(raw).unwrap_err().code,
                "out_of_range",
                "{raw}"
            );
        }
    }
}

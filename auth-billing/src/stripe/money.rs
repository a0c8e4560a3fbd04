use auth_core::types::Price;

/// An amount in the least unit of its currency, as people write it.
pub(super) fn price(amount: i64, currency: &str) -> Price {
    // docs.stripe.com/currencies: what has no decimals, and what has three. ISK and UGX are counted as if they had two.
    let decimals = match currency.to_ascii_lowercase().as_str() {
        "bif" | "clp" | "djf" | "gnf" | "jpy" | "kmf" | "krw" | "mga" | "pyg" | "rwf" | "vnd"
        | "vuv" | "xaf" | "xof" | "xpf" => 0_usize,
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 3,
        _ => 2,
    };
    let sign = if amount < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", amount.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let point = if decimals == 0 { "" } else { "." };
    Price {
        amount: format!("{sign}{whole}{point}{fraction}"),
        currency: currency.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::price;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (amount, currency, expected) in [
            (900, "eur", "9.00 EUR"),
            (5, "usd", "0.05 USD"),
            (0, "eur", "0.00 EUR"),
            (-1250, "eur", "-12.50 EUR"),
            (900, "jpy", "900 JPY"),
            (0, "jpy", "0 JPY"),
            (9005, "kwd", "9.005 KWD"),
            (i64::MIN, "eur", "-92233720368547758.08 EUR"),
        ] {
            let price = price(amount, currency);
            assert_eq!(format!("{} {}", price.amount, price.currency), expected);
        }
    }
}

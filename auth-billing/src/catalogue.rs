//! What is for sale: the one place that says how many credits a payment is worth.

use std::{collections::HashSet, fmt};

use auth_core::types::{Amount, Credits};
use serde::Deserialize;

/// Plans and credit packs, by their names and by their prices at the payment provider.
///
/// ```
/// use auth_billing::Catalogue;
///
/// let catalogue = Catalogue::parse(
///     r#"
///     [[plans]]
///     name = "basic"
///     price_id = "price_1Nbasic"
///     credits = "120.00"
///     interval = "month"
///
///     [[credit_packs]]
///     name = "small"
///     price_id = "price_1Nsmall"
///     credits = "50.00"
///     "#,
/// )
/// .unwrap();
/// assert_eq!(catalogue.plan("basic").unwrap().credits.to_string(), "120.00");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    plans: Vec<Plan>,
    packs: Vec<Pack>,
}

/// A subscription that grants credits each period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What callers ask for, and mails tell.
    pub name: String,
    /// Its price at the payment provider.
    pub price_id: String,
    /// What one period grants.
    pub credits: Amount,
    /// How long a period is.
    pub interval: Interval,
}

/// Credits that are bought once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// What callers ask for, and mails tell.
    pub name: String,
    /// Its price at the payment provider.
    pub price_id: String,
    /// What it grants.
    pub credits: Amount,
}

/// How long a period of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// A month.
    Month,
    /// A year.
    Year,
}

/// All that is wrong with a catalogue, each fault with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CatalogueError {
    faults: Vec<String>,
}

impl CatalogueError {
    /// One line each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.faults.join("; "))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    plans: Vec<PlanEntry>,
    #[serde(default)]
    credit_packs: Vec<PackEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanEntry {
    name: String,
    price_id: String,
    credits: String,
    interval: Interval,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackEntry {
    name: String,
    price_id: String,
    credits: String,
}

impl Catalogue {
    /// Reads a catalogue in TOML: tables `[[plans]]` with `name`, `price_id`, `credits` and `interval`, and `[[credit_packs]]` without an interval.
    /// Credits are strings, as in every other place: `"120.00"`.
    ///
    /// # Errors
    /// [`CatalogueError`] with every fault: a name or a price that appears twice, whatever it belongs to, and credits that are no amount.
    pub fn parse(toml: &str) -> Result<Self, CatalogueError> {
        let file: File = toml::from_str(toml).map_err(|error| CatalogueError {
            faults: vec![error.to_string().trim_end().replace('\n', " ")],
        })?;
        let mut check = Check::default();
        let plans = file.plans.into_iter().filter_map(|entry| {
            let credits = check.item("plan", &entry.name, &entry.price_id, &entry.credits)?;
            Some(Plan {
                name: entry.name,
                price_id: entry.price_id,
                credits,
                interval: entry.interval,
            })
        });
        let plans = plans.collect();
        let packs = file.credit_packs.into_iter().filter_map(|entry| {
            let credits =
                check.item("credit pack", &entry.name, &entry.price_id, &entry.credits)?;
            Some(Pack {
                name: entry.name,
                price_id: entry.price_id,
                credits,
            })
        });
        let packs = packs.collect();
        if check.faults.is_empty() {
            Ok(Self { plans, packs })
        } else {
            Err(CatalogueError {
                faults: check.faults,
            })
        }
    }

    /// All plans, in their order in the file.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// All packs, in their order in the file.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The plan of a name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.name == name)
    }

    /// The plan that has a price.
    pub fn plan_by_price(&self, price_id: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.price_id == price_id)
    }

    /// The pack of a name.
    pub fn pack(&self, name: &str) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.name == name)
    }
}

#[derive(Default)]
struct Check {
    faults: Vec<String>,
    names: HashSet<String>,
    prices: HashSet<String>,
}

impl Check {
    fn item(&mut self, what: &str, name: &str, price: &str, credits: &str) -> Option<Amount> {
        let mut fault = |why: &str| self.faults.push(format!("{what} {name:?}: {why}"));
        // They stand in mails, in metadata and in answers.
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            fault("a name is one line of 1 to 64 characters");
        }
        if !(1..=255).contains(&price.len()) || !price.bytes().all(|b| b.is_ascii_graphic()) {
            fault("a price_id has 1 to 255 visible ASCII characters");
        }
        if !self.names.insert(name.to_owned()) {
            fault("the name is that of another item");
        }
        if !self.prices.insert(price.to_owned()) {
            fault("the price_id is that of another item");
        }
        match Credits::parse(credits).and_then(Amount::new) {
            Ok(amount) => Some(amount),
            Err(reason) => {
                fault(&format!("credits: {reason}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Catalogue;

    #[test]
    fn every_fault_is_told_at_once() {
        let toml = r#"
            [[plans]]
            name = "basic"
            price_id = "price_1"
            credits = "1.234"
            interval = "month"
            [[credit_packs]]
            name = "basic"
            price_id = "price_1"
            credits = "0"
            [[credit_packs]]
            name = ""
            price_id = "price 3"
            credits = "5"
        "#;
        let error = Catalogue::parse(toml).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.faults().len(), 6, "{text}");
        for part in [
            "plan \"basic\": credits: An amount is a decimal number",
            "credit pack \"basic\": the name is that of another item",
            "credit pack \"basic\": the price_id is that of another item",
            "credit pack \"basic\": credits: An amount is at least 0.01",
            "credit pack \"\": a name is one line",
            "credit pack \"\": a price_id has",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        for toml in [
            "[[plans]]\nname = \"a\"",
            "[[plan]]\n",
            "plans",
            "[[credit_packs]]\nname = \"a\"\nprice_id = \"p\"\ncredits = 5",
            "[[credit_packs]]\nname = \"a\"\nprice_id = \"p\"\ncredits = \"5\"\ninterval = \"month\"",
            "[[plans]]\nname = \"a\"\nprice_id = \"p\"\ncredits = \"5\"\ninterval = \"day\"",
        ] {
            assert!(Catalogue::parse(toml).is_err(), "{toml}");
        }
        let empty = Catalogue::parse("").unwrap();
        assert!(empty.plans().is_empty() && empty.packs().is_empty());
    }
}

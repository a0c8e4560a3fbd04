//! What operators' tools read of us: Prometheus' own parser, in the Python that `.ci/telemetry` installs.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Reads a page and writes its families as JSON. A value is text, because JSON has no NaN.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([
    {'name': family.name, 'kind': family.type, 'help': family.documentation,
     'samples': [{'name': it.name, 'labels': it.labels, 'value': str(it.value)} for it in family.samples]}
    for family in parse(sys.stdin.read())]))
";

/// A page of `/metrics`, as Prometheus understands it.
#[derive(Debug)]
pub struct Metrics {
    families: BTreeMap<String, Value>,
}

impl Metrics {
    /// Reads a page.
    ///
    /// # Panics
    /// When the parser is not installed, or does not take the page.
    pub fn parse(page: &str) -> Self {
        let mut parser = Command::new(python())
            .args(["-c", PARSE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It reads all of it before it writes anything.
        let mut stdin = parser.stdin.take().unwrap();
        stdin.write_all(page.as_bytes()).unwrap();
        drop(stdin);
        let output = parser.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{page}");
        let families: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let named = families
            .into_iter()
            .map(|family| (full_name(&family), family));
        Self {
            families: named.collect(),
        }
    }

    /// Every metric: its full name, its kind and what it says of itself.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.families.iter().map(|(name, family)| {
            let text = |member: &str| family[member].as_str().unwrap();
            (name.as_str(), text("kind"), text("help"))
        })
    }

    /// The labels of every sample of a metric.
    pub fn labels(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let samples = self.samples(name);
        samples
            .iter()
            .map(|sample| serde_json::from_value(sample["labels"].clone()).unwrap())
            .collect()
    }

    /// The value of the sample that has these labels, and perhaps others; of a histogram, `NAME_count` or `NAME_sum`. `None` when there is none.
    ///
    /// # Panics
    /// When there are several.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let of = name
            .strip_suffix("_count")
            .or_else(|| name.strip_suffix("_sum"))
            .filter(|name| self.families.contains_key(*name));
        let mut found = self.samples(of.unwrap_or(name)).iter().filter(|sample| {
            let has = |(label, value): &(&str, &str)| sample["labels"][*label] == *value;
            sample["name"] == name && labels.iter().all(has)
        });
        let value = found.next()?["value"].as_str().unwrap();
        assert!(found.next().is_none(), "{name} {labels:?} is ambiguous");
        Some(value.parse().unwrap())
    }

    fn samples(&self, name: &str) -> &[Value] {
        let family = self
            .families
            .get(name)
            .unwrap_or_else(|| panic!("there is no {name}"));
        family["samples"].as_array().unwrap()
    }
}

/// The parser leaves the suffix of counters out.
fn full_name(family: &Value) -> String {
    let name = family["name"].as_str().unwrap();
    match family["kind"].as_str() {
        Some("counter") => format!("{name}_total"),
        _ => name.to_owned(),
    }
}

/// The Python that reads metrics and traces.
///
/// # Panics
/// When it is not installed, with what installs it.
pub fn python() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program
        .ancestors()
        .nth(3)
        .expect("tests run in the target directory");
    let python = target.join("telemetry/bin/python3");
    assert!(
        python.exists(),
        "{} is not there: `.ci/telemetry` installs it",
        python.display()
    );
    python
}

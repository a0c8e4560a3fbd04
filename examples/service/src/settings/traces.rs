use std::{collections::HashMap, fmt::Display, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::reader::{Reader, flag};

/// Where spans go, and which. Names, units and defaults are OpenTelemetry's.
#[cfg_attr(not(feature = "otel"), allow(dead_code))] // read, so that it is checked and told
pub(crate) struct Traces {
    /// The most spans that are sent at once.
    pub(crate) batch: usize,
    /// Between two batches.
    pub(crate) delay: Duration,
    /// Without a slash at its end.
    pub(crate) endpoint: String,
    /// Keys, often.
    pub(crate) headers: HashMap<String, String>,
    /// The most spans that wait.
    pub(crate) queue: usize,
    pub(crate) sampling: Sampling,
    /// `None`: the name of the service.
    pub(crate) service_name: Option<String>,
    /// For a batch to arrive.
    pub(crate) timeout: Duration,
    /// Whether peers of `TRUSTED_PROXIES` name the parents of spans.
    pub(crate) trusts_parents: bool,
}

/// Which spans are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(not(feature = "otel"), allow(dead_code))] // as above
pub(crate) struct Sampling {
    /// A span with a parent is kept if that is.
    pub(crate) follows_parents: bool,
    /// Of the others: from 0, none, to 1, all.
    pub(crate) share: f64,
}

const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";

impl Traces {
    pub(super) fn read(
        reader: &mut Reader,
        production: bool,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let endpoint = reader.optional(NAME, endpoint);
        let headers = reader.optional(HEADERS, headers);
        // The exporter would read it behind our back, and send keys in the clear.
        if reader.is_set(TRACES_HEADERS) {
            reader.fault(TRACES_HEADERS, format_args!("is not taken: set {HEADERS}"));
        }
        let service_name = reader.get("OTEL_SERVICE_NAME");
        let sampling = sampling(reader);
        let queue = reader.or("OTEL_BSP_MAX_QUEUE_SIZE", 2048, within(1, 1_000_000));
        let batch = reader.or("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, within(1, 1_000_000));
        let delay = reader.or("OTEL_BSP_SCHEDULE_DELAY", 5000, within(1, 3_600_000));
        let timeout = reader.or("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000, within(1, 3_600_000));
        let trusts_parents = reader.or("TRUST_TRACEPARENT", false, flag);
        for name in reader.unasked("OTEL_") {
            notes.push(format!("{name} is not obeyed in .env"));
        }
        let (endpoint, is_private) = endpoint?;
        if production && headers.is_some() && !is_private {
            reader.fault(
                NAME,
                "must be https in production where headers are set, unless the collector is on this machine",
            );
        }
        if !cfg!(feature = "otel") {
            let told = "is set, and this program was built without the feature `otel`";
            if production {
                reader.fault(NAME, told);
            } else {
                notes.push(format!("{NAME} {told}"));
            }
            return None;
        }
        Some(Self {
            batch,
            delay: Duration::from_millis(delay),
            endpoint,
            headers: headers.unwrap_or_default(),
            queue,
            sampling,
            service_name,
            timeout: Duration::from_millis(timeout),
            trusts_parents,
        })
    }
}

fn sampling(reader: &mut Reader) -> Sampling {
    let share = reader.or("OTEL_TRACES_SAMPLER_ARG", 1.0, |text| {
        let share = text.parse().ok();
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        share.ok_or("must be a number from 0 to 1")
    });
    let all = Sampling {
        follows_parents: true,
        share: 1.0,
    };
    reader.or("OTEL_TRACES_SAMPLER", all, |text| {
        let of_rest = text.strip_prefix("parentbased_");
        let share = match of_rest.unwrap_or(text) {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => share,
            _ => return Err("must be always_on, always_off or traceidratio, or one of them after parentbased_"),
        };
        Ok(Sampling {
            follows_parents: of_rest.is_some(),
            share,
        })
    })
}

/// A number between bounds that are taken, too.
fn within<T: FromStr + PartialOrd + Display>(
    least: T,
    most: T,
) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let number = text.parse().ok();
        let number = number.filter(|number| (&least..=&most).contains(&number));
        number.ok_or_else(|| format!("must be a number from {least} to {most}"))
    }
}

/// With whether nobody reads along on the way.
fn endpoint(text: &str) -> Result<(String, bool), &'static str> {
    const FAULT: &str = "must be http://host:port or https://host, without a query or a password";
    let uri: Uri = text.parse().map_err(|_| FAULT)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(FAULT);
    };
    if !matches!(scheme, "http" | "https") || authority.as_str().contains('@') || text.contains('?')
    {
        return Err(FAULT);
    }
    let is_private =
        scheme == "https" || matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
    Ok((text.trim_end_matches('/').to_owned(), is_private))
}

/// `name=value,name=value`, the values percent-encoded.
fn headers(text: &str) -> Result<HashMap<String, String>, &'static str> {
    text.split(',')
        .map(|entry| {
            let (name, value) = entry.trim().split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            HeaderName::try_from(name.trim()).ok()?;
            HeaderValue::try_from(&*value).ok()?;
            Some((name.trim().to_owned(), value.into_owned()))
        })
        .collect::<Option<_>>()
        .ok_or("must be name=value,name=value with percent-encoded values")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    #[cfg(feature = "otel")]
    use super::Sampling;
    use super::{Reader, Traces};

    fn read(production: bool, values: &[(&str, &str)]) -> (Option<Traces>, Vec<String>, Reader) {
        let values: HashMap<_, _> = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut reader = Reader {
            from_dot_env: values.keys().cloned().collect(),
            values,
            ..Reader::default()
        };
        let mut notes = Vec::new();
        let traces = Traces::read(&mut reader, production, &mut notes);
        (traces, notes, reader)
    }

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_program_without_traces_says_so_and_in_production_does_not_start() {
        const TOLD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (traces, notes, reader) = read(false, &[COLLECTOR]);
        assert!(traces.is_none() && reader.faults.is_empty());
        assert!(matches!(&*notes, [note] if note.starts_with(TOLD) && note.contains("`otel`")));
        let (traces, notes, reader) = read(true, &[COLLECTOR]);
        assert!(traces.is_none() && notes.is_empty());
        assert!(
            matches!(&*reader.faults, [fault] if fault.starts_with(TOLD) && fault.contains("`otel`"))
        );
        let (traces, notes, reader) = read(true, &[]);
        assert!(traces.is_none() && notes.is_empty() && reader.faults.is_empty());
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_env_files_say_of_traces_is_obeyed() {
        let (traces, notes, reader) = read(true, &[COLLECTOR]);
        let traces = traces.unwrap();
        assert!(notes.is_empty() && reader.faults.is_empty());
        assert!(!traces.trusts_parents);
        assert_eq!((traces.queue, traces.batch), (2048, 512));
        let every = Sampling {
            follows_parents: true,
            share: 1.0,
        };
        assert_eq!(traces.sampling, every);

        for (sampler, follows_parents, share) in [
            ("always_on", false, 1.0),
            ("always_off", false, 0.0),
            ("traceidratio", false, 0.25),
            ("parentbased_always_on", true, 1.0),
            ("parentbased_always_off", true, 0.0),
            ("parentbased_traceidratio", true, 0.25),
        ] {
            let values = [
                COLLECTOR,
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
                ("TRUST_TRACEPARENT", "true"),
            ];
            let (traces, _, _) = read(true, &values);
            let traces = traces.unwrap();
            let wanted = Sampling {
                follows_parents,
                share,
            };
            assert_eq!(traces.sampling, wanted, "{sampler}");
            assert_eq!(traces.queue, 7);
            assert!(traces.trusts_parents);
        }
    }

    #[test]
    fn what_is_no_setting_of_traces_is_told() {
        for (name, value) in [
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("TRUST_TRACEPARENT", "10.0.0.1"),
        ] {
            let (_, _, reader) = read(false, &[(name, value)]);
            let faults = &reader.faults;
            assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
            assert!(faults[0].starts_with(name), "{faults:?}");
        }
        // OpenTelemetry's own code reads the environment, and no file.
        let (_, notes, _) = read(false, &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")]);
        assert_eq!(
            notes,
            ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is not obeyed in .env"]
        );
    }
}

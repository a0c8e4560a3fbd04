use std::{fmt::Display, str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::reader::{Reader, flag};

/// Where spans go, and which. Names, units and defaults are OpenTelemetry's.
#[cfg_attr(not(feature = "otel"), allow(dead_code))] // read, so that it is checked and told
pub(crate) struct Traces {
    /// The most spans that are sent at once.
    pub(crate) batch: usize,
    /// Between two batches.
    pub(crate) delay: Duration,
    /// Where batches are posted to.
    pub(crate) endpoint: String,
    /// Keys, often.
    pub(crate) headers: HeaderMap,
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

const DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";

/// What OpenTelemetry's own code reads, from the environment alone.
const ITS_OWN: &[&str] = &[
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

impl Traces {
    pub(super) fn read(
        reader: &mut Reader,
        production: bool,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let mut names = [TRACES_ENDPOINT, ENDPOINT].into_iter();
        let mut name = names.find(|name| reader.is_set(name));
        let trusts_parents = reader.or("TRUST_TRACEPARENT", false, flag);
        let disabled = reader.idly(|reader| reader.get(DISABLED));
        let disabled = disabled.unwrap_or_default().to_ascii_lowercase();
        if disabled == "true"
            && let Some(name) = name.take()
        {
            notes.push(format!("{name} has no effect: {DISABLED}"));
        }
        if let Some(name) = name
            && cfg!(feature = "otel")
        {
            // What is wrong with it counts now.
            reader.get(DISABLED);
            if !matches!(&*disabled, "" | "false") {
                notes.push(format!("{DISABLED} is not true: spans are sent"));
            }
            let traces = Self::sent(reader, name, production, trusts_parents);
            notes.extend(not_obeyed(reader));
            return traces;
        }
        // Set for all programs of a machine, say: where nothing is sent, nothing of it is wrong.
        reader.idly(|reader| Self::sent(reader, ENDPOINT, production, trusts_parents));
        if let Some(name) = name {
            let told = "is set, and this program was built without the feature `otel`";
            if production {
                reader.fault(name, told);
            } else {
                notes.push(format!("{name} {told}"));
            }
        }
        None
    }

    /// `name` is the one of the endpoint that counts.
    fn sent(
        reader: &mut Reader,
        name: &str,
        production: bool,
        trusts_parents: bool,
    ) -> Option<Self> {
        let endpoint = of_traces(reader, [TRACES_ENDPOINT, ENDPOINT], endpoint);
        let headers = of_traces(reader, [TRACES_HEADERS, HEADERS], headers);
        let timeouts = [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ];
        let timeout = of_traces(reader, timeouts, within(1, 3_600_000)).unwrap_or(10_000);
        let service_name = reader.get("OTEL_SERVICE_NAME");
        let sampling = sampling(reader);
        let queue = reader.or("OTEL_BSP_MAX_QUEUE_SIZE", 2048, within(1, 1_000_000));
        let batch = reader.or("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, within(1, 1_000_000));
        let delay = reader.or("OTEL_BSP_SCHEDULE_DELAY", 5000, within(1, 3_600_000));
        let (mut endpoint, is_private) = endpoint?;
        if production && headers.is_some() && !is_private {
            reader.fault(
                name,
                "must be https in production where headers are set, unless the collector is on this machine",
            );
        }
        // One of all signals is where their paths begin.
        if name == ENDPOINT {
            endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
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

/// What is set for traces goes before what is set for all signals, which then is not judged.
fn of_traces<T, E: Display>(
    reader: &mut Reader,
    [own, general]: [&str; 2],
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    if reader.is_set(own) {
        reader.idly(|reader| reader.get(general));
        reader.optional(own, parse)
    } else {
        // Unset, and shown.
        reader.get(own);
        reader.optional(general, parse)
    }
}

/// What somebody set for spans that are sent, and nobody reads.
fn not_obeyed(reader: &Reader) -> impl Iterator<Item = String> + use<> {
    let (its_own, unheard_of): (Vec<_>, Vec<_>) = reader
        .unasked("OTEL_")
        .into_iter()
        .partition(|name| ITS_OWN.contains(&&**name));
    let in_file = its_own
        .into_iter()
        .filter(|name| reader.is_in_dot_env(name));
    [
        (in_file.collect(), "not obeyed in .env"),
        (unheard_of, "not obeyed"),
    ]
    .into_iter()
    .filter(|(names, _): &(Vec<String>, _)| !names.is_empty())
    .map(|(names, what)| format!("{what}: {}", names.join(", ")))
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
    Ok((text.to_owned(), is_private))
}

/// `name=value,name=value`, the values percent-encoded. Of a name that is there twice, the last one counts.
fn headers(text: &str) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for entry in text.split(',') {
        let (name, value) =
            header(entry).ok_or("must be name=value,name=value with percent-encoded values")?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn header(entry: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = entry.split_once('=')?;
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let mut value = HeaderValue::try_from(&*value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name.trim()).ok()?, value))
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "otel")]
    use super::Sampling;
    use super::{Reader, Traces};

    /// What `.env` says.
    fn read(production: bool, values: &[(&str, &str)]) -> (Option<Traces>, Vec<String>, Reader) {
        read_both(production, values, &[])
    }

    /// What `.env` and the environment say.
    fn read_both(
        production: bool,
        file: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> (Option<Traces>, Vec<String>, Reader) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut reader = Reader {
            from_dot_env: file.iter().map(|it| owned(it).0).collect(),
            values: file.iter().chain(environment).map(owned).collect(),
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

    /// None of which is a setting.
    const NONSENSE: &[(&str, &str)] = &[
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "5s"),
    ];

    #[test]
    fn what_is_set_for_other_programs_is_no_fault_where_nothing_is_sent() {
        for production in [false, true] {
            for nonsense in NONSENSE {
                let (traces, notes, reader) = read_both(production, &[], &[*nonsense]);
                assert!(traces.is_none() && notes.is_empty());
                assert!(reader.faults.is_empty(), "{:?}", reader.faults);
                // `config show` has it all the same.
                assert!(reader.asked.contains(nonsense.0));
            }
        }
        // Ours alone, and about whom to trust.
        let (_, _, reader) = read(false, &[("TRUST_TRACEPARENT", "10.0.0.1")]);
        assert!(
            matches!(&*reader.faults, [fault] if fault.starts_with("TRUST_TRACEPARENT")),
            "{:?}",
            reader.faults
        );
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_program_without_traces_judges_none_of_their_settings() {
        for nonsense in NONSENSE {
            let (_, notes, reader) = read(false, &[COLLECTOR, *nonsense]);
            assert!(reader.faults.is_empty(), "{:?}", reader.faults);
            assert_eq!(notes.len(), 1, "{notes:?}");
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_is_no_setting_of_spans_that_are_sent_is_told_without_its_value() {
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", COLLECTOR.1);
        for collector in [COLLECTOR, own] {
            for (name, value) in NONSENSE {
                let (_, _, reader) = read(false, &[collector, (name, value)]);
                let faults = &reader.faults;
                assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
                assert!(faults[0].starts_with(name), "{faults:?}");
                assert!(!faults[0].contains("hunter2"), "{faults:?}");
            }
        }
        for endpoint in ["http://x:hunter2@localhost:4318", "hunter2", "hunter2:4317"] {
            for (name, _) in [COLLECTOR, own] {
                let (traces, _, reader) = read(false, &[(name, endpoint)]);
                let faults = &reader.faults;
                assert!(traces.is_none());
                assert_eq!(faults.len(), 1, "{endpoint}: {faults:?}");
                assert!(faults[0].starts_with(name), "{faults:?}");
                assert!(!faults[0].contains("hunter2"), "{faults:?}");
            }
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_is_set_for_traces_goes_before_what_is_set_for_all_signals() {
        let general = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/otlp/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-for=all"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ];
        let (traces, _, _) = read(true, &general);
        let traces = traces.unwrap();
        assert_eq!(traces.endpoint, "http://127.0.0.1:4318/otlp/v1/traces");
        assert_eq!(traces.headers["x-for"], "all");
        assert_eq!(traces.timeout.as_secs(), 2);

        let own = [
            // To the letter.
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://127.0.0.1:4319/",
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-of=old, X-Of=traces"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000"),
        ];
        // And those of all signals are not judged: 4317 is where gRPC is spoken.
        let of_others = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "none of traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ];
        for general in [general, of_others] {
            let (traces, notes, reader) = read_both(true, &[], &[own, general].concat());
            assert!(reader.faults.is_empty(), "{:?}", reader.faults);
            assert!(notes.is_empty(), "{notes:?}");
            let traces = traces.unwrap();
            assert_eq!(traces.endpoint, "http://127.0.0.1:4319/");
            assert_eq!(traces.headers.len(), 1);
            assert_eq!(traces.headers["x-of"], "traces");
            assert_eq!(traces.timeout.as_secs(), 3);
        }
    }

    #[test]
    fn a_disabled_sdk_sends_nothing_and_judges_nothing() {
        for yes in ["true", "True", "TRUE"] {
            let disabled = ("OTEL_SDK_DISABLED", yes);
            for nonsense in NONSENSE {
                let (traces, notes, reader) = read_both(true, &[COLLECTOR, disabled], &[*nonsense]);
                assert!(traces.is_none());
                assert!(reader.faults.is_empty(), "{:?}", reader.faults);
                assert_eq!(
                    notes,
                    ["OTEL_EXPORTER_OTLP_ENDPOINT has no effect: OTEL_SDK_DISABLED"]
                );
            }
            let (_, notes, _) = read(true, &[disabled]);
            assert!(notes.is_empty(), "{notes:?}");
        }
    }

    /// As OpenTelemetry has it; that is not what everybody means.
    #[cfg(feature = "otel")]
    #[test]
    fn what_is_not_true_disables_nothing_and_is_told() {
        let told = &["OTEL_SDK_DISABLED is not true: spans are sent"][..];
        for (no, told) in [
            ("false", &[][..]),
            ("False", &[]),
            ("1", told),
            ("yes", told),
        ] {
            let (traces, notes, _) = read(true, &[COLLECTOR, ("OTEL_SDK_DISABLED", no)]);
            assert!(traces.is_some(), "{no}");
            assert_eq!(notes, told, "{no}");
        }
    }

    #[test]
    fn whether_spans_are_disabled_must_be_readable_where_a_collector_is_set() {
        let unreadable = ("OTEL_SDK_DISABLED_FILE", "/nowhere/at/all");
        let (_, _, reader) = read(true, &[unreadable]);
        assert!(reader.faults.is_empty(), "{:?}", reader.faults);
        let faults = read(false, &[COLLECTOR, unreadable]).2.faults;
        // Without traces, none of their settings is judged.
        assert_eq!(faults.len(), usize::from(cfg!(feature = "otel")));
        assert!(faults.iter().all(|fault| fault.starts_with(unreadable.0)));
    }

    #[cfg(feature = "otel")]
    #[test]
    fn keys_are_not_sent_in_the_clear_in_production() {
        let endpoints = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ];
        let headers = [
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        ];
        for endpoint in endpoints {
            for headers in headers {
                let read = |endpoint_is| {
                    let values = [(endpoint, endpoint_is), (headers, "x-key=ours")];
                    read(true, &values).2.faults
                };
                let faults = read("http://collector:4318");
                assert!(
                    matches!(&*faults, [fault] if fault.starts_with(endpoint)),
                    "{faults:?}"
                );
                for private in ["https://collector", "http://127.0.0.1:4318"] {
                    assert_eq!(read(private), Vec::<String>::new());
                }
            }
        }
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_nobody_reads_is_told_where_spans_are_sent() {
        let propagators = ("OTEL_PROPAGATORS", "b3");
        let limit = ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3");
        let exporter = ("OTEL_TRACES_EXPORTER", "none");
        let unset = ("OTEL_LOG_LEVEL", "");
        let (_, notes, _) = read_both(true, &[COLLECTOR, propagators], &[limit, exporter, unset]);
        assert_eq!(
            notes,
            ["not obeyed: OTEL_PROPAGATORS, OTEL_TRACES_EXPORTER"]
        );
        // OpenTelemetry's own code reads the environment, and no file.
        let (_, notes, _) = read(true, &[COLLECTOR, limit]);
        assert_eq!(
            notes,
            ["not obeyed in .env: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"]
        );
    }
}

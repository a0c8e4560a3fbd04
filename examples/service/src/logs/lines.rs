use std::{
    backtrace::{Backtrace, BacktraceStatus},
    error::Error as StdError,
    fmt,
};

use auth_core::{
    ports::{Clock, SystemClock},
    time::format_description::well_known::Rfc3339,
};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::chain;

/// How a line names its time.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// As Logstash reads it: `@timestamp` and `@version`.
    Logstash,
    /// `time`
    Plain,
}

type Write = Box<dyn Fn(&str) + Send + Sync>;

/// Writes every event as a line of JSON: its own fields, those of the spans around it, and where it comes from.
pub(super) struct Lines {
    service: String,
    environment: &'static str,
    outputs: Vec<(Style, Write)>,
}

impl Lines {
    pub(super) fn new(service: &str, environment: &'static str) -> Self {
        Self {
            service: service.to_owned(),
            environment,
            outputs: Vec::new(),
        }
    }

    /// Lines come with their line feed.
    pub(super) fn add(&mut self, style: Style, write: impl Fn(&str) + Send + Sync + 'static) {
        self.outputs.push((style, Box::new(write)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
}

/// Fields by name; of two with one name the later counts.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    /// With everything that led to it.
    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.put(field, chain(value).into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut line = Fields::default();
        for span in ctx
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.0.extend(fields.0.clone());
            }
        }
        event.record(&mut line);
        let mut line = line.0;
        // Last: no field of an event stands in for what we say of it.
        let about = event.metadata();
        for (name, value) in [
            ("level", about.level().as_str()),
            ("target", about.target()),
            ("service", &self.service),
            ("environment", self.environment),
        ] {
            line.insert(name.to_owned(), value.into());
        }
        // With `RUST_BACKTRACE`: of the place that came to know of an error.
        if *about.level() == Level::ERROR && !line.contains_key("backtrace") {
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                line.insert("backtrace".to_owned(), backtrace.to_string().into());
            }
        }
        let time = SystemClock.now().format(&Rfc3339).unwrap_or_default();
        for (style, write) in &self.outputs {
            let mut line = line.clone();
            match style {
                Style::Logstash => {
                    line.insert("@timestamp".to_owned(), time.clone().into());
                    line.insert("@version".to_owned(), "1".into());
                }
                Style::Plain => drop(line.insert("time".to_owned(), time.clone().into())),
            }
            // JSON has no line feed inside: a line is one event, whatever somebody put into it (ASVS 16.4.1).
            write(&format!("{}\n", Value::Object(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Lines, Style};

    #[test]
    fn a_line_has_the_fields_of_its_event_and_of_its_spans_and_no_forged_ones() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut lines = Lines::new("auth", "test");
        for style in [Style::Plain, Style::Logstash] {
            let written = Arc::clone(&written);
            lines.add(style, move |line| {
                assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
                let line: Value = serde_json::from_str(line).unwrap();
                written.lock().unwrap().push(line);
            });
        }
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request_id = "r1", status = 0);
            let _entered = span.enter();
            let source = std::io::Error::other(std::io::Error::other("the cause"));
            tracing::warn!(
                status = 404_u64,
                level = "none",
                error = &source as &dyn std::error::Error,
                text = "two\nlines \u{1b}[31m",
                "said"
            );
        });
        let written = written.lock().unwrap();
        let [plain, logstash] = &written[..] else {
            panic!("{written:?}");
        };
        for (name, value) in [
            ("message", json!("said")),
            ("level", json!("WARN")),
            ("service", json!("auth")),
            ("environment", json!("test")),
            ("request_id", json!("r1")),
            ("status", json!(404)),
            ("text", json!("two\nlines \u{1b}[31m")),
        ] {
            assert_eq!((&plain[name], &logstash[name]), (&value, &value), "{name}");
        }
        assert!(plain["error"].as_str().unwrap().contains("the cause"));
        assert_eq!(plain["target"], module_path!());
        assert_eq!(logstash["@version"], "1");
        assert_eq!(logstash["@timestamp"], plain["time"]);
        assert!(logstash.get("time").is_none() && plain.get("@timestamp").is_none());
    }
}

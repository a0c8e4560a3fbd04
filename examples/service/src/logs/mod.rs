//! What the service writes about its work: lines for people or JSON, to standard error, to daily files, and over TCP to Logstash.

mod files;
mod lines;
mod logstash;

use std::io::{self, IsTerminal};

use auth_core::ports::SystemClock;
use tracing_subscriber::{
    Layer, Registry, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use self::files::DailyFiles;
use self::lines::{Lines, Style};
use self::logstash::Shipping;
pub(crate) use self::logstash::{Destination, Tls};
use crate::{BoxError, panics, settings::Settings};

/// What has to be finished before the process ends.
#[must_use = "what waits to be shipped is lost without `finish`"]
pub(crate) struct Logs {
    shipping: Option<Shipping>,
}

impl Logs {
    /// Begins, for the whole process. Inside a runtime.
    pub(crate) fn start(settings: &Settings) -> Result<Self, BoxError> {
        let logs = &settings.logs;
        let mut lines = Lines::new(&settings.server.service_name, settings.environment.as_str());
        let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = Vec::new();
        if logs.json {
            lines.add(Style::Plain, |line| {
                // Nobody is left to tell that it failed.
                let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
            });
        } else {
            let is_seen = io::stderr().is_terminal();
            layers.push(for_people(is_seen, io::stderr));
        }
        if let Some(files) = &logs.files {
            let files = DailyFiles::open(&files.folder, files.days, SystemClock)?;
            if logs.json {
                lines.add(Style::Plain, move |line| {
                    let _ = io::Write::write_all(&mut &files, line.as_bytes());
                });
            } else {
                layers.push(for_people(false, files));
            }
        }
        let shipping = match &logs.logstash {
            Some(destination) => {
                let shipping = Shipping::start(destination)?;
                let queue = shipping.queue();
                lines.add(Style::Logstash, move |line| queue.push(line));
                Some(shipping)
            }
            None => None,
        };
        if !lines.is_empty() {
            layers.push(Box::new(lines));
        }
        tracing_subscriber::registry()
            .with(layers)
            .with(logs.filter.clone())
            .try_init()?;
        panics::log_and_count();
        Ok(Self { shipping })
    }

    /// Ships what waits, within a few seconds.
    pub(crate) async fn finish(self) {
        if let Some(shipping) = self.shipping {
            shipping.finish().await;
        }
    }
}

fn for_people<S, W>(with_colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_ansi(with_colours).with_writer(writer);
    // Of a line that cannot be written, the layer would panic where standard error is closed.
    Box::new(lines.log_internal_errors(false))
}

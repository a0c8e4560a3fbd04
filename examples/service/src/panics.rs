//! A panic ends its own work and nothing else. Here it is logged as everything else is, and counted.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic,
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::counter;

/// From now on, in every thread of the process.
pub(crate) fn log_and_count() {
    let count = AtomicU64::new(0);
    // Looked up now: whoever panics may hold a lock of the recorder.
    let counter =
        counter!(description: "Panics, each of which ended its own work only", "auth_panics_total");
    panic::set_hook(Box::new(move |panic| {
        counter.increment(1);
        let panics = count.fetch_add(1, Ordering::Relaxed) + 1;
        let at = panic.location().map(ToString::to_string);
        // With `RUST_BACKTRACE`.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(
            at,
            backtrace = backtrace.map(tracing::field::display),
            panics,
            said = panic.payload_as_str(),
            "something panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        panic::{catch_unwind, set_hook, take_hook},
        sync::{Arc, Mutex},
    };

    use super::log_and_count;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_with_its_number() {
        let log = Log::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || lines.clone())
            .finish();
        let others = take_hook();
        log_and_count();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 {
                assert!(catch_unwind(|| panic!("on purpose")).is_err());
            }
        });
        set_hook(others);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        for (line, number) in lines.iter().zip(1..) {
            assert!(line.contains(r#""said":"on purpose""#), "{line}");
            assert!(line.contains(&format!(r#""panics":{number}"#)), "{line}");
            assert!(line.contains("panics.rs:"), "{line}");
        }
    }
}

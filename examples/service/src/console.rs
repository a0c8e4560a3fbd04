//! What commands tell the person, or the program, that called them: answers on standard output, and what is wrong on standard error.
//!
//! Nobody has to listen. A pipe whose reader has gone away (`| head`) stops no command: what it does, it does to the end, and its status tells how that
//! went. What cannot be written for another reason, as to a disk that is full, is an error.

use std::{
    error::Error as StdError,
    fmt,
    io::{self, Write as _},
};

/// An answer that could not be written.
#[derive(Debug)]
pub(crate) struct Unsaid(io::Error);

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not all of the answer could be written")
    }
}

impl StdError for Unsaid {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Writes a line, or several, to standard output.
pub(crate) fn say(text: &str) -> Result<(), Unsaid> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Unsaid(error)),
        _ => Ok(()),
    }
}

/// Lines of a work that does not stop when one cannot be written. After the first failure nothing more is written.
pub(crate) struct Report(Result<(), Unsaid>);

impl Report {
    pub(crate) const fn new() -> Self {
        Self(Ok(()))
    }

    pub(crate) fn line(&mut self, line: &dyn fmt::Display) {
        if self.0.is_ok() {
            self.0 = say(&line.to_string());
        }
    }

    /// Whether all of them were written, when the work is done.
    pub(crate) fn end(self) -> Result<(), Unsaid> {
        self.0
    }
}

/// Writes a line, or several, to standard error.
pub(crate) fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Every fault of the settings, a line each.
pub(crate) fn complain_of(faults: &[String]) {
    complain(&format!(
        "auth-service cannot start; {} setting(s) to mend:",
        faults.len()
    ));
    for fault in faults {
        complain(&format!("  {fault}"));
    }
}

//! The output of a command for its user: lines on standard error, and data on standard output.

use std::fmt;
use std::io::{self, Write};

/// Writes a line to standard error. A failure is ignored: if standard error is closed, nobody reads it.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let line = format!("tickwire: {what}\n");
    io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

/// Writes text of several lines to standard error. A failure is ignored: if standard error is closed, nobody reads it.
pub(crate) fn tell(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// Writes `data` to standard output. It is not an error if the reader has gone, since it has what it wanted.
///
/// # Errors
/// When writing fails for another reason.
pub(crate) fn print(data: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

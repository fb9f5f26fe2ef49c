//! What a command tells the person in front of it: lines on standard error, and data on standard output.

use std::fmt;
use std::io::{self, Write};

/// Writes a line about what happens to standard error. When that is closed there is nobody to tell, so a failure is
/// not one.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let line = format!("tickwire: {what}\n");
    io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

/// Writes `data` to standard output. A reader that has gone is no error: it has what it wanted.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub(crate) fn print(data: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

//! A program of another project that reports what it sees as JSON, one value per line.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::DEADLINE;
use super::broker::end;
use super::lines::{Lines, Missing};

/// A running script. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Script {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines,
    errors: Lines,
    read: usize,
}

impl Script {
    /// Starts `program` with `args`.
    pub(crate) fn start<A: AsRef<std::ffi::OsStr>>(program: &Path, args: &[A]) -> Self {
        Self::start_with(program, args, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with<A: AsRef<std::ffi::OsStr>>(
        program: &Path,
        args: &[A],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self {
            input: child.stdin.take(),
            output: Lines::of(child.stdout.take().expect("standard output is piped")),
            errors: Lines::of(child.stderr.take().expect("standard error is piped")),
            child,
            read: 0,
        }
    }

    /// Writes a line to the script's standard input.
    pub(crate) fn tell(&mut self, line: &Value) {
        let input = self.input.as_mut().expect("its input was not closed");
        writeln!(input, "{line}")
            .unwrap_or_else(|error| panic!("it takes no more input, {error}:\n{}", self.errors.tail()));
    }

    /// Writes bytes to the script's standard input.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("its input was not closed");
        input
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("it takes no more input, {error}:\n{}", self.errors.tail()));
    }

    /// The next line of its output; `None` at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        match self
            .output
            .find(self.read, DEADLINE, |line| Some(line.to_owned()))
        {
            Ok((line, read)) => {
                self.read = read;
                Some(line)
            }
            Err(Missing::Ended) => None,
            Err(Missing::TooLate) => panic!("nothing for {DEADLINE:?}, {}", self.said()),
        }
    }

    /// The next value of its output.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.line();
        let line = line.unwrap_or_else(|| panic!("it ended, {}", self.said()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    }

    /// Waits for a line of its standard error that contains `text`.
    pub(crate) fn wait_for_error(&self, text: &str) {
        let found = self
            .errors
            .find(0, DEADLINE, |line| line.contains(text).then_some(()));
        assert!(found.is_ok(), "no {text:?} ({found:?}), {}", self.said());
    }

    /// Its whole standard error so far.
    pub(crate) fn errors(&self) -> String {
        self.errors.all()
    }

    /// Whether the script has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked for").is_some()
    }

    /// Waits for its end. Returns whether it has come within the deadline.
    pub(crate) fn ends_in_time(&self) -> bool {
        self.output.wait_end(DEADLINE) && self.errors.wait_end(DEADLINE)
    }

    /// All output of the script, for a message of failure.
    fn said(&self) -> String {
        format!(
            "after this output:\n{}\nand these errors:\n{}",
            self.output.tail(),
            self.errors.tail()
        )
    }

    /// Closes its input, waits for its end and checks that it ended with success. Returns its output after the last
    /// line that was taken.
    pub(crate) fn finish(mut self) -> String {
        self.input = None;
        assert!(self.ends_in_time(), "it does not end, {}", self.said());
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}, {}", self.said());
        let mut rest = Vec::new();
        while let Some(line) = self.line() {
            rest.push(line);
        }
        rest.join("\n")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

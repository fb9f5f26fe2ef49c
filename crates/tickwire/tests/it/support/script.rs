//! A program of somebody else that tells what it sees as JSON, one value a line.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::DEADLINE;
use super::broker::end;
use super::lines::Lines;

/// A script that runs. Dropped, it is killed.
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
        let mut child = Command::new(program)
            .args(args)
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

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &Value) {
        let input = self.input.as_mut().expect("its input was not closed");
        writeln!(input, "{line}")
            .unwrap_or_else(|error| panic!("it takes no more input, {error}:\n{}", self.errors.tail()));
    }

    /// The next value that it prints.
    pub(crate) fn next(&mut self) -> Value {
        let value = self.output.find(self.read, DEADLINE, |line| {
            Some(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}")))
        });
        match value {
            Ok((value, read)) => {
                self.read = read;
                value
            }
            Err(missing) => panic!(
                "the script said nothing more ({missing:?}); before:\n{}\nits errors:\n{}",
                self.output.tail(),
                self.errors.tail()
            ),
        }
    }

    /// Closes its input, waits for its end and checks that it ended well. What it printed since [`Script::next`] is returned.
    pub(crate) fn finish(mut self) -> String {
        self.input = None;
        assert!(
            self.output.wait_end(DEADLINE) && self.errors.wait_end(DEADLINE),
            "the script does not end; it said:\n{}\n{}",
            self.output.tail(),
            self.errors.tail()
        );
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}:\n{}", self.errors.tail());
        let mut rest = Vec::new();
        let all = self.output.find(self.read, DEADLINE, |line| {
            rest.push(line.to_owned());
            None::<()>
        });
        assert!(all.is_err(), "the end was reached");
        rest.join("\n")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

//! The standard output of `sub`: messages as lines, JSON or for people, gathered until they are flushed.

use std::io;

use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::{Codec, Control, Epoch, Payload, ServerMessage};
use tokio::io::{AsyncWriteExt, Stdout, stdout};

use super::pretty;
use crate::colour::Painter;
use crate::console::say;
use crate::signals::Signals;

/// Most bytes that are gathered before they are written.
const FULL_BYTES: usize = 64 * 1024;

/// Whether to go on printing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// There is more to print.
    Continue,
    /// Everything that was wanted is printed, or nobody reads the output.
    End,
}

/// The lines for standard output.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Stdout,
    buffer: Vec<u8>,
    all: bool,
    /// How lines for people are painted; without it lines are JSON.
    pretty: Option<Painter>,
    /// How many lines are still wanted, if there is a limit.
    wanted: Option<u64>,
}

impl Output {
    /// `all` also prints messages without data. `count` ends the output after this many lines. With `pretty` they are
    /// for people.
    pub(crate) fn new(all: bool, count: Option<u64>, pretty: Option<Painter>) -> Self {
        Self {
            stdout: stdout(),
            buffer: Vec::with_capacity(FULL_BYTES),
            all,
            pretty,
            wanted: count,
        }
    }

    /// Whether it is time to flush.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL_BYTES
    }

    /// Adds `message` as a line, if it is to be printed.
    pub(crate) fn print(&mut self, message: &ServerMessage) -> Flow {
        let before = self.buffer.len();
        if let Some(paint) = self.pretty {
            let mut line = String::new();
            pretty::append(&mut line, message, self.all, paint);
            self.buffer.extend_from_slice(line.as_bytes());
        } else {
            self.line(message);
        }
        if self.buffer.len() == before {
            return Flow::Continue;
        }
        if self.pretty.is_none() {
            self.buffer.push(b'\n');
        }
        match &mut self.wanted {
            Some(wanted) => {
                *wanted = wanted.saturating_sub(1);
                if *wanted == 0 { Flow::End } else { Flow::Continue }
            }
            None => Flow::Continue,
        }
    }

    fn line(&mut self, message: &ServerMessage) {
        let all = self.all;
        append_json(&mut self.buffer, message, |control| {
            let is_news = matches!(
                control,
                Control::Gap { .. } | Control::Status { .. } | Control::End { .. }
            );
            all || is_news
        });
    }

    /// Writes the gathered lines. If the reader has gone, or a signal comes, the program ends as if it had finished.
    pub(crate) async fn flush(&mut self, signals: &mut Signals) -> io::Result<Flow> {
        if self.buffer.is_empty() {
            return Ok(Flow::Continue);
        }
        let write = async {
            self.stdout.write_all(&self.buffer).await?;
            self.stdout.flush().await
        };
        let written = tokio::select! {
            written = write => Some(written),
            _ = signals.next() => None,
        };
        // This also applies to a cancelled write: a part may have been written and must not be written again.
        self.buffer.clear();
        let Some(written) = written else {
            return Ok(Flow::End);
        };
        match written {
            Ok(()) => Ok(Flow::Continue),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::End),
            Err(error) => Err(error),
        }
    }
}

/// Adds `message` as JSON in one line, without a line end. Of messages without data, only those that are `wanted` are added.
pub(crate) fn append_json(
    buffer: &mut Vec<u8>,
    message: &ServerMessage,
    wanted: impl FnOnce(&Control) -> bool,
) {
    // The line of an update has no epoch, but the encoder takes one.
    let no_epoch = Epoch::from("");
    let (op, topic, epoch, seq, ts, data) = match message {
        ServerMessage::Update { topic, seq, ts, data } => (DataOp::Update, topic, &no_epoch, *seq, *ts, data),
        ServerMessage::Snapshot {
            topic,
            epoch,
            seq,
            ts,
            data,
        } => (DataOp::Snapshot, topic, epoch, *seq, *ts, data),
        ServerMessage::Control(control) => {
            if wanted(control) {
                Codec::Json.encode_control(control, buffer);
            }
            return;
        }
        ServerMessage::Unknown(_) => return,
    };
    let stamp = Stamp {
        topic,
        epoch,
        seq,
        ts,
    };
    let begin = buffer.len();
    match Payload::from_json(data.get().as_bytes()) {
        Ok(data) => Codec::Json.encode_data(op, stamp, &data, buffer),
        Err(refusal) => say(format_args!("{topic}, message {seq} cannot be shown: {refusal}")),
    }
    one_line(buffer, begin);
}

/// Removes the line ends from the JSON in `buffer` from `begin` on. Between tokens they mean nothing, and a string
/// cannot contain one (RFC 8259 §7).
fn one_line(buffer: &mut Vec<u8>, begin: usize) {
    let ends_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !buffer[begin..].iter().any(ends_line) {
        return;
    }
    let mut line = buffer.split_off(begin);
    line.retain(|byte| !ends_line(byte));
    buffer.append(&mut line);
}

#[cfg(test)]
mod tests {
    use tickwire_wire::codec::BadMessage;

    use super::*;

    /// What `sub` prints for the messages in `lines`.
    fn printed(lines: &[&str], all: bool, count: Option<u64>) -> Result<(String, Flow), BadMessage> {
        let mut output = Output::new(all, count, None);
        let mut flow = Flow::Continue;
        for line in lines {
            flow = output.print(&Codec::Json.decode_server(line.as_bytes())?);
        }
        Ok((String::from_utf8_lossy(&output.buffer).into_owned(), flow))
    }

    const DATA: [&str; 4] = [
        r#"{"op":"snapshot","topic":"a","epoch":"k","seq":1,"ts":2,"data":{"x": [1.50]}}"#,
        r#"{"op":"update","topic":"a","seq":2,"ts":3,"data":null}"#,
        r#"{"op":"gap","topic":"a","epoch":"k","from":3,"to":4,"reason":"slow"}"#,
        r#"{"op":"status","topic":"a","state":"stale"}"#,
    ];

    #[test]
    fn data_is_printed_as_it_came() -> Result<(), BadMessage> {
        let (text, flow) = printed(&DATA, false, None)?;
        assert_eq!(text, format!("{}\n", DATA.join("\n")));
        assert_eq!(flow, Flow::Continue);
        Ok(())
    }

    #[test]
    fn a_message_of_several_lines_is_printed_as_one() -> Result<(), BadMessage> {
        let update = "{\"op\":\"update\",\"topic\":\"a\",\"seq\":2,\"ts\":3,\"data\":{\r\n\"a\": [1,\n2], \"b\\n\":\"\\n\"\n}}";
        let (text, _) = printed(&[DATA[1], update], false, None)?;
        let line = r#"{"op":"update","topic":"a","seq":2,"ts":3,"data":{"a": [1,2], "b\n":"\n"}}"#;
        assert_eq!(text, format!("{}\n{line}\n", DATA[1]));
        Ok(())
    }

    #[test]
    fn the_rest_is_printed_on_demand() -> Result<(), BadMessage> {
        let rest = [r#"{"op":"heartbeat","ts":1}"#, r#"{"op":"news","ts":1}"#];
        assert_eq!(printed(&rest, false, None)?.0, "");
        assert_eq!(printed(&rest, true, None)?.0, format!("{}\n", rest[0]));
        Ok(())
    }

    #[test]
    fn a_count_ends_it() -> Result<(), BadMessage> {
        assert_eq!(printed(&DATA[..2], false, Some(3))?.1, Flow::Continue);
        assert_eq!(printed(&DATA[..3], false, Some(3))?.1, Flow::End);
        let heartbeat = [r#"{"op":"heartbeat","ts":1}"#];
        assert_eq!(
            printed(&heartbeat, false, Some(1))?.1,
            Flow::Continue,
            "not a line"
        );
        Ok(())
    }
}

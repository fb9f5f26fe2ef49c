//! Stopped readers that read again, and the latencies of the others.
//!
//! While a stopped reader catches up, its messages are divided in two. What was in the kernel's buffers when it began
//! to read again is older than that moment. Everything after it must not be.

use crate::swarm::{Came, Faults, Lateness, Watch};

/// A stopped reader that reads again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CatchUp {
    /// Bytes of WebSocket frames that were read since then.
    read_bytes: u64,
    /// The bytes before the first message that is as new as the moment at which it began to read again.
    pub(super) stale_bytes: u64,
    pub(super) stale_messages: u64,
    /// Whether that message has come.
    fresh: bool,
}

#[derive(Debug)]
pub(super) struct GoingOn {
    /// That of the readers that never stop.
    pub(super) lateness: Lateness,
    /// The first reader that stops. The others that stop come after it.
    first: usize,
    /// The newest number of each topic when they began to read again; empty before that.
    newest: Vec<u64>,
    /// The most bytes that the kernel then held for one of the connections.
    kernel_bytes_max: u64,
    pub(super) stopped: Vec<CatchUp>,
}

impl GoingOn {
    /// Readers up to `all`. Those from `first` on will stop.
    pub(super) fn new(first: usize, all: usize) -> anyhow::Result<Self> {
        Ok(Self {
            lateness: Lateness::new()?,
            first,
            newest: Vec::new(),
            kernel_bytes_max: 0,
            stopped: vec![CatchUp::default(); all - first],
        })
    }

    /// The stopped readers read again from now on.
    pub(super) fn go_on(&mut self, newest: &[u64], kernel_bytes_max: u64) {
        self.newest = newest.to_vec();
        self.kernel_bytes_max = kernel_bytes_max;
        self.stopped.fill(CatchUp::default());
    }

    /// How many of them have a new message.
    pub(super) fn fresh(&self) -> usize {
        self.stopped.iter().filter(|reader| reader.fresh).count()
    }
}

impl Watch for GoingOn {
    fn came(&mut self, came: Came<'_>, faults: &mut Faults) {
        let Some(stopped) = came.reader.checked_sub(self.first) else {
            return self.lateness.came(came, faults);
        };
        let Some(newest) = self.newest.get(came.topic) else {
            return;
        };
        let catch_up = &mut self.stopped[stopped];
        let begins = catch_up.read_bytes;
        catch_up.read_bytes += frame_bytes(came.message.len());
        if came.head.seq >= *newest {
            catch_up.fresh = true;
            return;
        }
        catch_up.stale_messages += 1;
        catch_up.stale_bytes = catch_up.read_bytes;
        if begins >= self.kernel_bytes_max {
            let (reader, seq, topic, kernel) =
                (came.reader, came.head.seq, came.topic, self.kernel_bytes_max);
            let text = format_args!(
                "reader {reader}: {seq} of topic {topic} after {begins} bytes, {newest} was the newest when it went on and \
                 the kernel held at most {kernel} bytes"
            );
            faults.add("stale beyond the kernel's buffers", text);
        }
    }
}

/// The bytes of a server's frame with a payload of this length (RFC 6455 §5.2).
fn frame_bytes(payload: usize) -> u64 {
    let head = match payload {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    (head + payload) as u64
}

#[cfg(test)]
mod tests {
    use tickwire_wire::Mode;

    use super::*;
    use crate::swarm::Readers;
    use crate::swarm::readers::tests::{WELCOME, hear, layout, update};

    #[test]
    fn what_was_in_the_kernel_may_be_old_and_what_follows_may_not() {
        // The second of two old messages begins after the first, at some 60 bytes.
        for (kernel_bytes_max, stale) in [(100, 0), (40, 1)] {
            // Reader 8, on connection 9, is the first that stops. It has topic 0.
            let watch = GoingOn::new(8, 10).expect("bounds");
            let mut readers = Readers::new(layout(4, Mode::Conflate), watch);
            let ack = r#"{"op":"ack","id":1,"results":[{"topic":"trade.0","epoch":"e","seq":3,"mode":"conflate"},
                {"topic":"trade.1","epoch":"e","seq":3,"mode":"conflate"}]}"#;
            hear(&mut readers, 9, WELCOME);
            hear(&mut readers, 9, ack);
            readers.watch.go_on(&[50, 0, 0, 0], kernel_bytes_max);
            for seq in [4, 5] {
                hear(&mut readers, 9, &update("trade.0", seq));
            }
            assert_eq!(readers.watch.fresh(), 0);
            hear(&mut readers, 9, &update("trade.0", 50));
            let caught = readers.watch.stopped[0];
            assert!(caught.fresh && caught.stale_messages == 2 && caught.stale_bytes > 100);
            assert_eq!((readers.counts.conflated, readers.counts.updates), (44, 3));
            assert_eq!(readers.faults.count(), stale, "{:?}", readers.faults);
        }
    }
}

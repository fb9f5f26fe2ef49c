//! One topic as one connection sees it: whether each message is the one that must come.
//!
//! The rules are those of PROTOCOL.md, "What a client may rely on". After a fault the count goes on from what came, so
//! that one loss is one fault.

use thiserror::Error;

/// How a message broke the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Disorder {
    /// Messages are missing and no gap named them.
    #[error("{got} came where {expected} was due: {} silently missing", got - expected)]
    Missing { expected: u64, got: u64 },
    /// An old message, or one for the second time.
    #[error("{got} came after {last}")]
    Backwards { last: u64, got: u64 },
    /// A change of a book between a gap and the snapshot that must follow it.
    #[error("change {got} came before the snapshot that must follow a gap")]
    NoSnapshot { got: u64 },
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Anything: the topic joined by a pattern.
    Anything,
    /// A snapshot at or after the last, or the update after it: the topic was acked.
    Beginning,
    /// The update after the last, or a newer one when messages may be skipped.
    Update,
    /// A snapshot at or after the last: a book had a gap.
    Snapshot,
}

/// The state of one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    last: u64,
    next: Next,
    /// Whether each message must come.
    every: bool,
    is_book: bool,
}

impl Track {
    /// A topic of which nothing is known yet.
    pub(crate) fn new(topic: &[u8], every: bool) -> Self {
        Self {
            last: 0,
            next: Next::Anything,
            every,
            is_book: topic.starts_with(b"book."),
        }
    }

    /// The topic's subscription was acked: it begins after `seq`. Of one that flows already nothing changes.
    pub(crate) fn acked(&mut self, seq: u64, every: bool) {
        self.every = every;
        if self.next == Next::Anything {
            self.last = seq;
            self.next = Next::Beginning;
        }
    }

    /// The last number.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The topic goes on after `seq`, whatever came before.
    pub(crate) fn goes_on_after(&mut self, seq: u64) {
        (self.last, self.next) = (seq, Next::Beginning);
    }

    /// An `update` came. Returns how many messages it skipped, which it may when not each must come.
    ///
    /// # Errors
    /// When it should not have come now.
    #[inline]
    pub(crate) fn update(&mut self, seq: u64) -> Result<u64, Disorder> {
        let last = std::mem::replace(&mut self.last, seq);
        match std::mem::replace(&mut self.next, Next::Update) {
            Next::Anything => return Ok(0),
            Next::Snapshot => return Err(Disorder::NoSnapshot { got: seq }),
            Next::Beginning | Next::Update => {}
        }
        match seq.checked_sub(last) {
            None | Some(0) => Err(Disorder::Backwards { last, got: seq }),
            Some(1) => Ok(0),
            Some(_) if self.every => Err(Disorder::Missing {
                expected: last + 1,
                got: seq,
            }),
            Some(step) => Ok(step - 1),
        }
    }

    /// A `snapshot` came.
    ///
    /// # Errors
    /// When it should not have come now.
    pub(crate) fn snapshot(&mut self, seq: u64) -> Result<(), Disorder> {
        let last = std::mem::replace(&mut self.last, seq);
        match std::mem::replace(&mut self.next, Next::Update) {
            Next::Anything => Ok(()),
            _ if seq < last => Err(Disorder::Backwards { last, got: seq }),
            Next::Update if self.every && seq > last => Err(Disorder::Missing {
                expected: last + 1,
                got: seq + 1,
            }),
            Next::Beginning | Next::Snapshot | Next::Update => Ok(()),
        }
    }

    /// A `gap` came: the messages `from` to `to` won't.
    ///
    /// # Errors
    /// When it does not begin where the messages ended.
    pub(crate) fn gap(&mut self, from: u64, to: u64) -> Result<(), Disorder> {
        let last = std::mem::replace(&mut self.last, to);
        let before = std::mem::replace(
            &mut self.next,
            if self.is_book {
                Next::Snapshot
            } else {
                Next::Update
            },
        );
        match from.cmp(&(last + 1)) {
            _ if before == Next::Anything => Ok(()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(Disorder::Backwards { last, got: from }),
            std::cmp::Ordering::Greater => Err(Disorder::Missing {
                expected: last + 1,
                got: from,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// What comes of `events`: `ack N`, `up N`, `snap N`, `gap N-M`; one answer each.
    #[track_caller]
    fn check(topic: &str, every: bool, events: &str, expected: &Expect) {
        let mut track = Track::new(topic.as_bytes(), every);
        let mut answers = Vec::new();
        for event in events.split(", ") {
            let (what, number) = event.split_once(' ').expect("WHAT NUMBER");
            let parse = |text: &str| -> u64 { text.parse().expect(event) };
            let answer = match what {
                "ack" => {
                    track.acked(parse(number), every);
                    Ok(0)
                }
                "up" => track.update(parse(number)),
                "snap" => track.snapshot(parse(number)).map(|()| 0),
                "gap" => {
                    let (from, to) = number.split_once('-').expect(event);
                    track.gap(parse(from), parse(to)).map(|()| 0)
                }
                _ => panic!("{event}"),
            };
            answers.push(match answer {
                Ok(0) => "ok".to_owned(),
                Ok(skipped) => format!("{skipped} skipped"),
                Err(disorder) => disorder.to_string(),
            });
        }
        expected.assert_eq(&answers.join("; "));
    }

    #[test]
    fn every_message_must_come() {
        check("trade.A", true, "ack 5, up 6, up 7", &expect!["ok; ok; ok"]);
        check("trade.A", true, "ack 0, up 1", &expect!["ok; ok"]);
        check("trade.A", true, "ack 5, snap 5, up 6", &expect!["ok; ok; ok"]);
        check("trade.A", true, "up 9, up 10", &expect!["ok; ok"]);
        check(
            "trade.A",
            true,
            "ack 5, up 7, up 8",
            &expect!["ok; 7 came where 6 was due: 1 silently missing; ok"],
        );
        check(
            "trade.A",
            true,
            "ack 5, up 6, up 6",
            &expect!["ok; ok; 6 came after 6"],
        );
        check(
            "trade.A",
            true,
            "ack 5, up 6, ack 9, up 7",
            &expect!["ok; ok; ok; ok"],
        );
        check(
            "trade.A",
            true,
            "ack 5, up 6, snap 8, up 9",
            &expect!["ok; ok; 9 came where 7 was due: 2 silently missing; ok"],
        );
    }

    #[test]
    fn messages_may_be_skipped() {
        check(
            "bbo.A",
            false,
            "ack 5, snap 8, up 9, up 12",
            &expect!["ok; ok; ok; 2 skipped"],
        );
        check("bbo.A", false, "ack 5, up 4", &expect!["ok; 4 came after 5"]);
        check("bbo.A", false, "snap 5, snap 4", &expect!["ok; 4 came after 5"]);
    }

    #[test]
    fn gaps_name_what_is_missing() {
        check("trade.A", true, "ack 5, gap 6-9, up 10", &expect!["ok; ok; ok"]);
        check(
            "trade.A",
            true,
            "ack 5, gap 7-9, up 10",
            &expect!["ok; 7 came where 6 was due: 1 silently missing; ok"],
        );
        check(
            "trade.A",
            true,
            "ack 5, up 6, gap 6-9",
            &expect!["ok; ok; 6 came after 6"],
        );
        check(
            "book.A",
            true,
            "ack 5, gap 6-9, snap 9, up 10",
            &expect!["ok; ok; ok; ok"],
        );
        check(
            "book.A",
            true,
            "ack 5, gap 6-9, up 10",
            &expect!["ok; ok; change 10 came before the snapshot that must follow a gap"],
        );
    }
}

//! What one client was told of one topic, against what was published: every message is accounted for, once.
//!
//! Pure, and deliberately not the client's own [checker](tickwire_client::promise): it counts differently, knows how many
//! messages there are, and the two must agree. A message of mode `every` has come, or a `gap` named it, or a resume that
//! failed said so, or the client said that it could not resume; anything else is an undeclared gap. After a fault the count
//! goes on from what came, so that one loss is one fault.

use tickwire_client::book::L2Book;
use tickwire_wire::message::{AckResult, GapReason};
use tickwire_wire::{Epoch, Seq};

use super::topics;

/// How a topic is subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Each message.
    Every,
    /// The newest.
    Conflate,
    /// Each change of a book, or a snapshot.
    Book,
}

/// What the topics of a client add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Sums {
    /// Updates and snapshots.
    pub(super) messages: u64,
    pub(super) snapshots: u64,
    /// Superseded messages that were skipped in `conflate`.
    pub(super) conflated: u64,
    pub(super) gaps: u64,
    /// Messages that gaps named.
    pub(super) gapped: u64,
    /// Messages in whose place a snapshot came, after a gap or a resume that was told to have failed.
    pub(super) replaced: u64,
    /// Messages that the client said it could not ask for: it had no position when its connection was lost.
    pub(super) unresumed: u64,
    pub(super) recovered: u64,
    pub(super) not_recovered: u64,
    /// Topics that began anew after a loss: named without a position, or of a pattern and with a snapshot, be it that they had one.
    pub(super) begun_anew: u64,
    /// Messages that are missing and that nothing named.
    pub(super) undeclared: u64,
    /// Messages that came twice or went backward.
    pub(super) duplicates: u64,
    pub(super) false_recovered: u64,
    /// Messages whose content is not that of their number.
    pub(super) wrong_content: u64,
}

/// What was due when something else came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// No ack came yet on this connection.
    Ack,
    /// A snapshot may come first: the subscription began, or a gap came.
    MaybeSnapshot,
    /// The ack of a pattern came: what comes first shows whether the topic was resumed.
    Shown,
    /// After `recovered:true`: the messages after the last.
    Replay,
    /// After `recovered:false`: a snapshot or a gap.
    Told,
    /// The next message.
    Next,
}

/// One topic of one client.
#[derive(Debug)]
pub(super) struct Audit {
    way: Way,
    /// The last message that came or was accounted for otherwise; none before the first.
    last: Option<u64>,
    due: Due,
    /// Missing messages of which the client has yet to say that it could not resume.
    untold: u64,
    /// Whether the client said so before the message that shows it.
    told: bool,
    /// The book that is rebuilt, to verify each checksum.
    pub(super) book: Option<Box<L2Book>>,
    pub(super) sums: Sums,
}

impl Audit {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            last: None,
            due: Due::Ack,
            untold: 0,
            told: false,
            book: (way == Way::Book).then(Box::default),
            sums: Sums::default(),
        }
    }

    /// The last message that came or was accounted for otherwise.
    pub(super) fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self) {
        self.due = Due::Ack;
        self.told = false;
    }

    /// The client said that it could not resume.
    pub(super) fn unresumed(&mut self) {
        self.told = self.untold == 0;
        self.sums.unresumed += std::mem::take(&mut self.untold);
    }

    /// The subscription was acked.
    pub(super) fn acked(&mut self, result: &AckResult) {
        match (result.recovered, self.last) {
            (Some(true), Some(_)) => {
                self.sums.recovered += 1;
                self.due = Due::Replay;
            }
            (Some(true), None) => self.sums.false_recovered += 1,
            (Some(false), _) => {
                self.sums.not_recovered += 1;
                self.due = Due::Told;
            }
            (None, _) => {
                self.begin_anew(result.seq.unwrap_or_default().0);
                self.due = Due::MaybeSnapshot;
            }
        }
    }

    /// The subscription of a pattern was acked that covers the topic.
    pub(super) fn acked_by_pattern(&mut self) {
        self.due = Due::Shown;
    }

    /// A `joined` came: the topic goes on after `seq`.
    pub(super) fn joined(&mut self, seq: u64) {
        match std::mem::replace(&mut self.due, Due::MaybeSnapshot) {
            Due::Shown => self.begin_anew(seq),
            _ => self.sums.duplicates += 1,
        }
    }

    fn begin_anew(&mut self, head: u64) {
        self.sums.begun_anew += u64::from(self.last.is_some());
        self.begin(head);
    }

    /// Goes on after `head`, without a position to resume from.
    fn begin(&mut self, head: u64) {
        let missing = self.last.map_or(0, |last| head.saturating_sub(last));
        if self.way == Way::Every {
            self.miss_untold(missing);
        } else if self.way == Way::Book {
            self.sums.replaced += missing;
        }
        self.last = Some(self.last().max(head));
    }

    fn miss_untold(&mut self, missing: u64) {
        if std::mem::take(&mut self.told) {
            self.sums.unresumed += missing;
        } else {
            self.untold += missing;
        }
    }

    /// An update came.
    pub(super) fn update(&mut self, seq: u64) {
        self.sums.messages += 1;
        let last = self.last();
        if seq <= last {
            self.sums.duplicates += 1;
            return;
        }
        let missing = seq - last - 1;
        let is_first = self.last.replace(seq).is_none();
        let mut due = std::mem::replace(&mut self.due, Due::Next);
        if due == Due::Shown && !is_first {
            self.sums.recovered += 1;
            due = Due::Replay;
        }
        match due {
            // None may be followed by an update: nothing was said of what is missing.
            Due::Ack | Due::Told | Due::Shown => self.sums.undeclared += missing.max(1),
            _ if self.way == Way::Conflate => self.sums.conflated += missing,
            Due::Replay if missing > 0 => {
                self.sums.false_recovered += 1;
                self.sums.undeclared += missing;
            }
            Due::Replay | Due::MaybeSnapshot | Due::Next => self.sums.undeclared += missing,
        }
    }

    /// A snapshot came.
    pub(super) fn snapshot(&mut self, epoch: &Epoch, seq: u64, data: &str) {
        self.sums.messages += 1;
        self.sums.snapshots += 1;
        let is_right = match &mut self.book {
            Some(book) => book.snapshot(epoch, Seq(seq), data).is_ok(),
            None => topics::is_of(self.way, seq, data),
        };
        self.sums.wrong_content += u64::from(!is_right);
        let due = std::mem::replace(&mut self.due, Due::Next);
        if due == Due::Shown {
            // What it goes on with comes: missing is what was before that.
            let head = self.last.map_or(seq, |_| seq.saturating_sub(1));
            self.begin_anew(head);
        }
        let last = self.last();
        let missing = seq.saturating_sub(last);
        self.last = Some(last.max(seq));
        match due {
            _ if seq < last => self.sums.duplicates += 1,
            Due::Ack => self.sums.undeclared += missing.max(1),
            _ if self.way == Way::Conflate => self.sums.conflated += missing.saturating_sub(1),
            Due::Replay => self.sums.false_recovered += 1,
            Due::Told | Due::MaybeSnapshot | Due::Shown if self.way == Way::Book => {
                self.sums.replaced += missing;
            }
            // The snapshot of an event is its last message.
            Due::MaybeSnapshot | Due::Shown => self.miss_untold(missing.saturating_sub(1)),
            Due::Told => self.sums.undeclared += missing.saturating_sub(1),
            Due::Next => {
                self.sums.duplicates += u64::from(missing == 0);
                self.sums.undeclared += missing.saturating_sub(1);
            }
        }
    }

    /// Looks at the content of an update that came.
    pub(super) fn verify(&mut self, seq: u64, data: &str) {
        let is_right = topics::is_of(self.way, seq, data)
            && self
                .book
                .as_mut()
                .is_none_or(|book| book.update(Seq(seq), data).is_ok());
        self.sums.wrong_content += u64::from(!is_right);
    }

    /// A gap came.
    pub(super) fn gap(&mut self, from: u64, to: u64, reason: GapReason) {
        self.sums.gaps += 1;
        if let Some(book) = &mut self.book {
            book.make_stale();
        }
        let last = self.last();
        let due = std::mem::replace(&mut self.due, Due::MaybeSnapshot);
        match due {
            Due::Replay => self.sums.false_recovered += u64::from(reason != GapReason::Slow),
            Due::Shown if reason == GapReason::Slow => self.sums.recovered += 1,
            Due::Shown => self.sums.not_recovered += 1,
            Due::Ack | Due::MaybeSnapshot | Due::Told | Due::Next => {}
        }
        if due == Due::Ack || from > last + 1 {
            self.sums.undeclared += from.saturating_sub(last + 1).max(1);
        }
        // A gap that names what came.
        self.sums.duplicates += u64::from(from <= last);
        self.sums.gapped += (to + 1).saturating_sub(from.max(last + 1));
        self.last = Some(last.max(to));
    }

    /// The run is over and nothing more will come; `head` messages were published. Returns the missing ones.
    pub(super) fn close(&mut self, head: u64) -> u64 {
        let missing = head.saturating_sub(self.last());
        // In `conflate` it is the newest that is missing; whatever else is could be superseded.
        let missing = if self.way == Way::Conflate {
            missing.min(1)
        } else {
            missing
        };
        self.sums.undeclared += missing + std::mem::take(&mut self.untold);
        missing
    }
}

impl Sums {
    /// Adds those of another topic or client.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            messages,
            snapshots,
            conflated,
            gaps,
            gapped,
            replaced,
            unresumed,
            recovered,
            not_recovered,
            begun_anew,
            undeclared,
            duplicates,
            false_recovered,
            wrong_content,
        } = other;
        self.messages += messages;
        self.snapshots += snapshots;
        self.conflated += conflated;
        self.gaps += gaps;
        self.gapped += gapped;
        self.replaced += replaced;
        self.unresumed += unresumed;
        self.recovered += recovered;
        self.not_recovered += not_recovered;
        self.begun_anew += begun_anew;
        self.undeclared += undeclared;
        self.duplicates += duplicates;
        self.false_recovered += false_recovered;
        self.wrong_content += wrong_content;
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// What comes of `events`: `ack N`, `ack N true|false`, `pattern` for the ack of one, `joined N`, `up N`, `snap N`, `gap N-M [history]`, `lost`, `unresumed`,
    /// `end N`. Only what is not 0 is shown.
    #[track_caller]
    fn check(way: Way, events: &str, expected: &Expect) {
        let mut audit = Audit::new(way);
        audit.book = None;
        for event in events.split("; ") {
            let words: Vec<&str> = event.split(' ').collect();
            let number = |at: usize| -> u64 { words[at].parse().expect(event) };
            match words[0] {
                "ack" => audit.acked(&AckResult {
                    seq: Some(Seq(number(1))),
                    recovered: words.get(2).map(|word| *word == "true"),
                    ..AckResult::default()
                }),
                "pattern" => audit.acked_by_pattern(),
                "joined" => audit.joined(number(1)),
                "up" => audit.update(number(1)),
                "snap" => audit.snapshot(&Epoch::from("e"), number(1), &format!("{{\"n\":{}}}", number(1))),
                "gap" => {
                    let (from, to) = words[1].split_once('-').expect(event);
                    let reason = if words.len() > 2 {
                        GapReason::History
                    } else {
                        GapReason::Slow
                    };
                    audit.gap(from.parse().expect(event), to.parse().expect(event), reason);
                }
                "lost" => audit.lost(),
                "unresumed" => audit.unresumed(),
                "end" => {
                    audit.close(number(1));
                }
                _ => panic!("{event}"),
            }
        }
        let sums = serde_json::to_value(audit.sums).expect("sums");
        let shown = sums.as_object().expect("an object").iter();
        let shown: Vec<String> = shown
            .filter(|(name, value)| {
                **value != 0 && !["messages", "snapshots", "wrong_content"].contains(&name.as_str())
            })
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        expected.assert_eq(&shown.join(", "));
    }

    #[test]
    fn every_message_is_accounted_for() {
        use Way::Every;
        check(Every, "ack 5; snap 5; up 6; up 7; end 7", &expect![""]);
        check(Every, "ack 5; up 6; up 8; end 8", &expect!["undeclared 1"]);
        check(Every, "ack 5; up 6; up 6; end 6", &expect!["duplicates 1"]);
        check(
            Every,
            "ack 5; up 6; gap 7-9; up 10; end 10",
            &expect!["gaps 1, gapped 3"],
        );
        check(
            Every,
            "ack 5; up 6; gap 8-9; end 9",
            &expect!["gaps 1, gapped 2, undeclared 1"],
        );
        check(
            Every,
            "ack 5; up 6; gap 6-9; end 9",
            &expect!["gaps 1, gapped 3, duplicates 1"],
        );
        check(Every, "ack 5; up 6; end 9", &expect!["undeclared 3"]);
        check(Every, "up 1", &expect!["undeclared 1"]);
    }

    #[test]
    fn resumes_are_all_or_nothing() {
        use Way::Every;
        check(
            Every,
            "ack 0; up 1; lost; ack 4 true; up 2; up 3; up 4; end 4",
            &expect!["recovered 1"],
        );
        check(
            Every,
            "ack 0; up 1; lost; ack 4 true; up 3; up 4; end 4",
            &expect!["recovered 1, undeclared 1, false_recovered 1"],
        );
        check(
            Every,
            "ack 0; up 1; lost; ack 4 true; gap 2-3 history; up 4; end 4",
            &expect!["gaps 1, gapped 2, recovered 1, false_recovered 1"],
        );
        check(
            Every,
            "ack 0; up 1; lost; ack 4 false; gap 2-4 history; up 5; end 5",
            &expect!["gaps 1, gapped 3, not_recovered 1"],
        );
        check(
            Every,
            "ack 0; up 1; lost; ack 4 false; up 5; end 5",
            &expect!["not_recovered 1, undeclared 3"],
        );
        check(
            Every,
            "ack 0 true; up 1; end 1",
            &expect!["undeclared 1, false_recovered 1"],
        );
    }

    #[test]
    fn a_client_without_a_position_says_so() {
        use Way::Every;
        let told = expect!["gaps 1, gapped 1, unresumed 4, begun_anew 1"];
        check(
            Every,
            "ack 0; up 1; gap 2-2; lost; ack 6; unresumed; snap 6; up 7; end 7",
            &told,
        );
        check(
            Every,
            "ack 0; up 1; gap 2-2; lost; ack 6; snap 6; unresumed; up 7; end 7",
            &told,
        );
        let silent = expect!["gaps 1, gapped 1, begun_anew 1, undeclared 4"];
        check(
            Every,
            "ack 0; up 1; gap 2-2; lost; ack 6; snap 6; up 7; end 7",
            &silent,
        );
    }

    #[test]
    fn topics_of_a_pattern_show_whether_they_were_resumed() {
        use Way::{Book, Conflate, Every};
        check(Every, "pattern; snap 5; up 6; end 6", &expect![""]);
        check(Every, "pattern; joined 0; up 1; end 1", &expect![""]);
        check(Every, "pattern; up 1; end 1", &expect!["undeclared 1"]);
        check(
            Every,
            "pattern; snap 5; lost; pattern; up 6; end 6",
            &expect!["recovered 1"],
        );
        check(
            Every,
            "pattern; snap 5; lost; pattern; up 8; end 8",
            &expect!["recovered 1, undeclared 2, false_recovered 1"],
        );
        check(
            Every,
            "pattern; snap 5; lost; pattern; gap 6-8 history; up 9; end 9",
            &expect!["gaps 1, gapped 3, not_recovered 1"],
        );
        check(
            Every,
            "pattern; snap 5; lost; pattern; unresumed; snap 8; up 9; end 9",
            &expect!["unresumed 2, begun_anew 1"],
        );
        check(
            Every,
            "pattern; snap 5; lost; pattern; snap 8; up 9; end 9",
            &expect!["begun_anew 1, undeclared 2"],
        );
        check(
            Every,
            "pattern; joined 0; joined 0; up 1; end 1",
            &expect!["duplicates 1"],
        );
        check(
            Book,
            "pattern; snap 5; lost; pattern; snap 8; up 9; end 9",
            &expect!["replaced 3, begun_anew 1"],
        );
        check(
            Conflate,
            "pattern; snap 5; lost; pattern; up 8; end 8",
            &expect!["conflated 2, recovered 1"],
        );
        check(
            Conflate,
            "pattern; snap 5; lost; up 8; end 8",
            &expect!["undeclared 2"],
        );
    }

    #[test]
    fn the_newest_arrives() {
        use Way::Conflate;
        check(Conflate, "ack 5; snap 5; up 8; end 8", &expect!["conflated 2"]);
        check(
            Conflate,
            "ack 5; snap 5; up 8; lost; ack 20 true; up 20; end 20",
            &expect!["conflated 13, recovered 1"],
        );
        check(
            Conflate,
            "ack 5; snap 5; up 8; up 7; end 9",
            &expect!["conflated 2, undeclared 1, duplicates 1"],
        );
    }

    #[test]
    fn books_have_no_holes() {
        use Way::Book;
        check(
            Book,
            "ack 5; snap 5; up 6; gap 7-9; snap 9; up 10; end 10",
            &expect!["gaps 1, gapped 3"],
        );
        check(
            Book,
            "ack 5; snap 5; up 6; gap 7-9; snap 11; up 12; end 12",
            &expect!["gaps 1, gapped 3, replaced 2"],
        );
        check(Book, "ack 5; snap 5; up 7; end 7", &expect!["undeclared 1"]);
        check(
            Book,
            "ack 5; snap 5; lost; ack 9 false; snap 9; up 10; end 10",
            &expect!["replaced 4, not_recovered 1"],
        );
        check(
            Book,
            "ack 5; snap 5; lost; ack 9 true; snap 9; up 10; end 10",
            &expect!["recovered 1, false_recovered 1"],
        );
    }
}

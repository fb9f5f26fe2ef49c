//! An account of the messages of one topic on one client: every published message is accounted for, once.
//!
//! Pure, and deliberately not the client's own [checker](tickwire_client::promise): it counts in another way, and the
//! two must agree. A message in mode `every` has come, or a `gap` named it, or a failed resume told of it, or the
//! client reported that it could not resume. A message that is none of these is an undeclared gap. After a fault the
//! count goes on from what came, so that one loss is one fault. The content of messages is checked elsewhere.

use tickwire_wire::Seq;
use tickwire_wire::message::{AckResult, GapReason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Each message.
    Every,
    /// The newest message.
    Conflate,
    /// Each change of a book, or a snapshot.
    Book,
}

macro_rules! sums {
    ($($(#[$about:meta])* $name:ident = $label:literal,)+) => {
        /// The sums over the topics of a client.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub(super) struct Sums {
            $($(#[$about])* pub(super) $name: u64,)+
        }

        impl Sums {
            /// Adds the sums of another topic or client.
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            pub(super) fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$name)),+].into_iter()
            }
        }
    };
}

sums! {
    /// Updates and snapshots.
    messages = "messages received",
    snapshots = "of these, snapshots",
    recovered = "resumes, recovered:true",
    not_recovered = "resumes, recovered:false",
    /// Topics that began anew after a loss: a topic named without a position, or one of a pattern that came with a
    /// snapshot, even if it had a position.
    begun_anew = "begun anew without a position",
    gaps = "gaps declared",
    gapped = "messages named in gaps",
    /// Messages replaced by a snapshot, after a gap or a resume that was told to have failed.
    replaced = "replaced by a book's snapshot",
    /// Messages that the client reported as missing: it had no position when its connection was lost.
    unresumed = "declared missing by the client",
    conflated = "superseded (conflate)",
    /// Messages that are missing and that nothing named.
    undeclared = "undeclared gaps",
    /// Messages that came twice or went backward.
    duplicates = "duplicates",
    false_recovered = "false recovered:true",
    /// Messages whose content is not that of their number.
    wrong_content = "wrong content",
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The ack: none has come on this connection.
    Ack,
    /// The next message. A snapshot may come first, since the subscription began or a gap came.
    MaybeSnapshot,
    /// The first message after the ack of a pattern. It shows whether the topic was resumed.
    Shown,
    /// After `recovered:true`: the messages after the last one.
    Replay,
    /// After `recovered:false`: a snapshot or a gap.
    Told,
    Next,
}

/// The account of one topic on one client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Audit {
    pub(super) way: Way,
    /// The last message that came or was accounted for in another way; `None` before the first.
    last: Option<u64>,
    due: Due,
    /// How many messages are missing until the client reports that it could not resume.
    untold: u64,
    /// Whether the client reported that before the message that shows it.
    told: bool,
}

impl Audit {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            last: None,
            due: Due::Ack,
            untold: 0,
            told: false,
        }
    }

    /// The last message that came or was accounted for in another way.
    pub(super) fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    pub(super) fn lost(&mut self) {
        self.due = Due::Ack;
        self.told = false;
    }

    /// The client reported that it could not resume.
    pub(super) fn unresumed(&mut self, sums: &mut Sums) {
        self.told = self.untold == 0;
        sums.unresumed += std::mem::take(&mut self.untold);
    }

    pub(super) fn acked(&mut self, result: &AckResult, sums: &mut Sums) {
        match (result.recovered, self.last) {
            (Some(true), Some(_)) => {
                sums.recovered += 1;
                self.due = Due::Replay;
            }
            (Some(true), None) => sums.false_recovered += 1,
            (Some(false), _) => {
                sums.not_recovered += 1;
                // If nothing was published yet, nothing can be missing, and the ack tells everything.
                self.due = if result.seq == Some(Seq::ZERO) {
                    Due::Next
                } else {
                    Due::Told
                };
            }
            (None, _) => {
                self.begin_anew(result.seq.unwrap_or_default().0, sums);
                self.due = Due::MaybeSnapshot;
            }
        }
    }

    /// The subscription of a pattern that covers the topic was acked.
    pub(super) fn acked_by_pattern(&mut self) {
        self.due = Due::Shown;
    }

    /// A `joined` came: the topic goes on after `seq`.
    pub(super) fn joined(&mut self, seq: u64, sums: &mut Sums) {
        match std::mem::replace(&mut self.due, Due::MaybeSnapshot) {
            Due::Shown => self.begin_anew(seq, sums),
            _ => sums.duplicates += 1,
        }
    }

    fn begin_anew(&mut self, head: u64, sums: &mut Sums) {
        sums.begun_anew += u64::from(self.last.is_some());
        self.begin(head, sums);
    }

    /// Goes on after `head` without a position to resume from.
    fn begin(&mut self, head: u64, sums: &mut Sums) {
        let missing = self.last.map_or(0, |last| head.saturating_sub(last));
        if self.way == Way::Every {
            self.miss_untold(missing, sums);
        } else if self.way == Way::Book {
            sums.replaced += missing;
        }
        self.last = Some(self.last().max(head));
    }

    fn miss_untold(&mut self, missing: u64, sums: &mut Sums) {
        if std::mem::take(&mut self.told) {
            sums.unresumed += missing;
        } else {
            self.untold += missing;
        }
    }

    pub(super) fn update(&mut self, seq: u64, sums: &mut Sums) {
        sums.messages += 1;
        let last = self.last();
        if seq <= last {
            sums.duplicates += 1;
            return;
        }
        let missing = seq - last - 1;
        let is_first = self.last.replace(seq).is_none();
        let mut due = std::mem::replace(&mut self.due, Due::Next);
        if due == Due::Shown && !is_first {
            sums.recovered += 1;
            due = Due::Replay;
        }
        match due {
            // An update may not follow here: nothing told what is missing.
            Due::Ack | Due::Told | Due::Shown => sums.undeclared += missing.max(1),
            _ if self.way == Way::Conflate => sums.conflated += missing,
            Due::Replay if missing > 0 => {
                sums.false_recovered += 1;
                sums.undeclared += missing;
            }
            Due::Replay | Due::MaybeSnapshot | Due::Next => sums.undeclared += missing,
        }
    }

    pub(super) fn snapshot(&mut self, seq: u64, sums: &mut Sums) {
        sums.messages += 1;
        sums.snapshots += 1;
        let due = std::mem::replace(&mut self.due, Due::Next);
        if due == Due::Shown {
            // The topic goes on with this message. What was before it is missing.
            let head = self.last.map_or(seq, |_| seq.saturating_sub(1));
            self.begin_anew(head, sums);
        }
        let last = self.last();
        let missing = seq.saturating_sub(last);
        self.last = Some(last.max(seq));
        match due {
            _ if seq < last => sums.duplicates += 1,
            Due::Ack => sums.undeclared += missing.max(1),
            _ if self.way == Way::Conflate => sums.conflated += missing.saturating_sub(1),
            Due::Replay => sums.false_recovered += 1,
            Due::Told | Due::MaybeSnapshot | Due::Shown if self.way == Way::Book => {
                sums.replaced += missing;
            }
            // The snapshot of an event is its last message.
            Due::MaybeSnapshot | Due::Shown => self.miss_untold(missing.saturating_sub(1), sums),
            Due::Told => sums.undeclared += missing.saturating_sub(1),
            Due::Next => {
                sums.duplicates += u64::from(missing == 0);
                sums.undeclared += missing.saturating_sub(1);
            }
        }
    }

    pub(super) fn gap(&mut self, from: u64, to: u64, reason: GapReason, sums: &mut Sums) {
        sums.gaps += 1;
        let last = self.last();
        let due = std::mem::replace(&mut self.due, Due::MaybeSnapshot);
        match due {
            Due::Replay => sums.false_recovered += u64::from(reason != GapReason::Slow),
            Due::Shown if reason == GapReason::Slow => sums.recovered += 1,
            Due::Shown => sums.not_recovered += 1,
            Due::Ack | Due::MaybeSnapshot | Due::Told | Due::Next => {}
        }
        if due == Due::Ack || from > last + 1 {
            sums.undeclared += from.saturating_sub(last + 1).max(1);
        }
        // The gap names messages that came.
        sums.duplicates += u64::from(from <= last);
        sums.gapped += (to + 1).saturating_sub(from.max(last + 1));
        self.last = Some(last.max(to));
    }

    /// Ends the account: nothing more will come, and `head` messages were published. Returns how many are missing.
    pub(super) fn close(&mut self, head: u64, sums: &mut Sums) -> u64 {
        let missing = head.saturating_sub(self.last());
        // In `conflate` only the newest message is missing; all others could be superseded.
        let missing = if self.way == Way::Conflate {
            missing.min(1)
        } else {
            missing
        };
        sums.undeclared += missing + std::mem::take(&mut self.untold);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line of `table` is a way, the events, and the result. Events are `ack N`, `ack N true|false`, `pattern` for
    /// the ack of one, `joined N`, `up N`, `snap N`, `gap N-M [history]`, `lost`, `unresumed` and `end N`. The result
    /// has the sums that are not 0.
    #[track_caller]
    fn check(table: &str) {
        for line in table.lines().filter(|line| !line.trim().is_empty()) {
            let [way, events, expected] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let way = match way {
                "Every" => Way::Every,
                "Conflate" => Way::Conflate,
                _ => Way::Book,
            };
            let (mut audit, mut sums) = (Audit::new(way), Sums::default());
            events
                .split("; ")
                .for_each(|event| tell(&mut audit, event, &mut sums));
            let sums = serde_json::to_value(sums).expect("sums");
            let mut told: Vec<String> = expected
                .split(", ")
                .filter(|sum| !sum.is_empty())
                .map(str::to_owned)
                .collect();
            told.sort_unstable();
            let is_told = |name: &String| !["messages", "snapshots"].contains(&name.as_str());
            let sums = sums.as_object().expect("an object").iter();
            let sums = sums.filter(|(name, value)| **value != 0 && is_told(name));
            let mut found: Vec<String> = sums.map(|(name, value)| format!("{name} {value}")).collect();
            found.sort_unstable();
            assert_eq!(found, told, "{line}");
        }
    }

    fn tell(audit: &mut Audit, event: &str, sums: &mut Sums) {
        let words: Vec<&str> = event.split(' ').collect();
        let number = |at: usize| -> u64 { words[at].parse().expect(event) };
        match words[0] {
            "ack" => {
                let result = AckResult {
                    seq: Some(Seq(number(1))),
                    recovered: words.get(2).map(|word| *word == "true"),
                    ..AckResult::default()
                };
                audit.acked(&result, sums);
            }
            "pattern" => audit.acked_by_pattern(),
            "joined" => audit.joined(number(1), sums),
            "up" => audit.update(number(1), sums),
            "snap" => audit.snapshot(number(1), sums),
            "gap" => {
                let (from, to) = words[1].split_once('-').expect(event);
                let reason = match words.len() {
                    2 => GapReason::Slow,
                    _ => GapReason::History,
                };
                audit.gap(from.parse().expect(event), to.parse().expect(event), reason, sums);
            }
            "lost" => audit.lost(),
            "unresumed" => audit.unresumed(sums),
            "end" => drop(audit.close(number(1), sums)),
            _ => panic!("{event}"),
        }
    }

    macro_rules! accounts {
        ($($test:ident: $table:literal)+) => {
            $(#[test]
            fn $test() {
                check($table);
            })+
        };
    }

    accounts! {
        every_message_is_accounted_for: "
        Every    | ack 5; snap 5; up 6; up 7; end 7 |
        Every    | ack 5; up 6; up 8; end 8 | undeclared 1
        Every    | ack 5; up 6; up 6; end 6 | duplicates 1
        Every    | ack 5; up 6; gap 7-9; up 10; end 10 | gaps 1, gapped 3
        Every    | ack 5; up 6; gap 8-9; end 9 | gaps 1, gapped 2, undeclared 1
        Every    | ack 5; up 6; gap 6-9; end 9 | gaps 1, gapped 3, duplicates 1
        Every    | ack 5; up 6; end 9 | undeclared 3
        Every    | up 1 | undeclared 1"
        resumes_are_all_or_nothing: "
        Every    | ack 0; up 1; lost; ack 4 true; up 2; up 3; up 4; end 4 | recovered 1
        Every    | ack 0; up 1; lost; ack 4 true; up 3; up 4; end 4 | recovered 1, undeclared 1, false_recovered 1
        Every    | ack 0; up 1; lost; ack 4 true; gap 2-3 history; up 4; end 4 | gaps 1, gapped 2, recovered 1, false_recovered 1
        Every    | ack 0; up 1; lost; ack 4 false; gap 2-4 history; up 5; end 5 | gaps 1, gapped 3, not_recovered 1
        Every    | ack 0; up 1; lost; ack 4 false; up 5; end 5 | not_recovered 1, undeclared 3
        Every    | ack 0 true; up 1; end 1 | undeclared 1, false_recovered 1"
        a_client_without_a_position_says_so: "
        Every    | ack 0; up 1; gap 2-2; lost; ack 6; unresumed; snap 6; up 7; end 7 | gaps 1, gapped 1, unresumed 4, begun_anew 1
        Every    | ack 0; up 1; gap 2-2; lost; ack 6; snap 6; unresumed; up 7; end 7 | gaps 1, gapped 1, unresumed 4, begun_anew 1
        Every    | ack 0; up 1; gap 2-2; lost; ack 6; snap 6; up 7; end 7 | gaps 1, gapped 1, begun_anew 1, undeclared 4"
        topics_of_a_pattern_show_whether_they_were_resumed: "
        Every    | pattern; snap 5; up 6; end 6 |
        Every    | pattern; joined 0; up 1; end 1 |
        Every    | pattern; up 1; end 1 | undeclared 1
        Every    | pattern; snap 5; lost; pattern; up 6; end 6 | recovered 1
        Every    | pattern; snap 5; lost; pattern; up 8; end 8 | recovered 1, undeclared 2, false_recovered 1
        Every    | pattern; snap 5; lost; pattern; gap 6-8 history; up 9; end 9 | gaps 1, gapped 3, not_recovered 1
        Every    | pattern; snap 5; lost; pattern; unresumed; snap 8; up 9; end 9 | unresumed 2, begun_anew 1
        Every    | pattern; snap 5; lost; pattern; snap 8; up 9; end 9 | begun_anew 1, undeclared 2
        Every    | pattern; joined 0; joined 0; up 1; end 1 | duplicates 1
        Book     | pattern; snap 5; lost; pattern; snap 8; up 9; end 9 | replaced 3, begun_anew 1
        Conflate | pattern; snap 5; lost; pattern; up 8; end 8 | conflated 2, recovered 1
        Conflate | pattern; snap 5; lost; up 8; end 8 | undeclared 2"
        the_newest_arrives: "
        Conflate | ack 5; snap 5; up 8; end 8 | conflated 2
        Conflate | ack 5; snap 5; up 8; lost; ack 20 true; up 20; end 20 | conflated 13, recovered 1
        Conflate | ack 5; snap 5; up 8; up 7; end 9 | conflated 2, undeclared 1, duplicates 1"
        books_have_no_holes: "
        Book     | ack 5; snap 5; up 6; gap 7-9; snap 9; up 10; end 10 | gaps 1, gapped 3
        Book     | ack 5; snap 5; up 6; gap 7-9; snap 11; up 12; end 12 | gaps 1, gapped 3, replaced 2
        Book     | ack 5; snap 5; up 7; end 7 | undeclared 1
        Book     | ack 5; snap 5; lost; ack 9 false; snap 9; up 10; end 10 | replaced 4, not_recovered 1
        Book     | ack 5; snap 5; lost; ack 9 true; snap 9; up 10; end 10 | recovered 1, false_recovered 1"
    }
}

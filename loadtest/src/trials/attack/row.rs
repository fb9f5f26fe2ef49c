//! The description of an attack: attempts made of steps, the answer that each must get, and the set-up of the broker.
//!
//! An attempt connects and does its steps one after the other. It is over when its connection ends, when the answer
//! that it waits for has come, or when its time is up. Rows are data: the code that attacks (`attackers`) knows none of
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Arc<[u8]>),
    /// Waits until the handshake is accepted.
    Upgraded,
    /// Waits for a message that contains these bytes.
    Hear(&'static str),
    /// Sends a piece, and again after each pause, as long as the connection lives.
    Repeat(Arc<[u8]>, Duration),
    /// Stops reading, or reads one byte a second.
    StopReading {
        sips: bool,
    },
    /// Drops everything that is sent to the attacker, as if its machine had lost its network.
    LoseNetwork,
    /// Stays for this time, then leaves.
    Stay(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// It answered with this HTTP status and opened no connection.
    Status(u16),
    /// It sent a close frame with this code.
    Close(u16),
    /// It ended the connection without an answer.
    Ended,
    /// It refused what was asked for, and the connection stays open.
    Refused,
    /// It let the attacker stay as long as it wanted.
    Stayed,
    /// It did nothing in the time that the attempt has.
    Nothing,
    /// It never let the attacker connect.
    NotConnected,
    /// It sent something that no server sends.
    Nonsense,
}

/// The refusals in band, in the order in which their codes first came, and the ending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) refusals: Vec<String>,
    pub(super) ending: Ending,
}

impl Answer {
    /// An ending without refusals before it.
    pub(super) fn of(ending: Ending) -> Self {
        Self {
            refusals: Vec::new(),
            ending,
        }
    }

    /// A refusal with this code on a connection that stays open.
    pub(super) fn refusal(code: &str) -> Self {
        Self::of(Ending::Refused).after(code)
    }

    /// The same, after a refusal with this code.
    pub(super) fn after(mut self, code: &str) -> Self {
        self.refusals.insert(0, code.to_owned());
        self
    }
}

impl From<Ending> for Answer {
    fn from(ending: Ending) -> Self {
        Self::of(ending)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, code) in self.refusals.iter().enumerate() {
            write!(f, "{}{code}", if number == 0 { "" } else { ", " })?;
        }
        if !self.refusals.is_empty() && self.ending != Ending::Refused {
            write!(f, ", then ")?;
        }
        match &self.ending {
            Ending::Status(code) | Ending::Close(code) => write!(f, "{code}"),
            Ending::Ended => write!(f, "ended"),
            Ending::Refused => Ok(()),
            Ending::Stayed => write!(f, "stayed"),
            Ending::Nothing => write!(f, "no answer"),
            Ending::NotConnected => write!(f, "not connected"),
            Ending::Nonsense => write!(f, "nonsense"),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) what: String,
    pub(super) steps: Vec<Step>,
    /// The right answers. Each of them must come at least once.
    pub(super) expected: Vec<Answer>,
    /// Answers that are also right and need not come.
    pub(super) optional: Vec<Answer>,
}

impl Variant {
    pub(super) fn new(what: impl Into<String>, steps: Vec<Step>, expected: impl Into<Answer>) -> Self {
        Self {
            what: what.into(),
            steps,
            expected: vec![expected.into()],
            optional: Vec::new(),
        }
    }
}

/// How a row is judged, besides memory and what the honest clients get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// By the answers that attackers see.
    Answers,
    /// By the broker's count of this close code, since attackers cannot see it: one for each attacker.
    Closes(u16),
    /// By the broker's count of connections, which must not include the attackers' once the row's time is up.
    Gone,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) number: u8,
    pub(super) name: &'static str,
    pub(super) variants: Vec<Variant>,
    pub(super) judge: Judge,
    /// Least time between the starts of two attempts of one attacker.
    pub(super) every: Duration,
    /// How long an attempt waits for its answer.
    pub(super) within: Duration,
    /// Whether broker and honest clients use TLS. Attackers never do: they only send what their steps say.
    pub(super) secured: bool,
    /// The broker's settings that differ from the defaults.
    pub(super) settings: Vec<(&'static str, &'static str)>,
    /// Files beside the broker's configuration, by name.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// The broker's configuration, if it has one. `{folder}` stands for the folder with the files.
    pub(super) config: Option<String>,
    /// The address of all attackers; without it, each has its own.
    pub(super) one_address: Option<Ipv4Addr>,
}

impl Row {
    /// A row that is judged by its answers, which come soon.
    pub(super) fn new(number: u8, name: &'static str, variants: Vec<Variant>) -> Self {
        Self {
            number,
            name,
            variants,
            judge: Judge::Answers,
            every: Duration::from_secs(1),
            within: Duration::from_secs(10),
            secured: false,
            settings: Vec::new(),
            files: Vec::new(),
            config: None,
            one_address: None,
        }
    }

    /// Whether each attacker makes only one attempt and stays.
    pub(super) fn is_once(&self) -> bool {
        self.judge != Judge::Answers
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    pub(super) answers: BTreeMap<String, u64>,
    /// How many of the answers were not right.
    pub(super) wrong: u64,
    /// The longest time to an answer, in milliseconds.
    pub(super) longest_ms: u64,
}

impl Tally {
    pub(super) fn add(&mut self, variant: &Variant, answer: &Answer, took: Duration) {
        *self.answers.entry(answer.to_string()).or_default() += 1;
        let right = variant.expected.contains(answer) || variant.optional.contains(answer);
        self.wrong += u64::from(!right);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms = self.longest_ms.max(took_ms);
    }
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It answered with this HTTP status and opened no connection.
    Status(u16),
    /// It sent a close frame with this code.
    Close(u16),
    /// It ended the connection without an answer.
    Ended,
    /// It let the attacker stay as long as it wanted.
    Stayed,
    /// It did nothing in the time that the attempt has.
    Nothing,
    /// It never let the attacker connect.
    NotConnected,
    /// It sent something that no server sends.
    Nonsense,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) | Self::Close(code) => write!(f, "{code}"),
            Self::Ended => write!(f, "ended"),
            Self::Stayed => write!(f, "stayed"),
            Self::Nothing => write!(f, "no answer"),
            Self::NotConnected => write!(f, "not connected"),
            Self::Nonsense => write!(f, "nonsense"),
        }
    }
}

impl From<Ending> for String {
    fn from(ending: Ending) -> Self {
        ending.to_string()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) what: String,
    pub(super) steps: Vec<Step>,
    /// The right answers. Each of them must come at least once. An answer is the codes of refusals in band, in the order
    /// in which they first came, the ending, or both: `forbidden, then 1008`. After a refusal alone, the connection is
    /// open.
    pub(super) expected: Vec<String>,
    /// Answers that are also right and need not come.
    pub(super) optional: Vec<String>,
}

impl Variant {
    pub(super) fn new(what: impl Into<String>, steps: Vec<Step>, expected: impl Into<String>) -> Self {
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
    /// Bytes by which the broker may grow for each attacker, if that is more than all rows allow.
    pub(super) growth_each_bytes: u64,
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
            growth_each_bytes: 0,
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
    #[serde(skip)]
    pub(super) wrong: u64,
    /// The longest time to an answer, in milliseconds.
    pub(super) longest_ms: u64,
}

impl Tally {
    pub(super) fn add(&mut self, variant: &Variant, answer: String, took: Duration) {
        let right = variant.expected.contains(&answer) || variant.optional.contains(&answer);
        self.wrong += u64::from(!right);
        *self.answers.entry(answer).or_default() += 1;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms = self.longest_ms.max(took_ms);
    }
}

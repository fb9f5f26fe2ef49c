//! What an attack is: attempts made of steps, the answer that each must get, and how the broker is set up for it.
//!
//! An attempt connects, does its steps one after the other, and is over when its connection ends, when the answer that it
//! waits for has come, or when its time is up. Rows are data: whoever attacks (`attackers`) knows none of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// One thing that an attacker does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends bytes as they are.
    Send(Arc<[u8]>),
    /// Waits until the handshake is accepted.
    Upgraded,
    /// Waits until a message with these bytes in it has come.
    Hear(&'static str),
    /// Sends a piece, and again after each pause, for as long as the connection lives.
    Repeat(Arc<[u8]>, Duration),
    /// Takes nothing from now on, or one byte a second.
    StopReading { sips: bool },
    /// From now on nothing that is sent to it arrives, as if its machine had lost its network.
    LoseNetwork,
    /// Stays for so long, then leaves.
    Stay(Duration),
}

/// What a broker did about an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// Answered with this status and no connection.
    Status(u16),
    /// Sent a close frame of this code.
    Close(u16),
    /// Ended the connection without an answer.
    Ended,
    /// Refused what was asked for; the connection lives on.
    Refused,
    /// Let it stay for as long as it wanted to.
    Stayed,
    /// Nothing in the time that it has.
    Nothing,
    /// Never let it connect.
    NotConnected,
    /// What no server sends.
    Nonsense,
}

/// The refusals in band, in the order in which their codes came first, and the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Answer {
    pub(super) refusals: Vec<String>,
    pub(super) ending: Ending,
}

impl Answer {
    /// An end without refusals before it.
    pub(super) fn of(ending: Ending) -> Self {
        Self {
            refusals: Vec::new(),
            ending,
        }
    }

    /// A refusal of this code on a connection that lives on.
    pub(super) fn refusal(code: &str) -> Self {
        Self::of(Ending::Refused).after(code)
    }

    /// The same with a refusal before it.
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

/// One form of an attack.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) what: String,
    pub(super) steps: Vec<Step>,
    /// The answers that are right. Each of them must come to somebody.
    pub(super) expected: Vec<Answer>,
    /// Answers that are right too and need not come.
    pub(super) optional: Vec<Answer>,
}

impl Variant {
    /// A form with one right answer.
    pub(super) fn new(what: impl Into<String>, steps: Vec<Step>, expected: impl Into<Answer>) -> Self {
        Self {
            what: what.into(),
            steps,
            expected: vec![expected.into()],
            optional: Vec::new(),
        }
    }
}

/// By what a row is judged besides memory and what the others get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// By the answers that attackers see.
    Answers,
    /// By the broker's count of this close code, since attackers cannot see it: one for each of them.
    Closes(u16),
    /// By the broker's count of connections: without the attackers', once the row's time is up.
    Gone,
}

/// A row of the table of attacks.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) number: u8,
    pub(super) name: &'static str,
    pub(super) variants: Vec<Variant>,
    pub(super) judge: Judge,
    /// Least time between the starts of two attempts of one attacker.
    pub(super) every: Duration,
    /// Time for the answer to an attempt.
    pub(super) within: Duration,
    /// Whether the broker speaks TLS, and the honest with it. Attackers never do: what they send is what their steps say.
    pub(super) secured: bool,
    /// Settings of the broker other than its defaults.
    pub(super) settings: Vec<(&'static str, String)>,
    /// Files beside the broker's configuration, by name.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// The broker's configuration, if it has one; `{folder}` is where the files are.
    pub(super) config: Option<String>,
    /// The address of all attackers, who otherwise have one each.
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

    /// Whether each attacker tries only once and stays.
    pub(super) fn is_once(&self) -> bool {
        self.judge != Judge::Answers
    }
}

/// What came of a variant's attempts.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Tally {
    /// How often each answer came.
    pub(super) answers: BTreeMap<String, u64>,
    /// Answers that were not right, of those.
    pub(super) wrong: u64,
    /// The longest time to an answer, in milliseconds.
    pub(super) longest_ms: u64,
}

impl Tally {
    /// Counts an answer.
    pub(super) fn add(&mut self, variant: &Variant, answer: &Answer, took: Duration) {
        *self.answers.entry(answer.to_string()).or_default() += 1;
        let right = variant.expected.contains(answer) || variant.optional.contains(answer);
        self.wrong += u64::from(!right);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms = self.longest_ms.max(took_ms);
    }
}

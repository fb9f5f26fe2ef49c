//! Which symbols the broker has: those of the topics that a pattern finds, asked for over one connection.
//!
//! Asks for one snapshot of each `bbo` topic, again and again until the expected number is there, or for a broker
//! whose number is not known, until two answers in a row are the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use tickwire_wire::message::{Subscribe, TopicRequest};
use tickwire_wire::{ClientMessage, Codec, Control, Micros, Mode, RequestId, ServerMessage};

use crate::swarm::conn::{ConnId, Ending, Handler, Reply};
use crate::swarm::connections::{Endpoint, Swarm};
use crate::swarm::interrupt::Interrupt;

/// What is asked for; what stands in place of the star is a symbol.
const PATTERN: &str = "bbo.*";
/// Time that the broker gets to have all symbols.
const WITHIN: Duration = Duration::from_secs(30);
/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What the connection has heard.
#[derive(Debug, Default)]
struct Finder {
    welcomed: bool,
    /// Topics that the last answer counts.
    matched: Option<usize>,
    /// Symbols seen since the last question.
    symbols: BTreeSet<String>,
    failed: Option<String>,
}

impl Finder {
    fn has_answer(&self) -> bool {
        self.failed.is_some() || self.matched.is_some_and(|matched| self.symbols.len() >= matched)
    }
}

impl Handler for Finder {
    fn message(&mut self, _: ConnId, message: &[u8], _: Micros, reply: &mut Reply<'_>) {
        match Codec::Json.decode_server(message) {
            Ok(ServerMessage::Control(Control::Welcome { .. })) => {
                self.welcomed = true;
                reply.settle();
            }
            Ok(ServerMessage::Control(Control::Ack { results, .. })) => {
                self.matched = results.first().and_then(|result| result.matched);
                if self.matched.is_none() {
                    self.failed = Some(format!("{PATTERN} was answered with {results:?}"));
                }
            }
            Ok(ServerMessage::Snapshot { topic, .. }) => {
                if let Some((_, symbol)) = topic.split_once('.') {
                    self.symbols.insert(symbol.to_owned());
                }
            }
            Ok(ServerMessage::Control(refusal @ Control::Error { .. })) => {
                self.failed = Some(format!("{PATTERN} was answered with {refusal:?}"));
            }
            Ok(_) => {}
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn ended(&mut self, _: ConnId, ending: &Ending) {
        if !matches!(ending, Ending::Finished) {
            self.failed = Some(format!("the connection ended: {ending}"));
        }
    }
}

/// The broker's symbols, in alphabetical order; `expected` of them if that is known.
///
/// # Errors
/// When they are not all there in time, or the broker refuses to say.
pub(crate) fn find(
    endpoint: &Endpoint,
    expected: Option<usize>,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<String>> {
    let mut swarm = Swarm::new(endpoint, 1, 1, interrupt.clone(), Finder::default())?;
    let until = Instant::now() + WITHIN;
    swarm.turn_until(until, |swarm| {
        swarm.handler.welcomed || swarm.handler.failed.is_some()
    })?;
    let (mut before, mut question) = (None, 0);
    loop {
        question += 1;
        swarm.handler.matched = None;
        swarm.handler.symbols.clear();
        swarm.send(ConnId(0), &request(question));
        let answered = swarm.turn_until(until, |swarm| swarm.handler.has_answer())?;
        if let Some(failed) = &swarm.handler.failed {
            bail!("the broker's symbols could not be found: {failed}");
        }
        let found = swarm.handler.symbols.len();
        let complete = match expected {
            Some(expected) => found >= expected,
            None => found > 0 && before == Some(found),
        };
        if answered && complete {
            swarm.finish(Duration::from_secs(5))?;
            return Ok(std::mem::take(&mut swarm.handler.symbols).into_iter().collect());
        }
        before = Some(found);
        let wanted = expected.map_or("a steady number of".to_owned(), |number| number.to_string());
        ensure!(
            Instant::now() < until,
            "after {WITHIN:?} the broker has {found} topics like {PATTERN}, {wanted} symbols were expected"
        );
        swarm.turn_until(until.min(Instant::now() + ASK_EVERY), |_| false)?;
    }
}

fn request(id: u64) -> Vec<u8> {
    let mut text = Vec::new();
    let request = ClientMessage::Subscribe(Subscribe {
        id: RequestId(id),
        topics: vec![TopicRequest::Pattern(PATTERN.to_owned())],
        mode: Some(Mode::Snapshot),
        conflate_ms: None,
        snapshot: true,
    });
    Codec::Json.encode_request(&request, &mut text);
    text
}

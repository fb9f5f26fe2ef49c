//! The topics of a made-up node, and what is true of all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tickwire_wire::{Epoch, Kind, Micros, Seq, Topic};

use crate::entry::{Declaration, Entry, TopicNumber};
use crate::message::{Content, Item};
use crate::node::{LaneHost, LostTrack, Settlement, Submission, SubmissionNumber, Unpublished, Wish};
use crate::writer::{TopicKey, Writer};

/// What has ever been visible anywhere.
#[derive(Debug, Default)]
pub(super) struct Truth {
    contents: BTreeMap<(Epoch2, String, u64), String>,
    /// The place of each message in an epoch.
    places: BTreeMap<(Epoch2, String), (String, u64)>,
    pub(super) broken: Option<String>,
}

type Epoch2 = String;

impl Truth {
    fn saw(&mut self, epoch: &Epoch, topic: &str, seq: Seq, content: &str, is_kept: bool) {
        let key = (epoch.to_string(), topic.to_owned(), seq.0);
        let known = self.contents.entry(key).or_insert_with(|| content.to_owned());
        if known != content {
            self.fail(format!(
                "{topic} {epoch}:{seq} is {content} and was something else"
            ));
        }
        let place = (topic.to_owned(), seq.0);
        let known = self
            .places
            .entry((epoch.to_string(), content.to_owned()))
            .or_insert_with(|| place.clone());
        if *known != place && !is_kept {
            self.fail(format!("{content} is at two places of epoch {epoch}"));
        }
    }

    pub(super) fn fail(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }
}

#[derive(Debug, Clone)]
struct HostTopic {
    key: u32,
    epoch: Epoch,
    head: Seq,
    value: String,
}

/// The topics of a node.
#[derive(Debug)]
pub(super) struct TestHost {
    truth: Rc<RefCell<Truth>>,
    epoch: Epoch,
    topics: BTreeMap<String, HostTopic>,
    /// The numbers that are given and have not entered.
    ahead: BTreeMap<String, Seq>,
    kept: Vec<(String, String)>,
    next_key: u32,
    /// What each submission publishes, and whether it is settled, by their numbers.
    pub(super) own: Vec<(String, String, bool)>,
    pub(super) refused: u64,
    pub(super) epochs: u64,
}

impl TestHost {
    pub(super) fn new(truth: Rc<RefCell<Truth>>) -> Self {
        Self {
            truth,
            epoch: Epoch::from("none"),
            topics: BTreeMap::new(),
            ahead: BTreeMap::new(),
            kept: Vec::new(),
            next_key: 0,
            own: Vec::new(),
            refused: 0,
            epochs: 0,
        }
    }

    /// Takes over the topics of another node.
    pub(super) fn copy(&mut self, other: &Self) {
        // What is behind must not be ahead of what it gets.
        for (name, topic) in &self.topics {
            let new = other.topics.get(name);
            if self.epoch == other.epoch && new.is_none_or(|new| new.head < topic.head) {
                self.truth
                    .borrow_mut()
                    .fail(format!("{name} goes back from {}", topic.head));
            }
        }
        self.topics.clone_from(&other.topics);
        self.kept.clone_from(&other.kept);
        self.epoch = other.epoch.clone();
        self.next_key = self.next_key.max(other.next_key);
        self.ahead.clear();
    }

    /// All topics with their epochs, numbers and values.
    pub(super) fn all(&self) -> Vec<(String, String, u64, String)> {
        let topics = self.topics.iter();
        topics
            .map(|(name, topic)| {
                (
                    name.clone(),
                    topic.epoch.to_string(),
                    topic.head.0,
                    topic.value.clone(),
                )
            })
            .collect()
    }

    fn topic(&mut self, name: &str) -> &mut HostTopic {
        let (epoch, next_key) = (&self.epoch, &mut self.next_key);
        self.topics.entry(name.to_owned()).or_insert_with(|| {
            *next_key += 1;
            HostTopic {
                key: *next_key,
                epoch: epoch.clone(),
                head: Seq::ZERO,
                value: String::new(),
            }
        })
    }

    fn gather(&mut self, name: &str, text: &str, writer: &mut Writer) {
        let head = self.topic(name).head;
        let after = self.ahead.get(name).copied().unwrap_or(head);
        let seq = after.next();
        self.ahead.insert(name.to_owned(), seq);
        let topic = self.topic(name);
        let declaration = Declaration {
            topic: name.parse().expect("a topic"),
            kind: Kind::Event,
            history: 1,
            epoch: topic.epoch.clone(),
            life: 0,
            head: after,
        };
        let item = Item {
            topic: TopicNumber(0),
            after,
            seq,
            ts: Micros(1),
            doubt: None,
            key: None,
            mark: None,
            content: Content::Data(text.as_bytes()),
        };
        writer.gather(TopicKey(topic.key), || declaration, item);
    }
}

impl LaneHost for TestHost {
    fn enter(&mut self, entry: &Entry<'_>, _now: Micros) -> Result<(), LostTrack> {
        for item in &entry.items {
            let declared = &entry.declared[item.topic.0 as usize];
            let name = declared.topic.as_str().to_owned();
            let truth = self.truth.clone();
            let topic = self.topic(&name);
            if topic.epoch != declared.epoch {
                truth.borrow_mut().fail(format!("{name} has another epoch"));
            }
            if item.seq <= topic.head {
                continue;
            }
            if item.after != topic.head {
                truth
                    .borrow_mut()
                    .fail(format!("{name} {} follows on {}", item.seq, topic.head));
                return Err(LostTrack);
            }
            let Content::Data(text) = item.content else {
                continue;
            };
            let text = String::from_utf8_lossy(text).into_owned();
            topic.head = item.seq;
            topic.value.clone_from(&text);
            let ahead = self.ahead.get(&name).copied();
            if ahead.is_some_and(|ahead| ahead < item.seq) {
                self.ahead.remove(&name);
            }
            // What is kept may be published by its own submission, too.
            truth
                .borrow_mut()
                .saw(&declared.epoch, &name, item.seq, &text, false);
        }
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: &Epoch, _now: Micros) {
        let values = std::mem::take(&mut self.topics);
        let values = values.into_iter().filter(|(_, topic)| topic.head > Seq::ZERO);
        self.kept = values.map(|(name, topic)| (name, topic.value)).collect();
        self.ahead.clear();
        self.epoch = epoch.clone();
        self.epochs += 1;
    }

    fn drop_kept(&mut self) {
        self.kept.clear();
    }

    fn number_kept(&mut self, writer: &mut Writer, bytes_max: usize, _now: Micros) -> bool {
        while let Some((name, value)) = self.kept.pop() {
            if self.topics.contains_key(&name) {
                continue;
            }
            self.gather(&name, &format!("kept {value}"), writer);
            if writer.gathered_bytes() > bytes_max {
                return false;
            }
        }
        true
    }

    fn number(
        &mut self,
        submission: &Submission<'_>,
        writer: &mut Writer,
        _now: Micros,
    ) -> Result<(), Unpublished<'static>> {
        let Wish::Publish { text, .. } = submission.wish else {
            return Err(refused());
        };
        let text = String::from_utf8_lossy(text).into_owned();
        if text.ends_with('7') {
            return Err(refused());
        }
        self.gather(submission.topic.as_str(), &text, writer);
        Ok(())
    }

    fn drop_numbered(&mut self) {
        self.ahead.clear();
    }

    fn settle(&mut self, settlement: Settlement<'_>) {
        let SubmissionNumber(number) = settlement.number;
        let mut truth = self.truth.borrow_mut();
        let Some((topic, text, is_settled)) = self.own.get_mut(number as usize - 1) else {
            return truth.fail(format!("submission {number} was never made"));
        };
        if std::mem::replace(is_settled, true) {
            truth.fail(format!("submission {number} is settled twice"));
        }
        match settlement.outcome {
            Ok((name, epoch, seq)) => check(&mut truth, (name, topic), epoch, seq, text),
            Err(_) => self.refused += 1,
        }
    }
}

fn check(truth: &mut Truth, (name, topic): (&Topic, &str), epoch: &Epoch, seq: Seq, text: &str) {
    let key = (epoch.to_string(), topic.to_owned(), seq.0);
    let found = truth.contents.get(&key).cloned();
    if name.as_str() != topic || found.as_deref() != Some(text) {
        truth.fail(format!(
            "{text} is said to be {topic} {epoch}:{seq}, which is {found:?}"
        ));
    }
}

fn refused() -> Unpublished<'static> {
    Unpublished::Refused {
        code: tickwire_wire::ErrorCode::BadRequest,
        reason: "it ends with a 7".into(),
    }
}

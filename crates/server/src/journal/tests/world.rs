//! A journal in a made-up world: its publishers, its disk, and a record of all that anybody has seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tickwire_metrics::Catalogue;
use tickwire_router::{Directory, DirectoryLimits, Ingress, Kinds, Origin, Publication, WriteQueue};
use tickwire_wire::message::PublishKey;
use tickwire_wire::{Epoch, Payload, Seq, Topic};

use super::faulty::FaultyDisk;
use crate::config::JournalSync;
use crate::journal::archive::ArchiveReader;
use crate::journal::checkpoints::{Beside, Retention};
use crate::journal::recovery::{RecoveryError, RecoveryPlan};
use crate::journal::store::{Store, StoreRules};
use crate::journal::thread::{self, JournalThread, Timing};
use crate::ops::labels::LABELS;
use crate::run::clock::Clock;
use crate::run::derived::DerivedSource;

const TOPICS: [&str; 4] = ["trade.A", "trade.B", "ticker.A", "book.A"];

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    InOrder,
    Killed,
    PowerLost,
}

/// A message that somebody has seen.
pub(super) type Seen = BTreeMap<(String, String, Seq), String>;

pub(super) struct World {
    seed: u64,
    random: ChaCha8Rng,
    pub(super) disk: FaultyDisk,
    sync: JournalSync,
    boot: u8,
    clock: Clock,
    catalogue: Arc<Catalogue>,
    process: Option<Process>,
    ended: Option<End>,
    seen: Seen,
    /// The topics as they were seen last: epoch and newest message.
    heads: BTreeMap<String, (Epoch, Seq)>,
    /// The messages with a key, by it: topic, epoch, number and text.
    keyed: Vec<Keyed>,
    counter: u64,
    epochs: u64,
    log: Vec<String>,
}

/// A message that was published with a key.
#[derive(Debug, Clone)]
struct Keyed {
    topic: Topic,
    key: PublishKey,
    epoch: Epoch,
    seq: Seq,
    text: String,
}

struct Process {
    directory: Arc<Directory>,
    ingress: Ingress,
    thread: JournalThread,
    archive: ArchiveReader,
    ends: Arc<AtomicBool>,
}

thread_local! {
    static CATALOGUE: Arc<Catalogue> = Catalogue::new(1, "test", &LABELS).expect("a catalogue");
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let sync = [JournalSync::Never, JournalSync::Interval, JournalSync::Each][random.random_range(0..3)];
        Self {
            seed,
            random,
            disk: FaultyDisk::new(seed),
            sync,
            boot: 1,
            clock: Clock::start(),
            catalogue: CATALOGUE.with(Arc::clone),
            process: None,
            ended: None,
            seen: BTreeMap::new(),
            heads: BTreeMap::new(),
            keyed: Vec::new(),
            counter: 0,
            epochs: 0,
            log: Vec::new(),
        }
    }

    pub(super) fn with_sync(self, sync: JournalSync) -> Self {
        Self { sync, ..self }
    }

    /// Lives through some processes and their ends, and checks each start.
    pub(super) fn live_through(&mut self) {
        for _ in 0..self.random.random_range(2..5) {
            if let Err(error) = self.open() {
                panic!("seed {}, {:?}: {error}\n{:#?}", self.seed, self.sync, self.log);
            }
            self.check();
            self.check_archive();
            for _ in 0..self.random.random_range(0..30) {
                self.step();
                if self.random.random_bool(0.1) {
                    self.check_archive();
                }
            }
            self.disk.fails(0, None);
            let end = match self.random.random_range(0..3) {
                _ if self.has_ended() => End::Killed,
                0 => End::InOrder,
                1 => End::Killed,
                _ => End::PowerLost,
            };
            self.end(end);
        }
        self.open().expect("it starts");
        self.check();
    }

    fn step(&mut self) {
        let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
        match self.random.random_range(0..20) {
            0 => {
                let ended = self.process().directory.delete_written(topic);
                self.log.push(format!("delete {topic} {}", ended.is_ok()));
            }
            1 => {
                let faults = self.random.random_range(0..40);
                let room = self
                    .random
                    .random_bool(0.3)
                    .then(|| self.random.random_range(0..400));
                self.log.push(format!("faults {faults} {room:?}"));
                self.disk.fails(faults, room);
            }
            2 => {
                self.disk.fails(0, None);
                self.try_again();
            }
            3 => drop(self.try_checkpoint()),
            4 => self.process().thread.sync(),
            5..10 => self.turn(),
            10 => self.repeat(),
            _ => drop(self.publish(topic)),
        }
    }

    /// Starts a process.
    pub(super) fn open(&mut self) -> Result<(), RecoveryError> {
        self.epochs += 1;
        let queue = Arc::new(WriteQueue::new(Box::new(|| {})));
        let now = self.clock.now();
        let make = |epoch| empty(epoch, &queue);
        let plan = RecoveryPlan {
            disk: &self.disk,
            boot: [self.boot; 16],
            new_epoch: Epoch::from_number(self.epochs),
            now,
            derive: &[],
            make: &make,
        };
        let recovered = plan.run()?;
        let is_anew = recovered.begun_anew.is_some();
        let is_covered = self.sync == JournalSync::Each || self.ended != Some(End::PowerLost);
        assert_eq!(
            !is_anew,
            is_covered || self.ended.is_none(),
            "seed {}: {:#?}",
            self.seed,
            self.log
        );
        let rules = StoreRules {
            sync: self.sync,
            segment_bytes: 700,
            boot: [self.boot; 16],
        };
        let is_new = is_anew || recovered.place.position.0 == 0;
        let directory = recovered.directory.clone();
        let disk = Arc::new(self.disk.clone());
        let mut store = Store::new(disk.clone(), rules, recovered.place, recovered.epoch, is_new);
        thread::begin(
            &mut store,
            &disk,
            &directory,
            (is_anew.then_some(RETENTION), beside()),
            now,
        )
        .expect("the disk works");
        let archive = ArchiveReader::new(disk.clone(), store.end().clone());
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let end: Box<dyn Fn() + Send> = Box::new(move || ended.store(true, Ordering::Relaxed));
        let others = (self.clock, self.catalogue.local(), end);
        let thread = JournalThread::new(
            store,
            disk,
            directory.clone(),
            queue,
            (TIMING, RETENTION),
            others,
            beside(),
        );
        if is_anew {
            self.check_values(&directory);
        }
        self.process = Some(Process {
            ingress: Ingress::new(directory.clone()),
            directory,
            thread,
            archive,
            ends,
        });
        if is_anew {
            // What is known of the keys ends somewhere, as the log does.
            self.keyed.clear();
            self.heads.clear();
            self.see();
        }
        self.log.push(format!("start, anew: {is_anew}"));
        Ok(())
    }

    /// Ends the process.
    pub(super) fn end(&mut self, end: End) {
        let mut process = self.process.take().expect("it runs");
        if end == End::InOrder {
            while process.thread.turn() {}
            self.process = Some(process);
            self.see();
            process = self.process.take().expect("it is there");
            process.thread.leave();
        }
        if end == End::PowerLost {
            self.disk.lose_power();
            self.boot += 1;
        }
        self.log.push(format!("{end:?}"));
        // A process that has stopped in order loses nothing with the power, but that is not what comes here.
        self.ended = Some(end);
    }

    /// What the archive is checked with: the topics, the archive, what was seen, and chance.
    pub(super) fn archive(&mut self) -> (Arc<Directory>, &mut ArchiveReader, &Seen, &mut ChaCha8Rng) {
        let process = self.process.as_mut().expect("it runs");
        let directory = process.directory.clone();
        (directory, &mut process.archive, &self.seen, &mut self.random)
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.process().ends.load(Ordering::Relaxed)
    }

    /// Publishes a message. Returns whether it is taken.
    pub(super) fn publish(&mut self, topic: &str) -> bool {
        self.counter += 1;
        let text = match topic.strip_prefix("book.") {
            Some(symbol) => {
                let (price, size) = (self.counter % 7 + 1, self.counter % 3);
                let whole = self.counter.is_multiple_of(5);
                format!(
                    "{{\"symbol\":\"{symbol}\",\"bids\":[[\"{price}\",\"{size}\"]],\"time\":{},\"replace\":{whole}}}",
                    self.counter
                )
            }
            None if topic.starts_with("candle.") => format!("{{\"start\":{},\"closed\":true}}", self.counter),
            None => format!("\"message {}\"", self.counter),
        };
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        let name: Topic = topic.parse().expect("a topic");
        let now = self.clock.now();
        let key: Option<PublishKey> = self
            .counter
            .is_multiple_of(3)
            .then(|| self.counter.to_string().parse().expect("a key"));
        let (origin, ingress) = (Origin::Client(None), &self.process().ingress);
        let submitted =
            match &key {
                None => ingress.submit(origin, &name, payload, now),
                Some(key) => ingress.submit_once(origin, (&name, key), payload, now).map(
                    |(published, is_duplicate)| {
                        assert!(!is_duplicate, "{key} is new");
                        published
                    },
                ),
            };
        if let (Some(key), Ok(published)) = (key, &submitted) {
            self.keyed.push(Keyed {
                topic: name,
                key,
                epoch: published.epoch.clone(),
                seq: published.seq,
                text,
            });
        }
        self.log.push(format!(
            "publish {topic} {:?}",
            submitted.as_ref().map(|it| it.seq)
        ));
        submitted.is_ok()
    }

    /// Repeats a message with a key. It is published at most once, and an answer that does not wait is about one that can be
    /// seen.
    fn repeat(&mut self) {
        if self.keyed.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.keyed.len());
        let Keyed { topic, key, text, .. } = self.keyed[at].clone();
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        let now = self.clock.now();
        let ingress = self.process().ingress.clone();
        let repeated = ingress.submit_once(Origin::Client(None), (&topic, &key), payload, now);
        self.log.push(format!("repeat {topic} {key} {repeated:?}"));
        match repeated {
            Ok((published, false)) => {
                self.keyed[at].epoch = published.epoch;
                self.keyed[at].seq = published.seq;
            }
            Ok((published, true)) => {
                let before = &self.keyed[at];
                let same = (&before.epoch, before.seq) == (&published.epoch, published.seq);
                assert!(
                    same,
                    "seed {}: {published:?} {before:?}\n{:#?}",
                    self.seed, self.log
                );
                let is_seen = self.is_seen(before) || self.was_deleted(&topic);
                assert!(
                    is_seen || published.ticket.is_some(),
                    "seed {}: {published:?}\n{:#?}",
                    self.seed,
                    self.log
                );
            }
            Err(error) if error.to_string().contains("just ending") => {}
            // A key whose message was dropped may be used again.
            Err(error) => {
                let queue = self.process().directory.write_queue().cloned();
                let refuses = queue.is_some_and(|queue| queue.refusing().is_some());
                assert!(refuses, "seed {}: {error}\n{:#?}", self.seed, self.log);
            }
        }
    }

    fn is_seen(&self, keyed: &Keyed) -> bool {
        let topic = keyed.topic.to_string();
        if !topic.starts_with("trade.") {
            // Of a book its changes are seen, and of a state not each message.
            let head = self.heads.get(&topic);
            return head.is_some_and(|(epoch, head)| *epoch == keyed.epoch && *head >= keyed.seq);
        }
        let seen = self.seen.get(&(topic, keyed.epoch.to_string(), keyed.seq));
        seen.is_some_and(|text| *text == keyed.text)
    }

    fn was_deleted(&self, topic: &Topic) -> bool {
        let line = format!("delete {topic}");
        self.log.iter().any(|entry| entry.starts_with(&line))
    }

    /// Checks that the keys of exactly those messages are known that can be seen.
    fn check_keys(&mut self) {
        let now = self.clock.now();
        let directory = self.process().directory.clone();
        for keyed in &self.keyed {
            if self.was_deleted(&keyed.topic) {
                continue;
            }
            let is_known = directory.knows_key(&keyed.topic, &keyed.key, now);
            // A number of other topics does not tell whose message it was.
            let is_seen = self.is_seen(keyed) && (is_known || keyed.topic.as_str().starts_with("trade."));
            assert_eq!(
                is_known, is_seen,
                "seed {}: {keyed:?}\n{:#?}",
                self.seed, self.log
            );
        }
    }

    pub(super) fn turn(&mut self) {
        if !self.has_ended() {
            self.process().thread.turn();
            self.see();
        }
    }

    /// Has the journal try to write again.
    pub(super) fn try_again(&mut self) {
        self.process().thread.try_again_now();
        self.turn();
    }

    pub(super) fn publish_and_write(&mut self, topic: &str) {
        assert!(self.publish(topic));
        self.turn();
    }

    pub(super) fn checkpoint(&mut self) -> String {
        self.try_checkpoint().expect("the disk works")
    }

    /// Makes a checkpoint, while messages come. Returns its name.
    fn try_checkpoint(&mut self) -> Option<String> {
        if self.has_ended() {
            return None;
        }
        let now = self.clock.now();
        let plan = self.process().thread.begin_checkpoint(now)?;
        for _ in 0..self.random.random_range(0..3) {
            self.publish(TOPICS[0]);
            self.turn();
        }
        let name = tickwire_lane::names::checkpoint_name(plan.place.position);
        let made = plan.make().is_ok();
        self.log.push(format!("{name} {made}"));
        made.then_some(name)
    }

    /// The messages of a topic, with the closed candles from before its history.
    pub(super) fn stored(&mut self, topic: &str) -> Vec<(Seq, String)> {
        let cell = self.process().directory.find(topic).expect("it exists");
        let text = |message: &Publication| {
            let mut text = Vec::new();
            message.payload.write_json(&mut text);
            String::from_utf8(text).expect("JSON")
        };
        let page = cell.history(Seq::ZERO, usize::MAX);
        let messages = page.messages.iter();
        messages.map(|message| (message.seq, text(message))).collect()
    }

    pub(super) fn head(&mut self, topic: &str) -> u64 {
        let cell = self.process().directory.find(topic);
        cell.map_or(0, |cell| cell.position().seq.0)
    }

    /// Records what everybody can see now.
    fn see(&mut self) {
        let directory = self.process().directory.clone();
        let mut heads = BTreeMap::new();
        for info in directory.list(&">".parse().expect("a pattern")) {
            let topic = info.topic.to_string();
            heads.insert(topic.clone(), (info.epoch.clone(), info.seq));
            let cell = directory.find(&topic).expect("it is listed");
            for message in cell.dump().expect("it has a message").messages {
                let mut text = Vec::new();
                message.payload.write_json(&mut text);
                let text = String::from_utf8(text).expect("JSON");
                let key = (topic.clone(), info.epoch.to_string(), message.seq);
                let before = self.seen.insert(key.clone(), text.clone());
                let same = before.is_none_or(|before| before == text);
                assert!(
                    same,
                    "seed {}: {key:?} was something else before\n{:#?}",
                    self.seed, self.log
                );
            }
        }
        self.heads = heads;
    }

    /// Checks that the topics are as they were seen last, or beyond.
    pub(super) fn check(&mut self) {
        let before = std::mem::take(&mut self.heads);
        self.see();
        self.check_keys();
        for (topic, (epoch, head)) in &before {
            let now = self.heads.get(topic);
            // What was written may be more than what was seen: further messages, the topic's end, its next life.
            let fits = match now {
                Some((same, at)) if same == epoch => at >= head,
                Some(_) | None => self
                    .log
                    .iter()
                    .any(|line| line.starts_with(&format!("delete {topic}"))),
            };
            assert!(
                fits,
                "seed {}: {topic} was {epoch} {head}, and is {now:?}\n{:#?}",
                self.seed, self.log
            );
        }
        for (topic, (epoch, _)) in &self.heads {
            let cell = self
                .process
                .as_ref()
                .and_then(|process| process.directory.find(topic));
            let page = cell.expect("it is listed").history(Seq::ZERO, usize::MAX);
            let seen = self.seen.range((topic.clone(), epoch.to_string(), Seq(1))..);
            let seen = seen.take_while(|((of, in_epoch, _), _)| of == topic && in_epoch == epoch.as_str());
            let most = if topic.starts_with("ticker") {
                1
            } else {
                usize::MAX
            };
            assert_eq!(
                page.messages.len(),
                seen.count().min(most),
                "seed {}: {topic}\n{:#?}",
                self.seed,
                self.log
            );
        }
    }

    /// Checks that each value is one that was seen.
    fn check_values(&self, directory: &Directory) {
        for info in directory.list(&">".parse().expect("a pattern")) {
            assert_eq!(info.seq, Seq(1), "{info:?}");
            if info.topic.as_str().starts_with("book.") {
                continue; // the whole book, of which only changes were seen
            }
            let cell = directory.find(info.topic.as_str()).expect("it is listed");
            let mut text = Vec::new();
            cell.newest()
                .expect("it has a value")
                .payload
                .write_json(&mut text);
            let text = String::from_utf8(text).expect("JSON");
            let of_topic = self
                .seen
                .iter()
                .filter(|((topic, ..), _)| topic == info.topic.as_str());
            let known = of_topic.into_iter().any(|(_, seen)| *seen == text);
            let published = text.trim_matches('"').trim_start_matches("message ");
            let published = published
                .parse::<u64>()
                .is_ok_and(|number| number <= self.counter);
            assert!(known || published, "seed {}: {text} of {}", self.seed, info.topic);
        }
    }
}

/// What a checkpoint has beside the topics where there is no feed and nothing is derived.
fn beside() -> Beside {
    Beside {
        fed: None,
        derived: DerivedSource::Nothing,
    }
}

/// Which segments are kept.
const RETENTION: Retention = Retention {
    bytes_max: 2_000,
    age_max_us: None,
};
/// Nothing is done that is not asked for.
const TIMING: Timing = Timing {
    sync_us: None,
    checkpoint_us: u64::MAX,
};

/// A directory without a topic.
fn empty(epoch: Epoch, queue: &Arc<WriteQueue>) -> Arc<Directory> {
    let directory = Directory::new(epoch, Kinds::default(), DirectoryLimits::default(), Vec::new());
    Arc::new(directory.with_write_queue(queue.clone()))
}

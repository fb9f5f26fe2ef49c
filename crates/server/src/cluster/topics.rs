//! The broker's topics and publishers, as a node of a lane has them.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tickwire_lane::node::{LaneHost, LostTrack, Settlement, Submission, Unpublished, Wish, put_submission};
use tickwire_lane::{Content, Declaration, Entry, Item, ItemKey, TopicKey, TopicNumber, Writer};
use tickwire_router::{
    AnswerTo, Answers, Arrival, Batch, Directory, Errand, Ingress, KeptValue, KnownKey, NotEntered, Numbered,
    OUTLET_MESSAGE_BYTES_MAX, Origin, Outlet, OutletAnswer, OutletBatch, Placed, RestoredTopic, TellCaughtUp,
    TopicCell,
};
use tickwire_wire::message::{EndReason, PublishKey};
use tickwire_wire::{Epoch, ErrorCode, Kind, Micros, Payload, Refusal, Seq, Topic};

use crate::journal::declaration;
use crate::journal::items::{content, written};

/// What was put into the outlet, by the bytes that it counts for and who is told.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    reply: AnswerTo,
}

/// The topics of a broker in a cluster.
#[derive(Debug)]
pub(super) struct BrokerTopics {
    directory: Arc<Directory>,
    ingress: Ingress,
    outlet: Arc<Outlet>,
    /// The generation of the numbers that are given and have not entered.
    generation: u32,
    kept: Vec<KeptValue>,
    /// What is not settled, the oldest first.
    waiting: VecDeque<Waiting>,
    /// The number of the oldest.
    oldest: u64,
    answers: Answers,
    /// The places of keys whose messages have not entered.
    keys_ahead: FxHashMap<(Topic, PublishKey), (Epoch, Seq)>,
    taken: OutletBatch,
    text: Vec<u8>,
    /// The messages that have entered since they were last counted.
    pub(super) entered: u64,
}

/// Why a message of the log does not count here.
enum Passed {
    /// The topic has it, or is in a later life.
    Known,
    /// The topic does not have what is before it.
    Lost,
}

impl BrokerTopics {
    pub(super) fn new(directory: Arc<Directory>, outlet: Arc<Outlet>) -> Self {
        Self {
            ingress: Ingress::new(directory.clone()),
            directory,
            outlet,
            generation: 1,
            kept: Vec::new(),
            waiting: VecDeque::new(),
            oldest: 1,
            answers: Answers::default(),
            keys_ahead: FxHashMap::default(),
            taken: OutletBatch::default(),
            text: Vec::new(),
            entered: 0,
        }
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Takes out what publishers have put into the outlet: the number of submissions, and their bytes.
    pub(super) fn take_submitted(&mut self) -> (u32, Vec<u8>) {
        self.outlet.take(&mut self.taken);
        let mut body = Vec::with_capacity(self.taken.texts.len() + 64 * self.taken.outgoing.len());
        let mut texts = &self.taken.texts[..];
        let count = u32::try_from(self.taken.outgoing.len()).unwrap_or(u32::MAX);
        for outgoing in self.taken.outgoing.drain(..) {
            let bytes = outgoing.bytes();
            let wish = match &outgoing.errand {
                Errand::Publish { text, key, stamp } => {
                    let (text, rest) = texts.split_at_checked(*text).unwrap_or_default();
                    texts = rest;
                    Wish::Publish {
                        text,
                        key: key.as_ref().map(PublishKey::as_str),
                        stamp: *stamp,
                    }
                }
                Errand::End(reason) => Wish::End(*reason),
            };
            put_submission(&mut body, outgoing.topic.as_str(), &wish);
            self.waiting.push_back(Waiting {
                bytes,
                reply: outgoing.reply,
            });
        }
        self.taken.texts.clear();
        (count, body)
    }

    /// Those who wait until everything has entered that the log has.
    pub(super) fn take_catching_up(&self) -> Vec<TellCaughtUp> {
        self.outlet.take_catching_up()
    }

    /// Has publishers refused for this reason, or not any more.
    pub(super) fn refuse(&self, reason: Option<&str>) {
        self.outlet.refuse(reason);
    }

    /// Tells the shards what was settled.
    pub(super) fn flush(&mut self) {
        self.answers.flush(&self.directory);
    }

    /// The topic that a declaration is about.
    fn topic(&self, declared: &Declaration) -> Result<Arc<TopicCell>, Passed> {
        let restored = RestoredTopic {
            topic: declared.topic.clone(),
            kind: declared.kind,
            epoch: Some((declared.epoch.clone(), declared.life)),
        };
        if let Some(cell) = self.directory.declared(&restored) {
            return Ok(cell);
        }
        let existing = self.directory.find(declared.topic.as_str());
        let is_later = existing.is_some_and(|cell| cell.described(Seq::ZERO).life > declared.life);
        Err(if is_later { Passed::Known } else { Passed::Lost })
    }

    /// Lets an item enter its topic.
    fn enter_item(
        &self,
        batch: &Batch<'_>,
        (cell, declared): (&Arc<TopicCell>, &Declaration),
        item: &Item<'_>,
        now: Micros,
    ) -> Result<(), Passed> {
        if let Content::End(reason) = item.content {
            self.directory.end_written(cell, reason);
            return Ok(());
        }
        let Some(message) = written(item) else {
            return Ok(());
        };
        let numbered = match message.read() {
            Ok(numbered) => numbered,
            Err(error) => {
                tracing::error!(topic = %declared.topic, seq = %item.seq, %error, "a message of the log is not understood");
                return Err(Passed::Lost);
            }
        };
        match batch.apply(cell, numbered, now) {
            Ok(_) => {}
            Err(NotEntered::Known | NotEntered::Ended) => return Err(Passed::Known),
            Err(NotEntered::Hole(_)) => return Err(Passed::Lost),
            Err(error @ NotEntered::Refused(_)) => {
                tracing::error!(topic = %declared.topic, seq = %item.seq, %error, "a book is lost");
            }
        }
        if let Some(ItemKey { text, at }) = item.key
            && let Ok(key) = text.parse()
        {
            let known = KnownKey {
                topic: declared.topic.clone(),
                key,
                epoch: declared.epoch.clone(),
                seq: item.seq,
                kind: declared.kind,
                at,
            };
            self.directory.restore_key(known, now);
        }
        Ok(())
    }

    fn gather(
        &mut self,
        (cell, numbered): (&Arc<TopicCell>, Numbered),
        key: Option<ItemKey<'_>>,
        writer: &mut Writer,
    ) {
        self.text.clear();
        numbered.payload.write_json(&mut self.text);
        let content = match (&numbered.payload, cell.kind()) {
            (Payload::Book(book), Kind::Book) if book.replace => Content::Whole(&self.text),
            (_, kind) => content(kind, &self.text),
        };
        let item = Item {
            topic: TopicNumber(0),
            after: numbered.after,
            seq: numbered.seq,
            ts: numbered.ts,
            doubt: numbered.doubt,
            key,
            mark: None,
            content,
        };
        let declare = || declaration(&cell.described(numbered.after));
        writer.gather(TopicKey(cell.id().0), declare, item);
    }

    fn number_message(
        &mut self,
        (topic, text): (&Topic, &[u8]),
        (key, stamp): (Option<&str>, Option<Micros>),
        writer: &mut Writer,
        now: Micros,
    ) -> Result<(), Unpublished<'static>> {
        let key = key.map(str::parse::<PublishKey>).transpose();
        let key = key.map_err(|error| refused(&error))?;
        if let Some(key) = &key {
            let ahead = self.keys_ahead.get(&(topic.clone(), key.clone())).cloned();
            let known = self.directory.place_of_key(topic, key, now);
            if let Some((epoch, seq)) = ahead.or(known.map(|(epoch, seq, _)| (epoch, seq))) {
                return Err(Unpublished::Known { epoch, seq });
            }
        }
        let payload = Payload::from_json(text).map_err(|refusal| refused(&refusal))?;
        let arrival = Arrival {
            stamp,
            ..Arrival::from(now)
        };
        let numbered = self.directory.number(topic, payload, arrival, self.generation);
        let (cell, numbered) = numbered.map_err(|error| refused(&Refusal::from(error)))?;
        if let Some(key) = &key {
            let place = (cell.position().epoch, numbered.seq);
            self.keys_ahead.insert((topic.clone(), key.clone()), place);
        }
        let key = key.as_ref().map(|key| ItemKey {
            text: key.as_str(),
            at: now,
        });
        self.gather((&cell, numbered), key, writer);
        Ok(())
    }

    fn number_end(
        &self,
        topic: &Topic,
        reason: EndReason,
        writer: &mut Writer,
        now: Micros,
    ) -> Result<(), Unpublished<'static>> {
        let Some((cell, last)) = self.directory.number_end(topic.as_str(), self.generation) else {
            let gone = Refusal::new(
                ErrorCode::BadRequest,
                format!("there is no topic {topic} any more"),
            );
            return Err(refused(&gone));
        };
        let item = Item {
            topic: TopicNumber(0),
            after: last,
            seq: last,
            ts: now,
            doubt: None,
            key: None,
            mark: None,
            content: Content::End(reason),
        };
        writer.gather(TopicKey(cell.id().0), || declaration(&cell.described(last)), item);
        Ok(())
    }
}

fn refused(refusal: &Refusal) -> Unpublished<'static> {
    Unpublished::Refused {
        code: refusal.code,
        reason: refusal.reason.clone().into(),
    }
}

impl LaneHost for BrokerTopics {
    fn enter(&mut self, entry: &Entry<'_>, now: Micros) -> Result<(), LostTrack> {
        let batch = self.ingress.batch(Origin::Feed);
        // A topic that ends within the entry is declared again for its next life only in a later entry.
        let cells: Vec<_> = entry
            .declared
            .iter()
            .map(|declared| self.topic(declared))
            .collect();
        for item in &entry.items {
            let at = item.topic.0 as usize;
            let (Some(cell), Some(declared)) = (cells.get(at), entry.declared.get(at)) else {
                return Err(LostTrack);
            };
            let entered = match cell {
                Ok(cell) => self.enter_item(&batch, (cell, declared), item, now),
                Err(Passed::Known) => Err(Passed::Known),
                Err(Passed::Lost) => Err(Passed::Lost),
            };
            match entered {
                Ok(()) | Err(Passed::Known) => {}
                Err(Passed::Lost) => return Err(LostTrack),
            }
        }
        drop(batch);
        self.entered += entry.items.len() as u64;
        // Keys of messages that have entered are the directory's.
        let keyed = entry.items.iter().any(|item| item.key.is_some());
        if keyed {
            let directory = &self.directory;
            self.keys_ahead
                .retain(|(topic, key), _| directory.place_of_key(topic, key, now).is_none());
        }
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: &Epoch, _now: Micros) {
        self.kept = self.directory.begin_epoch(epoch);
        self.drop_numbered();
    }

    fn drop_kept(&mut self) {
        self.kept = Vec::new();
    }

    fn number_kept(&mut self, writer: &mut Writer, bytes_max: usize, now: Micros) -> bool {
        let most = writer.gathered_bytes() + bytes_max;
        while let Some(KeptValue { topic, payload, ts }) = self.kept.pop() {
            // It may have got a newer value in the meantime.
            if self.directory.find(topic.as_str()).is_some() {
                continue;
            }
            self.text.clear();
            payload.write_json(&mut self.text);
            if self.text.len() > OUTLET_MESSAGE_BYTES_MAX {
                tracing::error!(%topic, bytes = self.text.len(), "a value is too large to be kept");
                continue;
            }
            let arrival = Arrival {
                stamp: Some(ts),
                ..Arrival::from(now)
            };
            match self.directory.number(&topic, payload, arrival, self.generation) {
                Ok((cell, numbered)) => self.gather((&cell, numbered), None, writer),
                Err(error) => tracing::error!(%topic, %error, "a value could not be kept"),
            }
            if writer.gathered_bytes() >= most {
                return self.kept.is_empty();
            }
        }
        true
    }

    fn number(
        &mut self,
        submission: &Submission<'_>,
        writer: &mut Writer,
        now: Micros,
    ) -> Result<(), Unpublished<'static>> {
        let topic = &submission.topic;
        match submission.wish {
            Wish::Publish { text, key, stamp } => {
                self.number_message((topic, text), (key, stamp), writer, now)
            }
            Wish::End(reason) => self.number_end(topic, reason, writer, now),
        }
    }

    fn drop_numbered(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.keys_ahead.clear();
    }

    fn settle(&mut self, settlement: Settlement<'_>) {
        let number = settlement.number.0;
        if number != self.oldest {
            tracing::error!(
                number,
                expected = self.oldest,
                "a submission is settled out of its order"
            );
            return;
        }
        let Some(Waiting { bytes, reply }) = self.waiting.pop_front() else {
            tracing::error!(number, "a submission is settled that was never made");
            return;
        };
        self.oldest += 1;
        self.outlet.settled(bytes);
        let outcome = match settlement.outcome {
            Ok((_, epoch, seq)) => Ok(Placed {
                epoch: epoch.clone(),
                seq,
                duplicate: false,
            }),
            Err(Unpublished::Known { epoch, seq }) => Ok(Placed {
                epoch,
                seq,
                duplicate: true,
            }),
            Err(Unpublished::Refused { code, reason }) => Err(Refusal::new(code, reason)),
        };
        self.answers.tell(reply, OutletAnswer { number, outcome });
    }
}

//! What the archive reads, compared with what was seen.

use std::sync::Arc;

use rand::RngExt as _;
use tickwire_lane::Position;
use tickwire_lane::names::index_name;
use tickwire_router::{ArchivedNext, Bookmark, TopicCell, WantedPart};
use tickwire_wire::{Micros, Seq};

use super::world::{End, World};
use crate::config::JournalSync;
use crate::journal::archive::ArchiveReader;
use crate::journal::disk::Disk as _;

/// A message that was read, and messages that are missing.
type Found = (Seq, Micros, String);
type Missing = (Seq, Seq);

/// The messages of a topic behind `after`, up to `last`, and which of these are missing.
fn read(
    archive: &mut ArchiveReader,
    cell: &Arc<TopicCell>,
    (mut after, last): (Seq, Seq),
) -> (Vec<Found>, Vec<Missing>) {
    let (mut messages, mut missing, mut bookmark) = (Vec::new(), Vec::new(), Bookmark::default());
    while after < last {
        let wanted = WantedPart {
            cell: cell.clone(),
            after,
            last,
            bookmark,
            place: cell.archive_place().expect("there is room"),
        };
        let (found, through, next) = archive.read(&wanted).expect("it can be read");
        let mut part = wanted.found(found, through, next);
        loop {
            match part.take() {
                ArchivedNext::Message(message) => {
                    if message.seq > after.next() {
                        missing.push((after.next(), Seq(message.seq.0 - 1)));
                    }
                    let mut text = Vec::new();
                    message.payload.write_json(&mut text);
                    messages.push((message.seq, message.ts, String::from_utf8(text).expect("JSON")));
                    after = message.seq;
                }
                ArchivedNext::Missing(to) => {
                    missing.push((after.next(), to));
                    after = to;
                }
                ArchivedNext::End => break,
            }
        }
        assert!(part.through() >= after, "each part goes on");
        (after, bookmark) = (part.through(), part.bookmark());
    }
    (messages, missing)
}

impl World {
    /// Checks that the archive has, of each topic, what was seen of it, without a hole behind the oldest message that is stored.
    pub(super) fn check_archive(&mut self) {
        let (directory, archive, seen, random) = self.archive();
        for info in directory.list(&">".parse().expect("a pattern")) {
            let cell = directory.find(info.topic.as_str()).expect("it is listed");
            let head = cell.position().seq;
            let start = archive.locate(&cell, Micros(0)).expect("it can be read");
            let Some((oldest, _)) = start.oldest else {
                continue;
            };
            assert_eq!(start.first, Some(oldest));
            let after = Seq(random.random_range(0..=head.0));
            let (messages, missing) = read(archive, &cell, (after, head));
            let begins = oldest.max(after.next());
            let expected: Vec<(Seq, Seq)> = (begins > after.next() && after < head)
                .then(|| (after.next(), Seq(begins.0 - 1).min(head)))
                .into_iter()
                .collect();
            assert_eq!(missing, expected, "{info:?}, oldest {oldest}");
            let numbers = messages.iter().map(|(seq, ..)| seq.0);
            assert!(numbers.eq(begins.0..=head.0), "{info:?}");
            for (seq, _, text) in &messages {
                let key = (info.topic.to_string(), info.epoch.to_string(), *seq);
                let before = seen.get(&key);
                // Of a state not each message is seen.
                let is_it = before.map_or(info.topic.as_str().starts_with("ticker."), |seen| seen == text);
                assert!(is_it, "{key:?} was {before:?} and is {text}");
            }
            if let Some((_, moment, _)) = messages.get(messages.len() / 2) {
                let from = archive.locate(&cell, *moment).expect("it can be read").first;
                let all = read(archive, &cell, (Seq(oldest.0 - 1), head)).0;
                let first = all.iter().find(|(_, ts, _)| ts >= moment).map(|(seq, ..)| *seq);
                assert_eq!(from, first, "from {moment} on");
            }
            let later = archive.locate(&cell, Micros(u64::MAX)).expect("it can be read");
            assert_eq!(later.first, None);
        }
    }
}

#[test]
fn an_index_that_is_missing_or_damaged_is_made_again() {
    let mut world = World::new(5).with_sync(JournalSync::Never);
    world.open().expect("it is empty");
    for _ in 0..60 {
        world.publish_and_write("trade.A");
    }
    world.check_archive();
    let disk = world.disk.clone();
    let indexes = || {
        let names = disk.names().expect("it works");
        names
            .into_iter()
            .filter(|name| name.ends_with(".index"))
            .collect::<Vec<_>>()
    };
    let before = indexes();
    assert!(before.len() > 1, "full segments have an index: {before:?}");
    for (at, name) in before.iter().enumerate() {
        match at % 3 {
            0 => disk.remove(name).expect("it is there"),
            1 => {
                let length = usize::try_from(disk.len(name).expect("it is there")).expect("a length");
                disk.damage(name, length - 1);
            }
            _ => disk.damage(name, 20),
        }
    }
    world.end(End::Killed);
    world.open().expect("it is whole");
    world.check_archive();
    assert!(before.iter().all(|name| indexes().contains(name)));
}

#[test]
fn damage_is_a_gap_and_nothing_else() {
    let mut world = World::new(6).with_sync(JournalSync::Never);
    world.open().expect("it is empty");
    for _ in 0..30 {
        world.publish_and_write("trade.A");
    }
    world.check_archive();
    let second = {
        let names = world.disk.names().expect("it works");
        let (segments, _) = tickwire_lane::names::positions(&names);
        segments[1]
    };
    for make_again in [false, true] {
        world
            .disk
            .damage(&tickwire_lane::names::segment_name(second), 300);
        if make_again {
            world.disk.remove(&index_name(second)).expect("it is there");
        }
        let (directory, archive, seen, _) = world.archive();
        let cell = directory.find("trade.A").expect("it is there");
        let head = cell.position().seq;
        let (messages, missing) = read(archive, &cell, (Seq::ZERO, head));
        assert_eq!(missing.len(), 1, "{missing:?}");
        let (from, to) = missing[0];
        assert!(from > Seq(second.0) && to < head, "{missing:?} of {head}");
        assert_eq!(messages.len() as u64, head.0 - (to.0 - from.0 + 1));
        for (seq, _, text) in messages {
            let key = ("trade.A".to_owned(), cell.position().epoch.to_string(), seq);
            assert_eq!(seen.get(&key), Some(&text));
        }
        world
            .disk
            .damage(&tickwire_lane::names::segment_name(second), 300);
    }
    world.check_archive();
    assert_ne!(second, Position(0));
}

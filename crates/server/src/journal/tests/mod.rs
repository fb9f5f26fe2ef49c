//! Journals that are killed, cut off from power, filled up and damaged, and what is there afterwards.

mod archived;
mod faulty;
mod world;

use std::panic::catch_unwind;

use self::world::{End, World};
use super::planted::{JournalFault, plant};
use super::recovery::RecoveryError;
use crate::config::JournalSync;

/// The number of worlds that are made from seeds. `TICKWIRE_JOURNAL_SEEDS` asks for more.
const SEEDS: u64 = 1_000;

/// Everything that was seen is there, in the same epochs, whatever the process was doing when it was killed. With a sync for each
/// entry that holds for a loss of power, too. Otherwise the epochs are then new, and each value is one that was seen.
#[test]
fn what_was_seen_is_there_after_any_end() {
    let asked = std::env::var("TICKWIRE_JOURNAL_SEEDS").ok();
    let seeds = asked.map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    for seed in 0..seeds {
        World::new(seed).live_through();
    }
}

/// A world that finds nothing when the journal is at fault would be worth nothing.
#[test]
fn each_planted_fault_is_found() {
    let mut table = String::new();
    let mut missed = Vec::new();
    for (fault, does) in JournalFault::ALL {
        plant(Some(*fault));
        let lives = |seed| catch_unwind(|| World::new(seed).live_through());
        let found = (0..SEEDS).find(|seed| lives(*seed).is_err());
        plant(None);
        match found {
            Some(seed) => table += &format!("seed {seed:>3} finds that {does}\n"),
            None => missed.push(does),
        }
    }
    println!("{table}");
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:#?}");
}

#[test]
fn a_damaged_middle_refuses_the_start_and_names_the_place() {
    for sync in [JournalSync::Never, JournalSync::Each] {
        let mut world = World::new(1).with_sync(sync);
        world.open().expect("it is empty");
        for _ in 0..20 {
            world.publish_and_write("trade.A");
        }
        world.end(End::Killed);
        let name = format!("{:020}.segment", 0);
        world.disk.damage(&name, 300);
        match world.open() {
            Err(RecoveryError::Damaged {
                name: file,
                offset,
                what,
            }) => {
                assert_eq!(file, name);
                assert!(
                    offset < 300 && what.contains("a valid entry follows"),
                    "{offset} {what}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_one_before() {
    let mut world = World::new(2).with_sync(JournalSync::Never);
    world.open().expect("it is empty");
    let mut checkpoints = Vec::new();
    for _ in 0..2 {
        world.publish_and_write("trade.A");
        checkpoints.push(world.checkpoint());
        world.publish_and_write("book.A");
    }
    world.end(End::Killed);
    world.disk.damage(&checkpoints[1], 40);
    world.open().expect("the first checkpoint is whole");
    world.check();
    world.end(End::Killed);
    // The log before the first checkpoint is still there.
    world.disk.damage(&checkpoints[0], 40);
    world.open().expect("the log has its beginning");
    world.check();
}

/// A chart shows the candles from before a restart, although only the newest message of their topic is its value.
#[test]
fn a_checkpoint_has_the_closed_candles_from_before_a_history() {
    let mut world = World::new(5).with_sync(JournalSync::Never);
    world.open().expect("it is empty");
    for _ in 0..20 {
        world.publish_and_write("candle.1s.A");
    }
    world.checkpoint();
    world.publish_and_write("candle.1s.A");
    let before = world.stored("candle.1s.A");
    assert_eq!(before.len(), 21);
    for _ in 0..2 {
        world.end(End::Killed);
        world.open().expect("it is whole");
        assert_eq!(world.stored("candle.1s.A"), before);
        world.checkpoint();
    }
}

#[test]
fn while_the_disk_is_full_nothing_is_published_and_nothing_is_lost() {
    let mut world = World::new(3).with_sync(JournalSync::Never);
    world.open().expect("it is empty");
    world.publish_and_write("trade.A");
    world.disk.fails(0, Some(10));
    assert!(world.publish("trade.A"), "it waits to be written");
    world.turn();
    assert_eq!(world.head("trade.A"), 1, "it was not written, so nobody sees it");
    assert!(!world.publish("trade.A"), "the journal is known to fail");
    world.disk.fails(0, None);
    world.try_again();
    world.publish_and_write("trade.A");
    assert_eq!(world.head("trade.A"), 2);
    world.end(End::Killed);
    world.open().expect("it is whole");
    world.check();
    assert_eq!(world.head("trade.A"), 2);
}

#[test]
fn a_sync_that_fails_ends_the_program_before_anybody_sees_the_message() {
    let mut world = World::new(4).with_sync(JournalSync::Each);
    world.open().expect("it is empty");
    world.publish_and_write("trade.A");
    world.disk.fails_to_sync(true);
    assert!(world.publish("trade.A"), "it waits to be written");
    world.turn();
    assert!(world.has_ended(), "the program ends");
    assert_eq!(world.head("trade.A"), 1);
}

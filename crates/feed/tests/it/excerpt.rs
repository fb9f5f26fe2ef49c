//! A part of recordings, once or again and again.

use std::path::PathBuf;

use expect_test::{Expect, expect};
use tempfile::TempDir;
use tickwire_feed::{Excerpt, Feed, Part, Tick};
use tickwire_wire::{Micros, Topic};

use crate::replay::{BASE_MS, bbo, depth, show, snapshot, trade};
use crate::support::{books, ticks};

fn at(ms: u64) -> Option<Micros> {
    Some(Micros((BASE_MS + ms) * 1_000))
}

/// A recording with these lines.
fn recording(lines: &[String]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording");
    std::fs::write(&path, lines.join("\n")).expect("a file");
    (folder, path)
}

/// Trades, a quote and a book at 0 to 500 ms.
fn lines() -> Vec<String> {
    vec![
        snapshot(0, 10, "100"),
        trade(100, "AUSDT", 1, "100", "1"),
        depth(200, "AUSDT", (11, 11), "99", "2"),
        bbo(200, "AUSDT", "99", "100"),
        trade(300, "AUSDT", 2, "101", "1"),
        depth(400, "AUSDT", (12, 12), "98", "3"),
        trade(500, "AUSDT", 3, "102", "1"),
    ]
}

fn open(lines: &[String], part: Part) -> (TempDir, Feed) {
    let (folder, path) = recording(lines);
    (
        folder,
        Feed::Replay(Excerpt::open(&[path], part, books()).expect("usable lines")),
    )
}

/// The ticks without those that are derived.
fn plain(feed: &Feed, ticks: &[Tick]) -> String {
    let wanted = |tick: &&Tick| {
        let topic = feed.topic(tick.topic).as_str();
        !topic.starts_with("candle.") && !topic.starts_with("ticker.")
    };
    let lines = ticks.iter().filter(wanted).map(|tick| show(feed, tick) + "\n");
    lines.collect()
}

#[track_caller]
fn check(part: Part, count: usize, expected: &Expect) {
    let (_folder, mut feed) = open(&lines(), part);
    let found = ticks(&mut feed, count);
    expected.assert_eq(&plain(&feed, &found));
}

#[test]
fn the_whole() {
    check(
        Part::default(),
        usize::MAX,
        &expect![[r#"
        0 book.A-USDT = 100x1.5/
        100 trade.A-USDT 1 100x1 Buy
        200 book.A-USDT 99x2/
        200 bbo.A-USDT 99x1 100x2
        300 trade.A-USDT 2 101x1 Buy
        400 book.A-USDT 98x3/
        500 trade.A-USDT 3 102x1 Buy
    "#]],
    );
}

#[test]
fn from_a_moment_books_are_whole_and_nothing_else_is_early() {
    let part = Part {
        from: at(300),
        ..Part::default()
    };
    check(
        part,
        usize::MAX,
        &expect![[r#"
        300 book.A-USDT = 100x1.5/
        300 book.A-USDT 99x2/
        300 trade.A-USDT 2 101x1 Buy
        400 book.A-USDT 98x3/
        500 trade.A-USDT 3 102x1 Buy
    "#]],
    );
}

#[test]
fn until_a_moment() {
    let part = Part {
        from: at(100),
        until: at(300),
        ..Part::default()
    };
    check(
        part,
        usize::MAX,
        &expect![[r#"
        100 book.A-USDT = 100x1.5/
        100 trade.A-USDT 1 100x1 Buy
        200 book.A-USDT 99x2/
        200 bbo.A-USDT 99x1 100x2
    "#]],
    );
}

#[test]
fn again_and_again_time_goes_on() {
    let part = Part {
        from: at(250),
        until: at(450),
        repeats: true,
    };
    check(
        part,
        30,
        &expect![[r#"
        250 book.A-USDT = 100x1.5/
        250 book.A-USDT 99x2/
        300 trade.A-USDT 2 101x1 Buy
        400 book.A-USDT 98x3/
        450 book.A-USDT = 100x1.5/
        450 book.A-USDT 99x2/
        500 trade.A-USDT 2 101x1 Buy
        600 book.A-USDT 98x3/
        650 book.A-USDT = 100x1.5/
        650 book.A-USDT 99x2/
        700 trade.A-USDT 2 101x1 Buy
        800 book.A-USDT 98x3/
        850 book.A-USDT = 100x1.5/
        850 book.A-USDT 99x2/
        900 trade.A-USDT 2 101x1 Buy
        1000 book.A-USDT 98x3/
        1050 book.A-USDT = 100x1.5/
        1050 book.A-USDT 99x2/
    "#]],
    );
}

/// A recorded broker tells the beginning of a book only by `joined`.
#[test]
fn a_book_of_the_time_before_stayed_below_the_next_one() {
    let at = BASE_MS * 1_000_000;
    let recorded = vec![
        format!(r#"{at} {{"op":"joined","topic":"book.X","epoch":"e","seq":0}}"#),
        format!(
            r#"{} {{"op":"update","topic":"book.X","seq":1,"ts":1,"data":{{"symbol":"X","bids":[["9","1"]],"asks":[],"time":1}}}}"#,
            at + 1_000_000
        ),
        format!(
            r#"{} {{"op":"update","topic":"book.X","seq":2,"ts":1,"data":{{"symbol":"X","bids":[["8","1"]],"asks":[],"time":1}}}}"#,
            at + 2_000_000
        ),
    ];
    let part = Part {
        repeats: true,
        ..Part::default()
    };
    let (_folder, mut feed) = open(&recorded, part);
    let whole: Vec<bool> = (0..6)
        .map(|_| feed.next_tick().expect("it repeats").is_whole)
        .collect();
    assert_eq!(whole, [false, false, true, false, true, false]);
}

#[test]
fn what_is_counted_goes_on_and_faults_are_told_once() {
    let mut bad = lines();
    bad.push("no line".to_owned());
    let part = Part {
        repeats: true,
        ..Part::default()
    };
    let (_folder, mut feed) = open(&bad, part);
    ticks(&mut feed, 200);
    let passes = feed.stats().lines / bad.len() as u64;
    assert!(passes > 2, "{passes} times through");
    assert_eq!(feed.faults().len(), 1);
    assert!(feed.stats().faults.all() >= passes);
    assert!(feed.failure().is_none());
    // Nobody gets two topics of one name.
    let mut names: Vec<&str> = feed.topics().iter().map(Topic::as_str).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_part_of_one_moment_is_not_replayed_without_end_at_that_moment() {
    let part = Part {
        repeats: true,
        ..Part::default()
    };
    let (_folder, mut feed) = open(&[trade(0, "AUSDT", 1, "100", "1")], part);
    let ticks = ticks(&mut feed, 30);
    assert!(ticks[29].at > ticks[0].at, "{ticks:?}");
}

#[test]
fn a_part_without_ticks_ends_even_if_it_repeats() {
    for (from, until) in [(at(600), None), (None, at(0)), (at(310), at(320))] {
        let part = Part {
            from,
            until,
            repeats: true,
        };
        let only_trades: Vec<String> = lines()
            .into_iter()
            .filter(|line| line.contains("@trade"))
            .collect();
        let (_folder, mut feed) = open(&only_trades, part);
        assert_eq!(ticks(&mut feed, 10), [], "{part:?}");
        // Books are made once, and then nothing follows.
        let (_folder, mut feed) = open(&lines(), part);
        assert!(ticks(&mut feed, 100).len() < 10, "{part:?}");
    }
}

#[test]
fn a_file_that_is_gone_ends_the_repetition_and_says_so() {
    let part = Part {
        repeats: true,
        ..Part::default()
    };
    let (folder, mut feed) = open(&lines(), part);
    drop(folder);
    let count = ticks(&mut feed, usize::MAX).len();
    assert!(count > 3, "{count}");
    let failure = feed.failure().expect("it could not begin again").to_string();
    assert!(failure.contains("cannot be opened"), "{failure}");
    assert_eq!(feed.next_tick(), None);
}

/// What was published before a restart is passed over, and the rest is what would have come.
#[test]
fn ticks_are_passed_over() {
    for part in [
        Part::default(),
        Part {
            repeats: true,
            ..Part::default()
        },
        Part {
            from: at(150),
            until: at(450),
            repeats: true,
        },
    ] {
        let (_folder, mut feed) = open(&lines(), part);
        let all = ticks(&mut feed, 100);
        for count in 0..=all.len() {
            let (_folder, mut feed) = open(&lines(), part);
            feed.pass_over(count as u64);
            while feed.skip_some() {}
            let rest = ticks(&mut feed, all.len() - count);
            assert_eq!(rest.len(), all.len() - count, "{count} of {part:?}");
            for (tick, expected) in rest.iter().zip(&all[count..]) {
                let (at, payload) = (tick.at, &tick.payload);
                assert_eq!(
                    (at, payload),
                    (expected.at, &expected.payload),
                    "{count} of {part:?}"
                );
            }
        }
    }
}

/// A feed that has repeated its part for days begins at once.
#[test]
fn whole_times_through_are_passed_over_without_being_read() {
    let part = Part {
        repeats: true,
        ..Part::default()
    };
    let (_folder, mut feed) = open(&lines(), part);
    let once = ticks(&mut open(&lines(), Part::default()).1, usize::MAX).len() as u64;
    feed.pass_over(once * 1_000_000_000 + 3);
    while feed.skip_some() {}
    let tick = feed.next_tick().expect("it repeats");
    let (_folder, mut again) = open(&lines(), part);
    let expected = &ticks(&mut again, once as usize + 4)[once as usize + 3];
    assert_eq!(tick.payload, expected.payload);
    assert!(feed.stats().lines < 100, "{:?}", feed.stats());
}

/// The same part of the same recording is known again, and no other.
#[test]
fn a_part_is_known_again() {
    let identity = |lines: &[String], part| open(lines, part).1.identity();
    let (part, other) = (
        Part::default(),
        Part {
            until: at(450),
            ..Part::default()
        },
    );
    let known = identity(&lines(), part);
    assert!(known.is_some());
    assert_eq!(identity(&lines(), part), known);
    assert_ne!(identity(&lines(), other), known);
    assert_ne!(identity(&lines()[1..], part), known);
}

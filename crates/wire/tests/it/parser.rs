//! The parser's result depends only on the bytes, never on how they were cut.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::frame::Limits;

use crate::streams::{Got, Run, bytes_of, damage, part, part_or_raw};

/// Limits that are small enough for random streams to reach.
const SMALL: Limits = Limits {
    message_bytes: 400,
    fragments: 10,
};

const BIG: Limits = Limits {
    message_bytes: 70_000,
    fragments: 104,
};

/// The run of `stream`, cut at `cuts`.
fn in_pieces(stream: &[u8], cuts: &[prop::sample::Index], limits: Limits) -> Run {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let (mut run, mut start) = (Run::new(limits), 0);
    for end in ends {
        run.feed(&stream[start..end]);
        start = end;
    }
    run
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn a_valid_stream_gives_its_parts(
        parts in vec(part(70_000), 0..4),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        seed: u32,
    ) {
        let stream = bytes_of(&parts, seed);
        let mut expected = Vec::new();
        parts.iter().for_each(|part| part.expect(&mut expected));
        let run = in_pieces(&stream, &cuts, BIG);
        prop_assert!(run.said() == (&expected, None), "the events differ");
        prop_assert_eq!(run.heap_bytes(), 0);
    }

    #[test]
    fn any_stream_gives_the_same_however_it_is_cut(
        parts in vec(part_or_raw(300), 0..6),
        damages in vec(damage(), 0..2),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
        stop: prop::sample::Index,
        seed: u32,
    ) {
        let mut stream = bytes_of(&parts, seed);
        damages.iter().for_each(|damage| damage.apply(&mut stream));
        let at_once = Run::of(&stream, SMALL);
        let cut = in_pieces(&stream, &cuts, SMALL);
        prop_assert_eq!(cut.said(), at_once.said());

        // The stream comes byte by byte. In the middle the result must be the same as if the bytes so far had come at
        // once.
        let stop = stop.index(stream.len() + 1);
        let mut by_byte = Run::new(SMALL);
        for (at, byte) in stream.iter().enumerate() {
            if at == stop {
                let so_far = Run::of(&stream[..stop], SMALL);
                prop_assert_eq!(by_byte.said(), so_far.said());
            }
            by_byte.feed(&[*byte]);
        }
        prop_assert_eq!(by_byte.said(), at_once.said());
        if at_once.violation.is_some() || matches!(at_once.events.last(), Some(Got::Close(..))) {
            by_byte.feed(b"");
            prop_assert_eq!(by_byte.heap_bytes(), 0);
        }
    }

    #[test]
    fn any_bytes_are_survived_within_the_limit(
        bytes in vec(any::<u8>(), 0..200),
        cuts in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let run = in_pieces(&bytes, &cuts, SMALL);
        let at_once = Run::of(&bytes, SMALL);
        prop_assert_eq!(run.said(), at_once.said());
        prop_assert!(run.heap_bytes() <= SMALL.message_bytes + 512);
    }
}

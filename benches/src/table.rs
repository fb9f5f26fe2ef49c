//! The only list of all cases.

use tickwire_wire::Codec::{Json, MessagePack};
use tickwire_wire::codec::DataOp::{Snapshot, Update};

use crate::book::{Changes, Where, WholeSnapshot};
use crate::case::{Case, HotPath, Scale, Work};
use crate::deflate::{Deflate, Inflate};
use crate::encode::Encode;
use crate::fan_out::FanOut;
use crate::frame_parse::{Cut, FrameParse};
use crate::outbox_drain::OutboxDrain;
use crate::publish::Publish;
use crate::request_decode::RequestDecode;
use crate::set_up;
use crate::subscribe::{Part, Storm};
use crate::topic_match::{Patterns, Wildcard};

/// Calls the macro `with` with every case. For each hot path it lists the names of the cases and how each is set up, as
/// a function of the [`Scale`].
#[macro_export]
macro_rules! every_case {
    ($with:ident) => {
        $with! {
            encode {
                ticker_json: |_| Encode::new(set_up::ticker(), Update, Json),
                ticker_msgpack: |_| Encode::new(set_up::ticker(), Update, MessagePack),
                bbo_json: |_| Encode::new(set_up::bbo(), Update, Json),
                bbo_msgpack: |_| Encode::new(set_up::bbo(), Update, MessagePack),
                trade_json: |_| Encode::new(set_up::trade(), Update, Json),
                trade_msgpack: |_| Encode::new(set_up::trade(), Update, MessagePack),
                candle_json: |_| Encode::new(set_up::candle(), Update, Json),
                candle_msgpack: |_| Encode::new(set_up::candle(), Update, MessagePack),
                book_change_json: |_| Encode::new(set_up::book_change(), Update, Json),
                book_change_msgpack: |_| Encode::new(set_up::book_change(), Update, MessagePack),
                published_json: |_| Encode::new(set_up::published(), Update, Json),
                published_msgpack: |_| Encode::new(set_up::published(), Update, MessagePack),
                ticker_snapshot_json: |_| Encode::new(set_up::ticker(), Snapshot, Json),
            }
            deflate {
                ticker_json: |_| Deflate::new(&set_up::ticker(), Update, Json, 0),
                ticker_msgpack: |_| Deflate::new(&set_up::ticker(), Update, MessagePack, 0),
                trade_json: |_| Deflate::new(&set_up::trade(), Update, Json, 0),
                book_change_json: |_| Deflate::new(&set_up::book_change(), Update, Json, 0),
                ticker_json_level_2: |_| Deflate::new(&set_up::ticker(), Update, Json, 2),
                ticker_json_level_6: |_| Deflate::new(&set_up::ticker(), Update, Json, 6),
                inflate_ticker_json: |_| Inflate::new(&set_up::ticker()),
            }
            frame_parse {
                whole_60b_64_frames: |at| FrameParse::new(60, at.of(64), Cut::Whole),
                whole_1kb_64_frames: |at| FrameParse::new(1_024, at.of(64), Cut::Whole),
                whole_16kb_4_frames: |_| FrameParse::new(16 * 1_024, 4, Cut::Whole),
                unmask_16kb_4_frames: |_| FrameParse::new(16 * 1_024, 4, Cut::Binary),
                fragmented_16kb_4_by_16: |_| FrameParse::new(16 * 1_024, 4, Cut::Fragments(16)),
                dribbled_60b_64_frames: |at| FrameParse::new(60, at.of(64), Cut::Dribbled),
                dribbled_1kb_4_frames: |_| FrameParse::new(1_024, 4, Cut::Dribbled),
            }
            topic_match {
                patterns_10: |_| Patterns::new(10),
                patterns_100: |at| Patterns::new(at.of(100)),
                patterns_1000: |at| Patterns::new(at.of(1_000)),
                patterns_10000: |at| Patterns::new(at.of(10_000)),
                one_symbol_of_10_topics: |_| Wildcard::new("candle.*.S1", 10),
                one_symbol_of_1000_topics: |at| Wildcard::new("candle.*.S1", at.of(1_000)),
                one_symbol_of_100000_topics: |at| Wildcard::new("candle.*.S1", at.of(100_000)),
                one_symbol_of_1000000_topics: |at| Wildcard::new("candle.*.S1", at.of(1_000_000)),
                one_fifth_of_10_topics: |_| Wildcard::new("ticker.*", 10),
                one_fifth_of_1000_topics: |at| Wildcard::new("ticker.*", at.of(1_000)),
                one_fifth_of_100000_topics: |at| Wildcard::new("ticker.*", at.of(100_000)),
                one_fifth_of_1000000_topics: |at| Wildcard::new("ticker.*", at.of(1_000_000)),
            }
            fan_out {
                subscribers_1: |_| FanOut::new(1, &[Json]),
                subscribers_10: |_| FanOut::new(10, &[Json]),
                subscribers_100: |at| FanOut::new(at.of(100), &[Json]),
                subscribers_1000: |at| FanOut::new(at.of(1_000), &[Json]),
                subscribers_10000: |at| FanOut::new(at.of(10_000), &[Json]),
                subscribers_1000_both_codecs: |at| FanOut::new(at.of(1_000), &[Json, MessagePack]),
            }
            outbox_drain {
                sessions_1000_by_1: |at| OutboxDrain::new(at.of(1_000), 1),
                sessions_1000_by_100: |at| OutboxDrain::new(at.of(1_000), at.of(100)),
                accounted_1000_by_1: |at| OutboxDrain::new(at.of(1_000), 1).accounted(),
                accounted_1000_by_100: |at| OutboxDrain::new(at.of(1_000), at.of(100)).accounted(),
            }
            book {
                top_of_20_levels_100_changes: |_| Changes::new(20, Where::Top),
                deep_in_20_levels_100_changes: |_| Changes::new(20, Where::Deep),
                top_of_1000_levels_100_changes: |_| Changes::new(1_000, Where::Top),
                deep_in_1000_levels_100_changes: |_| Changes::new(1_000, Where::Deep),
                snapshot_20_levels_json: |_| WholeSnapshot::new(20, Json),
                snapshot_20_levels_msgpack: |_| WholeSnapshot::new(20, MessagePack),
                snapshot_1000_levels_json: |at| WholeSnapshot::new(at.of(1_000), Json),
                snapshot_1000_levels_msgpack: |at| WholeSnapshot::new(at.of(1_000), MessagePack),
            }
            request_decode {
                subscribe_1_json: |_| RequestDecode::subscribe(1, Json),
                subscribe_1_msgpack: |_| RequestDecode::subscribe(1, MessagePack),
                subscribe_100_json: |_| RequestDecode::subscribe(100, Json),
                subscribe_100_msgpack: |_| RequestDecode::subscribe(100, MessagePack),
                publish_json: |_| RequestDecode::publish(Json),
                publish_msgpack: |_| RequestDecode::publish(MessagePack),
            }
            publish {
                requests_64_one_topic: |at| Publish::new(at.of(64), 1),
                requests_64_of_16_topics: |at| Publish::new(at.of(64), 16),
            }
            subscribe {
                storm_whole: |_| Storm::new(Part::Whole),
                storm_first_piece: |_| Storm::new(Part::First),
                storm_last_piece: |_| Storm::new(Part::Last),
            }
        }
    };
}

/// Gives the closures of the table their types.
fn boxed<H: HotPath + 'static>(set_up: impl FnOnce(Scale) -> H, scale: Scale) -> Box<dyn Work> {
    Box::new(set_up(scale))
}

macro_rules! list {
    ($($path:ident { $($id:ident: $set_up:expr,)* })*) => {
        /// Every case, hot path by hot path.
        pub const CASES: &[Case] = &[$($(
            Case { path: stringify!($path), id: stringify!($id), set_up: |scale| boxed($set_up, scale) },
        )*)*];
    };
}
every_case!(list);

/// The case `id` of `path`.
///
/// # Panics
/// When there is no such case.
#[must_use]
pub fn find(path: &str, id: &str) -> &'static Case {
    let found = CASES.iter().find(|case| case.path == path && case.id == id);
    found.unwrap_or_else(|| panic!("there is no case {path}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! tests {
        ($($path:ident { $($id:ident: $set_up:expr,)* })*) => { $(
            mod $path { $(
                #[test]
                fn $id() {
                    let mut work = super::find(stringify!($path), stringify!($id)).set_up(super::Scale::Small);
                    // The second run meets the state that the first has left.
                    work.run_checked();
                    work.run_checked();
                }
            )* }
        )* };
    }
    every_case!(tests);

    #[test]
    fn names_are_unique() {
        for (at, case) in CASES.iter().enumerate() {
            let twin = CASES[..at]
                .iter()
                .any(|other| (other.path, other.id) == (case.path, case.id));
            assert!(!twin, "{}/{}", case.path, case.id);
        }
    }
}

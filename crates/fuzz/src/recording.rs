//! The parser of recordings, with the books, tickers and candles that are made from them.

use std::path::PathBuf;

use tickwire_feed::Replay;
use tickwire_wire::Payload;

use crate::config::scratch;

/// Replays a recording to its end. The input is plain text, gzip or zstd.
///
/// # Panics
/// When time goes backwards, a tick has no topic or no data, or the counts differ from what was read.
pub fn recording(input: &[u8]) {
    let file = scratch(input);
    let files: [PathBuf; 1] = [file.path().to_owned()];
    // A file without a usable line is refused.
    let Ok(mut replay) = Replay::open(&files) else {
        return;
    };
    let (mut ticks, mut last) = (0, None);
    while let Some(tick) = replay.next_tick() {
        ticks += 1;
        assert!(last <= Some(tick.at), "{last:?} and then {:?}", tick.at);
        assert!(tick.topic.index() < replay.topics().len(), "{:?}", tick.topic);
        last = Some(tick.at);
        let mut json = Vec::new();
        tick.payload.write_json(&mut json);
        assert!(Payload::from_json(&json).is_ok(), "{:?}", tick.payload);
    }
    let stats = replay.stats();
    assert_eq!(stats.ticks, ticks, "{stats:?}");
    assert!(replay.faults().len() as u64 <= stats.faults.all(), "{stats:?}");
    assert_eq!(replay.next_tick(), None, "it had ended");
}

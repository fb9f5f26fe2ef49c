//! Limits the lines of a kind per second, and reports how many were left out.
//!
//! A kind is a place in the code. A client that does the same thing a million times makes lines of one kind. They must
//! neither fill the disk nor push more important lines out of the queue. Memory is bounded by the number of places that
//! log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tickwire_wire::limits::LOG_LINES_PER_S_MAX;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The time over which the lines of a kind are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The recent lines of one kind.
#[derive(Debug)]
struct Kind {
    metadata: &'static Metadata<'static>,
    /// When the first line of the current second came.
    began: Instant,
    lines: u32,
    left_out: u64,
}

/// The recent lines of every kind. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Flood(Arc<Mutex<HashMap<Identifier, Kind>>>);

impl Flood {
    /// Whether another line of a kind is to be logged at `now`.
    fn admits(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let mut kinds = self.lock();
        let kind = kinds.entry(metadata.callsite()).or_insert(Kind {
            metadata,
            began: now,
            lines: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(kind.began) >= WINDOW {
            (kind.began, kind.lines) = (now, 0);
        }
        kind.lines = kind.lines.saturating_add(1);
        let admitted = kind.lines <= LOG_LINES_PER_S_MAX;
        kind.left_out += u64::from(!admitted);
        admitted
    }

    /// Logs, for each kind, how many lines were left out since the last report.
    pub(super) fn tell(&self) {
        let mut kinds = self.lock();
        let left_out = |kind: &mut Kind| {
            let lines = std::mem::take(&mut kind.left_out);
            (lines > 0).then_some((kind.metadata, lines))
        };
        let told: Vec<_> = kinds.values_mut().filter_map(left_out).collect();
        drop(kinds); // logging calls this type again
        for (metadata, left_out) in told {
            let (kind, line) = (metadata.target(), metadata.line());
            tracing::warn!(
                left_out,
                kind,
                line,
                "lines of this kind were left out of the log: there are at most {LOG_LINES_PER_S_MAX} of each in a second"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Flood {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // The lines of this file are few.
        metadata.target() == module_path!() || self.admits(metadata, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::queue::Queue;
    use super::*;

    /// The number of lines that `work` logs.
    fn logged(flood: &Flood, work: impl FnOnce()) -> usize {
        let lines = Arc::new(Mutex::new(0));
        let counted = lines.clone();
        let count = move || {
            *counted.lock().expect("no panic") += 1;
            Queue::default()
        };
        let subscriber = tracing_subscriber::fmt().with_writer(count).finish();
        with_default(subscriber.with(flood.clone()), work);
        *lines.lock().expect("no panic")
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_and_told_and_others_are_logged() {
        let flood = Flood::default();
        let most = LOG_LINES_PER_S_MAX as usize;
        let begun = Instant::now();
        let lines = logged(&flood, || {
            for _ in 0..most + 7 {
                tracing::warn!("again");
            }
            tracing::warn!("something else");
        });
        // A machine that takes a second for this may log more than one second's worth.
        assert!(lines == most + 1 || begun.elapsed() >= WINDOW, "{lines} lines");
        assert_eq!(logged(&flood, || flood.tell()), 1, "one line says how many");
        assert_eq!(logged(&flood, || flood.tell()), 0, "once");
    }

    #[test]
    fn each_second_has_its_own_lines() {
        let flood = Flood::default();
        let now = Instant::now();
        let first = kind_of_a_line();
        let admitted = |at: Instant| (0..200).filter(|_| flood.admits(first, at)).count();
        assert_eq!(admitted(now), LOG_LINES_PER_S_MAX as usize);
        assert_eq!(admitted(now + WINDOW / 2), 0);
        assert_eq!(admitted(now + WINDOW), LOG_LINES_PER_S_MAX as usize);
    }

    /// The metadata of a line.
    fn kind_of_a_line() -> &'static Metadata<'static> {
        struct Place;
        static METADATA: Metadata<'static> = Metadata::new(
            "a line",
            "test",
            tracing::Level::INFO,
            None,
            None,
            None,
            tracing::field::FieldSet::new(&[], Identifier(&Place)),
            tracing::metadata::Kind::EVENT,
        );
        impl tracing::callsite::Callsite for Place {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                &METADATA
            }
        }
        &METADATA
    }
}

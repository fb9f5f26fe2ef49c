//! The key table `[test]`: switches for tests of the broker itself. They are off by default, and never for production.

use tickwire_wire::frame::Event;

use super::TestOnly;

/// Panics if a client asks for it: the WebSocket message `panic` makes its shard panic at once. Returns whether the
/// message is `panic later`, after which the shard is to panic in the middle of its cycle. Called only if `test.panic`
/// is on.
pub(crate) fn asks_for_panic(event: &Event<'_>) -> bool {
    let Event::Message { payload, .. } = event else {
        return false;
    };
    assert!(**payload != *b"panic", "test.panic: in the middle of a read");
    **payload == *b"panic later"
}

impl TestOnly {
    /// Logs each switch that is on, since none of them belongs in production.
    pub(crate) fn warn(self) {
        if self.echo {
            tracing::warn!(
                "test.echo is on: anyone may have any message sent back by /v1/echo; it is for conformance suites, not for production"
            );
        }
        if self.panic {
            tracing::warn!(
                "test.panic is on: anyone may make the broker panic; it is for tests, not for production"
            );
        }
    }
}

//! What only tests of the broker itself switch on: the key table `[test]`. Never for production, and off by default.

use tickwire_wire::frame::Event;

use super::TestOnly;

/// Panics if a client asks for it: a WebSocket message `panic` makes its shard panic at once, `panic later` in the middle of its cycle. Returns whether it asks for it later. Nobody calls this unless `test.panic` is on.
pub(crate) fn asks_for_panic(event: &Event<'_>) -> bool {
    let Event::Message { payload, .. } = event else {
        return false;
    };
    assert!(**payload != *b"panic", "test.panic: in the middle of a read");
    **payload == *b"panic later"
}

impl TestOnly {
    /// Says in the log what is on, since none of it belongs into production.
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

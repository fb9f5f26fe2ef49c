//! Sessions that do not speak the protocol: each message is sent back unchanged, so that a conformance suite can test
//! the layers below.
//!
//! They have the timers, pings, closes and the control lane of other sessions, but no welcome, no heartbeat and no
//! requests. The caller bounds what waits for one: it reads nothing more from the client while an answer
//! [waits](Shard::echo_waits).

use tickwire_wire::frame::Opcode;

use super::Shard;
use crate::outbox::Reach;
use crate::session::{Session, SessionId, Transport};

impl Shard {
    /// Whether a session sends back each message that it gets.
    #[must_use]
    pub fn echoes(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(is_echo)
    }

    /// Whether an echo session has an answer that its client has not taken yet.
    #[must_use]
    pub fn echo_waits(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id);
        session.is_some_and(|session| is_echo(session) && !session.outbox.is_empty())
    }

    /// Sends a message back to its client, compressed if compression was agreed on. Like all control frames it is sent
    /// even if the session is closed before.
    pub fn echo(&mut self, id: SessionId, opcode: Opcode, payload: &[u8]) {
        if let Some(session) = self.sessions.open(id) {
            let window = session.dialect.window();
            let bytes = self.deflater.message(opcode, payload, window);
            session.outbox.push_control(Reach::Nowhere, bytes);
            self.rounds.mark(session);
        }
    }
}

fn is_echo(session: &Session) -> bool {
    session.transport == Transport::Echo
}

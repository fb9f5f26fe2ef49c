//! The control lane of an outbox: messages that are sent before the data.

use std::rc::Rc;

use tickwire_wire::CloseCode;

use super::{Answer, Outbox, Reach};
use crate::planted::{Fault, is_planted};

/// A control message, which is sent before the data.
#[derive(Debug)]
pub(super) struct Urgent {
    bytes: ControlBytes,
    /// Whether it is a message of the protocol. Pings and pongs are not.
    pub(super) speaks: bool,
    pub(super) reach: Reach,
}

/// Bytes for this connection alone, or bytes that it shares with others.
#[derive(Debug)]
enum ControlBytes {
    Own(Box<[u8]>),
    Shared(Rc<[u8]>),
}

impl Urgent {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            ControlBytes::Own(bytes) => bytes,
            ControlBytes::Shared(bytes) => bytes,
        }
    }
}

impl Outbox {
    /// Appends a control message.
    pub(crate) fn push_control(&mut self, reach: Reach, bytes: Box<[u8]>) {
        let (bytes, speaks) = (ControlBytes::Own(bytes), true);
        self.push_urgent(Urgent { bytes, speaks, reach });
    }

    /// Appends a ping or pong.
    pub(crate) fn push_signal(&mut self, bytes: Box<[u8]>) {
        let (bytes, speaks, reach) = (ControlBytes::Own(bytes), false, Reach::Nowhere);
        self.push_urgent(Urgent { bytes, speaks, reach });
    }

    /// Appends a control message whose bytes are shared with other connections.
    pub(crate) fn push_shared(&mut self, bytes: Rc<[u8]>) {
        let (bytes, speaks, reach) = (ControlBytes::Shared(bytes), true, Reach::Nowhere);
        self.push_urgent(Urgent { bytes, speaks, reach });
    }

    /// Appends the close with `code`, before the data that waits.
    pub(crate) fn push_close(&mut self, code: CloseCode, bytes: Box<[u8]>) {
        self.closed = Some(code);
        self.push_control(Reach::Nowhere, bytes);
    }

    /// Appends the close with `code`, behind the data that waits.
    pub(crate) fn push_close_behind(&mut self, code: CloseCode, bytes: Box<[u8]>) {
        self.closed = Some(code);
        self.push_answer(Answer::new(Reach::Nowhere, bytes));
    }

    fn push_urgent(&mut self, urgent: Urgent) {
        if is_planted(Fault::AnswersBehindData) {
            return self.push_answer(Answer::new(urgent.reach, urgent.bytes().into()));
        }
        self.control_bytes += urgent.bytes().len();
        self.control.push_back(urgent);
        self.count();
    }
}

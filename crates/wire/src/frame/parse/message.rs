//! A message that is not complete yet.

use super::Violation;
use crate::frame::Opcode;

/// The bytes of an incomplete message. Its memory grows with the bytes that arrived, never with a declared length. A
/// text is valid UTF-8 so far, except that at most three bytes at its end may begin a code point.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) opcode: Opcode,
    /// Whether the bytes are compressed. Then their content is checked only when all of them have arrived.
    pub(super) deflated: bool,
    pub(super) bytes: Vec<u8>,
    /// The number of whole fragments.
    pub(super) fragments: u32,
    /// For a text: the number of bytes that are known to be UTF-8.
    checked: usize,
}

impl Message {
    /// A message without bytes.
    pub(super) const fn new(opcode: Opcode, deflated: bool) -> Self {
        Self {
            opcode,
            deflated,
            bytes: Vec::new(),
            fragments: 0,
            checked: 0,
        }
    }

    /// Appends unmasked bytes. The capacity doubles, but not beyond `bytes_max`.
    pub(super) fn push(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), Violation> {
        let len = self.bytes.len() + bytes.len();
        if len > self.bytes.capacity() {
            let capacity = (self.bytes.capacity() * 2).min(bytes_max).max(len);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        if self.opcode != Opcode::Text || self.deflated {
            return Ok(());
        }
        let Err(error) = std::str::from_utf8(&self.bytes[self.checked..]) else {
            self.checked = len;
            return Ok(());
        };
        self.checked += error.valid_up_to();
        match error.error_len() {
            Some(_) => Err(Violation::TextNotUtf8 { at: self.checked }),
            None => Ok(()),
        }
    }

    /// Checks that a complete message does not end inside a code point.
    pub(super) fn check_end(&self) -> Result<(), Violation> {
        if self.opcode == Opcode::Text && !self.deflated && self.checked < self.bytes.len() {
            return Err(Violation::TextCutShort { at: self.checked });
        }
        Ok(())
    }
}

/// Checks a message that has arrived at once.
pub(super) fn check_whole(opcode: Opcode, payload: &[u8]) -> Result<(), Violation> {
    if opcode != Opcode::Text {
        return Ok(());
    }
    std::str::from_utf8(payload).map(drop).map_err(|error| {
        let at = error.valid_up_to();
        if error.error_len().is_some() {
            Violation::TextNotUtf8 { at }
        } else {
            Violation::TextCutShort { at }
        }
    })
}

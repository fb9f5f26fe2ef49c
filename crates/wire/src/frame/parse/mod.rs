//! The strict incremental parser of client frames: the server's side of RFC 6455 §5.
//!
//! Bytes go in as they arrive, and events come out; how the bytes were cut makes no difference to the events. A message
//! that is whole in the input is unmasked in place and lent out, without a copy or an allocation. Only an incomplete
//! rest is kept, in memory that grows with the bytes received and not with the length declared. Between messages
//! nothing is kept.
//!
//! A compressed message (RFC 7692) is kept compressed, and is inflated when it is whole, into an [`Inflater`] that the
//! caller lends: a connection has none of its own. The limit on bytes applies to both the compressed and the inflated
//! message.
//!
//! A message over the [`Limits`] is refused when a header says so, before its bytes arrive. After a [`Violation`] or a
//! close frame the parser is finished: it takes further bytes and ignores them.

mod head;
mod message;
mod violation;

#[cfg(test)]
mod tests;

pub use violation::Violation;

use self::head::{Before, HEADER_MAX, Head};
use self::message::Message;
use super::{Opcode, mask};
use crate::close::CloseCode;
use crate::deflate::Inflater;
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_FRAGMENTS_MAX};

/// The limits of a client's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes, all its fragments together; an inflated message, too.
    pub message_bytes: usize,
    /// Most fragments of one message, at least 1.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MESSAGE_BYTES_MAX,
            fragments: MESSAGE_FRAGMENTS_MAX,
        }
    }
}

/// Something that a client sent. It is lent from the input, the parser or the inflater until the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message {
        /// [`Opcode::Text`], whose payload is UTF-8, or [`Opcode::Binary`].
        opcode: Opcode,
        /// The message, with its fragments joined and inflated.
        payload: &'a [u8],
    },
    /// A ping. The answer is a pong with the same payload (RFC 6455 §5.5.2).
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame; no event follows.
    Close {
        /// The code, if there was one. It is one that may be sent (RFC 6455 §7.4).
        code: Option<CloseCode>,
        /// The reason, empty if there was none.
        reason: &'a str,
    },
}

/// The parser of one connection. It takes 32 bytes, and no heap between messages.
///
/// ```
/// use tickwire_wire::frame::{Event, Limits, Opcode, Parser, client_frame};
/// let mut parser = Parser::new(Limits::default());
/// let mut scratch = client_frame(true, Opcode::Text, [1, 2, 3, 4], b"hi"); // as read from a socket
/// let mut input = &mut scratch[..];
/// while let Some(event) = parser.next(&mut input)? {
///     assert_eq!(event, Event::Message { opcode: Opcode::Text, payload: b"hi" });
/// }
/// # Ok::<(), tickwire_wire::frame::Violation>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    rest: Option<Box<Rest>>,
    finished: bool,
}

/// The bytes that are kept because they are not a whole message yet.
#[derive(Debug, Default)]
struct Rest {
    /// The start of a header, `header_len` bytes.
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// The frame whose payload is arriving.
    frame: Option<Head>,
    /// The part of a control frame's payload that has arrived.
    control: Vec<u8>,
    /// The message whose fragments are arriving.
    message: Option<Message>,
    /// The bytes that the last event borrowed. The next call frees them.
    lent: Vec<u8>,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.control.is_empty() && self.message.is_none()
    }
}

/// A whole message or control frame.
struct Whole<'b> {
    opcode: Opcode,
    deflated: bool,
    payload: Payload<'b>,
}

enum Payload<'b> {
    Input(&'b [u8]),
    Kept(Vec<u8>),
}

impl Parser {
    /// A parser at the start of a connection.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            rest: None,
            finished: false,
        }
    }

    /// Takes bytes off the front of `input` up to the next event. Returns `None` when all of them are taken; an
    /// incomplete rest is kept. The next call frees the bytes that an event borrowed, so call this until it returns
    /// `None`.
    ///
    /// For connections without extensions: a compressed message is refused.
    ///
    /// # Errors
    /// If the client broke a rule. Then the rest of the input is dropped, kept bytes are freed by the next call at the
    /// latest, and all later calls return `None`.
    pub fn next<'a, 'b: 'a>(&'a mut self, input: &mut &'b mut [u8]) -> Result<Option<Event<'a>>, Violation> {
        self.next_with(input, None)
    }

    /// Does the same as [`Self::next`]. With an `inflater` it accepts compressed messages, for a connection that has
    /// negotiated permessage-deflate. All calls must agree on whether there is one, but need not lend the same one.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
        inflater: Option<&'a mut Inflater>,
    ) -> Result<Option<Event<'a>>, Violation> {
        self.free_lent();
        if self.finished {
            *input = &mut [];
            return Ok(None);
        }
        let whole = match self.advance(input, inflater.is_some()) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(violation) => return Err(self.fail(input, violation)),
        };
        let opcode = whole.opcode;
        if let Some(inflater) = inflater.filter(|_| whole.deflated) {
            return match inflate(inflater, &whole, self.limits) {
                Ok(payload) => Ok(Some(Event::Message { opcode, payload })),
                Err(violation) => Err(self.fail(input, violation)),
            };
        }
        let payload = match whole.payload {
            Payload::Input(payload) => payload,
            Payload::Kept(payload) => {
                let rest = self.rest.get_or_insert_default();
                rest.lent = payload;
                &rest.lent
            }
        };
        match opcode {
            Opcode::Ping => Ok(Some(Event::Ping(payload))),
            Opcode::Pong => Ok(Some(Event::Pong(payload))),
            Opcode::Close => {
                self.finished = true;
                *input = &mut [];
                close(payload).map(Some)
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                Ok(Some(Event::Message { opcode, payload }))
            }
        }
    }

    /// Finishes the parser and drops the rest of the input.
    fn fail(&mut self, input: &mut &mut [u8], violation: Violation) -> Violation {
        self.finished = true;
        self.rest = None;
        *input = &mut [];
        violation
    }

    /// Bytes of heap that hold an incomplete message, or that the last event borrows. 0 between messages.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| {
            let message = rest
                .message
                .as_ref()
                .map_or(0, |message| message.bytes.capacity());
            size_of::<Rest>() + rest.control.capacity() + rest.lent.capacity() + message
        })
    }

    /// Frees the bytes that the last event borrowed, and all memory if nothing else is kept.
    fn free_lent(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if self.finished || rest.is_empty() {
            self.rest = None;
        } else {
            rest.lent = Vec::new();
        }
    }

    /// Reads frames until a message or control frame is whole, or the input is used up.
    fn advance<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        deflate: bool,
    ) -> Result<Option<Whole<'b>>, Violation> {
        while let Some(mut head) = self.head(input, deflate)? {
            let payload = take(input, head.missing);
            mask::apply(payload, head.mask);
            head.mask = mask::after(head.mask, payload.len());
            head.missing -= payload.len();
            if head.missing == 0 && self.is_all(&head) {
                if !head.deflated {
                    message::check_whole(head.opcode, payload)?;
                }
                return Ok(Some(Whole {
                    opcode: head.opcode,
                    deflated: head.deflated,
                    payload: Payload::Input(payload),
                }));
            }
            if let Some(whole) = self.keep(head, payload)? {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    /// The header of the frame whose payload comes next. `None` as long as it is not whole.
    fn head(&mut self, input: &mut &mut [u8], deflate: bool) -> Result<Option<Head>, Violation> {
        let Some(rest) = &mut self.rest else {
            let read = Head::read(input, None, self.limits, deflate)?;
            return Ok(self.took(read, input));
        };
        if rest.frame.is_some() {
            return Ok(if input.is_empty() { None } else { rest.frame.take() });
        }
        let before = rest.message.as_ref().map(|message| Before {
            fragments: message.fragments,
            bytes: message.bytes.len(),
        });
        if rest.header_len == 0 {
            let read = Head::read(input, before, self.limits, deflate)?;
            return Ok(self.took(read, input));
        }
        let start = rest.header_len;
        let end = HEADER_MAX.min(start + input.len());
        rest.header[start..end].copy_from_slice(&input[..end - start]);
        match Head::read(&rest.header[..end], before, self.limits, deflate)? {
            Some((head, len)) => {
                take(input, len - start);
                rest.header_len = 0;
                Ok(Some(head))
            }
            None => {
                take(input, end - start);
                rest.header_len = end;
                Ok(None)
            }
        }
    }

    /// Takes a header that was read off the input. If there is none yet, keeps the whole input, which is its start.
    fn took(&mut self, read: Option<(Head, usize)>, input: &mut &mut [u8]) -> Option<Head> {
        if let Some((head, len)) = read {
            take(input, len);
            return Some(head);
        }
        if !input.is_empty() {
            let rest = self.rest.get_or_insert_default();
            rest.header_len = input.len();
            rest.header[..input.len()].copy_from_slice(input);
            *input = &mut [];
        }
        None
    }

    /// Whether a frame's last bytes are a whole message or control frame, with nothing kept before them.
    fn is_all(&self, head: &Head) -> bool {
        match &self.rest {
            None => head.fin,
            Some(rest) if head.opcode.is_control() => rest.control.is_empty(),
            Some(rest) => head.fin && rest.message.is_none(),
        }
    }

    /// Keeps bytes of a frame that cannot be lent from the input. If they complete a message or control frame, returns
    /// that instead.
    fn keep(&mut self, head: Head, payload: &[u8]) -> Result<Option<Whole<'static>>, Violation> {
        let rest = self.rest.get_or_insert_default();
        let whole = head.missing == 0;
        if !whole {
            rest.frame = Some(head);
        }
        if head.opcode.is_control() {
            rest.control.extend_from_slice(payload);
            return Ok(whole.then(|| Whole {
                opcode: head.opcode,
                deflated: false,
                payload: Payload::Kept(std::mem::take(&mut rest.control)),
            }));
        }
        let message = rest
            .message
            .get_or_insert_with(|| Message::new(head.opcode, head.deflated));
        message.push(payload, self.limits.message_bytes)?;
        message.fragments += u32::from(whole);
        if !(whole && head.fin) {
            return Ok(None);
        }
        message.check_end()?;
        Ok(rest.message.take().map(|message| Whole {
            opcode: message.opcode,
            deflated: message.deflated,
            payload: Payload::Kept(message.bytes),
        }))
    }
}

/// The inflated bytes of a whole compressed message.
fn inflate<'a>(inflater: &'a mut Inflater, whole: &Whole<'_>, limits: Limits) -> Result<&'a [u8], Violation> {
    let compressed = match &whole.payload {
        Payload::Input(payload) => payload,
        Payload::Kept(payload) => &payload[..],
    };
    let payload = inflater.inflate(compressed, limits.message_bytes)?;
    message::check_whole(whole.opcode, payload)?;
    Ok(payload)
}

/// Splits up to `len` bytes off the front of `input`.
fn take<'b>(input: &mut &'b mut [u8], len: usize) -> &'b mut [u8] {
    let len = len.min(input.len());
    let (front, rest) = std::mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

/// The event of a close frame's payload (RFC 6455 §5.5.1).
fn close(payload: &[u8]) -> Result<Event<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Event::Close {
                code: None,
                reason: "",
            })
        } else {
            Err(Violation::CloseCodeCutShort)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(Violation::CloseCodeForbidden(code));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok(Event::Close {
            code: Some(code),
            reason,
        }),
        Err(error) => Err(Violation::CloseReasonNotUtf8 {
            at: error.valid_up_to(),
        }),
    }
}

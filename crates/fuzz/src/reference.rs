//! A parser of client frames to compare with. It reads a whole stream and applies one rule of RFC 6455 after the other.
//! It changes nothing in place and keeps no state.

use tickwire_wire::CloseCode;
use tickwire_wire::frame::{Limits, Opcode};

use crate::frames::Got;

/// Why parsing stops.
enum Stop {
    /// The stream ends before the frame.
    Short,
    Failed(CloseCode),
}

struct Frame {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
    /// Whether the whole payload is there.
    whole: bool,
}

struct Message {
    opcode: Opcode,
    bytes: Vec<u8>,
    fragments: u32,
}

/// Parses a stream into events.
pub(crate) fn read(stream: &[u8], limits: Limits) -> Vec<Got> {
    let (mut got, mut rest, mut message) = (Vec::new(), stream, None);
    while !rest.is_empty() {
        match frame(&mut rest, message.as_ref(), limits).and_then(|frame| take(frame, &mut message)) {
            Ok(None) => {}
            Ok(Some(event)) => {
                let ends = matches!(event, Got::Close(..));
                got.push(event);
                if ends {
                    break;
                }
            }
            Err(Stop::Short) => break,
            Err(Stop::Failed(code)) => {
                got.push(Got::Failed(code));
                break;
            }
        }
    }
    got
}

const fn failed<T>(code: CloseCode) -> Result<T, Stop> {
    Err(Stop::Failed(code))
}

/// Parses the next frame, with as much of its payload as is there.
fn frame(rest: &mut &[u8], message: Option<&Message>, limits: Limits) -> Result<Frame, Stop> {
    let &first = rest.first().ok_or(Stop::Short)?;
    let fin = first & 0x80 != 0;
    let Some(opcode) = Opcode::from_bits(first & 0x0f).filter(|_| first & 0x70 == 0) else {
        return failed(CloseCode::PROTOCOL);
    };
    match (opcode, message) {
        (Opcode::Continuation, Some(message)) if message.fragments == limits.fragments => {
            return failed(CloseCode::POLICY);
        }
        (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => {
            return failed(CloseCode::PROTOCOL);
        }
        (opcode, _) if opcode.is_control() && !fin => return failed(CloseCode::PROTOCOL),
        _ => {}
    }
    let &second = rest.get(1).ok_or(Stop::Short)?;
    let short = second & 0x7f;
    if second & 0x80 == 0 || (opcode.is_control() && short > 125) {
        return failed(CloseCode::PROTOCOL);
    }
    let (length, at) = match short {
        126 => (u64::from(u16::from_be_bytes(bytes(rest, 2)?)), 4),
        127 => (u64::from_be_bytes(bytes(rest, 2)?), 10),
        short => (u64::from(short), 2),
    };
    let minimal = match short {
        126 => length > 125,
        127 => length > 0xffff && length <= u64::MAX / 2,
        _ => true,
    };
    if !minimal {
        return failed(CloseCode::PROTOCOL);
    }
    let held = message.map_or(0, |message| message.bytes.len());
    if !opcode.is_control() && length > (limits.message_bytes - held) as u64 {
        return failed(CloseCode::TOO_BIG);
    }
    let mask: [u8; 4] = bytes(rest, at)?;
    let masked = &rest[at + 4..];
    let there = masked.len().min(length as usize);
    let payload = (0..there).map(|i| masked[i] ^ mask[i % 4]).collect();
    *rest = &masked[there..];
    Ok(Frame {
        fin,
        opcode,
        payload,
        whole: there as u64 == length,
    })
}

fn bytes<const N: usize>(rest: &[u8], at: usize) -> Result<[u8; N], Stop> {
    let found = rest.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    found.ok_or(Stop::Short)
}

/// Handles a frame: a control frame by itself, a data frame as a part of the current message.
fn take(frame: Frame, message: &mut Option<Message>) -> Result<Option<Got>, Stop> {
    let Frame {
        fin,
        opcode,
        payload,
        whole,
    } = frame;
    if opcode.is_control() {
        return match (whole, opcode) {
            (false, _) => Err(Stop::Short),
            (true, Opcode::Ping) => Ok(Some(Got::Ping(payload))),
            (true, Opcode::Pong) => Ok(Some(Got::Pong(payload))),
            (true, _) => close(&payload).map(Some),
        };
    }
    let under_way = message.get_or_insert(Message {
        opcode,
        bytes: Vec::new(),
        fragments: 0,
    });
    under_way.bytes.extend(payload);
    if under_way.opcode == Opcode::Text
        && let Err(error) = std::str::from_utf8(&under_way.bytes)
        && (error.error_len().is_some() || (whole && fin))
    {
        return failed(CloseCode::NOT_UTF8);
    }
    if !whole {
        return Err(Stop::Short);
    }
    under_way.fragments += 1;
    let finished = if fin { message.take() } else { None };
    Ok(finished.map(|message| Got::Message(message.opcode, message.bytes)))
}

fn close(payload: &[u8]) -> Result<Got, Stop> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Got::Close(None, String::new()))
        } else {
            failed(CloseCode::PROTOCOL)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return failed(CloseCode::PROTOCOL);
    }
    match String::from_utf8(reason.to_vec()) {
        Ok(reason) => Ok(Got::Close(Some(code), reason)),
        Err(_) => failed(CloseCode::NOT_UTF8),
    }
}

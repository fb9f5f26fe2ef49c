//! The frames of a WebSocket, as a client reads them.

use std::fmt::Write as _;

use tickwire_wire::CloseCode;
use tickwire_wire::frame::{Opcode, header_len, is_deflated, payload_of};

use super::{Client, Reading};
use crate::broken::{Broken, Rule, ensure};
use crate::describe::describe;

/// Larger than any inflated message, in bytes.
const INFLATED_BYTES_MAX: usize = 1 << 24;

impl Client {
    /// Reads the frames that have come whole.
    pub(super) fn read_frames(&mut self, at: &mut Reading<'_>) -> Result<(), Broken> {
        let mut begin = 0;
        while let Some(length) = frame_length(&self.bytes[begin..])? {
            let frame = self.bytes[begin..begin + length].to_vec();
            self.frame(&frame, at)?;
            begin += length;
            self.parsed += length as u64;
        }
        self.bytes.drain(..begin);
        Ok(())
    }

    fn frame(&mut self, frame: &[u8], at: &mut Reading<'_>) -> Result<(), Broken> {
        let broken = |what: String| Broken::new(Rule::Framing, what);
        if let Some(code) = self.closed {
            return Err(broken(format!("a frame came after the close frame with {code}")));
        }
        let inflated;
        let mut payload = payload_of(frame);
        if is_deflated(frame) {
            let inflater = self.inflater.as_mut();
            let inflater = inflater.ok_or_else(|| broken("compression was not agreed on".to_owned()))?;
            let bytes = inflater.inflate(payload, INFLATED_BYTES_MAX);
            inflated = bytes.map_err(|error| broken(error.to_string()))?.to_vec();
            payload = &inflated;
        }
        at.trace.number(u64::from(frame[0]) << 32 | frame.len() as u64);
        match Opcode::from_bits(frame[0] & 0xf) {
            Some(opcode) if opcode == self.codec.opcode() => {
                let message = self
                    .codec
                    .decode_server(payload)
                    .map_err(|error| broken(error.to_string()))?;
                at.trace
                    .line(|line| write!(line, "    client {} gets {}", self.index, describe(&message)));
                self.message(&message, at)
            }
            Some(Opcode::Ping) => {
                if !self.mute {
                    self.send_frame(Opcode::Pong, payload, at.link);
                }
                Ok(())
            }
            Some(Opcode::Pong) => {
                let id = payload.try_into().map_or(0, u64::from_be_bytes);
                self.in_time(id, &mut at.link.due)
            }
            Some(Opcode::Close) => {
                let code = payload
                    .first_chunk()
                    .map(|code| CloseCode(u16::from_be_bytes(*code)));
                let code = code.unwrap_or(CloseCode::NORMAL);
                let why = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                self.closed(code, &why, at)?;
                self.send_frame(Opcode::Close, &code.0.to_be_bytes(), at.link);
                at.link.end();
                Ok(())
            }
            _ => Err(broken(format!("a frame begins with {:#x}", frame[0]))),
        }
    }
}

/// The length of the first frame, if the whole frame is there. A frame of the server is final, has no reserved bit but
/// RSV1, and is not masked (RFC 6455 §5.1, §5.2).
fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    // FIN must be set. RSV1 may be, for a compressed message.
    ensure(first & 0xb0 == 0x80 && second & 0x80 == 0, Rule::Framing, || {
        format!("a frame begins with {first:#x} {second:#x}")
    })?;
    let payload = match second {
        126 => bytes
            .get(2..4)
            .map(|length| u64::from(u16::from_be_bytes([length[0], length[1]]))),
        127 => bytes
            .get(2..10)
            .and_then(|length| Some(u64::from_be_bytes(length.try_into().ok()?))),
        short => Some(u64::from(short)),
    };
    let Some(payload) = payload else { return Ok(None) };
    let length = header_len(bytes).saturating_add(usize::try_from(payload).unwrap_or(usize::MAX));
    Ok((bytes.len() >= length).then_some(length))
}

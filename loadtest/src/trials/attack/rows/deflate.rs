//! Rows 9 and 10: compressed messages that are far larger than they look, or invalid (RFC 7692).

use flate2::{Compress, Compression, FlushCompress};
use tickwire_wire::frame::Opcode;
use tickwire_wire::limits::MESSAGE_BYTES_MAX;

use super::{closes, frame, offering, send};
use crate::trials::attack::row::{Ending, Row, Variant};

const RSV1: u8 = 0x40;
const PING: &[u8] = br#"{"op":"ping","id":1}"#;
/// The inflated size of a bomb: compressed a thousandfold, it just fits in a message.
const BOMB_BYTES: usize = 1_000 * MESSAGE_BYTES_MAX - 3_000_000;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(9, "deflate bomb", bombs()),
        Row::new(10, "compressed frames that are none", corrupt()),
    ]
}

/// `bytes` as the payload of a compressed message: without the last four bytes (RFC 7692 §7.2.1).
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 500 + 1_024);
    let mut compress = Compress::new(Compression::best(), false);
    // The room suffices for all of these. Compressing can fail only for lack of room.
    compress
        .compress_vec(bytes, &mut out, FlushCompress::Sync)
        .expect("bytes can be compressed");
    assert_eq!(compress.total_in(), bytes.len() as u64, "there was room");
    let end = out.strip_suffix(b"\0\0\xff\xff").expect("a sync flush ends so");
    end.to_vec()
}

/// A compressed frame.
fn compressed(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(fin, opcode, payload);
    bytes[0] |= RSV1;
    bytes
}

/// An attempt on a connection that negotiated compression. It is closed with `code`.
fn deflating(what: &str, bytes: Vec<u8>, code: u16) -> Variant {
    let steps = offering(&["Sec-WebSocket-Extensions: permessage-deflate"], [send(bytes)]);
    Variant::new(what, steps, Ending::Close(code))
}

fn bombs() -> Vec<Variant> {
    let bomb = deflated(&vec![b' '; BOMB_BYTES]);
    let (one, other) = bomb.split_at(bomb.len() / 2);
    let parts = [
        compressed(false, Opcode::Text, one),
        frame(true, Opcode::Continuation, other),
    ];
    vec![
        deflating("whole", compressed(true, Opcode::Text, &bomb), 1009),
        deflating("in fragments", parts.concat(), 1009),
    ]
}

fn corrupt() -> Vec<Variant> {
    let good = deflated(PING);
    let text = |payload: &[u8]| compressed(true, Opcode::Text, payload);
    vec![
        deflating("no bytes", text(b""), 1007),
        deflating("a reserved block type", text(b"\x07"), 1007),
        deflating("cut short", text(&good[..good.len() / 2]), 1007),
        deflating("a distance too far back", text(b"\x02\x01\0"), 1007),
        // Each block is a stream of its own, without a byte in it.
        deflating(
            "32,000 blocks marked as last",
            text(&b"\x03\0".repeat(32_000)),
            1008,
        ),
        deflating("a compressed ping", compressed(true, Opcode::Ping, b""), 1002),
        closes("not negotiated", text(&good), 1002),
    ]
}

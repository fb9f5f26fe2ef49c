//! The rows of `docs/ATTACKS.md`, as attempts with their answers.

mod access;
mod deflate;
mod frames;
mod handshake;
mod load;

use std::time::Duration;

use tickwire_wire::frame::{Opcode, client_frame};

use super::row::{Ending, Row, Step, Variant};

pub(super) const LAST: u8 = 26;
/// The mask of every frame.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const GET: &str = "GET /v1/ws HTTP/1.1";
/// The other lines of a valid handshake.
const GOOD: [&str; 5] = [
    "Host: tickwire",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// All rows, in order. A token of row 18 expires in the second half of an attack that lasts `attack_seconds` and begins
/// after the same time. This holds each time that the rows are made.
pub(super) fn all(attack_seconds: u64) -> Vec<Row> {
    let mut rows = [
        frames::rows(),
        deflate::rows(),
        handshake::rows(),
        access::rows(attack_seconds),
        load::rows(),
    ]
    .concat();
    rows.sort_by_key(|row| row.number);
    rows
}

fn head(first: &str, lines: &[&str]) -> String {
    format!("{first}\r\n{}\r\n\r\n", lines.join("\r\n"))
}

/// An attempt that sends `bytes` to an HTTP listener and gets `status`.
fn asks(what: &str, bytes: impl AsRef<[u8]>, status: u16) -> Variant {
    let steps = vec![send(bytes)];
    Variant::new(what, steps, Ending::Status(status))
}

fn send(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().into())
}

/// Sends a piece, and again after each pause.
fn repeat(piece: impl AsRef<[u8]>, pause: Duration) -> Step {
    Step::Repeat(piece.as_ref().into(), pause)
}

/// The steps of an attacker that does `then` after an accepted handshake.
fn then(then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    offering(&[], then)
}

/// The same, with more `lines` in the handshake.
fn offering(lines: &[&str], then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let handshake = head(GET, &[&GOOD[..], lines].concat());
    [send(handshake), Step::Upgraded]
        .into_iter()
        .chain(then)
        .collect()
}

/// An attempt that sends `bytes` on a connection. It is closed with `code`.
fn closes(what: impl Into<String>, bytes: impl AsRef<[u8]>, code: u16) -> Variant {
    let steps = then([send(bytes)]);
    Variant::new(what, steps, Ending::Close(code))
}

/// An attempt that sends a text. It is refused with `code`.
fn refused(what: &str, text: impl AsRef<str>, code: &str) -> Variant {
    let frame = frame(true, Opcode::Text, text.as_ref().as_bytes());
    Variant::new(what, then([send(frame)]), code)
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    client_frame(fin, opcode, MASK, payload)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_each_attacker_gets_to_every_form() {
        let rows = all(3);
        assert!(rows.is_sorted_by_key(|row| row.number));
        for row in &rows {
            // An attacker that tries only once tries the variant with its own number.
            assert!((1..=40).contains(&row.variants.len()), "{}", row.name);
            for variant in &row.variants {
                assert!(
                    !variant.expected.is_empty() && !variant.steps.is_empty(),
                    "{}",
                    variant.what
                );
            }
        }
        assert_eq!(rows.last().map(|row| row.number), Some(LAST));
    }
}

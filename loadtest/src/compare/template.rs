//! A message as it is sent, of which only time and number are filled in: publishing must cost the client less than any server.

use anyhow::{Context, ensure};

use crate::swarm::Nanos;
use crate::swarm::payload::{DIGITS, write_digits};

/// A value whose digits are all 1.
const ONES: u64 = 1_111_111_111_111_111;

/// The digits of a time or a number, as values from 0 to 9.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digits([u8; DIGITS]);

impl Digits {
    pub(super) fn of(value: u64) -> Self {
        let mut digits = [0; DIGITS];
        write_digits(&mut digits, value);
        Self(digits.map(|digit| digit ^ b'0'))
    }
}

#[derive(Debug)]
pub(super) struct Template {
    /// The message with zeros.
    bytes: Box<[u8]>,
    /// The place of the time. The number follows after one more byte.
    time: usize,
}

impl Template {
    /// The template of the message that `make` makes for any time and number.
    ///
    /// # Errors
    /// When the message does not have their digits at fixed places.
    pub(super) fn new(make: impl Fn(Nanos, u64) -> Vec<u8>) -> anyhow::Result<Self> {
        let (zeros, ones) = (make(Nanos(0), 0), make(Nanos(ONES), ONES));
        let mut pairs = zeros.iter().zip(&ones);
        let time = pairs.position(|(zero, one)| zero != one);
        let time = time.context("a message without time and number")?;
        ensure!(
            time + 2 * DIGITS < zeros.len(),
            "a message that ends with its time or number"
        );
        let template = Self {
            bytes: zeros.into(),
            time,
        };
        let mut filled = Vec::new();
        template.fill(Digits::of(ONES), Digits::of(ONES), &mut filled);
        ensure!(
            filled == ones,
            "a message whose time and number are at no fixed place"
        );
        Ok(template)
    }

    /// Appends the message with this time and number to `out`.
    #[inline]
    pub(super) fn fill(&self, time: Digits, number: Digits, out: &mut Vec<u8>) {
        let begin = out.len() + self.time;
        out.extend_from_slice(&self.bytes);
        // A digit differs from 0 in the same bits whether or not it is masked (RFC 6455 §5.3).
        let put = |bytes: &mut [u8], digits: Digits| {
            for (byte, digit) in bytes.iter_mut().zip(digits.0) {
                *byte ^= digit;
            }
        };
        put(&mut out[begin..][..DIGITS], time);
        put(&mut out[begin + DIGITS + 1..][..DIGITS], number);
    }
}

#[cfg(test)]
mod tests {
    use tickwire_wire::frame::Opcode;

    use super::*;
    use crate::swarm::{Payload, Reply};

    #[test]
    fn a_filled_template_is_the_message_in_a_frame_or_not() {
        let payload = Payload::object(200);
        let plain = |due, number| payload.write(due, number, &mut Vec::new()).to_vec();
        let framed = |due, number| {
            let mut out = Vec::new();
            Reply::new(&mut out, &mut false).message(Opcode::Text, &plain(due, number));
            out
        };
        let makes: [&dyn Fn(Nanos, u64) -> Vec<u8>; 2] = [&plain, &framed];
        for make in makes {
            let template = Template::new(make).expect("it has both");
            for (due, number) in [(0, 0), (1_234_567_890_123_456, 9_876_543_210_987_654)] {
                let mut out = b"kept".to_vec();
                template.fill(Digits::of(due), Digits::of(number), &mut out);
                assert_eq!(out.strip_prefix(b"kept"), Some(&make(Nanos(due), number)[..]));
            }
        }
    }

    #[test]
    fn a_message_without_them_is_refused() {
        assert!(Template::new(|_, _| b"nothing".to_vec()).is_err());
        assert!(Template::new(|_, number| number.to_string().into_bytes()).is_err());
    }
}

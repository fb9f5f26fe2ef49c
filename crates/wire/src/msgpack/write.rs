//! Writes MessagePack value by value, each in its shortest form. Writing to memory cannot fail.

/// Appends `nil`.
pub(crate) fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends a boolean.
pub(crate) fn bool(truth: bool, out: &mut Vec<u8>) {
    out.push(0xc2 | u8::from(truth));
}

/// Appends an integer.
pub(crate) fn unsigned(number: u64, out: &mut Vec<u8>) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => sized(0xcd, &(number as u16).to_be_bytes(), out),
        0x1_0000..0x1_0000_0000 => sized(0xce, &(number as u32).to_be_bytes(), out),
        _ => sized(0xcf, &number.to_be_bytes(), out),
    }
}

/// Appends an integer that may be negative.
pub(crate) fn signed(number: i64, out: &mut Vec<u8>) {
    match number {
        0.. => unsigned(number.unsigned_abs(), out),
        -0x20.. => out.push(number as u8),
        -0x80.. => out.extend_from_slice(&[0xd0, number as u8]),
        -0x8000.. => sized(0xd1, &(number as i16).to_be_bytes(), out),
        -0x8000_0000.. => sized(0xd2, &(number as i32).to_be_bytes(), out),
        _ => sized(0xd3, &number.to_be_bytes(), out),
    }
}

/// Appends a float of 64 bits.
pub(crate) fn float(number: f64, out: &mut Vec<u8>) {
    sized(0xcb, &number.to_be_bytes(), out);
}

/// Appends a string. No message is near the longest possible length, 4 GiB.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    match text.len() {
        len @ 0..0x20 => out.push(0xa0 | len as u8),
        len @ 0x20..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => sized(0xda, &(len as u16).to_be_bytes(), out),
        len => sized(0xdb, &(len as u32).to_be_bytes(), out),
    }
    out.extend_from_slice(text.as_bytes());
}

fn sized(marker: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(bytes);
}

/// The head of an array or a map. It says how many values follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// The head of an array with this number of values.
    Array(u32),
    /// The head of a map with this number of pairs.
    Map(u32),
}

impl Head {
    /// Calls `with` with the bytes of the head: one, three or five.
    pub(crate) fn bytes<R>(self, with: impl FnOnce(&[u8]) -> R) -> R {
        let (short, medium, long, len) = match self {
            Self::Array(len) => (0x90, 0xdc, 0xdd, len),
            Self::Map(pairs) => (0x80, 0xde, 0xdf, pairs),
        };
        let [a, b, c, d] = len.to_be_bytes();
        match len {
            0..0x10 => with(&[short | d]),
            0x10..0x1_0000 => with(&[medium, c, d]),
            _ => with(&[long, a, b, c, d]),
        }
    }

    /// Appends the head.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        self.bytes(|bytes| out.extend_from_slice(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn numbers_strings_and_heads_are_those_of_another_writer() {
        let edges = (0..=64).flat_map(|bits| {
            let power = 1_u128 << bits;
            [power - 1, power, power + 1].map(|edge| edge.min(u128::from(u64::MAX)) as u64)
        });
        for number in edges {
            let mut theirs = Vec::new();
            rmp::encode::write_uint(&mut theirs, number).expect("memory");
            assert_eq!(ours(|out| unsigned(number, out)), theirs, "{number}");
            for signed_number in [number as i64, (number as i64).wrapping_neg()] {
                let mut theirs = Vec::new();
                rmp::encode::write_sint(&mut theirs, signed_number).expect("memory");
                assert_eq!(ours(|out| signed(signed_number, out)), theirs, "{signed_number}");
            }
        }
        for len in [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            let mut theirs = Vec::new();
            rmp::encode::write_array_len(&mut theirs, len).expect("memory");
            rmp::encode::write_map_len(&mut theirs, len).expect("memory");
            rmp::encode::write_str(&mut theirs, &"x".repeat(len as usize)).expect("memory");
            let heads = ours(|out| {
                Head::Array(len).write(out);
                Head::Map(len).write(out);
                string(&"x".repeat(len as usize), out);
            });
            assert_eq!(heads, theirs, "{len}");
        }
    }
}

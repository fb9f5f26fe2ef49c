//! Masking of client frames (RFC 6455 §5.3): the payload is XORed with the four bytes of the mask, over and over.
//! Masking twice gives the payload again.

/// XORs `bytes` with `mask`, beginning with the first byte of both. This masks plain bytes and unmasks masked ones.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    // These words may have any alignment. The compiler makes vector instructions of this loop.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The mask for the bytes that follow `count` masked ones.
pub(super) fn after(mut mask: [u8; 4], count: usize) -> [u8; 4] {
    mask.rotate_left(count % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_formula_of_the_rfc() {
        let plain: Vec<u8> = (0..70).collect();
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..plain.len() {
            let expected: Vec<u8> = (0..len).map(|i| plain[i] ^ mask[i % 4]).collect();
            for split in 0..=len {
                let mut bytes = plain[..len].to_vec();
                let (head, tail) = bytes.split_at_mut(split);
                apply(head, mask);
                apply(tail, after(mask, split));
                assert_eq!(bytes, expected, "{len} bytes split at {split}");
            }
        }
    }
}

//! Inflating what a client sent compressed, and compressing what the broker sends.

use tickwire_wire::deflate::{BadDeflate, Deflater, Inflater, Settings, WindowBits};
use tickwire_wire::frame::{Opcode, is_deflated, payload_of};

/// Most bytes that a message may inflate to. It is small, so that inputs reach it.
const BYTES_MAX: usize = 20_000;

/// Inflates the input as a compressed message. Also takes it as a plain message, compresses it and inflates it again.
///
/// # Panics
/// When too much is inflated, the verdict depends on what was inflated before, or a message changes on the way.
pub fn deflate(input: &[u8]) {
    let mut used = Inflater::new();
    let inflated = used.inflate(input, BYTES_MAX).map(<[u8]>::to_vec);
    assert_eq!(
        used.inflate(input, BYTES_MAX).map(<[u8]>::to_vec),
        inflated,
        "with a used inflater"
    );
    assert!(
        used.held_bytes() <= 64 * 1024,
        "{} bytes are held",
        used.held_bytes()
    );
    match &inflated {
        Ok(message) => {
            // The limit is exact: a message of this length fits, and one byte less is too little.
            let length = message.len();
            assert!(length <= BYTES_MAX, "{length} bytes");
            assert_eq!(used.inflate(input, length), Ok(&message[..]));
            if let Some(limit) = length.checked_sub(1) {
                assert_eq!(used.inflate(input, limit), Err(BadDeflate::TooBig { limit }));
            }
        }
        Err(BadDeflate::TooBig { limit }) => assert_eq!(*limit, BYTES_MAX),
        Err(BadDeflate::Corrupt | BadDeflate::TooManyStreams { .. }) => {}
    }
    for level in [1, 9] {
        let settings = Settings {
            level,
            threshold_bytes: 0,
        };
        let mut deflater = Deflater::new(settings);
        for window in [None, Some(WindowBits::MIN), Some(WindowBits::MAX)] {
            let frame = deflater.message(Opcode::Binary, input, window);
            let payload = payload_of(&frame);
            if is_deflated(&frame) {
                assert!(window.is_some() && payload.len() < input.len(), "{frame:x?}");
                assert_eq!(used.inflate(payload, input.len()), Ok(input));
            } else {
                assert_eq!(payload, input);
            }
        }
    }
}

//! The size of the window in which a receiver finds repeated parts of a compressed message.

/// The base-2 logarithm of a window's size in bytes, 8 to 15 (RFC 7692 §7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 256 bytes.
    pub const MIN: Self = Self(8);
    /// 32,768 bytes: the largest window of DEFLATE, and the default if nothing else was agreed.
    pub const MAX: Self = Self(15);

    /// A window of 2^`bits` bytes, if there is such a window.
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The base-2 logarithm of the size.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.0
    }

    /// The smallest window that certainly holds every distance within a message of `len` bytes, whoever compressed it:
    /// one that is as long as the message, or the largest.
    #[must_use]
    pub const fn for_message(len: usize) -> Self {
        let mut window = Self::MIN;
        while window.bytes() < len && window.0 < Self::MAX.0 {
            window = Self(window.0 + 1);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sizes_of_the_rfc_exist() {
        let all: Vec<u8> = (0..=u8::MAX)
            .filter_map(WindowBits::new)
            .map(WindowBits::bits)
            .collect();
        assert_eq!(all, (8..=15).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_as_long_as_the_message_is_enough() {
        for (len, bits) in [
            (0, 8),
            (256, 8),
            (257, 9),
            (512, 9),
            (32_767, 15),
            (16_384, 14),
            (16_385, 15),
            (1 << 20, 15),
        ] {
            assert_eq!(WindowBits::for_message(len).bits(), bits, "{len} bytes");
        }
    }
}

//! The encoding of a connection's data messages: the codec, whether they may be compressed, and for which window.

use super::WindowBits;
use crate::codec::Codec;

/// A codec, plain or compressed for receivers with a certain window. It takes one byte, since each connection has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant(u8);

/// The encoding of a data message. All receivers of one encoding get the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// A frame.
    Plain(Codec),
    /// A compressed frame.
    Deflated(Codec),
    /// A server-sent event.
    Event,
}

const CODECS: u8 = Codec::ALL.len() as u8;

impl Variant {
    /// Number of variants; each [index](Self::index) is below it.
    pub const COUNT: usize =
        Codec::ALL.len() * (1 + (WindowBits::MAX.bits() - WindowBits::MIN.bits() + 1) as usize);

    /// A variant without compression.
    #[must_use]
    pub const fn plain(codec: Codec) -> Self {
        Self(codec as u8)
    }

    /// A variant that compresses messages if that makes them smaller and the receiver's window holds them.
    #[must_use]
    pub const fn deflated(codec: Codec, window: WindowBits) -> Self {
        Self(codec as u8 + CODECS * (1 + window.bits() - WindowBits::MIN.bits()))
    }

    /// The codec.
    #[inline]
    #[must_use]
    pub const fn codec(self) -> Codec {
        Codec::ALL[(self.0 % CODECS) as usize]
    }

    /// The receiver's window, if messages may be compressed.
    #[inline]
    #[must_use]
    pub const fn window(self) -> Option<WindowBits> {
        match self.0 / CODECS {
            0 => None,
            above => WindowBits::new(WindowBits::MIN.bits() + above - 1),
        }
    }

    /// Its index among all variants.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<Codec> for Variant {
    fn from(codec: Codec) -> Self {
        Self::plain(codec)
    }
}

impl Encoding {
    /// Every encoding, in the order of their [indices](Self::index).
    pub const ALL: [Self; 5] = [
        Self::Plain(Codec::Json),
        Self::Plain(Codec::MessagePack),
        Self::Deflated(Codec::Json),
        Self::Deflated(Codec::MessagePack),
        Self::Event,
    ];

    /// The encoding of a frame of `codec`, compressed or not.
    #[must_use]
    pub const fn of(codec: Codec, deflated: bool) -> Self {
        if deflated {
            Self::Deflated(codec)
        } else {
            Self::Plain(codec)
        }
    }

    /// Whether it is compressed.
    #[must_use]
    pub const fn is_deflated(self) -> bool {
        matches!(self, Self::Deflated(_))
    }

    /// Its index in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Plain(codec) => codec as usize,
            Self::Deflated(codec) => Codec::ALL.len() + codec as usize,
            Self::Event => 2 * Codec::ALL.len(),
        }
    }

    /// Its name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain(Codec::Json) => "json",
            Self::Plain(Codec::MessagePack) => "msgpack",
            Self::Deflated(Codec::Json) => "json-deflate",
            Self::Deflated(Codec::MessagePack) => "msgpack-deflate",
            Self::Event => "sse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_numbered_without_holes() {
        let windows = || (8..=15).filter_map(WindowBits::new);
        let mut indices = Vec::new();
        for codec in Codec::ALL {
            let plain = Variant::from(codec);
            assert_eq!((plain.codec(), plain.window()), (codec, None));
            indices.push(plain.index());
            for window in windows() {
                let deflated = Variant::deflated(codec, window);
                assert_eq!((deflated.codec(), deflated.window()), (codec, Some(window)));
                indices.push(deflated.index());
            }
        }
        indices.sort_unstable();
        assert_eq!(indices, (0..Variant::COUNT).collect::<Vec<_>>());
        for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), index);
        }
    }
}

//! permessage-deflate (RFC 7692) as the broker speaks it: never with context takeover, in either direction.
//!
//! Each message is compressed by itself, so the compressed frame of a publication holds nothing of a connection and is
//! shared by all, and a connection keeps no state: one [`Inflater`] and one [`Deflater`] serve all connections of a thread.
//! What a message may inflate to is bounded before it is inflated.

mod deflater;
mod inflater;
#[cfg(test)]
mod tests;
mod variant;
mod window;

pub(crate) use deflater::Made;
pub use deflater::{Deflater, Settings};
pub use inflater::{BadDeflate, Inflater};
pub use variant::{Encoding, Variant};
pub use window::WindowBits;

/// What ends a flushed message and is not sent (RFC 7692 §7.2.1): length and complement of an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

//! permessage-deflate (RFC 7692) as the broker uses it: without context takeover in both directions.
//!
//! Each message is compressed by itself. So the compressed frame of a publication depends on no connection and is
//! shared by all, and a connection keeps no state: one [`Inflater`] and one [`Deflater`] serve all connections of a
//! thread. The length of an inflated message is bounded before it is inflated.

mod deflater;
mod inflater;
#[cfg(test)]
mod tests;
mod variant;
mod window;

pub use deflater::{Deflater, Settings};
pub use inflater::{BadDeflate, Inflater};
pub use variant::{Encoding, Variant};
pub use window::WindowBits;

/// The bytes at the end of a flushed message, which are not sent (RFC 7692 §7.2.1): the length of an empty stored block
/// and its complement.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

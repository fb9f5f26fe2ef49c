//! MessagePack itself, item by item, without a word of the protocol: what both directions of it are made of.
//!
//! Never recurses and holds nothing: whoever reads or writes containers keeps count of them.

pub(crate) mod read;
pub(crate) mod write;

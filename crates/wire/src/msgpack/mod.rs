//! MessagePack item by item, independent of the protocol: the base of reading and writing.
//!
//! Never recurses and stores nothing: the caller keeps count of the containers that it reads or writes.

pub(crate) mod read;
pub(crate) mod value;
pub(crate) mod walk;
pub(crate) mod write;

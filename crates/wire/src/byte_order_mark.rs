//! The UTF-8 byte order mark that Windows puts at the beginning of a file. It is not part of the text.

/// The mark in UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// `text` without a byte order mark at its beginning.
///
/// ```
/// use tickwire_wire::byte_order_mark::without;
/// assert_eq!(without("\u{feff}a".as_bytes()), b"a");
/// assert_eq!(without(b"a"), b"a");
/// ```
#[must_use]
pub fn without(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

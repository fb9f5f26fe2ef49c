//! The elements of DER, the form that certificates and keys have (X.690).
//!
//! Pure: bytes in, parts of them out. Trusts nothing: what is not DER gives no element.

/// The tag of a sequence (X.690 §8.1.2).
pub(crate) const SEQUENCE: u8 = 0x30;

/// The content of the next element, which must have `tag`.
pub(crate) fn of<'a>(tag: u8, input: &mut &'a [u8]) -> Option<&'a [u8]> {
    element(input)
        .filter(|(found, _)| *found == tag)
        .map(|(_, content)| content)
}

/// Takes an element off `input`: its tag and its content.
pub(crate) fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = input.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // X.690 §8.1.3.5: so many bytes of length follow. What has no length of its own is not DER.
        0x81..=0x84 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    *input = rest;
    Some((tag, content))
}

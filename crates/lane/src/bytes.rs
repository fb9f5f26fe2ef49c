//! Numbers and texts as bytes.
//!
//! Numbers are varints: seven bits a byte, the lowest first. A text is its length and its bytes. Reading never goes beyond
//! the bytes that are there, and allocates nothing for a length that it has read.

use thiserror::Error;

/// The bytes of a body are not those of the form that they should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is expected")]
pub struct Malformed(pub(crate) &'static str);

pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small differences are short, whatever their sign.
pub(crate) fn put_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from).cast_signed();
    put_number(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that are being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The number of bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed(what))
    }

    pub(crate) fn small(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.number(what)?).map_err(|_| Malformed(what))
    }

    /// The number that differs from `from` by what is read.
    #[inline]
    pub(crate) fn difference(&mut self, from: u64, what: &'static str) -> Result<u64, Malformed> {
        let folded = self.number(what)?;
        let difference = (folded >> 1).cast_signed() ^ -((folded & 1).cast_signed());
        Ok(from.wrapping_add(difference.cast_unsigned()))
    }

    pub(crate) fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (fixed, rest) = self.0.split_first_chunk().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*fixed)
    }

    pub(crate) fn fixed_number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.fixed(what).map(u64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number(what)?).map_err(|_| Malformed(what))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Malformed(what))
    }

    /// The number of things that follow. Each takes at least `least` bytes.
    pub(crate) fn count(&mut self, least: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number(what)?).map_err(|_| Malformed(what))?;
        if count > self.left() / least {
            return Err(Malformed(what));
        }
        Ok(count)
    }

    /// A number of things that are elsewhere.
    pub(crate) fn count_of(&mut self, what: &'static str) -> Result<usize, Malformed> {
        self.small(what).map(|count| count as usize)
    }

    /// All bytes that are left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Malformed("the end"))
    }
}

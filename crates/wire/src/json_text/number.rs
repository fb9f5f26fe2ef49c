//! Decides which numbers of JSON have an exactly equal number in MessagePack.

/// The number of MessagePack that equals a number of JSON.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Equal {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// There is no equal number.
    None,
}

/// The number of digits that any 64-bit float keeps exactly (`DBL_DIG` of C), unless it is close to zero.
const SAFE_DIGITS: usize = f64::DIGITS as usize;

/// The text of a float, written into `buffer`: the shortest decimal that is read as the same float. `None` if it is not
/// finite.
pub(super) fn text_of(float: f64, buffer: &mut zmij::Buffer) -> Option<&str> {
    float.is_finite().then(|| buffer.format_finite(float))
}

/// The number of MessagePack that equals the JSON number `text`: a 64-bit integer, or a float whose shortest text is
/// the same number.
pub(super) fn equal(text: &str) -> Equal {
    let (mut is_integer, mut has_exponent) = (true, false);
    for byte in text.bytes() {
        match byte {
            b'.' => is_integer = false,
            b'e' | b'E' => has_exponent = true,
            _ => {}
        }
    }
    if is_integer && !has_exponent && text != "-0" {
        if let Ok(number) = text.parse() {
            return Equal::Unsigned(number);
        }
        if let Ok(number) = text.parse() {
            return Equal::Signed(number);
        }
    }
    let Ok(float) = text.parse() else {
        return Equal::None;
    };
    let is_safe = !has_exponent && text.len() <= SAFE_DIGITS;
    let mut buffer = zmij::Buffer::new();
    let says_it = |own: &str| own == text || Decimal::of(own) == Decimal::of(text);
    if is_safe || text_of(float, &mut buffer).is_some_and(says_it) {
        Equal::Float(float)
    } else {
        Equal::None
    }
}

/// A decimal number in a form that is the same for equal numbers: digits that neither begin nor end with a zero, and
/// the power of ten that they are multiplied by.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let unsigned = mantissa.strip_prefix('-');
        let negative = unsigned.is_some();
        let (whole, fraction) = {
            let mantissa = unsigned.unwrap_or(mantissa);
            mantissa.split_once('.').unwrap_or((mantissa, ""))
        };
        let all = [whole, fraction].concat();
        let digits = all.trim_end_matches('0');
        let zeros = all.len() - digits.len();
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            let exponent = 0;
            return Self {
                negative,
                digits,
                exponent,
            };
        }
        // An exponent that does not fit in the integer type is beyond every float.
        let exponent = exponent
            .parse()
            .unwrap_or(if exponent.is_empty() { 0 } else { i64::MAX });
        let exponent = exponent
            .saturating_add(zeros as i64)
            .saturating_sub(fraction.len() as i64);
        Self {
            negative,
            digits,
            exponent,
        }
    }
}

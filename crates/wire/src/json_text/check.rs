//! Finds the end of a JSON value (RFC 8259) in one pass, without tokens, recursion or heap memory.
//!
//! The rules are those of the [`Scanner`](super::scan::Scanner), which says what is wrong with a text. This only says
//! that nothing is. Text is read eight bytes at a time where it is inside of strings.

use crate::limits::NESTING_MAX;

const _: () = assert!(NESTING_MAX <= 64, "a bit for each open container");

/// The length of an escape such as `\u0041`, in bytes.
const UNIT_BYTES: usize = 6;
/// Bytes of a string that are looked at together.
const BLOCK_BYTES: usize = 32;
/// A number may be too large for a float if it has an exponent or is longer than this, in bytes.
const SAFE_NUMBER_BYTES: usize = 300;

/// The end of the value that begins at `at` in `text`, or behind white space there. `None` if there is no value that
/// may be published. The text is UTF-8.
pub(crate) fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    // One bit for each open container, the innermost one lowest. It is set if the container is a map.
    let (mut depth, mut maps) = (0, 0_u64);
    loop {
        at = skip_space(text, at);
        match *text.get(at)? {
            b'"' => at = string_end(text, at + 1)?,
            first @ (b'{' | b'[') => {
                if depth == NESTING_MAX {
                    return None;
                }
                let is_map = first == b'{';
                depth += 1;
                maps = maps << 1 | u64::from(is_map);
                at = skip_space(text, at + 1);
                match (*text.get(at)?, is_map) {
                    (b'}', true) | (b']', false) => {} // it is closed below
                    (_, true) => {
                        at = key_end(text, at)?;
                        continue;
                    }
                    (_, false) => continue,
                }
            }
            b'-' | b'0'..=b'9' => at = number_end(text, at)?,
            b't' => at = word_end(text, at, b"true")?,
            b'f' => at = word_end(text, at, b"false")?,
            b'n' => at = word_end(text, at, b"null")?,
            _ => return None,
        }
        // The value has ended, and containers may end with it.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = skip_space(text, at);
            match (*text.get(at)?, maps & 1 == 1) {
                (b',', true) => {
                    at = key_end(text, skip_space(text, at + 1))?;
                    break;
                }
                (b',', false) => {
                    at += 1;
                    break;
                }
                (b'}', true) | (b']', false) => {
                    at += 1;
                    depth -= 1;
                    maps >>= 1;
                }
                _ => return None,
            }
        }
    }
}

/// The first byte at or after `at` that is no white space.
#[inline]
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The end of the string that begins at `at` with its quote, if there is one without escapes.
#[inline]
pub(crate) fn plain_string_end(text: &[u8], at: usize) -> Option<usize> {
    let end = plain_end(text, word_end(text, at, b"\"")?)?;
    word_end(text, end, b"\"")
}

/// The end of a map's key that begins at `at`, with the colon after it.
#[inline]
fn key_end(text: &[u8], at: usize) -> Option<usize> {
    let key = word_end(text, at, b"\"")?;
    word_end(text, skip_space(text, string_end(text, key)?), b":")
}

/// The end of a string whose first character is at `at`, with its quote.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain_end(text, at)?;
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape_end(text, at)?,
            _ => return None, // a control character
        }
    }
}

/// The first byte at or after `at` that is a quote, a backslash or a control character.
#[inline]
fn plain_end(text: &[u8], mut at: usize) -> Option<usize> {
    // Most strings are short.
    if let Some(found) = special_of_word(text, at) {
        return Some(found);
    }
    // The compiler makes vector instructions of this loop.
    while let Some(block) = text.get(at..)?.first_chunk::<BLOCK_BYTES>()
        && block.iter().fold(0, |special, byte| special | is_special(*byte)) == 0
    {
        at += BLOCK_BYTES;
    }
    while text.len() - at >= size_of::<u64>() {
        if let Some(found) = special_of_word(text, at) {
            return Some(found);
        }
        at += size_of::<u64>();
    }
    let rest = text.get(at..)?;
    Some(at + rest.iter().position(|byte| is_special(*byte) != 0)?)
}

/// 1 for a quote, a backslash or a control character, and 0 for another byte.
#[inline]
fn is_special(byte: u8) -> u8 {
    u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20)
}

/// The first byte of the word at `at` that is a quote, a backslash or a control character.
#[inline]
fn special_of_word(text: &[u8], at: usize) -> Option<usize> {
    let word = text.get(at..)?.first_chunk()?;
    match specials(u64::from_le_bytes(*word)) {
        0 => None,
        found => Some(at + found.trailing_zeros() as usize / 8),
    }
}

/// The lowest bit that is set in the result is in the lowest byte of `word` that is a quote, a backslash or a control
/// character; it is 0 if there is none. Bits above that may be wrong.
#[inline]
const fn specials(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = EACH << 7;
    // A byte below `n` borrows from its highest bit when `n` is subtracted, unless that bit was set before.
    let quote = word ^ (EACH * b'"' as u64);
    let backslash = word ^ (EACH * b'\\' as u64);
    let is_quote = quote.wrapping_sub(EACH) & !quote;
    let is_backslash = backslash.wrapping_sub(EACH) & !backslash;
    let is_control = word.wrapping_sub(EACH * 0x20) & !word;
    (is_quote | is_backslash | is_control) & HIGH
}

/// The end of the escape whose backslash is at `at`. Half of a surrogate pair is none.
fn escape_end(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => match unit(text, at)? {
            0xd800..=0xdbff => match unit(text, at + UNIT_BYTES)? {
                0xdc00..=0xdfff => Some(at + 2 * UNIT_BYTES),
                _ => None,
            },
            0xdc00..=0xdfff => None,
            _ => Some(at + UNIT_BYTES),
        },
        _ => None,
    }
}

/// The UTF-16 code unit of an escape such as `\u0041` at `at`.
fn unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..)?.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// The end of the number that begins at `at` (RFC 8259 §6).
#[inline]
fn number_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(text.get(start) == Some(&b'-'));
    at = match text.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => digits_end(text, at + 1),
        _ => return None,
    };
    if text.get(at) == Some(&b'.') {
        at = some_digits_end(text, at + 1)?;
    }
    let has_exponent = matches!(text.get(at), Some(b'e' | b'E'));
    if has_exponent {
        let sign = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = some_digits_end(text, at + 1 + usize::from(sign))?;
    }
    if has_exponent || at - start > SAFE_NUMBER_BYTES {
        let number = std::str::from_utf8(text.get(start..at)?).ok()?;
        number.parse().ok().filter(|float: &f64| float.is_finite())?;
    }
    // A zero in front of other digits ends here, and nothing may follow that begins with a digit.
    Some(at)
}

/// The first byte at or after `at` that is no digit.
#[inline]
pub(crate) fn digits_end(text: &[u8], mut at: usize) -> usize {
    while let Some(b'0'..=b'9') = text.get(at) {
        at += 1;
    }
    at
}

/// As [`digits_end`], if there is at least one digit.
#[inline]
fn some_digits_end(text: &[u8], at: usize) -> Option<usize> {
    let end = digits_end(text, at);
    (end > at).then_some(end)
}

/// The end of `word`, if it is at `at`.
#[inline]
pub(crate) fn word_end(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::Scanner;
    use super::super::tests::is_json;
    use super::*;

    /// Whether the reader of tokens takes `text`.
    fn is_scanned(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        loop {
            match scanner.next() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn is_value(text: &str) -> bool {
        let text = text.as_bytes();
        value_end(text, 0).map(|end| skip_space(text, end)) == Some(text.len())
    }

    #[test]
    fn a_string_ends_at_its_first_special_byte_wherever_that_is() {
        for special in [
            '"', '\\', '\0', '\u{1f}', ' ', '!', '#', '[', ']', '\u{7f}', 'é', '\u{ff}',
        ] {
            for (before, after) in (0..80).flat_map(|before| [(before, 0), (before, 5), (before, 40)]) {
                for filler in ["x", "é", "\u{a0}", "\u{10ffff}"] {
                    let text = [&filler.repeat(before), &*special.to_string(), &"\"".repeat(after)].concat();
                    let first = text
                        .bytes()
                        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
                    assert_eq!(plain_end(text.as_bytes(), 0), first, "{text:?}");
                }
            }
        }
    }

    /// Texts that are JSON.
    fn document() -> impl Strategy<Value = String> {
        let string = prop_oneof![
            "[a-z]{0,20}",
            "([ -~é\u{10ffff}]|\\\\[\"\\\\/bfnrt]|\\\\u00[4-7][0-9a-fA-F]|\\\\ud83d\\\\ude00){0,60}"
                .prop_filter("its quotes and backslashes are escaped", |text| is_json(
                    &format!("\"{text}\"")
                )),
        ];
        let string = string.prop_map(|text| format!("\"{text}\"")).boxed();
        let number = "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?";
        let leaf = prop_oneof![
            string.clone(),
            number,
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("null".to_owned())
        ];
        leaf.prop_recursive(5, 40, 6, move |value| {
            let pair =
                (string.clone(), "[ \n]?:[ \t]?", value.clone()).prop_map(|(k, colon, v)| k + &colon + &v);
            let around = |items: Vec<String>, (open, close): (&str, &str), space: String| {
                [open, &space, &items.join(&format!(",{space}")), &space, close].concat()
            };
            prop_oneof![
                (prop::collection::vec(value, 0..6), "[ \r]{0,2}").prop_map(move |(items, space)| around(
                    items,
                    ("[", "]"),
                    space
                )),
                (prop::collection::vec(pair, 0..6), "[ \n]{0,2}").prop_map(move |(items, space)| around(
                    items,
                    ("{", "}"),
                    space
                )),
            ]
        })
    }

    /// A change of one character: the place, what is taken out there, and what is put there.
    fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
        let put = prop_oneof![Just(String::new()), "[\\[\\]{}:,\"\\\\0-9eE.+tnu \u{1}é-]"];
        (any::<prop::sample::Index>(), 0..2_usize, put)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn the_same_texts_are_values_as_for_the_readers_of_tokens(
            document in document(),
            mutations in prop::collection::vec(mutation(), 0..3),
        ) {
            let mut text: Vec<char> = document.chars().collect();
            for (place, taken, put) in mutations {
                let at = place.index(text.len() + 1);
                let end = (at + taken).min(text.len());
                text.splice(at..end, put.chars());
            }
            let text: String = text.into_iter().collect();
            prop_assert_eq!(is_value(&text), is_scanned(&text), "{:?}", text);
            prop_assert_eq!(is_value(&text), is_json(&text), "{:?}", text);
        }
    }
}

//! Each rule by itself: a stream that breaks it, and the byte at which the parser must report it.

use super::*;

struct Rule {
    /// The section of RFC 6455, or the limit.
    section: &'static str,
    what: &'static str,
    stream: Vec<u8>,
    /// The number of bytes up to and including the one that breaks the rule.
    after: usize,
    violation: Violation,
    close: u16,
}

fn rule(
    section: &'static str,
    what: &'static str,
    stream: Vec<u8>,
    after: usize,
    violation: Violation,
    close: u16,
) -> Rule {
    Rule {
        section,
        what,
        stream,
        after,
        violation,
        close,
    }
}

#[rustfmt::skip] // a row a line
fn header_rules() -> Vec<Rule> {
    use Violation::*;
    let long = |bits, length| LengthNotMinimal { length, bits };
    let u64_max = u64::MAX.to_be_bytes();
    let two_63 = (1_u64 << 63).to_be_bytes();
    vec![
        rule("5.1", "unmasked text", b"\x81\x02hi".to_vec(), 2, NotMasked, 1002),
        rule("5.1", "unmasked close", b"\x88\x00".to_vec(), 2, NotMasked, 1002),
        rule("5.2", "RSV1", raw(0xc1, 0x80, &[], b""), 1, ReservedBits(0x40), 1002),
        rule("5.2", "RSV2 on a ping", raw(0xa9, 0x80, &[], b""), 1, ReservedBits(0x20), 1002),
        rule("5.2", "RSV3 on binary", raw(0x92, 0x80, &[], b""), 1, ReservedBits(0x10), 1002),
        rule("5.2", "all RSV", raw(0xf1, 0x80, &[], b""), 1, ReservedBits(0x70), 1002),
        rule("5.2", "opcode 3", raw(0x83, 0x80, &[], b""), 1, ReservedOpcode(3), 1002),
        rule("5.2", "opcode 7", raw(0x07, 0x80, &[], b""), 1, ReservedOpcode(7), 1002),
        rule("5.2", "opcode 11", raw(0x8b, 0x80, &[], b""), 1, ReservedOpcode(0xb), 1002),
        rule("5.2", "opcode 15", raw(0x8f, 0x80, &[], b""), 1, ReservedOpcode(0xf), 1002),
        rule("5.2", "125 in 16 bits", raw(0x81, 0xfe, &[0, 125], b""), 4, long(16, 125), 1002),
        rule("5.2", "0 in 16 bits", raw(0x82, 0xfe, &[0, 0], b""), 4, long(16, 0), 1002),
        rule("5.2", "5 in 64 bits", raw(0x81, 0xff, &[0, 0, 0, 0, 0, 0, 0, 5], b""), 10, long(64, 5), 1002),
        rule("5.2", "65535 in 64 bits",
            raw(0x81, 0xff, &[0, 0, 0, 0, 0, 0, 0xff, 0xff], b""), 10,
            long(64, 65_535), 1002),
        rule("5.2", "length 2^63", raw(0x82, 0xff, &two_63, b""), 10, LengthTopBit(1 << 63), 1002),
        rule("5.2", "length 2^64-1", raw(0x82, 0xff, &u64_max, b""), 10, LengthTopBit(u64::MAX), 1002),
        rule("5.5", "ping in parts", raw(0x09, 0x80, &[], b""), 1, ControlFragmented(Opcode::Ping), 1002),
        rule("5.5", "pong in parts", raw(0x0a, 0x80, &[], b""), 1, ControlFragmented(Opcode::Pong), 1002),
        rule("5.5", "close in parts", raw(0x08, 0x80, &[], b""), 1, ControlFragmented(Opcode::Close), 1002),
        rule("5.5", "ping of 126",
            raw(0x89, 0xfe, &[0, 126], &[0; 126]),
            2, ControlTooLong(Opcode::Ping), 1002),
        rule("5.5", "pong of 126",
            raw(0x8a, 0xfe, &[0, 126], &[0; 126]),
            2, ControlTooLong(Opcode::Pong), 1002),
        rule("5.5", "close in 64 bits",
            raw(0x88, 0xff, &[0; 8], b""),
            2, ControlTooLong(Opcode::Close), 1002),
    ]
}

#[rustfmt::skip] // a row a line
fn message_rules() -> Vec<Rule> {
    use Violation::*;
    let big = |bytes| MessageTooBig { bytes, limit: 300 };
    let two_63_less_1 = (u64::MAX >> 1).to_be_bytes();
    let parts = |count: usize, payload: &[u8]| {
        let mut stream = text(false, payload);
        (1..count).for_each(|_| stream.extend(more(false, payload)));
        stream
    };
    vec![
        rule("5.4", "continues nothing", more(true, b"x"), 1, NothingToContinue, 1002),
        rule("5.4", "continues a whole message",
            [text(true, b"x"), more(true, b"x")].concat(),
            8, NothingToContinue, 1002),
        rule("5.4", "text inside a message",
            [text(false, b"x"), text(true, b"y")].concat(),
            8, MessageInterrupted(Opcode::Text), 1002),
        rule("5.4", "binary after a ping inside a message",
            [text(false, b"x"), raw(0x89, 0x80, &[], b""), raw(0x82, 0x80, &[], b"")].concat(),
            14, MessageInterrupted(Opcode::Binary), 1002),
        rule("limit", "301 declared", raw(0x82, 0xfe, &[1, 45], b""), 4, big(301), 1009),
        rule("limit", "2^63-1 declared", raw(0x82, 0xff, &two_63_less_1, b""), 10, big(u64::MAX >> 1), 1009),
        rule("limit", "301 in two fragments",
            [text(false, &[b'a'; 200]), more(false, &[b'a'; 101])].concat(),
            8 + 200 + 2, big(301), 1009),
        rule("limit", "sum beyond 63 bits",
            [text(false, b"ab"), raw(0x00, 0xff, &two_63_less_1, b"")].concat(),
            8 + 10, big((u64::MAX >> 1) + 2), 1009),
        rule("limit", "4th fragment", parts(4, b"x"), 22, TooManyFragments { limit: 3 }, 1008),
        rule("limit", "4th empty fragment", parts(4, b""), 19, TooManyFragments { limit: 3 }, 1008),
    ]
}

#[rustfmt::skip] // a row a line
fn text_rules() -> Vec<Rule> {
    use Violation::*;
    let bad = |at| TextNotUtf8 { at };
    let cut = |at| TextCutShort { at };
    let single = |what, payload: &[u8], after: usize, at| {
        rule("8.1", what, text(true, payload), 6 + after, bad(at), 1007)
    };
    vec![
        single("0xff", b"ab\xff", 3, 2),
        single("a continuation byte first", b"\x80", 1, 0),
        single("overlong slash, before its second byte", b"\xc0\xaf", 1, 0),
        single("overlong in three bytes", b"\xe0\x80\xaf", 2, 0),
        single("overlong in four bytes", b"\xf0\x80\x80\xaf", 2, 0),
        single("surrogate", b"\xed\xa0\x80", 2, 0),
        single("beyond U+10FFFF", b"\xf4\x90\x80\x80", 2, 0),
        single("lead byte beyond", b"\xf5\x80\x80\x80", 1, 0),
        single("third byte wrong", b"a\xc3\xa9\xe2\x82A", 6, 3),
        single("fails long before the frame ends", &[&b"\xff"[..], &[b'a'; 100]].concat(), 1, 0),
        rule("8.1", "ends in a code point", text(true, b"a\xf0\x9f\x98"), 6 + 4, cut(1), 1007),
        rule("8.1", "message ends in a code point, by an empty fragment",
            [text(false, b"ab\xe2\x82"), more(true, b"")].concat(),
            10 + 6, cut(2), 1007),
        rule("8.1", "Autobahn 6.4.2: broken across fragments",
            [
                text(false, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4"),
                more(false, b"\x90"),
                more(true, b"\x80\x80edited"),
            ].concat(),
            6 + 12 + 6 + 1, bad(11), 1007),
    ]
}

#[rustfmt::skip] // a row a line
fn close_rules() -> Vec<Rule> {
    use Violation::*;
    let coded = |code: u16| {
        let stream = closing(&code.to_be_bytes());
        rule("7.4", "a code that is not sent", stream, 8, CloseCodeForbidden(CloseCode(code)), 1002)
    };
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let mut rules: Vec<_> = codes.into_iter().map(coded).collect();
    rules.extend([
        rule("5.5.1", "1 byte", closing(b"\x03"), 7, CloseCodeCutShort, 1002),
        rule("5.5.1", "reason not UTF-8",
            closing(b"\x03\xe8ok\xce\xba\xff"),
            13, CloseReasonNotUtf8 { at: 4 }, 1007),
        rule("5.5.1", "reason cut in a code point",
            closing(b"\x03\xe8\xe2\x82"),
            10, CloseReasonNotUtf8 { at: 0 }, 1007),
    ]);
    rules
}

#[test]
fn each_rule_is_kept_at_the_first_byte_that_breaks_it() {
    let rules = [header_rules(), message_rules(), text_rules(), close_rules()];
    for rule in rules.into_iter().flatten() {
        let name = format!("{} {}", rule.section, rule.what);
        let (_, violation) = parse(&rule.stream, SMALL);
        assert_eq!(violation, Some((rule.after, rule.violation)), "{name}");
        assert_eq!(rule.violation.close_code(), CloseCode(rule.close), "{name}");
        let reason = rule.violation.to_string();
        assert!(
            reason.len() <= 123,
            "{name}: {reason:?} does not fit in a close frame"
        );
        let cites = rule.section == "limit" || reason.contains(&format!("RFC 6455 {}", rule.section));
        assert!(cites, "{name}: {reason:?}");
    }
}

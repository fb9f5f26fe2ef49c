//! Lines that are understood, and lines that are not, with what is said about them.

use super::*;

fn check(line: impl AsRef<[u8]>, expected: &str) {
    let outcome = match parse(line.as_ref()) {
        Ok(Line { at, symbol, event }) => format!("{at} {} {event:?}", symbol.unwrap_or("-")),
        Err(error) => error.to_string(),
    };
    assert_eq!(outcome, expected);
}

const TRADE: &str = r#"1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const BBO: &str = r#"1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#;
const DEPTH: &str = r#"1723161254036059768 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"BTCUSDT","U":7,"u":9,"b":[["55653.87000000","0.00000000"]],"a":[]}}"#;
const SNAPSHOT: &str = r#"1723161254206652067 {"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[["61837.64","1"]]}"#;

#[test]
fn lines_that_are_understood() {
    check(
        TRADE,
        "1723161254087896 BTCUSDT Trade { id: 3735683259, price: 61837.63, size: 0.02, side: Sell, time: Micros(1723161255342000) }",
    );
    check(
        TRADE.replace(r#""m":true"#, r#""m":false"#),
        "1723161254087896 BTCUSDT Trade { id: 3735683259, price: 61837.63, size: 0.02, side: Buy, time: Micros(1723161255342000) }",
    );
    check(
        BBO,
        "1723161254087891 BTCUSDT Bbo { bid: 61837.63, bid_size: 3.78826, ask: 61837.64, ask_size: 1.54698 }",
    );
    check(
        DEPTH,
        "1723161254036059 BTCUSDT Depth { first_id: 7, last_id: 9, bids: [Level { price: 55653.87, size: 0 }], asks: [], time: Micros(1723161255308000) }",
    );
    check(
        DEPTH.replace("@100ms", ""),
        "1723161254036059 BTCUSDT Depth { first_id: 7, last_id: 9, bids: [Level { price: 55653.87, size: 0 }], asks: [], time: Micros(1723161255308000) }",
    );
    check(
        SNAPSHOT,
        "1723161254206652 - Snapshot { last_id: 50093239218, bids: [Level { price: 61837.63, size: 3.78826 }], asks: [Level { price: 61837.64, size: 1 }] }",
    );
    // A name the broker has never heard of is no fault.
    check(
        SNAPSHOT.replace(r#"{"last"#, r#"{"x":[1],"last"#),
        "1723161254206652 - Snapshot { last_id: 50093239218, bids: [Level { price: 61837.63, size: 3.78826 }], asks: [Level { price: 61837.64, size: 1 }] }",
    );
}

#[test]
fn times_that_are_none() {
    for line in [
        "",
        "1723161254087896568",
        "{}",
        " {}",
        "x {}",
        "+1 {}",
        "-1 {}",
        "1.5 {}",
        "18446744073709551616 {}",
    ] {
        check(
            line,
            "does not begin with the local time in nanoseconds and a space",
        );
    }
    check(
        TRADE.replace("1723161255342,", "18446744073709551615,"),
        "time 18446744073709551615 ms is out of range",
    );
    check(
        DEPTH.replace("1723161255308", "18446744073709552"),
        "time 18446744073709552 ms is out of range",
    );
}

#[test]
fn messages_that_are_none() {
    check(b"1 {\xff}", "not UTF-8 after byte 3");
    check("1 ", "not a JSON object");
    check(
        &TRADE[..TRADE.len() - 1],
        "not a message of the exchange: EOF while parsing an object at line 1 column 167",
    );
    check(
        format!("{TRADE}x"),
        "not a message of the exchange: trailing characters at line 1 column 169",
    );
    check(format!("1 {}", "[".repeat(1_000)), "not a JSON object");
    check(
        format!(r#"1 {{"x":{}"#, "[".repeat(1_000)),
        "not a message of the exchange: EOF while parsing a list at line 1 column 1005",
    );
    check(
        "1 {}",
        "neither a stream with data nor a snapshot with lastUpdateId, bids and asks",
    );
    check(
        r#"1 {"stream":"a@trade"}"#,
        "neither a stream with data nor a snapshot with lastUpdateId, bids and asks",
    );
    check(
        r#"1 {"lastUpdateId":1,"bids":[]}"#,
        "neither a stream with data nor a snapshot with lastUpdateId, bids and asks",
    );
    check(
        r#"1 {"result":null,"id":1}"#,
        "neither a stream with data nor a snapshot with lastUpdateId, bids and asks",
    );
}

#[test]
fn events_that_are_unknown_or_do_not_belong() {
    check(
        TRADE.replace("@trade", "@aggTrade"),
        r#"stream "btcusdt@aggTrade" is not one of <symbol>@trade, @bookTicker, @depth, @depth@100ms, @depth@1000ms"#,
    );
    check(
        TRADE.replace("btcusdt@trade", "trade"),
        r#"stream "trade" is not one of <symbol>@trade, @bookTicker, @depth, @depth@100ms, @depth@1000ms"#,
    );
    check(
        TRADE.replace("btcusdt", "ethusdt"),
        r#"event "trade" of symbol "BTCUSDT" does not belong in stream "ethusdt@trade""#,
    );
    check(
        TRADE.replace(r#""e":"trade""#, r#""e":"kline""#),
        r#"event "kline" of symbol "BTCUSDT" does not belong in stream "btcusdt@trade""#,
    );
    check(
        DEPTH.replace("depthUpdate", "trade"),
        r#"event "trade" of symbol "BTCUSDT" does not belong in stream "btcusdt@depth@100ms""#,
    );
}

#[test]
fn fields_that_are_missing_or_wrong() {
    check(
        TRADE.replace(r#""p":"61837.63000000","#, ""),
        "not a message of the exchange: missing field `p` at line 1 column 113",
    );
    check(
        TRADE.replace(r#""61837.63000000""#, "61837.63"),
        "not a message of the exchange: invalid type: floating point `61837.63`, expected a decimal number as a string at line 1 column 72",
    );
    check(
        TRADE.replace("61837.63000000", "6e4"),
        r#"not a message of the exchange: "6e4" is not a decimal number of at most 28 digits at line 1 column 69"#,
    );
    check(TRADE.replace("61837.63000000", "-1"), "p -1 is negative");
    check(
        TRADE.replace("61837.63000000", &"1".repeat(41)),
        "not a message of the exchange: decimal has 41 bytes; at most 40 are allowed at line 1 column 107",
    );
    check(BBO.replace("3.78826000", "-0.1"), "B -0.1 is negative");
    check(
        DEPTH.replace("55653.87000000", "NaN"),
        r#"not a message of the exchange: "NaN" is not a decimal number of at most 28 digits at line 1 column 74"#,
    );
    check(DEPTH.replace("0.00000000", "-1"), "size -1 is negative");
    check(
        DEPTH.replace(r#","0.00000000""#, ""),
        "not a message of the exchange: invalid length 1, expected a level: [price, size] at line 1 column 86",
    );
    let levels = vec![r#"["1","1"]"#; BOOK_LEVELS_MAX + 1].join(",");
    check(
        format!(r#"1 {{"lastUpdateId":1,"bids":[],"asks":[{levels}]}}"#),
        "16385 levels on a side; at most 16384 are allowed",
    );
}

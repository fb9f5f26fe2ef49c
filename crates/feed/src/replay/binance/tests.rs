//! Lines that can be parsed, and lines that cannot, with their errors.

use super::*;
use crate::replay::fault::FaultKind;

fn check(line: impl AsRef<[u8]>, expected: &str) {
    let outcome = match parse(line.as_ref()) {
        Ok(Line { at, said }) => match said {
            Said::Exchange { symbol, event } => {
                let symbol = symbol.unwrap_or(Cow::Borrowed("-"));
                format!("{at} {symbol} {event:?}")
            }
            Said::Recorded(recorded) => format!("{at} {recorded:?}"),
        },
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
        "1723161254087896 BTCUSDT Trade(Traded { id: 3735683259, price: 61837.63, size: 0.02, side: Sell, time: Micros(1723161255342000), aggregated: false })",
    );
    check(
        TRADE.replace(r#""m":true"#, r#""m":false"#),
        "1723161254087896 BTCUSDT Trade(Traded { id: 3735683259, price: 61837.63, size: 0.02, side: Buy, time: Micros(1723161255342000), aggregated: false })",
    );
    check(
        BBO,
        "1723161254087891 BTCUSDT Bbo(Quoted { id: Some(50093239212), bid: 61837.63, bid_size: 3.78826, ask: 61837.64, ask_size: 1.54698, time: None })",
    );
    check(
        DEPTH,
        "1723161254036059 BTCUSDT Depth(Depth { first_id: 7, last_id: 9, previous_id: None, bids: [Level { price: 55653.87, size: 0 }], asks: [], time: Micros(1723161255308000) })",
    );
    check(
        DEPTH.replace("@100ms", ""),
        "1723161254036059 BTCUSDT Depth(Depth { first_id: 7, last_id: 9, previous_id: None, bids: [Level { price: 55653.87, size: 0 }], asks: [], time: Micros(1723161255308000) })",
    );
    check(
        SNAPSHOT,
        "1723161254206652 - Snapshot { last_id: 50093239218, bids: [Level { price: 61837.63, size: 3.78826 }], asks: [Level { price: 61837.64, size: 1 }] }",
    );
    // An unknown field is not a fault.
    check(
        SNAPSHOT.replace(r#"{"last"#, r#"{"x":[1],"last"#),
        "1723161254206652 - Snapshot { last_id: 50093239218, bids: [Level { price: 61837.63, size: 3.78826 }], asks: [Level { price: 61837.64, size: 1 }] }",
    );
}

#[test]
fn every_way_to_write_a_line() {
    let trade = "BTCUSDT Trade(Traded { id: 3735683259, price: 61837.63, size: 0.02, side: Sell, time: Micros(1723161255342000), aggregated: false })";
    let (_, message) = TRADE.split_once(' ').expect("a time");
    // The message alone, without the wrapper of combined streams, and a line of a raw capture.
    let data = &message[message.find(r#"{"e""#).expect("data")..message.len() - 1];
    for line in [
        format!("1723161254087896568 {data}"),
        format!("1723161254087896 {message}"),
        format!("1723161254.087896: {message}"),
        format!("1723161254.0878969: {data}"),
        // With escapes of JSON.
        TRADE
            .replace("btcusdt@", r"btc\u0075sdt\u0040")
            .replace(r#""BTCUSDT""#, r#""BTC\u0055SDT""#),
        TRADE.replace("1723161255342,", "1723161255342000,"),
        TRADE.replace("1723161255342,", "1723161255342000000,"),
    ] {
        check(&line, &format!("1723161254087896 {trade}"));
    }
    check(
        TRADE.replace("1723161254087896568", "1723161254087"),
        &format!("1723161254087000 {trade}"),
    );
    check(
        TRADE.replace("1723161254087896568", "1723161254"),
        &format!("1723161254000000 {trade}"),
    );
    let quote = "1723161254087891 BTCUSDT Bbo(Quoted { id: Some(50093239212), bid: 61837.63, bid_size: 3.78826, ask: 61837.64, ask_size: 1.54698, time: None })";
    check(
        BBO.replace(r#"{"stream":"btcusdt@bookTicker","data":"#, "")
            .trim_end_matches('}')
            .to_owned()
            + "}",
        quote,
    );
    let depth = "1723161254036059 BTCUSDT Depth(Depth { first_id: 7, last_id: 9, previous_id: None, bids: [Level { price: 55653.87, size: 0 }], asks: [], time: Micros(1723161255308000) })";
    for speed in ["", "@0ms", "@100ms", "@250ms", "@500ms", "@1000ms"] {
        check(DEPTH.replace("@100ms", speed), depth);
    }
    check(
        SNAPSHOT.replace(
            "1723161254206652067 ",
            "https://api.binance.com/api/v3/depth?limit=5&symbol=BTCUSDT -> 1723161254.206652: ",
        ),
        "1723161254206652 BTCUSDT Snapshot { last_id: 50093239218, bids: [Level { price: 61837.63, size: 3.78826 }], asks: [Level { price: 61837.64, size: 1 }] }",
    );
}

#[test]
fn streams_of_spot_and_futures() {
    let line =
        |stream: &str, data: &str| format!(r#"1723161254087896568 {{"stream":"{stream}","data":{data}}}"#);
    check(
        line(
            "btcusdt@aggTrade",
            r#"{"e":"aggTrade","E":1723161255343,"s":"BTCUSDT","a":26129,"p":"0.01","q":"100","f":27,"l":28,"T":1723161255342,"m":false,"M":true}"#,
        ),
        "1723161254087896 BTCUSDT Trade(Traded { id: 26129, price: 0.01, size: 100, side: Buy, time: Micros(1723161255342000), aggregated: true })",
    );
    check(
        line(
            "btcusdt@depth20@100ms",
            r#"{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}"#,
        ),
        "1723161254087896 BTCUSDT Top { last_id: 160, bids: [Level { price: 0.0024, size: 10 }], asks: [Level { price: 0.0026, size: 100 }], time: None }",
    );
    let futures = r#"{"e":"depthUpdate","E":1723161255308,"T":1723161255307,"s":"BTCUSDT","U":157,"u":160,"pu":149,"b":[["0.0024","10"]],"a":[]}"#;
    check(
        line("btcusdt@depth@0ms", futures),
        "1723161254087896 BTCUSDT Depth(Depth { first_id: 157, last_id: 160, previous_id: Some(149), bids: [Level { price: 0.0024, size: 10 }], asks: [], time: Micros(1723161255308000) })",
    );
    check(
        line("btcusdt@depth5", futures),
        "1723161254087896 BTCUSDT Top { last_id: 160, bids: [Level { price: 0.0024, size: 10 }], asks: [], time: Some(Micros(1723161255308000)) }",
    );
    check(
        r#"1723161254087896568 {"e":"bookTicker","u":4,"s":"BNBUSDT","b":"25.3","B":"31.2","a":"25.4","A":"40.6","T":1723161255307,"E":1723161255308}"#,
        "1723161254087896 BNBUSDT Bbo(Quoted { id: Some(4), bid: 25.3, bid_size: 31.2, ask: 25.4, ask_size: 40.6, time: Some(Micros(1723161255307000)) })",
    );
    check(
        line(
            "币安人生usdt@trade",
            r#"{"e":"trade","E":1723161255343,"s":"币安人生USDT","t":1,"p":"1","q":"1","T":1723161255342,"m":false}"#,
        ),
        "1723161254087896 币安人生USDT Trade(Traded { id: 1, price: 1, size: 1, side: Buy, time: Micros(1723161255342000), aggregated: false })",
    );
}

#[test]
fn messages_of_other_exchanges_are_named() {
    for (exchange, message) in [
        (
            "Coinbase",
            r#"{"type":"l2update","product_id":"SKL-USD","changes":[["buy","0.56","10"]]}"#,
        ),
        ("Coinbase", r#"{"type":"subscriptions","channels":[]}"#),
        (
            "OKX",
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[]}"#,
        ),
        (
            "OKX",
            r#"{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}"#,
        ),
        (
            "Kraken",
            r#"{"event":"systemStatus","status":"online","version":"1.8.3"}"#,
        ),
        ("Kraken", r#"{"channel":"book","type":"update","data":[]}"#),
        ("Kraken or Bitfinex", r#"[1664,{"b":[]},"book-1000","WAVES/EUR"]"#),
        (
            "Bybit",
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{}}"#,
        ),
        (
            "Deribit",
            r#"{"jsonrpc":"2.0","method":"subscription","params":{}}"#,
        ),
    ] {
        check(
            format!("1618677817.061845: {message}"),
            &format!("looks like a message of {exchange}; recordings of Binance are read"),
        );
    }
}

#[test]
fn what_is_no_market_data_is_no_fault() {
    for (line, said) in [
        (
            r#"1723161254 {"result":null,"id":1}"#,
            "the answer to a request, no market data",
        ),
        (
            r#"1723161254 {"method":"SUBSCRIBE","params":[],"id":1}"#,
            "a request, no market data",
        ),
        (
            "wss://stream.binance.com:9443/stream <-> 1633998511.9",
            "what a client sent, no market data",
        ),
        (
            r#"1723161254 {"stream":"btcusdt@kline_1m","data":{}}"#,
            r#"stream "btcusdt@kline_1m" is not replayed"#,
        ),
        (
            r#"1723161254 {"stream":"btcusdt@depth@ms","data":{}}"#,
            r#"stream "btcusdt@depth@ms" is not replayed"#,
        ),
        (
            r#"1723161254 {"stream":"!ticker@arr","data":[]}"#,
            r#"stream "!ticker@arr" is not replayed"#,
        ),
        (
            r#"1723161254 {"e":"markPriceUpdate","s":"BTCUSDT"}"#,
            r#"event "markPriceUpdate" is not replayed"#,
        ),
    ] {
        check(line, said);
        let error = parse(line.as_bytes()).expect_err("no event");
        assert_eq!(error.kind(), FaultKind::Unused, "{line}");
    }
    assert_eq!(parse(b"x").expect_err("no time").kind(), FaultKind::Malformed);
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
        "1. {}",
        "18446744073709551616 {}",
    ] {
        check(
            line,
            "does not begin with the local time and a space, as in `1723161254087896568 {…}`",
        );
    }
    let no_time = "is no time: since 1970 a moment has 10 digits in seconds, 13 in milliseconds, 16 in microseconds, 19 in nanoseconds";
    check("59500000000 {}", &format!("59500000000 {no_time}"));
    check(
        TRADE.replace("1723161255342,", "18446744073709551615,"),
        &format!("18446744073709551615 {no_time}"),
    );
    check(
        DEPTH.replace("1723161255308", "17231612553"),
        &format!("17231612553 {no_time}"),
    );
}

#[test]
fn messages_that_are_none() {
    check(b"1 {\xff}", "not UTF-8 after byte 3");
    check(b"\xff\xfe1\0", "UTF-16; a recording is UTF-8");
    check("1723161254 ", "not a JSON object");
    check(
        &TRADE[..TRADE.len() - 1],
        "not a message of the exchange: EOF while parsing an object at line 1 column 167",
    );
    check(
        format!("{TRADE}x"),
        "not a message of the exchange: trailing characters at line 1 column 169",
    );
    check(
        format!("1723161254 {}", "[".repeat(1_000)),
        "looks like a message of Kraken or Bitfinex; recordings of Binance are read",
    );
    check(
        format!(r#"1723161254 {{"x":{}"#, "[".repeat(1_000)),
        "not a message of the exchange: EOF while parsing a list at line 1 column 1005",
    );
    check(
        "1723161254 {}",
        "neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks",
    );
    check(
        r#"1723161254 {"stream":"a@trade"}"#,
        "neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks",
    );
    check(
        r#"1723161254 {"lastUpdateId":1,"bids":[]}"#,
        "neither a stream with data, an event, nor a snapshot with lastUpdateId, bids and asks",
    );
}

#[test]
fn events_that_are_unknown_or_do_not_belong() {
    check(
        TRADE.replace("btcusdt@trade", "trade"),
        r#"stream "trade" is not replayed"#,
    );
    check(
        TRADE.replace("@trade", "@aggTrade"),
        r#"event "trade" of symbol "BTCUSDT" does not belong in stream "btcusdt@aggTrade""#,
    );
    check(
        DEPTH.replace(r#""U":7"#, r#""U":10"#),
        "first update U 10 is after the last, u 9",
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
        format!(r#"1723161254 {{"lastUpdateId":1,"bids":[],"asks":[{levels}]}}"#),
        "16385 levels on a side; at most 16384 are allowed",
    );
}

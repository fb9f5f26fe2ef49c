//! Settings that are refused, with the messages. `UPDATE_EXPECT=1` rewrites them.

use expect_test::expect;

use super::*;

#[test]
fn rules_of_expiry() {
    let file = |text: &str| Case::new().file(text);
    file("[[expiry]]\npattern = \"a.>\"").refused(&expect![[
        r#"expiry[0] = {pattern = "a.>"} (from file x.toml): has no after_ms, which must be a whole number"#
    ]]);
    file("[[expiry]]\npattern = \"a.>\"\nafter_ms = 31622400001").refused(&expect![
        "expiry[0].after_ms = 31622400001 (from file x.toml): must be between 1 and 31622400000"
    ]);
    file("[[expiry]]\npattern = \"a.>\"\nafter_ms = 1\neven_if_watched = 1").refused(&expect![
        "expiry[0].even_if_watched = 1 (from file x.toml): must be true or false"
    ]);
    file("[[expiry]]\npattern = \"a\"\nafter_ms = 5\n[[expiry]]\npattern = \"a\"\nafter_ms = 6")
        .refused(&expect![[r#"expiry[1].pattern = "a" (from file x.toml): expiry[0] has the same pattern, and the first match wins"#]]);
}

#[test]
fn rules_of_staleness() {
    let file = |text: &str| Case::new().file(text);
    file("staleness = 3").refused(&expect![
        "staleness = 3 (from file x.toml): must be a list of {pattern, after_ms}"
    ]);
    file("staleness = [3]").refused(&expect![
        "staleness[0] = 3 (from file x.toml): must be a table with a pattern and after_ms"
    ]);
    file("[[staleness]]\nafter_ms = 5").refused(&expect!["staleness[0] = {after_ms = 5} (from file x.toml): has no pattern, which must be a topic pattern, such as ticker.>"]);
    file("[[staleness]]\npattern = \"a.>\"").refused(&expect![[r#"staleness[0] = {pattern = "a.>"} (from file x.toml): has no after_ms, which must be a whole number"#]]);
    file("[[staleness]]\npattern = 3\nafter_ms = 5").refused(&expect![
        "staleness[0].pattern = 3 (from file x.toml): must be a topic pattern, such as ticker.>"
    ]);
    file("[[staleness]]\npattern = \"a..b\"\nafter_ms = 5").refused(&expect![[
        r#"staleness[0].pattern = "a..b" (from file x.toml): empty token at byte 2"#
    ]]);
    file("[[staleness]]\npattern = \"a\"\nafter_ms = 0").refused(&expect![
        "staleness[0].after_ms = 0 (from file x.toml): must be between 1 and 86400000"
    ]);
    file("[[staleness]]\npattern = \"a\"\nafter = 5").refused(&expect![
        "staleness[0].after (from file x.toml) is no setting; the nearest is staleness[0].after_ms"
    ]);
    file("[[staleness]]\npattern = \"a\"\nafter_ms = 5\n[[staleness]]\npattern = \"a\"\nafter_ms = 6")
        .refused(&expect![[r#"staleness[1].pattern = "a" (from file x.toml): staleness[0] has the same pattern, and the first match wins"#]]);
}

#[test]
fn keys_of_operators() {
    let file = |text: &str| Case::new().file(text);
    let hash = |digit: &str| digit.repeat(64);
    let key = |name: &str, digit: &str| {
        format!(
            "[[admin.keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n",
            hash(digit)
        )
    };
    file("[admin]\nkeys = 3").refused(&expect![
        "admin.keys = (not shown) (from file x.toml): must be a list of tables, each headed [[admin.keys]]"
    ]);
    file("[[admin.keys]]\nname = \"a\"").refused(&expect!["admin.keys[0].sha256 = nothing (from file x.toml): must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself"]);
    file("[[admin.keys]]\nname = \"a\"\nsha256 = \"tw_a-key-itself\"").refused(&expect!["admin.keys[0].sha256 = (not shown) (from file x.toml): must be the 64 hexadecimal digits that tickwire hash-key prints, never the key itself"]);
    file(&format!("{}key = \"tw_a-key-itself\"", key("a", "1"))).refused(&expect![
        "admin.keys[0].key (from file x.toml) is no setting; the nearest is admin.keys[0].name"
    ]);
    file(&key(&"a".repeat(65), "1")).refused(&expect![[r#"admin.keys[0].name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" (from file x.toml): must be a text of at most 64 bytes by which audit lines call the operator"#]]);
    file(&(key("a", "1") + &key("a", "2"))).refused(&expect![[
        r#"admin.keys[1].name = "a" (from file x.toml): is the name of an earlier key as well"#
    ]]);
    file(&(key("a", "1") + &key("b", "1"))).refused(&expect![
        "admin.keys[1].sha256 = (not shown) (from file x.toml): is the hash of an earlier key as well"
    ]);
    let client = format!("[[auth.keys]]\nname = \"c\"\nsha256 = \"{}\"\n", hash("1"));
    file(&(key("a", "1") + &client)).refused(&expect![[r#"admin.keys = (not shown) (from file x.toml): has the key "a", which is among auth.keys too: make one of its own"#]]);
}

#[test]
fn tls_that_is_half_set() {
    let file = |text: &str| Case::new().file(&format!("[tls]\n{text}"));
    file("cert_file = \"c\"").refused(&expect![[
        r#"tls.cert_file = "c" (from file x.toml): has no TLS without tls.key_file: set both, or neither"#
    ]]);
    file("key_file = \"k\"").refused(&expect![[
        r#"tls.key_file = "k" (from file x.toml): has no TLS without tls.cert_file: set both, or neither"#
    ]]);
    file("cert_file = \"\"").refused(&expect![[
        r#"tls.cert_file = "" (from file x.toml): must be the name of a file"#
    ]]);
    file("client_ca_file = \"ca\"").refused(&expect![[r#"tls.client_ca_file = "ca" (from file x.toml): has no TLS without tls.cert_file and tls.key_file: set both, or neither"#]]);
    file("client_auth = \"required\"").refused(&expect![[r#"tls.client_auth = "required" (from file x.toml): needs tls.client_ca_file, which says who may sign clients' certificates"#]]);
    file("client_auth = \"yes\"").refused(&expect![[
        r#"tls.client_auth = "yes" (from file x.toml): must be one of none, optional, required"#
    ]]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_bad_value_names_key_value_origin_and_range() {
    let flag = |set: fn(&mut Overrides)| Case::new().flags(set);
    let file = |text: &str| Case::new().file(text);

    flag(|f| f.set("--rate", "2000000")).refused(&expect![
        "feed.rate = 2000000 (from --rate): must be between 1 and 1000000"
    ]);
    flag(|f| f.set("--rate", "-5")).refused(&expect![
        "feed.rate = -5 (from --rate): must be between 1 and 1000000"
    ]);
    flag(|f| f.set("--rate", "fast")).refused(&expect![[
        r#"feed.rate = "fast" (from --rate): must be a whole number between 1 and 1000000"#
    ]]);
    flag(|f| f.set("--rate", "")).refused(&expect![[
        r#"feed.rate = "" (from --rate): must be a whole number between 1 and 1000000"#
    ]]);
    flag(|f| f.set("--rate", "1.5")).refused(&expect![[
        r#"feed.rate = "1.5" (from --rate): must be a whole number between 1 and 1000000"#
    ]]);
    flag(|f| f.set("--rate", "99999999999999999999999999999999999999999")).refused(&expect![[r#"feed.rate = "99999999999999999999999999999999999999999" (from --rate): must be a whole number between 1 and 1000000"#]]);
    flag(|f| f.set("--speed", "0")).refused(&expect![
        "feed.speed = 0.0 (from --speed): must be a number above 0"
    ]);
    flag(|f| f.set("--speed", "inf")).refused(&expect![
        "feed.speed = inf (from --speed): must be a number above 0"
    ]);
    flag(|f| f.set("--speed", "nan")).refused(&expect![
        "feed.speed = NaN (from --speed): must be a number above 0"
    ]);
    flag(|f| f.set("--speed", "slow")).refused(&expect![[
        r#"feed.speed = "slow" (from --speed): must be a number above 0"#
    ]]);
    flag(|f| f.set("--from", "today")).refused(&expect![[r#"feed.from = "today" (from --from): must be microseconds since 1970, such as 1723161253000000, or a date and a time, such as "2024-08-08T23:54:13Z""#]]);
    flag(|f| {
        f.set("--from", "2024-08-09T00:00:00Z");
        f.set("--until", "2024-08-09T00:00:00Z");
    })
    .refused(&expect![[r#"feed.from = "2024-08-09T00:00:00Z" (from --from): must be before feed.until = "2024-08-09T00:00:00Z" (from --until)"#]]);
    flag(|f| f.set("--loop", "maybe")).refused(&expect![[
        r#"feed.loop = "maybe" (from --loop): must be true or false"#
    ]]);
    flag(|f| f.set("--listen", "localhost")).refused(&expect![[r#"listen = "localhost" (from --listen): must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400"#]]);
    flag(|f| f.set("--feed", "live")).refused(&expect![[
        r#"feed.kind = "live" (from --feed): must be one of none, sim, replay"#
    ]]);
    flag(|f| f.set("--feed", "replay:")).refused(&expect![[
        r#"feed.kind = "replay" (from --feed): replay needs a recording, as in replay:FILE or feed.files"#
    ]]);
    flag(|f| f.set("--feed", "replay")).refused(&expect![[
        r#"feed.kind = "replay" (from --feed): replay needs a recording, as in replay:FILE or feed.files"#
    ]]);
    flag(|f| f.set("--feed", "replay:a.jsonl,")).refused(&expect![[
        r#"feed.files = ["a.jsonl", ""] (from --feed): a file's name is empty"#
    ]]);
    flag(|f| f.set("--start", "later")).refused(&expect![[
        r#"feed.start = "later" (from --start): must be one of now, on-subscribe"#
    ]]);
    flag(|f| f.set("--symbols", "BTC-USD")).refused(&expect![[
        r#"feed.symbols = "BTC-USD" (from --symbols): must be a whole number between 1 and 10000"#
    ]]);
    flag(|f| f.set("--symbols", "10001")).refused(&expect![
        "feed.symbols = 10001 (from --symbols): must be between 1 and 10000"
    ]);
    flag(|f| f.set("--anonymous-publish", "chat.>.x")).refused(&expect![[r#"anonymous_publish = ["chat.>.x"] (from --anonymous-publish): "chat.>.x" is no pattern: '>' at byte 5 must be the last token"#]]);
    flag(|f| f.set("--shards", "65"))
        .refused(&expect!["shards = 65 (from --shards): must be between 1 and 64"]);
    flag(|f| f.set("--log-level", "WARN")).refused(&expect![[
        r#"log.level = "WARN" (from --log-level): must be one of error, warn, info, debug, trace"#
    ]]);
    Case::new().variable("TICKWIRE_RATE", "0").refused(&expect![
        "feed.rate = 0 (from environment TICKWIRE_RATE): must be between 1 and 1000000"
    ]);
    Case::new()
        .variable("TICKWIRE_LIMITS__HEADER_BYTES", "100")
        .refused(&expect!["limits.header_bytes = 100 (from environment TICKWIRE_LIMITS__HEADER_BYTES): must be between 8192 and 1048576"]);
    file("[limits]\nsubscriptions = 0").refused(&expect![
        "limits.subscriptions = 0 (from file x.toml): must be between 1 and 1000000"
    ]);
    file("[limits]\nsubscriptions = \"64\"").refused(&expect![[
        r#"limits.subscriptions = "64" (from file x.toml): must be a whole number between 1 and 1000000"#
    ]]);
    file("[limits]\nsubscriptions = 1e3").refused(&expect![
        "limits.subscriptions = 1000.0 (from file x.toml): must be a whole number between 1 and 1000000"
    ]);
    file("[limits]\nsubscriptions = {}").refused(&expect![
        "limits.subscriptions = {} (from file x.toml): must be a whole number between 1 and 1000000"
    ]);
    file("listen = 7400").refused(&expect!["listen = 7400 (from file x.toml): must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400"]);
    file("listen = 2024-08-08").refused(&expect!["listen = 2024-08-08 (from file x.toml): must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400"]);
    file("anonymous_publish = \"chat.>\"").refused(&expect![[
        r#"anonymous_publish = "chat.>" (from file x.toml): must be a list of texts"#
    ]]);
    file("anonymous_publish = [1]").refused(&expect![
        "anonymous_publish = [1] (from file x.toml): must be a list of texts"
    ]);
    file("limits = 3").refused(&expect!["limits = 3 (from file x.toml): must be a table with keys such as message_bytes, fragments, subscriptions, outbox_bytes, stall_ms, topics, history_bytes, value_bytes, replay_bytes, replay_bytes_per_connection, replay_ms, history_page, ops_per_s, ops_burst, publishes_per_s, publishes_burst, topics_per_key, answer_bytes, rate_limited, refusals_in_a_row, topics_per_connection, pattern_tokens, connections, connections_per_address, handshakes_per_s_per_address, handshake_burst_per_address, exempt_addresses, handshake_ms, first_request_ms, header_bytes, headers"]);
    file("kinds = [3]").refused(&expect![
        "kinds[0] = 3 (from file x.toml): must be a table with a pattern, a kind and perhaps a history and candles"
    ]);
    file("kinds = {}").refused(&expect![
        "kinds = {} (from file x.toml): must be a list of {pattern, kind, history, candles}"
    ]);
    file("[[kinds]]\nkind = \"state\"").refused(&expect![[r#"kinds[0] = {kind = "state"} (from file x.toml): has no pattern, which must be a topic pattern, such as chat.>"#]]);
    file("[[kinds]]\npattern = \"a..b\"\nkind = \"state\"").refused(&expect![[
        r#"kinds[0].pattern = "a..b" (from file x.toml): empty token at byte 2"#
    ]]);
    file("[[kinds]]\npattern = \"a\"\nkind = \"queue\"").refused(&expect![[
        r#"kinds[0].kind = "queue" (from file x.toml): must be one of state, book, event"#
    ]]);
    file("[[kinds]]\npattern = \"a\"\nkind = \"event\"\nhistory = 0").refused(&expect![
        "kinds[0].history = 0 (from file x.toml): must be between 1 and 1000000"
    ]);
    file("[[kinds]]\npattern = \"a\"\nkind = \"event\"\n[[kinds]]\npattern = \"a\"\nkind = \"state\"")
        .refused(&expect![[r#"kinds[1].pattern = "a" (from file x.toml): kinds[0] has the same pattern, and the first match wins"#]]);
}

#[test]
fn values_at_odds_name_both() {
    let flag = |set: fn(&mut Overrides)| Case::new().flags(set);
    let file = |text: &str| Case::new().file(text);

    flag(|f| f.set("--ops", "127.0.0.1:7400")).refused(&expect![[r#"ops = "127.0.0.1:7400" (from --ops): must be another address than listen = "127.0.0.1:7400" (from the defaults)"#]]);
    flag(|f| f.set("--listen", "0.0.0.0:7401")).refused(&expect![[r#"ops = "127.0.0.1:7401" (from the defaults): must be another address than listen = "0.0.0.0:7401" (from --listen)"#]]);
    file("[limits]\nmessage_bytes = 262_145").refused(&expect!["limits.message_bytes = 262145 (from file x.toml): must be at most limits.outbox_bytes = 262144 (from the defaults)"]);
    file("[limits]\nops_burst = 20")
        .variable("TICKWIRE_LIMITS__OPS_PER_S", "21")
        .refused(&expect!["limits.ops_per_s = 21 (from environment TICKWIRE_LIMITS__OPS_PER_S): must be at most limits.ops_burst = 20 (from file x.toml)"]);
    file("[heartbeat]\nping_after_ms = 300_000").refused(&expect!["heartbeat.ping_after_ms = 300000 (from file x.toml): must find a vanished client within 300000 ms together with heartbeat.pong_timeout_ms = 20000 (from the defaults)"]);
    file("[feed]\nkind = \"sim\"\nfiles = [\"a.jsonl\"]").refused(&expect![[r#"feed.files = ["a.jsonl"] (from file x.toml): must be empty beside feed.kind = "sim" (from file x.toml)"#]]);

    // Any free port, or the same port of two addresses, is no collision.
    for (listen, ops) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:7400", "127.0.0.2:7400"),
    ] {
        Case::new()
            .flags(|flags| {
                flags.set("--listen", listen);
                flags.set("--ops", ops);
            })
            .loaded();
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let file = |text: &str| Case::new().file(text);
    let variable = |name: &str| Case::new().variable(name, "1");

    file("lisen = \"127.0.0.1:1\"").refused(&expect![
        "lisen (from file x.toml) is no setting; the nearest is listen"
    ]);
    file("rate = 3").refused(&expect![
        "rate (from file x.toml) is no setting; the nearest is feed.rate"
    ]);
    file("[limits]\noutbox = 3").refused(&expect![
        "limits.outbox (from file x.toml) is no setting; the nearest is limits.outbox_bytes"
    ]);
    file("[limit]\noutbox_bytes = 3").refused(&expect![
        "limit.outbox_bytes (from file x.toml) is no setting; the nearest is limits.outbox_bytes"
    ]);
    file("[nonsense]").refused(&expect![
        "nonsense (from file x.toml) is no setting; the nearest is limits.connections_per_address"
    ]);
    file("\"limits.topics\" = 3").refused(&expect![[
        r#""limits.topics" (from file x.toml) is no setting; the nearest is limits.topics"#
    ]]);
    file("[limits.topics]\nmax = 3").refused(&expect![
        "limits.topics = {max = 3} (from file x.toml): must be a whole number between 1 and 100000000"
    ]);
    file("[log]\nlevel.server = \"debug\"").refused(&expect![[
        r#"log.level = {server = "debug"} (from file x.toml): must be one of error, warn, info, debug, trace"#
    ]]);
    file("[[kinds]]\npatern = \"a\"\nkind = \"state\"").refused(&expect![
        "kinds[0].patern (from file x.toml) is no setting; the nearest is kinds[0].pattern"
    ]);
    variable("TICKWIRE_OUTBOX_BYTES").refused(&expect!["environment variable TICKWIRE_OUTBOX_BYTES is no setting; the nearest is TICKWIRE_LIMITS__OUTBOX_BYTES"]);
    variable("TICKWIRE_LISTN").refused(&expect![
        "environment variable TICKWIRE_LISTN is no setting; the nearest is TICKWIRE_LISTEN"
    ]);
    variable("TICKWIRE_FEED__RATE").refused(&expect![
        "environment variable TICKWIRE_FEED__RATE is no setting; the nearest is TICKWIRE_RATE"
    ]);
    variable("TICKWIRE_listen").refused(&expect![
        "environment variable TICKWIRE_listen is no setting; the nearest is TICKWIRE_LISTEN"
    ]);
    variable("TICKWIRE_KINDS").refused(&expect![
        "environment variable TICKWIRE_KINDS: kinds can only be set in the configuration file"
    ]);
    variable("TICKWIRE_FEED__FILES").refused(&expect![
        "environment variable TICKWIRE_FEED__FILES: feed.files can only be set in the configuration file"
    ]);
}

#[test]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let error = Config::load(Some(&missing), [], &Overrides::default()).unwrap_err();
    assert!(matches!(&error, ConfigError::FileUnreadable { path, .. } if *path == missing));

    Case::new().file("listen = ").refused(&expect![
        "x.toml is not TOML: line 1, column 10: a name or a value is missing here, or is none"
    ]);
    Case::new().file("shards = 1\nshards = 2").refused(&expect![
        "x.toml is not TOML: line 2, column 1: duplicate key `shards`"
    ]);

    let case = Case::new();
    let recording = case.folder.path().join("missing.jsonl").display().to_string();
    case.flags(|flags| flags.set("--feed", format!("replay:{recording}")))
        .refused(&expect![
            "feed.files names missing.jsonl (from --feed): No such file or directory (os error 2)"
        ]);
    Case::new()
        .file("[feed]\nkind = \"replay\"\nfiles = [\"DIR/.\"]")
        .refused(&expect![
            "feed.files names . (from file x.toml): is a directory without a segment of a journal"
        ]);
}

#[test]
fn a_long_value_is_shortened() {
    Case::new()
        .flags(|flags| flags.set("--listen", "é".repeat(10_000)))
        .refused(&expect![[r#"listen = "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé… (from --listen): must be an address or a name, and a port, such as 127.0.0.1:7400, [::]:7400 or localhost:7400"#]]);
}

#[test]
fn rules_of_derive() {
    let file = |text: &str| Case::new().file(text);
    file("[[derive]]\ncandles = []").refused(&expect![[
        r#"derive[0] = {candles = []} (from file x.toml): has no from, which must be a topic pattern that begins with a plain token, such as trade.>"#
    ]]);
    file("[[derive]]\nfrom = \"*.trade\"").refused(&expect![[
        r#"derive[0].from = "*.trade" (from file x.toml): must be a topic pattern that begins with a plain token, such as trade.>"#
    ]]);
    file("[[derive]]\nfrom = \"candle.1m.>\"").refused(&expect![[
        r#"derive[0].from = "candle.1m.>" (from file x.toml): candle.> is derived itself, and has neither trades nor best quotes"#
    ]]);
    file("[[derive]]\nfrom = \"t.>\"\ncandles = [\"1s\", \"2m\"]").refused(&expect![[
        r#"derive[0].candles = ["1s", "2m"] (from file x.toml): "2m" is no interval; there are 1s, 1m, 5m, 15m, 1h, 1d"#
    ]]);
    file("[[derive]]\nfrom = \"t.>\"\nbbo = 1").refused(&expect![[
        r#"derive[0].bbo = 1 (from file x.toml): must be true or false"#
    ]]);
    file("shards = 64\n[[derive]]\nfrom = \"t.>\"").refused(&expect![[
        r#"shards = 64 (from file x.toml): must be at most 63 beside derive = [{from = "t.>"}] (from file x.toml)"#
    ]]);
    file("[[derive]]\nfrom = \"trade.>\"\ncandles = [\"1m\"]\nticker = false").refused(&expect![[r#"derive = [{candles = ["1m"], from = "trade.>", ticker = false}] (from file x.toml): makes tickers, best quotes and candles of 1s and 1m that the feed makes itself (leave them out, or set feed.kind = "none"): feed.kind = "sim" (from the defaults)"#]]);
}

#[test]
fn rules_of_views() {
    let file = |text: &str| Case::new().file(text);
    file("[[views]]\npattern = \"a.>\"").refused(&expect![[
        r#"views[0] = {pattern = "a.>"} (from file x.toml): has no delay_ms, which must be a whole number"#
    ]]);
    file("[[views]]\ndelay_ms = 1").refused(&expect!["views[0] = {delay_ms = 1} (from file x.toml): has no pattern, which must be a topic pattern, such as ticker.>"]);
    file("[[views]]\npattern = \"a.>\"\ndelay_ms = 0").refused(&expect![
        "views[0].delay_ms = 0 (from file x.toml): must be between 1 and 604800000"
    ]);
    file("[[views]]\npattern = \"a.>\"\ndelay_ms = 1\nprefix = \"*.\"").refused(&expect![[r#"views[0].prefix = "*." (from file x.toml): must be the beginning of topics with a dot at its end, such as delayed."#]]);
    let two = |one: &str, other: &str| {
        file(&format!(
            "[[views]]\npattern = \"a.>\"\ndelay_ms = 1\n{one}\n[[views]]\ndelay_ms = 2\n{other}\n"
        ))
    };
    two("", "pattern = \"a.b\"").refused(&expect![[
        r#"views[1].pattern = "a.b" (from file x.toml): overlaps that of views[0], which has the same prefix"#
    ]]);
    two("", "pattern = \"b.>\"\nprefix = \"delayed.more.\"").refused(&expect![[r#"views[1].prefix = "delayed.more." (from file x.toml): must not begin like that of views[0], delayed."#]]);
    file("shards = 64\n[[views]]\npattern = \"t.>\"\ndelay_ms = 1").refused(&expect![[r#"shards = 64 (from file x.toml): must be at most 63 beside views = [{delay_ms = 1, pattern = "t.>"}] (from file x.toml)"#]]);
}

//! The books of what clients are delivered: against the clients' own counts and the ledger, and over a restart.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::admin::{OPERATOR, admin, operator_lines};
use crate::handshake::{GET, GOOD};
use crate::program::{finish, run, tickwire};
use crate::support::{Broker, Frame, Opcode, Socket, get, poll};

const DESK: &str = "tw_desk-of-the-books-0123456789abcdef";
const OTHER: &str = "tw_other-of-the-books-0123456789abcde";

/// What was counted of one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    messages: u64,
    bytes: u64,
}

/// Counts by the names of families.
type Counts = BTreeMap<String, Count>;

/// A broker on two shards with accounting.
fn start(folder: &Path, settings: &str) -> Broker {
    let key = |name: &str, key: &str| {
        let hash = run(&["hash-key"], key).stdout;
        format!("[[auth.keys]]\nname = \"{name}\"\n{hash}subscribe = [\">\"]\n")
    };
    let file = [
        key("desk", DESK),
        key("other", OTHER),
        operator_lines(),
        "[limits]\noutbox_bytes = 65537\nstall_ms = 600000\nfirst_request_ms = 300000\n\
         [heartbeat]\nping_after_ms = 150000\npong_timeout_ms = 150000\n"
            .to_owned(),
        format!("[accounting]\nenabled = true\n{settings}"),
    ];
    let path = folder.join("tickwire.toml");
    std::fs::write(&path, file.concat()).expect("a file");
    let path = path.display().to_string();
    Broker::start(&[
        "--feed",
        "sim",
        "--rate",
        "2000",
        "--symbols",
        "10",
        "--shards",
        "2",
        "--config",
        &path,
    ])
}

/// Opens a connection that shows `token`, if there is one.
fn open(broker: &Broker, token: Option<&str>) -> Socket {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}"));
    let lines: Vec<&str> = GOOD.iter().copied().chain(bearer.as_deref()).collect();
    let (socket, answer) = Socket::request(broker, GET, &lines);
    assert_eq!(answer.status, 101, "{answer:?}");
    socket
}

/// Counts a frame, if it is a message of a topic. Returns whether it is the last one, a close.
fn count(counts: &mut Counts, (opcode, payload): (u8, Vec<u8>)) -> bool {
    if opcode != Opcode::Text as u8 {
        return opcode == Opcode::Close as u8;
    }
    let message: Value = serde_json::from_slice(&payload).expect("JSON");
    if matches!(message["op"].as_str(), Some("update" | "snapshot")) {
        let topic = message["topic"].as_str().expect("a topic");
        let family = topic.split('.').next().expect("a token").to_owned();
        let header = match payload.len() {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        let counted = counts.entry(family).or_default();
        counted.messages += 1;
        counted.bytes += (header + payload.len()) as u64;
    }
    false
}

/// Numbers that look like chance (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// One connection that subscribes, reads some messages, at times slowly or nothing for a while, asks for more, and closes.
fn lead(broker: &Broker, token: Option<&str>, seed: u64) -> Counts {
    let (mut dice, mut counts) = (Dice(seed), Counts::new());
    let mut socket = open(broker, token);
    if seed == 0 {
        let everything = r#"{"op":"subscribe","id":50,"topics":[">"],"mode":"every"}"#;
        socket.send(Frame::text(everything));
        poll("it lags", || {
            (of_shards(broker, "tickwire_lags_total") > 0.0).then_some(())
        });
    }
    let topics = ["ticker.>", "trade.*", "book.*", ">", "candle.>"];
    let modes = ["conflate", "every", "snapshot"];
    for id in 1..=1 + dice.below(3) {
        let topic = topics[dice.below(topics.len())];
        let mode = modes[dice.below(modes.len())];
        let request = json!({"op": "subscribe", "id": id, "topics": [topic], "mode": mode});
        socket.send(Frame::text(&request.to_string()));
        if dice.below(4) == 0 {
            // Enough is sent meanwhile for the connection to lag, or its buffers have room.
            broker.wait_for_metric("tickwire_feed_ticks_total", {
                let until = broker.metric("tickwire_feed_ticks_total").unwrap_or(0.0) + 1_000.0;
                move |ticks| ticks >= until
            });
        }
        let (mut left, mut is_answered) = (dice.below(300), false);
        while !is_answered || (left > 0 && socket.has_something()) {
            let frame = socket.frame();
            is_answered |= frame.1.starts_with(br#"{"op":"ack""#);
            left = left.saturating_sub(1);
            assert!(!count(&mut counts, frame), "nobody has closed it");
        }
        if dice.below(3) == 0 {
            let request = json!({"op": "unsubscribe", "id": 100 + id, "topics": [topic]});
            socket.send(Frame::text(&request.to_string()));
        }
    }
    socket.send(Frame::new(Opcode::Close, &1_000_u16.to_be_bytes()));
    while !count(&mut counts, socket.frame()) {}
    counts
}

fn add(sum: &mut Counts, counts: Counts) {
    for (family, count) in counts {
        let sum = sum.entry(family).or_default();
        sum.messages += count.messages;
        sum.bytes += count.bytes;
    }
}

/// The books of today.
fn today(broker: &Broker) -> Value {
    let (status, page) = admin(broker, "GET", "accounting", &Value::Null);
    assert_eq!(status, 200, "{page}");
    page
}

/// What the books say of an account.
fn booked(page: &Value, kind: &str, name: &Value) -> Counts {
    let accounts = page["accounts"].as_array().expect("a list");
    let account = accounts
        .iter()
        .find(|it| it["kind"] == kind && it["name"] == *name);
    let families = account.expect("it has an account")["families"]
        .as_array()
        .expect("a list");
    let number = |of: &Value, name: &str| of[name].as_u64().expect("a number");
    let families = families.iter().map(|family| {
        let count = Count {
            messages: number(family, "delivered") + number(family, "repeated"),
            bytes: number(family, "bytes"),
        };
        (family["family"].as_str().expect("a name").to_owned(), count)
    });
    families.collect()
}

/// The sum of a metric of both shards.
fn of_shards(broker: &Broker, metric: &str) -> f64 {
    let shards = ["0", "1"].map(|shard| broker.metric(&format!("{metric}{{shard=\"{shard}\"}}")));
    shards
        .iter()
        .map(|value| value.expect("there are two shards"))
        .sum()
}

#[test]
fn the_books_are_what_the_clients_have_counted_and_what_the_ledger_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = start(folder.path(), "");
    let tokens = [Some(DESK), Some(OTHER), None];
    let counts: Vec<(usize, Counts)> = std::thread::scope(|scope| {
        let leads = (0..9).map(|client| {
            let (broker, who) = (&broker, client % 3);
            scope.spawn(move || {
                let mut sum = Counts::new();
                for connection in 0..2 {
                    add(
                        &mut sum,
                        lead(broker, tokens[who], (10 * client + connection) as u64),
                    );
                }
                (who, sum)
            })
        });
        let leads: Vec<_> = leads.collect();
        leads
            .into_iter()
            .map(|lead| lead.join().expect("it counted"))
            .collect()
    });
    let mut own = [(); 3].map(|()| Counts::new());
    for (who, counts) in counts {
        add(&mut own[who], counts);
    }
    poll("all sessions are gone", || {
        (of_shards(&broker, "tickwire_sessions") == 0.0).then_some(())
    });
    let page = today(&broker);
    let names = [
        ("key", json!("desk")),
        ("key", json!("other")),
        ("anonymous", Value::Null),
    ];
    assert!(own[0].len() >= 4, "{own:?}");
    for (own, (kind, name)) in own.iter().zip(&names) {
        assert!(!own.is_empty());
        assert_eq!(*own, booked(&page, kind, name), "{kind} {name}");
    }
    let delivered = of_shards(&broker, "tickwire_ledger_delivered_total");
    assert_eq!(page["delivered"].as_f64(), Some(delivered), "{page}");
    // The same in the metrics.
    let metrics = get(broker.ops, "/metrics").body;
    let sum = |name: &str| -> f64 {
        let values = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.split_once("} "));
        values
            .map(|(_, value)| value.parse::<f64>().expect("a number"))
            .sum()
    };
    assert_eq!(sum("tickwire_accounted_messages_total{"), delivered);
    let families = page["families"].as_array().expect("a list");
    for family in families {
        // Each holder, and one address without a token.
        let users = own
            .iter()
            .filter(|own| own.contains_key(family["family"].as_str().unwrap_or_default()));
        assert_eq!(family["users"], json!(users.count()), "{family}");
    }
    assert!(sum("tickwire_accounted_users{") >= families.len() as f64);
    broker.stop();
}

#[test]
fn a_restart_goes_on_with_the_books_of_the_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("books");
    let settings = format!(
        "families = [\"trade.*\", \"ticker.>\"]
dir = {dir:?}
save_s = 3600
"
    );
    let broker = start(folder.path(), &settings);
    lead(&broker, Some(DESK), 1);
    let mut before = today(&broker);
    broker.stop();
    let broker = start(folder.path(), &settings);
    let mut after = today(&broker);
    for page in [&mut before, &mut after] {
        assert!(page["delivered"].as_u64() > Some(0), "{page}");
        page["until"].take();
    }
    assert_eq!(after, before);
    let families = before["accounts"][0]["families"]
        .as_array()
        .expect("a list")
        .iter();
    let families: Vec<&str> = families.filter_map(|family| family["family"].as_str()).collect();
    assert!(
        families
            .iter()
            .all(|name| ["(other)", "trade.*", "ticker.>"].contains(name)),
        "{families:?}"
    );
    let table = tool(&broker, &["accounting"]);
    assert!(table.lines().any(|line| line.starts_with("key desk ")), "{table}");
    let csv = tool(&broker, &["accounting", "today", "--csv"]);
    let head = "day,kind,name,issuer,family,addresses,peak_connections,delivered,repeated,bytes\r\n";
    assert!(csv.starts_with(head) && csv.contains(",key,desk,,"), "{csv}");
    broker.stop();
}

/// What `tickwire admin` prints.
fn tool(broker: &Broker, args: &[&str]) -> String {
    let ops = format!("http://{}", broker.ops);
    let mut command = tickwire(&[&["admin"], args, &["--ops", &ops]].concat());
    command
        .env("TICKWIRE_TOKEN", OPERATOR)
        .stdin(std::process::Stdio::null());
    let outcome = finish(command.spawn().expect("the program starts"));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.stdout
}

//! Configurations as an operator writes them, and the results.

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::key::{self, Key, Shape};
use tickwire_wire::{Kind, Micros, Moment};

use super::*;

mod documented;
mod refused;

/// The input of one case. Paths in it are relative to a fresh folder, whose name errors do not show.
struct Case {
    folder: TempDir,
    file: Option<String>,
    environment: Vec<(String, String)>,
    flags: Overrides,
}

impl Case {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            file: None,
            environment: Vec::new(),
            flags: Overrides::default(),
        }
    }

    /// Adds the file `text`, in which `DIR` stands for the folder.
    fn file(mut self, text: &str) -> Self {
        self.file = Some(text.replace("DIR", &self.folder.path().display().to_string()));
        self
    }

    fn variable(mut self, name: &str, text: &str) -> Self {
        self.environment.push((name.to_owned(), text.to_owned()));
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Overrides)) -> Self {
        set(&mut self.flags);
        self
    }

    fn load(self) -> Result<Config, ConfigError> {
        let path = self.folder.path().join("x.toml");
        if let Some(text) = &self.file {
            std::fs::write(&path, text).unwrap();
        }
        Config::load(
            self.file.is_some().then_some(&*path),
            self.environment,
            &self.flags,
        )
    }

    fn loaded(self) -> Config {
        self.load().unwrap()
    }

    fn refused(self, expected: &Expect) {
        let folder = format!("{}/", self.folder.path().display());
        let error = self.load().unwrap_err().to_string();
        expected.assert_eq(&error.replace(&folder, ""));
    }
}

#[test]
fn the_stronger_layer_wins() {
    let file = "[drain]\nwindow_ms = 1\n[feed]\nrate = 2\nseed = 2\nspeed = 2\n";
    let config = Case::new()
        .file(file)
        .variable("TICKWIRE_RATE", "3")
        .variable("TICKWIRE_SEED", "3")
        .flags(|flags| flags.set("--seed", "4"))
        .loaded();
    assert_eq!(config.drain.window_ms, 1);
    assert_eq!(config.feed.speed, 2.0);
    assert_eq!(config.feed.rate, 3);
    assert_eq!(config.feed.seed, 4);
    assert_eq!(config.limits, Config::default().limits);
}

#[test]
fn every_flag_reaches_its_field() {
    let config = Case::new()
        .flags(|flags| {
            for (flag, text) in [
                ("--listen", "0.0.0.0:80"),
                ("--ops", "[::1]:81"),
                ("--feed", "sim"),
                ("--symbols", "200"),
                ("--rate", "12"),
                ("--seed", "13"),
                ("--speed", "0.5"),
                ("--from", "2024-08-08T07:59:59Z"),
                ("--until", "1723104000000000"),
                ("--loop", "true"),
                ("--start", "on-subscribe"),
                ("--shards", "3"),
                ("--anonymous-publish", "chat.>,a.*,b"),
                ("--log-format", "json"),
                ("--log-level", "debug"),
            ] {
                flags.set(flag, text);
            }
        })
        .loaded();
    let expected = Config {
        listen: "0.0.0.0:80".parse().unwrap(),
        ops: "[::1]:81".parse().unwrap(),
        shards: Some(3),
        anonymous_publish: ["chat.>", "a.*", "b"].map(|p| p.parse().unwrap()).to_vec(),
        log: LogSettings {
            format: LogFormat::Json,
            level: LogLevel::Debug,
        },
        feed: FeedSettings {
            source: FeedSource::Sim,
            symbols: 200,
            rate: 12,
            seed: 13,
            speed: 0.5,
            from: Some(Moment(Micros(1_723_103_999_000_000))),
            until: Some(Moment(Micros(1_723_104_000_000_000))),
            repeats: true,
            start: FeedStart::OnSubscribe,
            silent_ms: 10_000,
        },
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn variables_name_flags_or_paths() {
    let config = Case::new()
        .variable("TICKWIRE_LIMITS__OUTBOX_BYTES", "131072")
        .variable("TICKWIRE_HEARTBEAT__HEARTBEAT_MS", "1000")
        .variable("TICKWIRE_ANONYMOUS_PUBLISH", "")
        .variable("TICKWIRE_LOG_LEVEL", "trace")
        .variable("TICKWIRE_DRAIN__WINDOW_MS", "0")
        // These are not settings: the program's own, the tests', Kubernetes' and those of other programs.
        .variable("TICKWIRE_LOG", "tickwire=trace")
        .variable("TICKWIRE_CONFIG", "nowhere.toml")
        .variable("TICKWIRE_TEST_ANYTHING", "1")
        .variable("TICKWIRE_PORT_7400_TCP_ADDR", "10.0.0.1")
        .variable("TICKWIRE", "1")
        .variable("PATH", "/bin")
        .loaded();
    assert_eq!(config.limits.outbox_bytes, 131_072);
    assert_eq!(config.heartbeat.heartbeat_ms, 1_000);
    assert_eq!(config.anonymous_publish, []);
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(config.drain.window_ms, 0);
}

#[test]
fn the_feed_is_one_word_outside_the_file() {
    let file = "[feed]\nkind = \"replay\"\nfiles = [\"DIR/x.toml\"]";
    let in_file = Case::new().file(file).loaded();
    assert!(matches!(in_file.feed.source, FeedSource::Replay(files) if files.len() == 1));

    let over = |word: &str| {
        let case = Case::new().file(file);
        let word = word.replace("DIR", &case.folder.path().display().to_string());
        case.flags(|flags| flags.set("--feed", word)).loaded().feed.source
    };
    assert_eq!(over("none"), FeedSource::None);
    assert_eq!(over("sim"), FeedSource::Sim);
    assert!(matches!(over("replay"), FeedSource::Replay(files) if files.len() == 1));
    assert!(matches!(over("replay:DIR/x.toml,DIR/x.toml"), FeedSource::Replay(files) if files.len() == 2));
}

#[test]
fn clients_show_certificates_if_someone_may_sign_them() {
    let clients = |more: &str| {
        let file = format!("[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n{more}");
        Case::new().file(&file).loaded().tls.expect("both files").clients
    };
    let ca_file = std::path::PathBuf::from("ca");
    let ca = "client_ca_file = \"ca\"\n";
    assert_eq!(clients(""), TlsClients::Anonymous);
    assert_eq!(clients("client_auth = \"none\""), TlsClients::Anonymous);
    assert_eq!(
        clients(ca),
        TlsClients::MustShow {
            ca_file: ca_file.clone()
        }
    );
    assert_eq!(
        clients(&format!("{ca}client_auth = \"optional\"")),
        TlsClients::MayShow { ca_file }
    );
    assert_eq!(
        clients(&format!("{ca}client_auth = \"none\"")),
        TlsClients::Anonymous
    );
}

#[test]
fn topics_end_by_the_first_rule() {
    let file = "[[expiry]]\npattern = \"a.b\"\nafter_ms = 1\neven_if_watched = true\n[[expiry]]\npattern = \"a.>\"\nafter_ms = 31622400000\n";
    let rules = Case::new().file(file).loaded().expiry;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.after_ms, rule.even_if_watched))
        .collect();
    assert_eq!(rules, [("a.b", 1, true), ("a.>", 31_622_400_000, false)]);
}

#[test]
fn what_is_derived_is_everything_unless_a_rule_says_less() {
    let file = "[feed]\nkind = \"sim\"\n[[derive]]\nfrom = \"t.>\"\n[[derive]]\nfrom = \"trade.>\"\ncandles = [\"1h\"]\nticker = false\nbbo = false\n";
    let config = Case::new().file(file).loaded();
    let rules: Vec<_> = config
        .derive
        .iter()
        .map(|rule| (rule.from.as_str(), rule.candles.len(), rule.ticker, rule.bbo))
        .collect();
    assert_eq!(rules, [("t.>", 6, true, true), ("trade.>", 1, false, false)]);
    assert_eq!((config.shard_count(64), config.shard_count(2)), (63, 2));
}

#[test]
fn views_have_a_prefix_and_room_unless_a_rule_says_otherwise() {
    let file = "[[views]]\npattern = \"ticker.>\"\ndelay_ms = 900000\n[[views]]\npattern = \">\"\ndelay_ms = 1\nprefix = \"d.\"\nbytes_max = 1048576\n";
    let config = Case::new().file(file).loaded();
    let rules: Vec<_> = config
        .views
        .iter()
        .map(|view| {
            (
                view.pattern.as_str(),
                view.prefix.as_str(),
                view.delay_ms,
                view.bytes_max,
            )
        })
        .collect();
    assert_eq!(
        rules,
        [
            ("ticker.>", "delayed.", 900_000, 268_435_456),
            (">", "d.", 1, 1_048_576)
        ]
    );
    assert_eq!((config.shard_count(64), config.shard_count(2)), (63, 2));
    assert_eq!(config.topic_kinds().kind_of("d.book.A"), Kind::Book);
}

#[test]
fn topics_may_be_silent_for_as_long_as_the_first_rule_says() {
    let file = "[[staleness]]\npattern = \"a.b\"\nafter_ms = 1\n[[staleness]]\npattern = \"a.>\"\nafter_ms = 86400000\n";
    let rules = Case::new().file(file).loaded().staleness;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.after_ms))
        .collect();
    assert_eq!(rules, [("a.b", 1), ("a.>", 86_400_000)]);
}

#[test]
fn rules_keep_their_order_and_fill_their_history() {
    let rules = Case::new()
        .file(
            "[[kinds]]\npattern = \"a.b\"\nkind = \"book\"\n\
             [[kinds]]\npattern = \"a.>\"\nkind = \"state\"\n\
             [[kinds]]\npattern = \">\"\nkind = \"event\"\nhistory = 7\n",
        )
        .loaded()
        .kinds;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| (rule.pattern.as_str(), rule.kind, rule.history))
        .collect();
    assert_eq!(
        rules,
        [
            ("a.b", Kind::Book, 1_024),
            ("a.>", Kind::State, 1),
            (">", Kind::Event, 7)
        ]
    );
}

/// A file that sets only `key`, to `value`.
fn file_with(key: &Key, value: &str) -> String {
    match key.table() {
        "" => format!("{} = {value}", key.name()),
        table => format!("[{table}]\n{} = {value}", key.name()),
    }
}

#[test]
fn every_key_is_read_and_its_range_holds() {
    for key in key::all() {
        let wrong = match key.shape {
            Shape::Integer { min, max } => vec![i128::from(min) - 1, i128::from(max) + 1],
            _ => Vec::new(),
        };
        // TOML itself has no numbers beyond 63 bits.
        let wrong = wrong.iter().filter(|n| **n <= i128::from(i64::MAX));
        let no_value = if key.shape == Shape::Bool { "1" } else { "true" };
        for value in wrong.map(ToString::to_string).chain([no_value.to_owned()]) {
            let error = Case::new().file(&file_with(key, &value)).load().unwrap_err();
            assert!(
                matches!(&error, ConfigError::BadValue { key: named, .. } if named == key.path),
                "{}: {error}",
                key.path
            );
        }
    }
}

#[test]
fn switches_of_tests_are_off_and_settable() {
    assert!(!Config::default().test.echo);
    assert!(Case::new().file("[test]\necho = true").loaded().test.echo);
    assert!(
        Case::new()
            .variable("TICKWIRE_TEST__ECHO", "true")
            .loaded()
            .test
            .echo
    );
    Case::new()
        .variable("TICKWIRE_TEST__ECHO", "yes")
        .refused(&expect![[
            r#"test.echo = "yes" (from environment TICKWIRE_TEST__ECHO): must be true or false"#
        ]]);
    // Variables of this name that are for tests are not settings.
    assert!(
        !Case::new()
            .variable("TICKWIRE_TEST_ECHO", "true")
            .loaded()
            .test
            .echo
    );
}

#[test]
fn every_word_of_the_list_is_known_to_its_field() {
    // Two keys have words that need other keys.
    for key in key::all().filter(|key| !["feed.kind", "tls.client_auth"].contains(&key.path)) {
        if let Shape::Choice(words) = key.shape {
            for word in words {
                let mut text = file_with(key, &format!("{word:?}"));
                if key.table() == "proxy" {
                    text += "\ntrusted = [\"10.0.0.0/8\"]";
                }
                Case::new().file(&text).loaded();
            }
        }
    }
}

#[test]
fn counts_that_the_machine_decides() {
    let limits = |connections| LimitSettings {
        connections,
        ..Config::default().limits
    };
    for (asked, open_files, most) in [
        (None, 1_048_576, 1_048_320),
        (None, 1_024, 768),
        (None, 256, 128),
        (None, 0, 1),
        (Some(500), 1_024, 500),
        (Some(10_000), 1_024, 768),
    ] {
        assert_eq!(
            limits(asked).connections_max(open_files),
            most,
            "{asked:?} of {open_files}"
        );
    }
    for (asked, cores, shards) in [(None, 8, 8), (None, 0, 1), (None, 128, 64), (Some(2), 8, 2)] {
        let config = Config {
            shards: asked,
            ..Config::default()
        };
        assert_eq!(config.shard_count(cores), shards, "{asked:?} of {cores}");
    }
}

#[test]
fn the_console_shows_topics_only_where_nobody_gets_more_than_as_a_client() {
    let public = "ops = \"0.0.0.0:7401\"\n";
    let tls = "[tls]\ncert_file = \"c\"\nkey_file = \"k\"\n";
    let certificates = format!("{tls}client_ca_file = \"a\"\n");
    let optional = format!("{certificates}client_auth = \"optional\"\n");
    let with = |text: &str, data: &str| format!("{text}[console]\ndata = \"{data}\"\n");
    for (file, shows) in [
        (String::new(), true),
        ("ops = \"[::1]:7401\"".to_owned(), true),
        (public.to_owned(), false),
        (with(public, "auto"), false),
        (with(public, "on"), true),
        (with("", "off"), false),
        (tls.to_owned(), true),
        (certificates.clone(), false),
        (with(&certificates, "on"), true),
        (optional, true),
    ] {
        let config = Case::new().file(&file).load().expect("it is valid");
        assert_eq!(config.console_has_data(), shows, "{file}");
    }
}

//! The command line of everything that needs no broker.

use std::fs;

use crate::program::run;

#[test]
fn every_command_explains_itself_with_examples() {
    for command in [
        "serve",
        "sub",
        "pub",
        "record",
        "topics",
        "get",
        "history",
        "export",
        "top",
        "admin",
        "bench",
        "check-config",
        "check-recording",
        "hash-key",
        "completions",
        "man",
    ] {
        let help = run(&[command, "--help"], "");
        assert_eq!(help.code, Some(0), "{command}: {}", help.stderr);
        assert!(
            help.stdout.contains("Examples:\n  "),
            "{command}: {}",
            help.stdout
        );
        assert!(
            help.stdout.contains(&format!("tickwire {command}")),
            "{command}: {}",
            help.stdout
        );
    }
}

#[test]
fn what_is_used_wrongly_ends_with_2_and_says_why() {
    for (args, reason) in [
        (&[][..], "Usage: tickwire <COMMAND>"),
        (&["sub"], "<TOPIC>"),
        (&["sub", "bad..topic"], "empty token at byte 4"),
        (
            &["sub", "a", "--mode", "some"],
            "[possible values: every, conflate, snapshot]",
        ),
        (&["sub", "a", "--count", "0"], "0 is not in 1.."),
        (&["sub", "a", "--since", "57"], "a position is EPOCH:SEQ"),
        (
            &["sub", "a", "b", "--since", "k:57"],
            "--since is given 1 times for 2 topics",
        ),
        (&["sub", "a.*", "--since", "k:57"], "a.* has a wildcard"),
        (
            &["sub", "--url", "ws://a,http://b:7400/", "a"],
            "\"http://b:7400/\" has the scheme \"http\"",
        ),
        (
            &["bench", "--url", "ws://a,ws://b"],
            "bench measures one broker: name one URL",
        ),
        (
            &["sub", "--url", "http://localhost/", "a"],
            "this client speaks ws:// and wss://",
        ),
        (
            &["sub", "--url", "localhost:7400", "a"],
            "has the scheme \"localhost\", which is not supported",
        ),
        (&["pub", "--text"], "<TOPIC>"),
        (
            &["pub", "chat.*"],
            "wildcard at byte 5: a single topic is needed here",
        ),
        (&["serve", "--rate", "many"], "feed.rate = \"many\" (from --rate)"),
        (
            &["serve", "--config", "does-not-exist.toml"],
            "does-not-exist.toml",
        ),
        (&["completions", "cmd"], "[possible values: bash, "),
        (&["topics", "a..b"], "empty token at byte 2"),
        (&["get"], "<TOPIC>..."),
        (&["get", "a.*"], "wildcard at byte 2"),
        (
            &["history", "a", "--since", "k3v9"],
            "write a number, or EPOCH:SEQ",
        ),
        (
            &["history", "a", "--since", "1", "--last", "1"],
            "cannot be used with",
        ),
        (&["top", "--ops", "ftp://a"], "write http://HOST:PORT"),
        (&["bench", "--rate", "0"], "0 is not in 1..=10000"),
        (&["man", "nothing"], "there is no command nothing"),
    ] {
        let outcome = run(args, "");
        assert_eq!(outcome.code, Some(2), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{args:?}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{args:?}");
    }
}

#[test]
fn a_broker_that_is_not_there_ends_with_1() {
    // Port 1 is reserved, and nothing listens on it.
    for command in ["sub", "pub", "get", "history", "topics", "bench"] {
        let topic = if command == "bench" { "--json" } else { "a" };
        let args = [command, "--url", "ws://127.0.0.1:1", topic];
        let outcome = run(&args, "");
        assert_eq!(outcome.code, Some(1), "{args:?}");
        assert!(
            outcome
                .stderr
                .starts_with("tickwire: cannot reach ws://127.0.0.1:1/v1/ws: "),
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn completions_ask_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&["completions", shell], "");
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(
            outcome.stdout.contains("_TICKWIRE_COMPLETE"),
            "{shell}: {}",
            outcome.stdout
        );
        let mut asked = crate::program::tickwire(&["--", "tickwire", "check-c"]);
        asked
            .env("_TICKWIRE_COMPLETE", shell)
            .env("_CLAP_COMPLETE_INDEX", "1");
        let asked = asked.output().expect("the program runs");
        let offered = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(offered.starts_with("check-config"), "{shell}: {offered}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let outcome = run(&["man", "--dir", path], "");
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(0), ""),
        "{}",
        outcome.stderr
    );
    for command in [
        "serve", "sub", "pub", "topics", "get", "history", "top", "admin", "bench", "man",
    ] {
        let page = fs::read_to_string(folder.path().join(format!("tickwire-{command}.1"))).expect("a page");
        assert!(
            page.contains(".TH") && page.contains("Exit codes"),
            "{command}: {page}"
        );
        let printed = run(&["man", command], "");
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        assert!(printed.stdout.contains(".TH"), "{command}");
    }
    let page = run(&["man"], "").stdout;
    assert!(page.contains("tickwire\\-history(1)"), "{page}");
}

#[test]
fn every_command_is_on_the_page_about_the_command_line() {
    let help = run(&["help"], "").stdout;
    let page = include_str!("../../../../docs/CLI.md");
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    let listed = commands
        .lines()
        .map_while(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut count = 0;
    for command in listed.filter(|command| *command != "help") {
        assert!(page.contains(&format!("| `tickwire {command}` |")), "{command}");
        count += 1;
    }
    assert!(count >= 13, "{help}");
}

#[test]
fn the_version_is_printed() {
    let outcome = run(&["--version"], "");
    assert_eq!(
        outcome.stdout,
        format!("tickwire {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn files_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, code, said) in [
        ("shards = 2\n", 0, ": good"),
        ("shards = 0\n", 1, "shards = 0"),
        ("shard = 2\n", 1, "shard"),
        ("shards =\n", 1, "is not TOML"),
    ] {
        let file = folder.path().join("tickwire.toml");
        fs::write(&file, text).expect("a file");
        let outcome = run(&["check-config", file.to_str().expect("UTF-8")], "");
        assert_eq!(outcome.code, Some(code), "{text}: {}", outcome.stderr);
        assert!((outcome.stdout + &outcome.stderr).contains(said), "{text}");
    }
}

//! `sub`, `pub` and `hash-key`: tokens come from files, the environment and standard input, never from the command
//! line.

use serde_json::json;

use super::*;
use crate::program::{finish, run, tickwire};

#[test]
fn sub_and_pub_show_their_token() {
    let guarded = Guarded::start("required = true");
    let file = guarded.folder.path().join("token");
    let token = token(
        "cli",
        60.0,
        &json!({"subscribe": ["chat.>"], "publish": ["chat.a"]}),
    );
    std::fs::write(&file, format!("{token}\n")).expect("a file");
    let (file, url) = (file.display().to_string(), guarded.broker.url());
    let published = run(&["pub", "--url", &url, "--token-file", &file, "chat.a"], "1\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let forbidden = run(&["pub", "--url", &url, "--token-file", &file, "chat.b"], "1\n");
    assert_eq!(forbidden.code, Some(1));
    assert!(
        forbidden
            .stderr
            .contains("forbidden: this connection may not publish to chat.b"),
        "{}",
        forbidden.stderr
    );
    let read = |with: &[&str], token: Option<&str>| {
        let args = [&["sub", "--url", &url, "--mode", "snapshot", "chat.a"], with].concat();
        let mut command = tickwire(&args);
        command.envs(token.map(|token| ("TICKWIRE_TOKEN", token)));
        finish(command.spawn().expect("the program starts"))
    };
    assert!(read(&["--token-file", &file], None).stdout.contains("\"data\":1"));
    assert!(read(&[], Some(&token)).stdout.contains("\"data\":1"));
    let without = read(&[], None);
    assert_eq!(without.code, Some(1));
    assert!(
        without.stderr.contains("401") && without.stderr.contains("a token is required"),
        "{}",
        without.stderr
    );
    let missing = read(&["--token-file", "does-not-exist"], None);
    assert!(
        missing.stderr.contains("cannot read the token in does-not-exist"),
        "{}",
        missing.stderr
    );
    let broken = read(&[], Some("two words"));
    assert!(
        broken.stderr.contains("the token is no token"),
        "{}",
        broken.stderr
    );
    for outcome in [&without, &missing, &broken, &forbidden] {
        assert!(!outcome.stderr.contains(&token) && !outcome.stderr.contains("two words"));
    }
}

#[test]
fn hash_key_makes_keys_and_hashes_them() {
    let made = run(&["hash-key", "--generate"], "");
    let (key, line) = made.stdout.split_once('\n').expect("two lines");
    let key = key.strip_prefix("key: ").expect("the key");
    assert_eq!(run(&["hash-key"], key).stdout, line);
    assert_eq!(run(&["hash-key"], &format!("{key}\r\n")).stdout, line);
    assert_ne!(run(&["hash-key", "--generate"], "").stdout, made.stdout);
    for (key, reason) in [
        ("", "has 0 bytes; at least 32 are needed"),
        ("password", "has 8 bytes; at least 32 are needed"),
        (&"a b ".repeat(20), "without blanks"),
        (&"a".repeat(5_000), "at most 4096"),
    ] {
        let refused = run(&["hash-key"], key);
        assert_eq!(refused.code, Some(1), "{reason}");
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    assert_eq!(
        run(&["hash-key", "the-key"], "").code,
        Some(2),
        "not on the command line"
    );
}

#[test]
fn check_config_reads_the_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.toml");
    std::fs::write(
        &path,
        "[auth.jwt]\nalgorithms = [\"RS256\"]\npublic_key_files = [\"does-not-exist.pem\"]\n",
    )
    .expect("a file");
    let path = path.display().to_string();
    let checked = run(&["check-config", &path], "");
    assert_eq!(checked.code, Some(1));
    assert!(
        checked
            .stderr
            .contains("auth.jwt.public_key_files names does-not-exist.pem"),
        "{}",
        checked.stderr
    );
    let served = run(&["serve", "--config", &path], "");
    assert_eq!(served.stderr.lines().last(), checked.stderr.lines().last());
}

#[test]
fn the_start_says_who_may_do_what() {
    let guarded = Guarded::start_with(
        "anonymous_subscribe = [\"ticker.>\"]",
        &["--anonymous-publish", "chat.*"],
    );
    guarded
        .broker
        .wait_for_log("anyone may subscribe to ticker.> and publish to chat.*");
    Guarded::start("required = true")
        .broker
        .wait_for_log("a token is required");
}

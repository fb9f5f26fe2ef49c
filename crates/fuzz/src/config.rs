//! The configuration: any file is a valid configuration or a fault that takes a few lines, with the same result each
//! time.

use std::io::Write as _;

use tempfile::NamedTempFile;
use tickwire_server::Config;
use tickwire_server::config::Overrides;

/// Longest message about a fault in characters, without the lines of the file that it shows.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Checks a configuration file. After a zero byte, the input holds environment variables as `NAME=TEXT` lines.
///
/// # Panics
/// When an invalid configuration is accepted, or the message about a fault is too long.
pub fn config(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let file = scratch(parts.next().unwrap_or_default());
    let environment = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let variables = || {
        let pairs = environment.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, text)| (name.to_owned(), text.to_owned()))
    };
    let load = || Config::load(Some(file.path()), variables(), &Overrides::default());
    match (load(), load()) {
        (Ok(config), Ok(again)) => {
            assert_eq!(config, again);
            assert!(config.limits.message_bytes <= config.limits.outbox_bytes);
            assert!(config.limits.ops_per_s <= config.limits.ops_burst);
            assert!((1..=64).contains(&config.shard_count(128)));
            assert!(config.limits.connections_max(1_024) <= 1_024);
        }
        (Err(fault), Err(again)) => {
            let message = fault.to_string();
            assert_eq!(message, again.to_string());
            let own = message.replace(&environment, "");
            let shown = own.lines().filter(|line| !line.contains(" | "));
            let length: usize = shown.map(|line| line.chars().count()).sum();
            assert!(
                length <= MESSAGE_CHARS_MAX + input.len(),
                "{length} characters: {message}"
            );
        }
        (one, other) => panic!("once {one:?}, then {other:?}"),
    }
}

/// A temporary file that holds `bytes`. It is deleted when it is dropped.
///
/// # Panics
/// When the machine has no room for the file.
pub(crate) fn scratch(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("the machine has room for a small file");
    file.write_all(bytes)
        .expect("the machine has room for a small file");
    file
}

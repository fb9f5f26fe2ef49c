//! `tickwire hash-key`: prints the line of the configuration file for a static key. The key is read from standard input
//! or generated.

use std::io::{self, Read};

use anyhow::anyhow;
use tickwire_server::auth::{KEY_BYTES_MIN, generate_key};
use tickwire_server::config::KeyHash;
use tickwire_wire::Secret;

use crate::cli::HashKeyArgs;
use crate::console;
use crate::failure::Failure;

/// Longest key that is read, in bytes.
const KEY_BYTES_MAX: u64 = 4_096;

/// Prints the line with the hash, and the key if it was generated.
pub(crate) fn run(args: &HashKeyArgs) -> Result<(), Failure> {
    let lines = if args.generate {
        let key = generate_key()?;
        format!("key: {}\n{}", key.expose(), line(&key))
    } else {
        line(&read()?)
    };
    console::print(lines.as_bytes())?;
    Ok(())
}

fn line(key: &Secret) -> String {
    format!("sha256 = \"{}\"\n", KeyHash::of(key.expose()))
}

fn read() -> Result<Secret, Failure> {
    let mut text = String::new();
    io::stdin().take(KEY_BYTES_MAX + 1).read_to_string(&mut text)?;
    // Windows programs begin a UTF-8 file with a byte order mark.
    let key = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let key = key.trim_end_matches(['\r', '\n']);
    if key.len() < KEY_BYTES_MIN {
        return Err(Failure::Failed(anyhow!(
            "the key on standard input has {} bytes; at least {KEY_BYTES_MIN} are needed, and random ones: --generate makes a key",
            key.len()
        )));
    }
    if key.len() as u64 > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Failed(anyhow!(
            "the key on standard input must be one line of at most {KEY_BYTES_MAX} ASCII characters without blanks"
        )));
    }
    Ok(Secret::from(key))
}

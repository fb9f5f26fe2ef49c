//! `tickwire check-config`: tells whether a broker would start with a configuration file, without starting one.

use std::env;

use tickwire_feed::Replay;
use tickwire_server::auth::Access;
use tickwire_server::config::{Config, FeedSource, Overrides};
use tickwire_server::tls::TlsIdentity;

use crate::cli::CheckConfigArgs;
use crate::console;
use crate::failure::Failure;

/// The variable in which systemd tells a service the folder of its credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Checks the file and the files that it names. The environment could hide a fault of the file, so only the folder of
/// credentials is taken from it.
pub(crate) fn run(args: &CheckConfigArgs) -> Result<(), Failure> {
    let credentials = env::var(CREDENTIALS).ok();
    let credentials = credentials.map(|folder| (CREDENTIALS.to_owned(), folder));
    let config = Config::load(Some(&args.file), credentials, &Overrides::default())?;
    let access = Access::load(&config)?;
    for key in access.ignored_keys() {
        console::say(format_args!("a key is ignored: {key}"));
    }
    if let Some(tls) = &config.tls {
        TlsIdentity::load(tls)?;
    }
    if let FeedSource::Replay(files) = &config.feed.source {
        Replay::open(files)?;
    }
    console::print(format!("{}: good\n", args.file.display()).as_bytes())?;
    Ok(())
}

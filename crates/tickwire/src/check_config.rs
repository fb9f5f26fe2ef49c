//! `tickwire check-config`: says whether a broker would start with a file, without starting one.

use tickwire_feed::Replay;
use tickwire_server::access::Access;
use tickwire_server::config::{Config, FeedSource, Overrides};
use tickwire_server::tls::TlsIdentity;

use crate::cli::CheckConfigArgs;
use crate::console;
use crate::failure::Failure;

/// Checks the file and those that it names, by themselves: the environment is not looked at, since it could hide what is wrong with the file.
pub(crate) fn run(args: &CheckConfigArgs) -> Result<(), Failure> {
    let config = Config::load(Some(&args.file), [], &Overrides::default())?;
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

//! A network between clients and a broker that does what a test wants: faults from a seed, or a cable that is pulled and put back.
//!
//! It is the proxy of the load test, which must have been built beside the broker, as a build of the whole workspace does.

use std::path::{Path, PathBuf};

use super::{Broker, Script, skip};

/// Bytes after which no connection of a test has come: without faults.
const NEVER: &str = "1099511627776";

/// A network before a broker. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct BadNetwork {
    program: PathBuf,
    args: Vec<String>,
    /// Where clients connect.
    address: String,
    /// Ends with this; none while it is cut.
    proxy: Option<Script>,
}

impl BadNetwork {
    /// One with faults that `seed` chooses before `broker`, or a line that says that `test` is skipped for want of the program.
    pub(crate) fn before(test: &str, broker: &Broker, seed: u64) -> Option<Self> {
        let seed = seed.to_string();
        Self::start(
            test,
            broker,
            &["--seed", &seed, "--every-bytes", "40000", "--pause-ms", "300"],
        )
    }

    /// One without faults, as long as it is not cut.
    pub(crate) fn good(test: &str, broker: &Broker) -> Option<Self> {
        Self::start(test, broker, &["--every-bytes", NEVER, "--every-bytes-up", NEVER])
    }

    fn start(test: &str, broker: &Broker, rules: &[&str]) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_tickwire")).with_file_name("tickwire-loadtest");
        if !program.is_file() {
            let why =
                "there is no load test beside the broker; build it with cargo build -p tickwire-loadtest";
            return skip(test, why);
        }
        let to = broker.listen.to_string();
        let args = [&["proxy", "--to", &to], rules].concat();
        let mut network = Self {
            program,
            args: args.into_iter().map(str::to_owned).collect(),
            address: "127.0.0.1:0".to_owned(),
            proxy: None,
        };
        network.heal();
        Some(network)
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Ends every connection, and takes none until it heals.
    pub(crate) fn cut(&mut self) {
        self.proxy = None;
    }

    /// Takes connections again, where it took them before.
    pub(crate) fn heal(&mut self) {
        let mut args = self.args.clone();
        args.extend(["--listen".to_owned(), self.address.clone()]);
        let mut proxy = Script::start(&self.program, &args);
        let started = proxy.next();
        let listen = started["listen"].as_str();
        self.address = listen.expect("the proxy says where it listens").to_owned();
        self.proxy = Some(proxy);
    }
}

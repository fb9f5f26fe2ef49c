//! A network between clients and a broker, under the control of a test: faults from a seed, or a cable that is pulled
//! and put back.
//!
//! It is the proxy of the load test. That program must have been built beside the broker, as a build of the whole
//! workspace does.

use std::path::{Path, PathBuf};

use super::{Broker, Script, skip};

/// More bytes than any connection of a test carries: no faults.
const NEVER: &str = "1099511627776";

/// A network in front of a broker. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct BadNetwork {
    program: PathBuf,
    args: Vec<String>,
    /// The address for clients.
    address: String,
    /// The proxy's process; `None` while the network is cut.
    proxy: Option<Script>,
}

impl BadNetwork {
    /// A network in front of `broker` with faults that `seed` chooses. Without the program, prints that `test` is
    /// skipped.
    pub(crate) fn before(test: &str, broker: &Broker, seed: u64) -> Option<Self> {
        let seed = seed.to_string();
        Self::start(
            test,
            broker,
            &["--seed", &seed, "--every-bytes", "40000", "--pause-ms", "300"],
        )
    }

    /// A network without faults, until it is cut.
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

    /// The URL for clients.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Ends every connection, and accepts none until `heal` is called.
    pub(crate) fn cut(&mut self) {
        self.proxy = None;
    }

    /// Accepts connections again, at the same address.
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

//! A broker under test: started here, observed through /proc and its metrics, and stopped again.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tickwire_wire::Codec;

use crate::swarm::connections::{Endpoint, Swarm};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::proc::{Memory, Sample, memory};
use crate::swarm::process::{Process, free_address};
use crate::swarm::readers::{Layout, Readers};
use crate::swarm::scrape::{self, Metrics};
use crate::swarm::tls::TlsClient;
use crate::swarm::watch::Watch;

/// How long a broker may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a broker may take for the first message of each topic. At the default rate the rarest is traded once a
/// minute.
const TOPICS_WITHIN: Duration = Duration::from_secs(300);
/// The time between two looks at its topics.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Settings of a broker whose publisher may send as much as it wants, and may wait until all other clients are
/// connected.
pub(crate) const FREE_PUBLISHER: [(&str, &str); 5] = [
    ("TICKWIRE_LIMITS__FIRST_REQUEST_MS", "600000"),
    ("TICKWIRE_LIMITS__OPS_PER_S", "1000000"),
    ("TICKWIRE_LIMITS__OPS_BURST", "1000000"),
    ("TICKWIRE_LIMITS__PUBLISHES_PER_S", "1000000"),
    ("TICKWIRE_LIMITS__PUBLISHES_BURST", "1000000"),
];

/// The broker to test.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BrokerArgs {
    /// The broker's program [default: `tickwire` beside this program]
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

impl BrokerArgs {
    /// The command of a broker with default settings, without addresses.
    ///
    /// # Errors
    /// When the program does not exist.
    pub(crate) fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(program(self.bin.as_deref())?);
        command.arg("serve");
        // A broker without clients need not wait at its end. A trial that has clients sets this itself.
        command.env("TICKWIRE_DRAIN__WINDOW_MS", "1000");
        command.env("TICKWIRE_DRAIN__DEADLINE_MS", "15000");
        Ok(command)
    }
}

#[derive(Debug)]
pub(crate) struct Broker {
    process: Process,
    pub(crate) endpoint: Endpoint,
    ops: SocketAddr,
    pub(crate) description: String,
}

impl Broker {
    /// Runs `command`, which is a broker's `serve` without its addresses, and waits until the broker is ready.
    ///
    /// # Errors
    /// When the broker cannot be started, or does not become ready.
    pub(crate) fn start(command: &mut Command, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let (listen, ops) = (free_address()?, free_address()?);
        command.args(["--listen", &listen.to_string(), "--ops", &ops.to_string()]);
        // Its warnings are shown, but not its greeting.
        if env::var_os("TICKWIRE_LOG_LEVEL").is_none() {
            command.env("TICKWIRE_LOG_LEVEL", "warn");
        }
        Ok(Self {
            process: started(command, ops, interrupt)?,
            endpoint: Endpoint::new(listen, "/v1/ws", Some(Codec::Json.subprotocol())),
            ops,
            description: described(command),
        })
    }

    /// Sends the broker a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Kills the broker with SIGKILL, and runs it again by the `command` that it was started with, at the same addresses.
    ///
    /// # Errors
    /// When it cannot be killed or started, or does not become ready.
    pub(crate) fn kill_and_restart(
        &mut self,
        command: &mut Command,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let child = self.process.child();
        child.kill().context("cannot kill the broker")?;
        child.wait().context("cannot wait for the broker's end")?;
        self.process = started(command, self.ops, interrupt)?;
        Ok(())
    }

    /// The same broker, for clients that connect with TLS as `client` says.
    pub(crate) fn with_tls(mut self, client: TlsClient) -> Self {
        self.endpoint.client = Some(client);
        self
    }

    /// The readers of `layout`, none of them connected yet.
    pub(crate) fn readers<W: Watch>(
        &self,
        layout: Layout,
        watch: W,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Swarm<Readers<W>>> {
        let connections = layout.connections();
        Swarm::new(
            &self.endpoint,
            connections,
            interrupt,
            Readers::new(layout, watch),
        )
    }

    /// The process, and the address of its metrics.
    pub(crate) fn into_process(self) -> (Process, SocketAddr) {
        (self.process, self.ops)
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        memory(self.process.pid())
    }

    pub(crate) fn sample(&self) -> anyhow::Result<Sample> {
        Sample::take(self.process.pid())
    }

    pub(crate) fn scrape(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&scrape::get(self.ops, "/metrics")?))
    }

    /// Waits until `count` topics match `pattern`. Returns their names.
    pub(crate) fn topics(
        &self,
        pattern: &str,
        count: usize,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Vec<String>> {
        let until = Instant::now() + TOPICS_WITHIN;
        let path = format!("/v1/topics?match={pattern}&limit={count}");
        loop {
            interrupt.check()?;
            let page = scrape::get_by(self.endpoint.address, &path, self.endpoint.client.as_ref())?;
            let listing: Value = serde_json::from_str(&page).context("the broker's list of topics")?;
            let listed = listing["topics"]
                .as_array()
                .context("the broker lists no topics")?;
            let name = |listed: &Value| listed["topic"].as_str().map(str::to_owned);
            let names: Vec<String> = listed.iter().filter_map(name).collect();
            let found = names.len();
            if found >= count {
                return Ok(names);
            }
            ensure!(
                Instant::now() < until,
                "the broker has {found} of {count} topics like {pattern} after {TOPICS_WITHIN:?}: raise --rate or ask for fewer"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        self.process.terminate()
    }

    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.exited()
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.stop(STOP_WITHIN)?;
        let status =
            status.with_context(|| format!("the broker did not stop within {STOP_WITHIN:?} of SIGTERM"))?;
        ensure!(status.success(), "the broker stopped with {status}");
        Ok(())
    }
}

/// Runs `command` and waits until the broker is ready.
fn started(command: &mut Command, ops: SocketAddr, interrupt: &Interrupt) -> anyhow::Result<Process> {
    let mut process = Process::start(command.stdout(Stdio::null()))?;
    process.wait_until(|| {
        interrupt.check()?;
        Ok(scrape::get(ops, "/readyz").ok())
    })?;
    Ok(process)
}

/// The path of the broker's program: the named one, or the one beside this program.
pub(crate) fn program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let program = match named {
        Some(program) => program.to_owned(),
        None => env::current_exe()
            .context("cannot find this program's own folder")?
            .with_file_name("tickwire"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it with cargo build --release -p tickwire, or name one",
        program.display()
    );
    Ok(program)
}

/// A command with the broker's settings in its environment, as one would type it. Files appear only with their names:
/// reports are kept, and a path of one machine tells nothing.
fn described(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let inherited = env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TICKWIRE_"));
    let settings: std::collections::BTreeMap<_, _> = inherited.chain(set).collect();
    let mut words: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    words.extend(
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| {
                let path = Path::new(word);
                let name = path.file_name().filter(|_| path.is_absolute());
                name.unwrap_or(word).to_string_lossy().into_owned()
            }),
    );
    words.join(" ")
}

//! A broker under test: started here or running already; observed through /proc and its metrics.
//!
//! A broker that was started is stopped again, whatever happens: with SIGTERM in the ordinary course, else killed when this
//! is dropped. Of a broker that runs already without a known process, memory and CPU time are those that its metrics tell.

use std::env;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use url::Url;

use crate::swarm::connections::{Endpoint, address_of};
use crate::swarm::interrupt::Interrupt;
use crate::swarm::proc::{self, CpuTime, Memory};
use crate::swarm::report::progress;
use crate::swarm::scrape::{self, Metrics};
use crate::swarm::tls::TlsClient;

/// The project that this program was built from.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
/// Time that a broker has to start, and to stop.
const WITHIN: Duration = Duration::from_secs(20);
/// Time between two looks at a broker that starts or stops.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which broker.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BrokerArgs {
    /// The broker's program [default: `tickwire` beside this program, built if it is not there]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "metrics"])]
    bin: Option<PathBuf>,
    /// Test a broker that runs already, at this ws:// URL, and start none
    #[arg(long, requires = "metrics")]
    url: Option<String>,
    /// Where the running broker's metrics are, http://HOST:PORT/metrics
    #[arg(long, value_name = "URL", requires = "url")]
    metrics: Option<String>,
    /// The running broker's process, on this machine, for its memory and CPU time
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Another argument for the broker that is started, such as --broker-arg=--shards=1; may be repeated
    #[arg(long, value_name = "ARG", conflicts_with = "url", allow_hyphen_values = true)]
    broker_arg: Vec<String>,
}

/// A broker.
#[derive(Debug)]
pub(crate) struct Broker {
    endpoint: Endpoint,
    ops: SocketAddr,
    metrics_path: String,
    pid: Option<u32>,
    child: Option<Child>,
    description: String,
}

impl Broker {
    /// The broker that `args` name, started with `flags` and `settings` (environment) if it must be started.
    ///
    /// # Errors
    /// When there is none, or it does not become ready.
    pub(crate) fn open(
        args: &BrokerArgs,
        flags: &[(&str, String)],
        settings: &[(&str, String)],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        match (&args.url, &args.metrics) {
            (Some(url), Some(metrics)) => Self::running(url, metrics, args.pid),
            _ => Self::start(args, flags, settings, interrupt),
        }
    }

    fn running(url: &str, metrics: &str, pid: Option<u32>) -> anyhow::Result<Self> {
        let parsed = Url::parse(metrics).with_context(|| format!("{metrics:?} is no URL"))?;
        ensure!(parsed.scheme() == "http", "{metrics:?} must begin with http://");
        let host = parsed.host_str().unwrap_or_default();
        let broker = Self {
            endpoint: Endpoint::of_broker(url)?,
            ops: address_of(host, parsed.port().unwrap_or(80))?,
            metrics_path: parsed.path().to_owned(),
            pid,
            child: None,
            description: format!("{url} (ran already)"),
        };
        broker.scrape()?;
        Ok(broker)
    }

    fn start(
        args: &BrokerArgs,
        flags: &[(&str, String)],
        settings: &[(&str, String)],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let program = match &args.bin {
            Some(path) => path.clone(),
            None => built_beside_this()?,
        };
        let [listen, ops] = free_addresses()?;
        let mut command = Command::new(&program);
        command.arg("serve");
        command.args(["--listen", &listen.to_string(), "--ops", &ops.to_string()]);
        for (flag, value) in flags {
            command.args([flag, value.as_str()]);
        }
        command.args(&args.broker_arg);
        // Who has nobody left to serve need not wait; a scenario that has says so.
        command.env("TICKWIRE_DRAIN__WINDOW_MS", "1000");
        command.env("TICKWIRE_DRAIN__DEADLINE_MS", "15000");
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        // Its warnings are worth seeing, its greeting is not.
        if env::var_os("TICKWIRE_LOG_LEVEL").is_none() {
            command.env("TICKWIRE_LOG_LEVEL", "warn");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let description = described(&command);
        progress(format_args!("starting {description}"));
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut broker = Self {
            endpoint: Endpoint::of_broker(&format!("ws://{listen}/v1/ws"))?,
            ops,
            metrics_path: "/metrics".to_owned(),
            pid: Some(child.id()),
            child: Some(child),
            description,
        };
        broker.wait_ready(interrupt)?;
        Ok(broker)
    }

    fn wait_ready(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let until = Instant::now() + WITHIN;
        loop {
            interrupt.check()?;
            if let Some(status) = self.exited()? {
                bail!("the broker ended at once, with {status}; its own words are above");
            }
            match scrape::get(self.ops, "/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    return Err(error).with_context(|| format!("the broker is not ready after {WITHIN:?}"));
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// The same broker, whose clients' listener is spoken to by TLS, as `client`.
    pub(crate) fn with_tls(mut self, client: TlsClient) -> Self {
        self.endpoint.client = Some(client);
        self
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How it was started, or where it runs.
    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    /// Whether it was started here.
    pub(crate) fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        match self.pid {
            Some(pid) => Ok(proc::memory(pid)?),
            None => Ok(Memory {
                rss_bytes: self.scrape()?.sum("process_resident_memory_bytes", "") as u64,
                anon_bytes: None,
            }),
        }
    }

    /// Its CPU time so far.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        match self.pid {
            Some(pid) => Ok(proc::cpu_time(pid)?),
            None => {
                let seconds = self.scrape()?.sum("process_cpu_seconds_total", "");
                Ok(CpuTime::of_process(Duration::from_secs_f64(seconds.max(0.0))))
            }
        }
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn scrape(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&scrape::get(self.ops, &self.metrics_path)?))
    }

    /// Stops it if it was started here, and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        if let Some(status) = self.exited()? {
            bail!("the broker had ended by itself, with {status}");
        }
        self.terminate()?;
        let until = Instant::now() + WITHIN;
        let status = loop {
            if let Some(status) = self.exited()? {
                break status;
            }
            ensure!(
                Instant::now() < until,
                "the broker did not stop within {WITHIN:?} of SIGTERM"
            );
            std::thread::sleep(LOOK_EVERY);
        };
        ensure!(status.success(), "the broker stopped with {status}");
        Ok(())
    }

    /// Tells it to stop, if it was started here.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        match &self.child {
            Some(child) => {
                kill_process(Pid::from_child(child), Signal::TERM).context("cannot signal the broker")
            }
            None => Ok(()),
        }
    }

    /// How it ended, once it has, if it was started here.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait().context("cannot look after the broker")?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let killed = child.kill().and_then(|()| child.wait());
            if let Err(error) = killed {
                progress(format_args!("the broker could not be killed: {error}"));
            }
        }
    }
}

/// Two addresses of this machine that nobody uses. Another program may take them before the broker does; it says so then.
fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let free = || TcpListener::bind("127.0.0.1:0").context("no free port");
    let (one, two) = (free()?, free()?);
    Ok([one.local_addr()?, two.local_addr()?])
}

/// The broker beside this program, built if it is not there.
fn built_beside_this() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program's own folder")?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let program = folder.join("tickwire");
    if program.exists() {
        return Ok(program);
    }
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    progress(format_args!(
        "{} is not there: building it with cargo, profile {profile}",
        program.display()
    ));
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    // From the sources that this program was built from and to where it was built, wherever it is started.
    let status = Command::new(cargo)
        .args([
            "build",
            "-p",
            "tickwire",
            "--profile",
            profile,
            "--manifest-path",
            MANIFEST,
        ])
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder))
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the broker could not be built; name one with --bin PATH"
    );
    ensure!(
        program.exists(),
        "cargo built no {}; name a broker with --bin PATH",
        program.display()
    );
    Ok(program)
}

/// A command with the broker's settings in its environment, as one would type it. Files by their names alone: reports are kept,
/// and where they lay on one machine says nothing.
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
    let program = Path::new(command.get_program());
    words.push(
        program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    words.extend(command.get_args().map(|arg| match Path::new(arg) {
        path if path.is_absolute() => path.file_name().unwrap_or(arg).to_string_lossy().into_owned(),
        _ => arg.to_string_lossy().into_owned(),
    }));
    words.join(" ")
}

//! The broker as a process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::lines::Lines;
use super::{DEADLINE, get, poll};

/// The drain settings of the tests' brokers, in milliseconds: short, so that tests do not wait.
const DRAIN: [(&str, &str); 2] = [
    ("TICKWIRE_DRAIN__WINDOW_MS", "500"),
    ("TICKWIRE_DRAIN__DEADLINE_MS", "5000"),
];
/// How long a broker may take to end after it was told to. It is the setting `drain.deadline_ms`, which is a promise to
/// operators.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Ports that the system chooses.
const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];

/// A running broker. It is killed when this is dropped. [`Broker::stop`] ends it as an operator would.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: Lines,
    /// The address for clients.
    pub(crate) listen: SocketAddr,
    /// The address for operators.
    pub(crate) ops: SocketAddr,
    /// Whether clients use TLS.
    secure: bool,
}

impl Broker {
    /// Starts `tickwire serve` with `args`, on ports that the system chooses, and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of(spawn(program(), &[&PORTS, args].concat(), variables))
    }

    /// The same, with at most `files` open files.
    pub(crate) fn start_with_files(files: usize, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_tickwire")]);
        Self::of(spawn(shell, &[&PORTS, args].concat(), &[]))
    }

    /// Starts a broker by a command that becomes it. Its settings must write the log as JSON.
    pub(super) fn start_by(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        Self::of(command.spawn().expect("the command can be started"))
    }

    /// Starts a broker as systemd does that has opened two sockets for it, with these names.
    pub(crate) fn start_passed(sockets: [&TcpListener; 2], names: &str, args: &[&str]) -> Self {
        Self::of(pass(sockets, names, args))
    }

    /// The same, with another standard error. Its log cannot be read, so the test asks it until it is ready.
    pub(crate) fn start_unheard(stderr: impl Into<Stdio>, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let [listen, ops] = free_ports();
        let (listen_on, operate_on) = (listen.to_string(), ops.to_string());
        let ports = ["--listen", &listen_on, "--ops", &operate_on];
        let child = spawn_into(stderr, program(), &[&ports, args].concat(), variables);
        let broker = Self {
            child,
            log: Lines::of(std::io::empty()),
            listen,
            ops,
            secure: variables.iter().any(|(name, _)| name.contains("_TLS__")),
        };
        poll("the broker listens", || TcpStream::connect(ops).ok());
        broker
    }

    /// Waits until a broker whose log cannot be read has ended. Returns how it ended.
    pub(crate) fn wait_ended(mut self) -> ExitStatus {
        poll("the broker ends", || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }

    fn of(mut child: Child) -> Self {
        let log = Lines::of(child.stderr.take().expect("standard error is piped"));
        let ready = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address = |field: &str, scheme: &str, path: &str| {
                let url = line.get(field)?.as_str()?;
                url.strip_prefix(scheme)?.strip_suffix(path)?.parse().ok()
            };
            let secure = line.get("url")?.as_str()?.starts_with("wss://");
            Some((
                address("url", if secure { "wss://" } else { "ws://" }, "/v1/ws")?,
                secure,
                address("metrics", "http://", "/metrics")?,
            ))
        };
        match log.find(0, DEADLINE, ready) {
            Ok(((listen, secure, ops), _)) => Self {
                child,
                log,
                listen,
                ops,
                secure,
            },
            Err(missing) => {
                end(&mut child);
                panic!(
                    "the broker did not say that it is ready ({missing:?}):\n{}",
                    log.tail()
                );
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The URL for WebSocket clients.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}/v1/ws", self.listen)
    }

    /// The URL of `path` for HTTP clients.
    pub(crate) fn http(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.listen)
    }

    /// Waits for a line of the log that contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let found = self
            .log
            .find(0, DEADLINE, |line| line.contains(text).then_some(()));
        assert!(
            found.is_ok(),
            "no {text:?} in the log ({found:?}):\n{}",
            self.log.tail()
        );
    }

    /// The whole log so far.
    pub(crate) fn logged(&self) -> String {
        self.log.all()
    }

    /// Whether a line of the log so far contains `text`.
    pub(crate) fn has_log(&self, text: &str) -> bool {
        self.logged().contains(text)
    }

    /// The command line that the process list shows.
    pub(crate) fn command_line(&self) -> String {
        let path = format!("/proc/{}/cmdline", self.child.id());
        String::from_utf8_lossy(&std::fs::read(path).expect("it runs")).replace('\0', " ")
    }

    /// The value of a metric's series, such as `tickwire_closes_total{code="4002"}`; `None` if there is no such series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let page = get(self.ops, "/metrics").body;
        let mut lines = page.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until `enough` accepts the value of a metric's series. Returns the value.
    pub(crate) fn wait_for_metric(&self, series: &str, enough: impl Fn(f64) -> bool) -> f64 {
        poll(series, || self.metric(series).filter(|value| enough(*value)))
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by name, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("there is a shell");
        assert!(
            status.success(),
            "the broker had ended before it was told to:\n{}",
            self.log.tail()
        );
    }

    /// Waits until a broker that was told to stop has ended. Checks that it ended in time and with exit code 0.
    pub(crate) fn wait_stopped(mut self) {
        let ended = self.log.wait_end(STOP_WITHIN);
        assert!(
            ended,
            "still running {STOP_WITHIN:?} after SIGTERM:\n{}",
            self.log.tail()
        );
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}:\n{}", self.log.tail());
    }

    /// Waits until the broker has ended. Returns its exit code.
    pub(crate) fn wait_code(mut self) -> Option<i32> {
        assert!(self.log.wait_end(DEADLINE), "still running:\n{}", self.log.tail());
        self.child.wait().expect("a child can be waited for").code()
    }

    /// Stops the broker as an operator would. Checks that it ended in time and with exit code 0.
    pub(crate) fn stop(self) {
        self.terminate();
        self.wait_stopped();
    }
}

impl Drop for Broker {
    #[allow(
        clippy::print_stderr,
        reason = "a test that failed is understood with the broker's log"
    )]
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", self.log.tail());
        }
    }
}

/// Starts a broker that cannot start. Returns how it ends and what it reports.
pub(crate) fn refused_to_start(args: &[&str]) -> (ExitStatus, String) {
    refused(spawn(program(), args, &[]))
}

fn refused(mut child: Child) -> (ExitStatus, String) {
    let log = Lines::of(child.stderr.take().expect("standard error is piped"));
    let ended = log.wait_end(DEADLINE);
    if !ended {
        end(&mut child);
    }
    assert!(ended, "it started:\n{}", log.tail());
    (child.wait().expect("a child can be waited for"), log.tail())
}

/// The same, for a broker that gets these sockets.
pub(crate) fn refused_to_start_passed(sockets: [&TcpListener; 2], names: &str) -> (ExitStatus, String) {
    refused(pass(sockets, names, &["--feed", "none"]))
}

/// Starts a broker that has two sockets as its descriptors 3 and 4.
fn pass(sockets: [&TcpListener; 2], names: &str, args: &[&str]) -> Child {
    let passed = sockets.map(|socket| OwnedFd::from(socket.try_clone().expect("a descriptor")));
    let [first, second] = passed.map(Stdio::from);
    let mut shell = Command::new("sh");
    let renumbered = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"";
    shell.args(["-c", renumbered, env!("CARGO_BIN_EXE_tickwire")]);
    let variables = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", names)];
    prepare(&mut shell, &[&PORTS, args].concat(), &variables);
    shell.stdin(first).stdout(second).stderr(Stdio::piped());
    shell.spawn().expect("the broker's program can be started")
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tickwire"))
}

/// Two ports that were free a moment ago.
fn free_ports() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("it is bound"))
}

fn spawn(command: Command, args: &[&str], variables: &[(&str, &str)]) -> Child {
    spawn_into(Stdio::piped(), command, args, variables)
}

fn spawn_into(
    stderr: impl Into<Stdio>,
    mut command: Command,
    args: &[&str],
    variables: &[(&str, &str)],
) -> Child {
    prepare(&mut command, args, variables);
    command
        .stderr(stderr)
        .spawn()
        .expect("the broker's program can be started")
}

/// Gives the command of a broker its arguments, its variables and an empty standard input.
fn prepare(command: &mut Command, args: &[&str], variables: &[(&str, &str)]) {
    // Settings of the user who runs the tests must not reach the broker.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TICKWIRE_")) {
        command.env_remove(name);
    }
    command
        .args(["serve", "--log-format", "json"])
        .args(args)
        .envs(DRAIN)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
}

/// Ends a process that may have ended already.
pub(super) fn end(child: &mut Child) {
    // An error means that the process has ended already. The wait is right in both cases.
    let _ = child.kill();
    child.wait().expect("a child can be waited for");
}

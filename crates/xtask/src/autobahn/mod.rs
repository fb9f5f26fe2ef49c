//! `cargo xtask autobahn`: runs the Autobahn test suite against the broker's WebSocket.
//!
//! The suite is not part of the project. `TICKWIRE_AUTOBAHN` names a folder with its two scripts, `setup.sh` and
//! `run.sh`. The broker runs with the settings of `crates/xtask/autobahn.toml`, which open its echo route. It is tested
//! with each egress in turn. Reports and the suite's Python go below the target folder.

mod broker;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::broker::EchoBroker;
use self::report::Report;
use crate::programs::{said_by, succeeds};
use crate::workspace::{Workspace, make, read, write};

/// The variable that names the folder with the suite's scripts.
const FOLDER_VARIABLE: &str = "TICKWIRE_AUTOBAHN";
/// The folder that is used if the variable is not set, relative to the workspace's root.
const FOLDER_DEFAULT: &str = "../shared/tools/autobahn";
/// The number of cases in the suite.
const CASES: u64 = 517;
/// The cases to run over TLS if none are named. The layers above TLS are the same and are tested without it.
const TLS_CASES: [&str; 7] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"];
/// The broker's settings.
const CONFIG: &str = "crates/xtask/autobahn.toml";

/// The ways in which the broker hands bytes to the kernel, as the setting names them.
const EGRESSES: [&str; 2] = ["plain", "io_uring"];

/// The arguments of `autobahn`.
#[derive(Debug, Args)]
pub(crate) struct AutobahnArgs {
    /// Test over TLS, with a certificate made for the run; groups 1 to 7 unless cases are named
    #[arg(long)]
    tls: bool,
    /// Test only this egress [default: each in turn; with --tls, which has its own, plain]
    #[arg(long, value_name = "KIND", value_parser = EGRESSES)]
    egress: Option<String>,
    /// Test the debug build, which checks itself more, instead of the release build
    #[arg(long)]
    debug: bool,
    /// Cases by number or pattern, such as `6.4.1` or `9.*`; a leading `-` leaves them out [default: all 517]
    #[arg(value_name = "CASE", trailing_var_arg = true, allow_hyphen_values = true)]
    cases: Vec<String>,
}

/// Builds the broker, runs the suite and prints its results. Returns true when every case passes.
pub(crate) fn run(workspace: &Workspace, args: &AutobahnArgs) -> Result<bool> {
    let suite = suite(workspace)?;
    let folder = workspace.below_target("autobahn")?;
    let python = set_up(workspace, &suite, &folder)?;
    let program = build(workspace, args.debug)?;
    let config = match args.tls {
        true => with_certificate(workspace, &folder)?,
        false => workspace.root.join(CONFIG),
    };
    let mut cases = args.cases.clone();
    if args.tls && cases.is_empty() {
        cases = TLS_CASES.map(str::to_owned).to_vec();
    }
    let egresses = match (&args.egress, args.tls) {
        (Some(one), _) => &[one.as_str()][..],
        (None, true) => &EGRESSES[..1],
        (None, false) => &EGRESSES,
    };
    let transport = if args.tls { "TLS" } else { "TCP" };
    let mut in_order = true;
    for egress in egresses {
        println!("\nAutobahn over {transport}, egress {egress}");
        let out = folder.join(format!("{transport}-{egress}").to_lowercase());
        make(&out)?;
        let log = out.join("broker.log");
        let broker = EchoBroker::start(workspace, &program, &config, egress, &log)?;
        let scheme = if args.tls { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/v1/echo", broker.address);
        run_suite(workspace, &suite, &python, &url, &out, &cases)?;
        broker.stop()?;
        let report = Report::read(&out, AGENT)?;
        print!("{report}");
        println!("each case's report: {}", out.join("index.html").display());
        if cases.is_empty() && report.cases() != CASES {
            println!("the suite has {CASES} cases and ran {}", report.cases());
            in_order = false;
        }
        in_order &= report.is_in_order();
    }
    Ok(in_order)
}

/// The broker's name in the suite's reports.
const AGENT: &str = "tickwire";

/// The folder with the suite's scripts.
fn suite(workspace: &Workspace) -> Result<PathBuf> {
    let named = std::env::var_os(FOLDER_VARIABLE).map_or_else(|| FOLDER_DEFAULT.into(), PathBuf::from);
    let folder = workspace.root.join(named);
    for script in ["setup.sh", "run.sh"] {
        ensure!(
            folder.join(script).is_file(),
            "no Autobahn suite: {} is not there; set {FOLDER_VARIABLE} to the folder with setup.sh and run.sh",
            folder.join(script).display()
        );
    }
    Ok(folder)
}

/// Sets up the suite's Python, unless the same script has done so already. Returns its folder.
fn set_up(workspace: &Workspace, suite: &Path, folder: &Path) -> Result<PathBuf> {
    let script = suite.join("setup.sh");
    let (python, stamp) = (folder.join("venv"), folder.join("venv-made-by.sh"));
    let wanted = read(&script)?;
    if python.is_dir() && fs::read_to_string(&stamp).is_ok_and(|made_by| made_by == wanted) {
        return Ok(python);
    }
    println!("setting up the Autobahn suite in {}", python.display());
    let made = succeeds(workspace.command("bash").arg(&script).arg(&python))?;
    ensure!(made, "the suite cannot be set up: {} failed", script.display());
    write(&stamp, wanted)?;
    Ok(python)
}

/// Builds the broker. Returns the path of its program.
fn build(workspace: &Workspace, debug: bool) -> Result<PathBuf> {
    let profile = if debug { "debug" } else { "release" };
    let mut build = workspace.cargo("build --locked -p tickwire");
    if !debug {
        build.arg("--release");
    }
    ensure!(succeeds(&mut build)?, "the {profile} build failed");
    Ok(workspace.target.join(profile).join("tickwire"))
}

/// Makes a self-signed certificate and the settings that use it. Returns the path of the settings.
fn with_certificate(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = workspace.command("openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '));
    openssl.args("-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1".split(' '));
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    said_by(&mut openssl).context("openssl made no certificate")?;
    let text = read(&workspace.root.join(CONFIG))?;
    // A string in JSON is also one in TOML.
    let quoted = |path: &Path| serde_json::Value::from(path.display().to_string());
    let (certificate, key) = (quoted(&certificate), quoted(&key));
    let tls = format!("{text}\n[tls]\ncert_file = {certificate}\nkey_file = {key}\n");
    let config = folder.join("tls.toml");
    write(&config, tls)?;
    Ok(config)
}

/// Runs the suite against `url`. The results are in `out` afterwards. Failed cases are not an error of the run.
fn run_suite(
    workspace: &Workspace,
    suite: &Path,
    python: &Path,
    url: &str,
    out: &Path,
    cases: &[String],
) -> Result<()> {
    let mut bash = workspace.command("bash");
    bash.arg(suite.join("run.sh")).arg(url).arg(out).args(cases);
    bash.env("VENV", python).env("AGENT", AGENT);
    // The suite gets normal priority, since its cases have deadlines.
    bash.env("NICE", "0").stderr(Stdio::inherit());
    let output = bash.output().context("cannot run bash")?;
    write(&out.join("run.log"), &output.stdout)?;
    // Exit code 1 means that cases failed. The report says more about it.
    if !matches!(output.status.code(), Some(0 | 1)) {
        bail!(
            "the suite did not run: {}",
            String::from_utf8_lossy(&output.stdout).trim_end()
        );
    }
    Ok(())
}

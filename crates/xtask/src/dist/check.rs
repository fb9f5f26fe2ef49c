//! What packages must hold, and whether they work.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::tree::{COMPLETIONS, LICENCES, PAGES, SBOM, THIRD_PARTY, UNITS};
use crate::programs::{find, is_root, said_by, succeeds};
use crate::workspace::Workspace;

/// The time that a broker has to start and to end.
const WITHIN: Duration = Duration::from_secs(60);
/// The release of Debian that the package is installed in.
const SUITE: &str = "bookworm";

/// Checks that two files are the same.
pub(super) fn is_same(one: &Path, other: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (a, b) = (read(one)?, read(other)?);
    let differs = a.iter().zip(&b).position(|(a, b)| a != b);
    let names = format!("{} and {}", one.display(), other.display());
    ensure!(
        a.len() == b.len(),
        "{names} have {} and {} bytes",
        a.len(),
        b.len()
    );
    ensure!(differs.is_none(), "{names} differ from byte {differs:?} on");
    Ok(())
}

/// Checks that a program needs no library of the system.
pub(super) fn is_static(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    ensure!(
        !has(b"/ld-musl-") && !has(b"libc.so"),
        "{} is not static",
        program.display()
    );
    Ok(())
}

/// Checks that a program has no symbols left, and no path of this machine.
fn is_clean(workspace: &Workspace, program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    ensure!(!has(b".symtab\0"), "{} is not stripped", program.display());
    for folder in [&workspace.root, &workspace.target] {
        let text = folder.display().to_string();
        ensure!(
            !has(text.as_bytes()),
            "{} has the path {text} in it",
            program.display()
        );
    }
    Ok(())
}

/// Checks that a package's folder has all these files, none of them empty.
fn has_all(root: &Path, files: &[String]) -> Result<()> {
    for file in files {
        let path = root.join(file);
        let length = fs::metadata(&path)
            .with_context(|| format!("there is no {file} in the package"))?
            .len();
        ensure!(length > 0, "{file} is empty in the package");
    }
    Ok(())
}

/// The documents below a folder.
fn documents(folder: &str) -> Vec<String> {
    let names = LICENCES.iter().chain(&PAGES).chain([&SBOM, &THIRD_PARTY]);
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Checks an archive whose folder is `name`.
pub(super) fn archive(workspace: &Workspace, path: &Path, name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut tar = workspace.command("tar");
    tar.arg("--extract")
        .arg("--directory")
        .arg(folder.path())
        .arg("--file")
        .arg(path);
    ensure!(succeeds(&mut tar)?, "tar cannot read {}", path.display());
    let root = folder.path().join(name);
    let mut files = documents("doc");
    files.extend(
        [
            "tickwire",
            "man/man1/tickwire.1.gz",
            "man/man1/tickwire-serve.1.gz",
        ]
        .map(str::to_owned),
    );
    files.extend(["tickwire.bash", "_tickwire", "tickwire.fish"].map(|name| format!("completions/{name}")));
    files.extend(UNITS.map(|unit| format!("systemd/{unit}")));
    has_all(&root, &files)?;
    let program = root.join("tickwire");
    is_clean(workspace, &program)?;
    let version = said_by(Command::new(program).arg("--version"))?;
    ensure!(version.starts_with("tickwire "), "the program says {version:?}");
    Ok(())
}

/// Checks the `.deb`.
pub(super) fn deb(workspace: &Workspace, path: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut dpkg = workspace.command("dpkg-deb");
    dpkg.arg("--raw-extract").arg(path).arg(folder.path().join("deb"));
    ensure!(succeeds(&mut dpkg)?, "dpkg-deb cannot read {}", path.display());
    let root = folder.path().join("deb");
    let mut files = documents("usr/share/doc/tickwire");
    files.extend(COMPLETIONS.map(|(_, path)| format!("usr/share/{path}")));
    files.extend(UNITS.map(|unit| format!("lib/systemd/system/{unit}")));
    files.extend(
        [
            "usr/bin/tickwire",
            "usr/share/man/man1/tickwire.1.gz",
            "usr/share/man/man1/tickwire-serve.1.gz",
            "usr/share/doc/tickwire/copyright",
            "usr/share/doc/tickwire/changelog.gz",
            "etc/tickwire/tickwire.toml",
            "DEBIAN/control",
            "DEBIAN/conffiles",
            "DEBIAN/md5sums",
            "DEBIAN/postinst",
            "DEBIAN/prerm",
            "DEBIAN/postrm",
        ]
        .map(str::to_owned),
    );
    has_all(&root, &files)?;
    let program = root.join("usr/bin/tickwire");
    is_clean(workspace, &program)?;
    let unit = fs::read_to_string(root.join("lib/systemd/system/tickwire.service"))?;
    ensure!(
        !unit.contains("/usr/local"),
        "the unit names a program that the package does not have"
    );
    let mut check = Command::new(program);
    check
        .arg("check-config")
        .arg(root.join("etc/tickwire/tickwire.toml"));
    ensure!(succeeds(&mut check)?, "the package's settings are refused");
    Ok(())
}

/// A Debian in a folder, which is removed again.
struct Chroot(tempfile::TempDir);

impl Chroot {
    /// A small Debian.
    fn make(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut debian = workspace.command("mmdebstrap");
        debian.args([
            "--mode=root",
            "--variant=minbase",
            "--include=ca-certificates",
            "--quiet",
            SUITE,
        ]);
        debian.arg(folder.path().join("root"));
        ensure!(succeeds(&mut debian)?, "mmdebstrap cannot make a Debian");
        Ok(Self(folder))
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(line.split_whitespace());
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Result<()> {
        ensure!(
            succeeds(&mut self.command(line))?,
            "in the chroot, `{line}` failed"
        );
        Ok(())
    }
}

/// A broker that is ended with this.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already, unless a check failed.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Installs the package in a chroot, runs it, and removes it.
pub(super) fn install(workspace: &Workspace, deb: &Path) -> Result<()> {
    ensure!(is_root(), "a chroot needs root");
    ensure!(
        find("mmdebstrap").is_some(),
        "mmdebstrap is not installed (on Debian: apt-get install mmdebstrap)"
    );
    println!("installing {} in a Debian of its own", deb.display());
    let debian = Chroot::make(workspace)?;
    fs::copy(deb, debian.root().join("tickwire.deb")).context("cannot copy the package")?;
    debian.run("dpkg --install /tickwire.deb")?;
    debian.run("dpkg --verify tickwire")?;
    debian.run("tickwire --version")?;
    debian.run("tickwire check-config /etc/tickwire/tickwire.toml")?;
    serve(&debian)?;
    debian.run("dpkg --remove tickwire")?;
    ensure!(
        debian.root().join("etc/tickwire/tickwire.toml").exists(),
        "the settings are gone before a purge"
    );
    debian.run("dpkg --purge tickwire")?;
    for path in [
        "usr/bin/tickwire",
        "etc/tickwire",
        "usr/share/doc/tickwire",
        "lib/systemd/system/tickwire.service",
    ] {
        ensure!(
            !debian.root().join(path).exists(),
            "/{path} is still there after a purge"
        );
    }
    println!("the package was installed, ran, and left nothing behind");
    Ok(())
}

/// Runs the broker of the chroot until it is ready, and stops it.
fn serve(debian: &Chroot) -> Result<()> {
    let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
    let (listen, ops) = (free()?, free()?);
    let line = format!(
        "tickwire serve --config /etc/tickwire/tickwire.toml --feed sim --listen {listen} --ops {ops}"
    );
    let mut serving = Serving(debian.command(&line).spawn().context("cannot run the broker")?);
    wait("the broker is ready", || {
        answer(ops, "/readyz").is_ok_and(|said| said.starts_with("HTTP/1.1 200"))
    })?;
    wait("the feed has published", || {
        answer(listen, "/v1/topics").is_ok_and(|said| said.contains("\"ticker."))
    })?;
    let pid = serving.0.id().to_string();
    ensure!(
        succeeds(Command::new("kill").args(["-TERM", &pid]))?,
        "the broker is gone"
    );
    let mut ended = None;
    wait("the broker has drained", || {
        ended = serving.0.try_wait().ok().flatten();
        ended.is_some()
    })?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "the broker ended with {ended:?}"
    );
    Ok(())
}

/// Waits until something is so, which is looked at ten times a second.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > WITHIN {
            bail!("not within {} s: {what}", WITHIN.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The answer to a GET, head and body.
fn answer(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

//! The files of a package in a folder, as they are packed.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::build::Built;
use super::{install, licences, write};
use crate::programs::{said_by, succeeds};
use crate::sbom;
use crate::workspace::{Workspace, make, read};

/// The pages of the documentation that packages have.
pub(super) const PAGES: [&str; 8] = [
    "ALERTS.md",
    "CLI.md",
    "CONFIGURATION.md",
    "DEPLOYING.md",
    "HTTP.md",
    "METRICS.md",
    "OPERATING.md",
    "PROTOCOL.md",
];
/// The units of systemd.
pub(super) const UNITS: [&str; 2] = ["tickwire.service", "tickwire.socket"];
/// The project's own licences.
pub(super) const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
/// The shells with completions, and the places of these below `usr/share`.
pub(super) const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/tickwire"),
    ("zsh", "zsh/vendor-completions/_tickwire"),
    ("fish", "fish/vendor_completions.d/tickwire.fish"),
];
/// The name of the bill of materials.
pub(super) const SBOM: &str = "tickwire-sbom.cdx.json";
/// The name of the texts of the libraries' licences.
pub(super) const THIRD_PARTY: &str = "third-party-licences.txt";

/// A folder with the files of a package.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty folder in place of what was there.
    pub(super) fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        make(&root)?;
        Ok(Self { root })
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The files of an archive for any Linux.
    pub(super) fn fill_archive(&self, workspace: &Workspace, program: &Built) -> Result<()> {
        install(&program.path, &self.at("tickwire"), 0o755)?;
        for (shell, path) in COMPLETIONS {
            let name = path.rsplit('/').next().unwrap_or(path);
            let name = if shell == "bash" { "tickwire.bash" } else { name };
            self.completions(program, shell, &format!("completions/{name}"))?;
        }
        self.manual(program, "man/man1")?;
        for unit in UNITS {
            install(
                &workspace.root.join("deploy").join(unit),
                &self.at(format!("systemd/{unit}")),
                0o644,
            )?;
        }
        self.documents(workspace, "doc")
    }

    /// Completions of a shell.
    pub(super) fn completions(&self, program: &Built, shell: &str, to: &str) -> Result<()> {
        let said = said_by(Command::new(&program.path).args(["completions", shell]))?;
        write(&self.at(to), said, 0o644)
    }

    /// The manual pages, compressed.
    pub(super) fn manual(&self, program: &Built, to: &str) -> Result<()> {
        let folder = self.at(to);
        make(&folder)?;
        let mut man = Command::new(&program.path);
        man.args(["man", "--dir"]).arg(&folder);
        ensure!(succeeds(&mut man)?, "the program writes no manual pages");
        for page in entries(&folder)? {
            compress(&page)?;
        }
        Ok(())
    }

    /// Licences, the bill of materials and pages of the documentation.
    pub(super) fn documents(&self, workspace: &Workspace, to: &str) -> Result<()> {
        let folder = self.at(to);
        for name in LICENCES {
            install(&workspace.root.join(name), &folder.join(name), 0o644)?;
        }
        for page in PAGES {
            install(&workspace.root.join("docs").join(page), &folder.join(page), 0o644)?;
        }
        write(
            &folder.join(THIRD_PARTY),
            licences::of_libraries(workspace)?,
            0o644,
        )?;
        let bill = sbom::reproducible(workspace, &read(&workspace.target.join(SBOM))?)?;
        write(&folder.join(SBOM), bill, 0o644)
    }

    /// Gives all files and folders this time, in seconds since 1970, and folders the usual mode.
    pub(super) fn set_times(&self, epoch: u64) -> Result<()> {
        let at = UNIX_EPOCH + Duration::from_secs(epoch);
        let times = FileTimes::new().set_modified(at).set_accessed(at);
        for path in walk(&self.root)? {
            if path.is_dir() {
                set_mode(&path, 0o755)?;
            }
            let set = File::open(&path).and_then(|file| file.set_times(times));
            set.with_context(|| format!("cannot set the time of {}", path.display()))?;
        }
        Ok(())
    }
}

/// Compresses a file in its place, without a name and a time in it.
pub(super) fn compress(path: &Path) -> Result<()> {
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name", "--force"]).arg(path);
    ensure!(succeeds(&mut gzip)?, "gzip failed for {}", path.display());
    Ok(())
}

/// Sets the mode of a file.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// The entries of a folder by their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths: std::io::Result<Vec<PathBuf>> = listed.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    paths.sort_unstable();
    Ok(paths)
}

/// All files and folders below a folder, each folder behind what is in it.
pub(super) fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            all.extend(walk(&path)?);
        } else {
            all.push(path);
        }
    }
    all.push(folder.to_owned());
    Ok(all)
}

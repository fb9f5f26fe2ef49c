//! The `.deb`: the files at their places, and what dpkg is told of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::build::Built;
use super::tree::{COMPLETIONS, Tree, UNITS, compress, set_mode, walk};
use super::{Release, check, install, write};
use crate::programs::{said_by, succeeds};
use crate::workspace::{Workspace, read};

/// The folder of the documents.
const DOC: &str = "usr/share/doc/tickwire";
/// The scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// The settings of a broker that was just installed.
const SETTINGS: &str = "etc/tickwire/tickwire.toml";

/// Makes the package in `folder`.
pub(super) fn make_deb(
    workspace: &Workspace,
    release: &Release,
    folder: &Path,
    program: &Built,
) -> Result<PathBuf> {
    let architecture = said_by(workspace.command("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let name = format!("tickwire_{}_{architecture}", release.version);
    let tree = Tree::new(folder.join(&name))?;
    fill(workspace, &tree, program)?;
    let sums = sums(workspace, &tree)?;
    let control = control(release, architecture, installed_kib(&tree)?, &needs(program)?);
    write(&tree.at("DEBIAN/control"), control, 0o644)?;
    write(&tree.at("DEBIAN/conffiles"), format!("/{SETTINGS}\n"), 0o644)?;
    write(&tree.at("DEBIAN/md5sums"), sums, 0o644)?;
    for script in SCRIPTS {
        install(
            &workspace.root.join("deploy/debian").join(script),
            &tree.at(format!("DEBIAN/{script}")),
            0o755,
        )?;
    }
    tree.set_times(release.epoch)?;
    let path = folder.join(format!("{name}.deb"));
    let mut dpkg = workspace.command("dpkg-deb");
    dpkg.args([
        "--root-owner-group",
        "-Zxz",
        "--threads-max=1",
        "--uniform-compression",
        "--build",
    ]);
    dpkg.arg(tree.root())
        .arg(&path)
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    ensure!(succeeds(&mut dpkg)?, "dpkg-deb failed");
    check::deb(workspace, &path)?;
    Ok(path)
}

/// Puts all files at their places.
fn fill(workspace: &Workspace, tree: &Tree, program: &Built) -> Result<()> {
    install(&program.path, &tree.at("usr/bin/tickwire"), 0o755)?;
    for (shell, path) in COMPLETIONS {
        tree.completions(program, shell, &format!("usr/share/{path}"))?;
    }
    tree.manual(program, "usr/share/man/man1")?;
    for unit in UNITS {
        // What a package installs is not below /usr/local.
        let text = read(&workspace.root.join("deploy").join(unit))?;
        let text = text.replace("/usr/local/bin/", "/usr/bin/");
        write(&tree.at(format!("lib/systemd/system/{unit}")), text, 0o644)?;
    }
    let deploy = workspace.root.join("deploy/debian");
    install(&deploy.join("tickwire.toml"), &tree.at(SETTINGS), 0o644)?;
    install(&deploy.join("copyright"), &tree.at(DOC).join("copyright"), 0o644)?;
    tree.documents(workspace, DOC)?;
    let changes = tree.at(DOC).join("changelog");
    install(&workspace.root.join("CHANGELOG.md"), &changes, 0o644)?;
    compress(&changes)?;
    let folders = walk(tree.root())?.into_iter().filter(|path| path.is_dir());
    folders.into_iter().try_for_each(|path| set_mode(&path, 0o755))
}

/// The sums of all files, for `dpkg --verify`.
fn sums(workspace: &Workspace, tree: &Tree) -> Result<String> {
    let mut sums = String::new();
    for path in walk(tree.root())?.into_iter().filter(|path| path.is_file()) {
        let named = path
            .strip_prefix(tree.root())
            .context("a file of the tree")?
            .to_owned();
        if named.starts_with("etc") {
            continue; // dpkg keeps sums of its own of what administrators change
        }
        let mut md5sum = workspace.command("md5sum");
        md5sum.current_dir(tree.root()).arg(named);
        sums += &said_by(&mut md5sum)?;
    }
    Ok(sums)
}

/// The size of all files in KiB, each rounded up.
fn installed_kib(tree: &Tree) -> Result<u64> {
    let files = walk(tree.root())?.into_iter().filter(|path| path.is_file());
    let sizes: std::io::Result<Vec<u64>> = files.map(|path| Ok(path.metadata()?.len())).collect();
    Ok(sizes?.iter().map(|bytes| bytes.div_ceil(1_024)).sum())
}

/// The packages that the program needs.
fn needs(program: &Built) -> Result<String> {
    ensure!(program.is_dynamic, "a package of Debian uses Debian's C library");
    let bytes = std::fs::read(&program.path).context("cannot read the program")?;
    let newest = newest_glibc(&bytes).context("the program does not say which C library it needs")?;
    Ok(format!("libc6 (>= 2.{newest}), libgcc-s1"))
}

/// The newest version `2.N` of the C library whose symbols a program needs.
fn newest_glibc(program: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"GLIBC_2.";
    let places = program
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK);
    let numbers = places.filter_map(|(at, _)| {
        let digits = program[at + MARK.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let digits: Vec<u8> = digits.copied().collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    });
    numbers.max()
}

fn control(release: &Release, architecture: &str, installed_kib: u64, needs: &str) -> String {
    let version = &release.version;
    format!(
        "Package: tickwire\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The developers of Tickwire <tickwire@localhost>\n\
         Installed-Size: {installed_kib}\n\
         Depends: {needs}\n\
         Recommends: ca-certificates\n\
         Section: net\n\
         Priority: optional\n\
         Description: broker that sends market data to very many readers\n \
         Tickwire sends the same few bytes to very many WebSocket clients and streams\n \
         of server-sent events at once. It keeps order books and histories, tells slow\n \
         readers exactly what they missed, and proves by a ledger that nothing was lost.\n \
         .\n \
         The package has the broker with its tools, and a unit for systemd that is not\n \
         started before it is enabled.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_c_library_counts() {
        let program = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBC_2.\0";
        assert_eq!(newest_glibc(program), Some(34));
        assert_eq!(newest_glibc(b"GLIBC_"), None);
    }
}

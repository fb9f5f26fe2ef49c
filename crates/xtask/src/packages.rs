//! Packages of npm and PyPI in pinned versions, each set in a folder of its own.
//!
//! A set is installed again when its pins change, and each installation is named first. Downloads and what the packages'
//! programs keep between runs go below the target folder, never into the user's home.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::programs::{find, run_quietly, works};
use crate::workspace::{Workspace, read, write};

/// The longest time that one installation may take.
pub(crate) const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// The variables with the folders for downloads, and for what notebooks keep.
pub(crate) fn caches(workspace: &Workspace) -> Vec<(&'static str, OsString)> {
    let folder = workspace.target.join("xtask/cache");
    let variable = |(name, below)| (name, folder.join(below).into());
    [
        ("PIP_CACHE_DIR", "pip"),
        ("npm_config_cache", "npm"),
        ("PYRIGHT_PYTHON_CACHE_DIR", "pyright"),
        ("IPYTHONDIR", "ipython"),
        ("JUPYTER_CONFIG_DIR", "jupyter/config"),
        ("JUPYTER_DATA_DIR", "jupyter/data"),
        ("JUPYTER_RUNTIME_DIR", "jupyter/runtime"),
    ]
    .map(variable)
    .into()
}

/// The Python of a virtual environment in `folder` that has the libraries in the file `requirements` of the project.
///
/// # Errors
/// If there is no Python, or the libraries cannot be installed.
pub(crate) fn python_with(workspace: &Workspace, folder: &Path, requirements: &str) -> Result<PathBuf> {
    let file = workspace.root.join(requirements);
    let wanted = read(&file)?;
    let python = folder.join("bin/python");
    let installed = folder.join("installed-requirements.txt");
    if is_made_from(&installed, &wanted) && works(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    let system = find("python3").context("python3 is not installed")?;
    println!(
        "setting up the Python libraries of {requirements} in {}",
        folder.display()
    );
    let mut venv = Command::new(system);
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    run_quietly(&mut venv, INSTALL_LIMIT)
        .context("cannot make a virtual environment (on Debian, install the package `python3-venv`)")?;
    let mut pip = Command::new(&python);
    pip.args("-m pip install --quiet --disable-pip-version-check --no-input --requirement".split(' '));
    pip.arg(&file).envs(caches(workspace));
    run_quietly(&mut pip, INSTALL_LIMIT).with_context(|| format!("cannot install {requirements}"))?;
    write(&installed, wanted)?;
    Ok(python)
}

/// The packages in `folder`, which has a `package.json` and a `package-lock.json`: the folder `node_modules` in it.
///
/// # Errors
/// If there is no npm, or the packages cannot be installed.
pub(crate) fn node_modules_in(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let wanted = read(&folder.join("package-lock.json"))?;
    let modules = folder.join("node_modules");
    let installed = modules.join("installed-package-lock.json");
    if is_made_from(&installed, &wanted) {
        return Ok(modules);
    }
    let npm = find("npm").context("npm is not installed")?;
    println!("setting up Node.js packages in {}", modules.display());
    let mut ci = Command::new(npm);
    ci.args("ci --ignore-scripts --no-audit --no-fund --loglevel error".split(' '));
    ci.current_dir(folder).envs(caches(workspace));
    run_quietly(&mut ci, INSTALL_LIMIT)
        .with_context(|| format!("cannot install the packages of {}", folder.display()))?;
    write(&installed, wanted)?;
    Ok(modules)
}

/// Whether the file `stamp` says that its folder was made from `wanted`.
fn is_made_from(stamp: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|text| text == wanted)
}

//! The servers that take part: those that were named or, in each scenario, those that it is meant for and that are
//! installed.
//!
//! Another build of Tickwire, named with its path, takes part wherever Tickwire can. A server that was not named and is
//! not installed is left out, which is reported once. A server that was named and is not installed fails at its start.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};

use super::tickwire::Build;
use super::{JSON, Launch, Peer, TICKWIRE, peers};
use crate::swarm::progress;

/// Another build of Tickwire: `NAME=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedBinary {
    name: String,
    path: PathBuf,
}

impl FromStr for NamedBinary {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, path) = text
            .split_once('=')
            .with_context(|| format!("{text:?} must be NAME=PATH"))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        ensure!(
            !name.is_empty() && name.bytes().all(is_plain),
            "the name {name:?} must be letters, digits, '-' and '.'"
        );
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "there is no file {}", path.display());
        Ok(Self {
            name: format!("{TICKWIRE}-{name}"),
            path,
        })
    }
}

impl NamedBinary {
    /// The peer. Its description lives as long as this program, as with all peers.
    fn peer(&self) -> anyhow::Result<Peer> {
        ensure!(
            peers().iter().all(|peer| peer.name != self.name),
            "{} is a peer already; give the binary another name",
            self.name
        );
        let path = self.path.canonicalize().context("the binary's path")?;
        let build = Build {
            program: Some(Box::leak(path.into_boxed_path())),
            ..Build::default()
        };
        let name = self.name.clone().leak();
        Ok(Peer::named(name, JSON, Launch::Tickwire(build)))
    }
}

pub(crate) struct Selection {
    /// The servers that were named; empty if none was.
    asked: Vec<Peer>,
    binaries: Vec<Peer>,
    /// The servers that can be started, for a run that names none.
    there: Vec<Peer>,
}

impl Selection {
    /// The servers with these names, or those that are installed, and these builds.
    ///
    /// # Errors
    /// When a server does not exist, or two have the same name.
    pub(crate) fn new(names: &[String], binaries: &[NamedBinary]) -> anyhow::Result<Self> {
        let there = |peer: &&Peer| {
            let missing = peer.missing(false);
            if let Some(why) = missing.as_ref().filter(|_| peer.by_default) {
                progress!("{} takes no part: {why}", peer.name);
            }
            missing.is_none()
        };
        let binaries: Vec<Peer> = binaries.iter().map(NamedBinary::peer).collect::<Result<_, _>>()?;
        for (number, binary) in binaries.iter().enumerate() {
            let is_new = binaries[..number].iter().all(|other| other.name != binary.name);
            ensure!(is_new, "two binaries are called {}", binary.name);
        }
        let asked = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let there = match asked.is_empty() {
            true => peers().iter().filter(there).copied().collect(),
            false => Vec::new(),
        };
        Ok(Self {
            asked,
            binaries,
            there,
        })
    }

    /// The servers that take part in a scenario which only the servers `able` can do and which is meant for the servers
    /// `meant`. An empty `able` means all servers, an empty `meant` those that take part by default.
    ///
    /// # Errors
    /// When a server that the scenario is meant for does not exist.
    pub(crate) fn taking_part(&self, able: &[String], meant: &[String]) -> anyhow::Result<Vec<Peer>> {
        for name in meant {
            find(name)?;
        }
        let by_default = |peer: &&Peer| match meant.is_empty() {
            true => peer.by_default,
            false => meant.iter().any(|name| name == peer.name),
        };
        let unasked = self.there.iter().filter(by_default);
        let all = self.asked.iter().chain(unasked).chain(&self.binaries);
        Ok(all.filter(|peer| peer.is_among(able)).copied().collect())
    }
}

fn find(name: impl AsRef<str> + Display) -> anyhow::Result<Peer> {
    peers()
        .iter()
        .find(|peer| peer.name == name.as_ref())
        .copied()
        .with_context(|| {
            let known: Vec<_> = peers().iter().map(|peer| peer.name).collect();
            format!("there is no peer \"{name}\", only {}", known.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{NAMED, Scenario};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn binary(name: &str) -> NamedBinary {
        let own = std::env::current_exe().expect("this program");
        format!("{name}={}", own.display()).parse().expect("a binary")
    }

    /// A selection where everything is installed.
    fn selection(asked: &[&str], binaries: &[&str]) -> Selection {
        let peer = |name: &&str| binary(name).peer().expect("a binary");
        Selection {
            there: if asked.is_empty() {
                peers().to_vec()
            } else {
                Vec::new()
            },
            asked: asked.iter().map(|name| find(name).expect("a peer")).collect(),
            binaries: binaries.iter().map(peer).collect(),
        }
    }

    /// Each line of the table: the named servers; other builds; able; meant; the servers that take part.
    #[test]
    fn who_takes_part() {
        const TABLE: &str = "
            ; ; ; ; tickwire uwebsockets nats ws socketio naive
            ; ; nats tickwire; ; tickwire nats
            ; ; ; tickwire floor; tickwire floor
            ; ; tickwire; tickwire tickwire-2shards; tickwire tickwire-2shards
            floor ws; ; ; tickwire; floor ws
            ws; ; tickwire; ;
            tickwire-plain ws; ; tickwire; ; tickwire-plain
            tickwire; old new; tickwire; ; tickwire tickwire-old tickwire-new
            ; old; nats; ; nats";
        for line in TABLE.lines().skip(1) {
            let words = line.split(';').map(|part| part.split_whitespace().collect());
            let words: Vec<Vec<&str>> = words.collect();
            let selection = selection(&words[0], &words[1]);
            let taking_part = selection.taking_part(&names(&words[2]), &names(&words[3]));
            let taking_part = taking_part.expect("known peers");
            let found: Vec<&str> = taking_part.iter().map(|peer| peer.name).collect();
            assert_eq!(found, words[4], "{line}");
        }
    }

    #[test]
    fn names_that_mean_nothing_or_two_things() {
        let refused = |binaries: &[NamedBinary]| {
            let selection = Selection::new(&names(&["tickwire"]), binaries);
            selection.err().expect("must be refused").to_string()
        };
        assert!(refused(&[binary("plain")]).starts_with("tickwire-plain is a peer already"));
        let twice = refused(&[binary("old"), binary("old")]);
        assert_eq!(twice, "two binaries are called tickwire-old");
        for (text, why) in [
            ("old", "\"old\" must be NAME=PATH"),
            ("=/bin/sh", "the name \"\" must be letters, digits, '-' and '.'"),
            ("old=/no/such/file", "there is no file /no/such/file"),
        ] {
            let error = text.parse::<NamedBinary>().expect_err("must be refused");
            assert_eq!(error.to_string(), why);
        }
    }

    #[test]
    fn the_projects_scenarios_name_servers_that_exist() {
        let selection = selection(&[], &[]);
        for (name, _) in NAMED {
            let scenario = Scenario::load(name, false).expect("a good scenario");
            for peer in &scenario.peers {
                find(peer).expect("a server");
            }
            let taking_part = selection.taking_part(&scenario.peers, &scenario.default_peers);
            assert!(
                !taking_part.expect("servers that exist").is_empty(),
                "nobody takes part in {name}"
            );
        }
    }
}

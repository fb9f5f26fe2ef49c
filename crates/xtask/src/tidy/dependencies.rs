//! Rule: which crate may use which.
//!
//! The table is that of docs/ARCHITECTURE.md. A crate that is not in it is a fault, so that the table is complete.

use super::Fault;
use crate::workspace::Member;

/// What one crate may depend on.
struct Row {
    name: &'static str,
    /// Crates of the workspace that it may name as normal dependencies.
    may_use: &'static [&'static str],
    /// Crates that it must not name as normal dependencies.
    never_names: &'static [&'static str],
    /// Crates that its normal dependencies must not bring in, however indirectly.
    never_reaches: &'static [&'static str],
}

/// What does input and output or brings a runtime.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "async-io",
    "mio",
    "socket2",
    "hyper",
    "hyper-util",
    "io-uring",
    "fastwebsockets",
];
/// What reaches the operating system, its clocks or threads, and logging. Data structures may bring some of these in.
const SYSTEM: &[&str] = &[
    "libc",
    "rustix",
    "nix",
    "rlimit",
    "signal-hook",
    "chrono",
    "time",
    "rand",
    "getrandom",
];
const SYSTEM_FEED: &[&str] = &["libc", "rustix", "nix", "rlimit", "signal-hook"];
const NONE: &[&str] = &[];

const TABLE: &[Row] = &[
    row("tickwire-wire", NONE, SYSTEM, RUNTIMES),
    row("tickwire-router", &["tickwire-wire"], SYSTEM, RUNTIMES),
    row("tickwire-feed", &["tickwire-wire"], SYSTEM_FEED, RUNTIMES),
    row("tickwire-metrics", NONE, NONE, RUNTIMES),
    row(
        "tickwire-server",
        &[
            "tickwire-router",
            "tickwire-feed",
            "tickwire-metrics",
            "tickwire-wire",
        ],
        NONE,
        NONE,
    ),
    row("httpdate", NONE, SYSTEM, RUNTIMES),
    row("tickwire-client", &["tickwire-wire"], NONE, NONE),
    row(
        "tickwire-sim",
        &["tickwire-router", "tickwire-client", "tickwire-wire"],
        NONE,
        NONE,
    ),
    row(
        "tickwire",
        &[
            "tickwire-server",
            "tickwire-client",
            "tickwire-feed",
            "tickwire-wire",
        ],
        NONE,
        NONE,
    ),
    row(
        "tickwire-loadtest",
        &["tickwire-client", "tickwire-wire"],
        NONE,
        NONE,
    ),
    row(
        "tickwire-benches",
        &[
            "tickwire-server",
            "tickwire-client",
            "tickwire-router",
            "tickwire-feed",
            "tickwire-metrics",
            "tickwire-wire",
        ],
        NONE,
        NONE,
    ),
    row(
        "tickwire-fuzz",
        &[
            "tickwire-server",
            "tickwire-router",
            "tickwire-feed",
            "tickwire-wire",
        ],
        NONE,
        NONE,
    ),
    row("xtask", NONE, NONE, NONE),
];

/// Crates that nobody depends on, for tests neither.
const LEAVES: &[&str] = &[
    "xtask",
    "tickwire-loadtest",
    "tickwire-benches",
    "tickwire-sim",
    "tickwire-fuzz",
    "tickwire",
];
/// Crates that may use `anyhow`: the programs.
const PROGRAMS: &[&str] = &["tickwire", "xtask", "tickwire-loadtest"];
/// Names that say nothing about what a crate is.
const NAMELESS: &[&str] = &[
    "common", "types", "utils", "util", "helpers", "misc", "shared", "core",
];

const fn row(
    name: &'static str,
    may_use: &'static [&'static str],
    never_names: &'static [&'static str],
    never_reaches: &'static [&'static str],
) -> Row {
    Row {
        name,
        may_use,
        never_names,
        never_reaches,
    }
}

/// The faults of `members`.
pub(super) fn check(members: &[Member]) -> Vec<Fault> {
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let mut faults = Vec::new();
    for member in members {
        let mut fault = |what: String| faults.push(Fault::new(&member.manifest, 0, what));
        let name = &member.name;
        if NAMELESS.contains(&name.strip_prefix("tickwire-").unwrap_or(name)) {
            fault(format!(
                "a crate `{name}` would hold anything; name it for what it is"
            ));
        }
        for leaf in LEAVES.iter().filter(|leaf| member.any.contains(**leaf)) {
            fault(format!(
                "nobody depends on `{leaf}`; move what is needed to a crate below both"
            ));
        }
        if member.normal.contains("anyhow") && !PROGRAMS.contains(&name.as_str()) {
            fault("`anyhow` is for programs; a library has a `thiserror` enum per operation".to_owned());
        }
        let Some(row) = TABLE.iter().find(|row| row.name == name) else {
            fault(format!(
                "`{name}` is not in the dependency table of crates/xtask/src/tidy/dependencies.rs; add it"
            ));
            continue;
        };
        for dependency in member.normal.iter().filter(|dependency| is_member(dependency)) {
            if !row.may_use.contains(&dependency.as_str()) {
                fault(format!(
                    "`{name}` may not use `{dependency}` (dependency table in docs/ARCHITECTURE.md)"
                ));
            }
        }
        for never in row
            .never_names
            .iter()
            .filter(|never| member.normal.contains(**never))
        {
            fault(format!(
                "`{name}` never uses `{never}`: time and randomness come in as arguments, output is polled out"
            ));
        }
        for never in row
            .never_reaches
            .iter()
            .filter(|never| member.reached.contains(**never))
        {
            fault(format!(
                "`{name}` brings in `{never}`, and it has no sockets and no runtime; `cargo tree -p {name} -i {never}` shows how"
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> std::collections::BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn member(name: &str, normal: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            manifest: format!("crates/{name}/Cargo.toml"),
            normal: set(normal),
            any: set(normal),
            reached: set(normal),
        }
    }

    fn faults(members: &[Member]) -> String {
        check(members).iter().map(|fault| format!("{fault}\n")).collect()
    }

    #[test]
    fn the_table_as_it_is() {
        let members: Vec<_> = TABLE.iter().map(|row| member(row.name, row.may_use)).collect();
        assert_eq!(faults(&members), "");
    }

    #[test]
    fn what_the_table_forbids() {
        let all = [
            "tickwire-wire",
            "tickwire-router",
            "tickwire-server",
            "tickwire-client",
            "xtask",
        ];
        for (name, dependency, expected) in [
            (
                "tickwire-wire",
                "tickwire-router",
                "may not use `tickwire-router`",
            ),
            (
                "tickwire-client",
                "tickwire-server",
                "may not use `tickwire-server`",
            ),
            ("tickwire-metrics", "tickwire-wire", "may not use `tickwire-wire`"),
            ("tickwire-router", "tokio", "brings in `tokio`"),
            ("tickwire-router", "libc", "never uses `libc`"),
            ("tickwire-feed", "socket2", "brings in `socket2`"),
            ("tickwire-server", "anyhow", "`anyhow` is for programs"),
            ("tickwire-server", "xtask", "nobody depends on `xtask`"),
            ("tickwire-utils", "serde", "name it for what it is"),
            ("tickwire-news", "serde", "not in the dependency table"),
        ] {
            let mut members = vec![member(name, &[dependency])];
            members.extend(
                all.iter()
                    .filter(|other| **other != name)
                    .map(|other| member(other, &[])),
            );
            let faults = faults(&members);
            assert!(faults.contains(expected), "{name} → {dependency}: {faults:?}");
        }
    }

    #[test]
    fn indirect_and_development_dependencies() {
        let mut wire = member("tickwire-wire", &["bytes"]);
        wire.reached.insert("mio".to_owned());
        assert!(faults(&[wire]).contains("brings in `mio`"));
        let mut server = member("tickwire-server", &[]);
        server.any.insert("tickwire-loadtest".to_owned());
        assert!(faults(&[server]).contains("nobody depends on `tickwire-loadtest`"));
        let mut wire = member("tickwire-wire", &[]);
        wire.any.insert("tokio".to_owned());
        assert_eq!(faults(&[wire]), "", "tests may use a runtime");
    }
}

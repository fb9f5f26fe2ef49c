//! A broker in a container, as far as that is possible without a runtime of containers: see `container.py`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Broker, get, poll, skip, test_file};

/// What a container of the broker is made from.
#[derive(Debug)]
pub(crate) struct Container {
    /// The arguments of the program. Its log must be JSON.
    pub(crate) args: Value,
    /// The whole environment.
    pub(crate) variables: Value,
    /// Folders and files in the container, each with the one of this machine that it is.
    pub(crate) folders: Value,
    /// The number of the user.
    pub(crate) user: u64,
}

impl Container {
    /// Whether this user may make a namespace of mounts. Otherwise prints that `test` is skipped.
    pub(crate) fn is_possible(test: &str) -> bool {
        let made = Command::new("unshare").args(["--mount", "true"]).output();
        let made = made.is_ok_and(|made| made.status.success()).then_some(());
        made.or_else(|| {
            skip(
                test,
                "a container needs a namespace of mounts, which root usually may make",
            )
        })
        .is_some()
    }

    /// Starts the broker and waits until it is ready. Checks that it has no rights and does without io_uring.
    pub(crate) fn start(&self, python: &Path) -> Broker {
        let plan = json!({
            "program": env!("CARGO_BIN_EXE_tickwire"),
            "args": self.args,
            "env": self.variables,
            "folders": self.folders,
            "user": self.user,
        });
        let mut script = Command::new(python);
        script.args([test_file("python/container.py"), plan.to_string()]);
        let broker = Broker::start_by(script);
        assert!(broker.has_log(r#""egress":"plain""#), "io_uring is forbidden");
        has_no_rights(&broker, self.user);
        poll("it is ready", || {
            (get(broker.ops, "/readyz").status == 200).then_some(())
        });
        broker
    }
}

/// Lets everybody read a folder.
pub(crate) fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its own folder");
}

/// Checks what the kernel says of the process: its user, no capabilities, a filter, and a root that is read only.
fn has_no_rights(broker: &Broker, user: u64) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", broker.id())).expect("it runs");
    let status = read("status");
    let value = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("a line").trim().to_owned()
    };
    assert_eq!(value("Uid"), format!("{user}\t{user}\t{user}\t{user}"));
    for name in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(name), "0000000000000000", "{name}");
    }
    assert_eq!(
        (value("NoNewPrivs").as_str(), value("Seccomp").as_str()),
        ("1", "2")
    );
    let mounts = read("mountinfo");
    for mount in mounts.lines() {
        let mut parts = mount.split(' ').skip(4);
        let (at, options) = (parts.next().expect("a place"), parts.next().expect("options"));
        assert!(
            options.split(',').any(|option| option == "ro"),
            "{at} can be written to"
        );
    }
}

//! A slow link: two network namespaces, a pair of virtual interfaces between them, and a token bucket on the way to the
//! reader.
//!
//! A thread can move to a side; what it then starts or connects is there. The namespaces have names only while they are
//! set up. Once both ends are held open here, the names are removed. The kernel removes the namespaces when this
//! program and what it started have ended in any way.
//!
//! Servers listen only on the loopback of their side. So that the reader's side can reach it over the link, 127.0.0.1
//! is routed there (`route_localnet`), and the reader's own loopback stays down.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The server's end of the link. RFC 2544 reserves the network for such tests.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(super) const READER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The name of the interface on both sides.
const INTERFACE: &str = "tickwire0";
/// The burst of the token bucket in bytes: two packets.
const BURST_BYTES: u32 = 3_028;
/// Longest time that a packet waits at the link before it is dropped, in milliseconds.
pub(super) const QUEUE_MS: u32 = 400;

#[derive(Debug)]
pub(super) struct Link {
    server: File,
    reader: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Reader,
}

/// The names of the namespaces, which are removed when this is dropped.
struct Names([String; 2]);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            // A namespace that could not be made cannot be removed either.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Why there can be no link; `None` if there can.
pub(super) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("slowlink makes network namespaces and must be run as root".to_owned());
    }
    ["ip", "tc"].into_iter().find_map(|program| {
        let runs = Command::new(program).arg("-V").output().is_ok();
        (!runs).then(|| format!("{program} is not installed; it comes with the package iproute2"))
    })
}

impl Link {
    /// A link that lets `bytes_per_s` through to the reader, and everything to the server.
    pub(super) fn make(bytes_per_s: u32) -> anyhow::Result<Self> {
        let own = std::process::id();
        let names = Names(["server", "reader"].map(|side| format!("tickwire-{own}-{side}")));
        let [server, reader] = &names.0;
        for name in [server, reader] {
            run("ip", &["netns", "add", name])?;
        }
        let pair = [
            "link", "add", INTERFACE, "netns", server, "type", "veth", "peer", "name", INTERFACE, "netns",
            reader,
        ];
        run("ip", &pair)?;
        for (name, address) in [(server, SERVER), (reader, READER)] {
            let network = format!("{address}/30");
            run("ip", &["-n", name, "addr", "add", &network, "dev", INTERFACE])?;
            run("ip", &["-n", name, "link", "set", INTERFACE, "up"])?;
        }
        run("ip", &["-n", server, "link", "set", "lo", "up"])?;
        let (broker, via) = ("127.0.0.1/32", &SERVER.to_string());
        run("ip", &["-n", reader, "route", "add", broker, "via", via])?;
        let (rate, burst, latency) = (
            format!("{}bit", u64::from(bytes_per_s) * 8),
            format!("{BURST_BYTES}b"),
            format!("{QUEUE_MS}ms"),
        );
        let shape = ["-n", server, "qdisc", "add", "dev", INTERFACE, "root", "tbf"];
        let bucket = ["rate", &rate, "burst", &burst, "latency", &latency];
        run("tc", &[&shape[..], &bucket[..]].concat())?;
        let open = |name: &str| {
            let path = format!("/run/netns/{name}");
            File::open(&path).with_context(|| format!("cannot open {path}"))
        };
        Ok(Self {
            server: open(server)?,
            reader: open(reader)?,
        })
    }

    /// Moves this thread to a side, for good.
    pub(super) fn enter(&self, side: Side) -> anyhow::Result<()> {
        let namespace = match side {
            Side::Server => &self.server,
            Side::Reader => &self.reader,
        };
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot move into a network namespace")?;
        let path = format!("/proc/sys/net/ipv4/conf/{INTERFACE}/route_localnet");
        fs::write(&path, "1").with_context(|| format!("cannot write {path}"))
    }
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

//! What a server has used so far, out of /proc and its metrics; two samples make a measurement.
//!
//! CPU times are those of the scheduler, to the nanosecond. The kernel counts `write` and `writev` of a process but not
//! `send` and `sendmsg`, so a server that uses these has no count of writes here unless it tells one itself.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::swarm::payload::{Clock, Nanos};
use crate::swarm::proc::{self, CpuTime, ProcError};
use crate::swarm::scrape::{self, Metrics};

/// A server at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// When.
    pub(crate) at: Nanos,
    /// CPU time of all of its threads.
    cpu: CpuTime,
    /// Time in which its threads were ready and others had the core.
    waited: Duration,
    /// Memory in RAM, in bytes.
    pub(crate) rss_bytes: u64,
    /// Threads.
    pub(crate) threads: u64,
    voluntary: u64,
    involuntary: u64,
}

/// What a server used between two samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// Time in which threads were ready and others had the core.
    pub(crate) waited: Duration,
    /// Context switches because it waited.
    pub(crate) voluntary: u64,
    /// Context switches because others wanted the core.
    pub(crate) involuntary: u64,
}

impl Sample {
    /// The process `pid` now.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn take(pid: u32, clock: Clock) -> anyhow::Result<Self> {
        let (voluntary, involuntary, threads) = switches(pid)?;
        Ok(Self {
            rss_bytes: proc::memory(pid)?.rss_bytes,
            threads,
            voluntary,
            involuntary,
            cpu: proc::cpu_time(pid)?,
            waited: proc::waited(pid)?,
            at: clock.now(),
        })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        Used {
            time: self.at.since(earlier.at),
            cpu: self.cpu.since(&earlier.cpu).total(),
            waited: self.waited.saturating_sub(earlier.waited),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

/// Context switches of all threads, and their number.
fn switches(pid: u32) -> Result<(u64, u64, u64), ProcError> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).map_err(|source| ProcError::Unreadable { path, source })?;
    let (mut voluntary, mut involuntary, mut threads) = (0, 0, 0);
    for task in tasks.flatten() {
        // A thread may end between being listed and being read.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        threads += 1;
        voluntary += field(&status, "voluntary_ctxt_switches:");
        involuntary += field(&status, "nonvoluntary_ctxt_switches:");
    }
    Ok((voluntary, involuntary, threads))
}

/// System calls that write, of the server `pid` so far: as its metrics at `ops` say or, without, as the kernel counts.
///
/// A server that is busy answers late, so this is not for a measured time.
///
/// # Errors
/// When it is gone, or does not answer.
pub(crate) fn writes(pid: u32, ops: Option<SocketAddr>) -> anyhow::Result<u64> {
    if let Some(ops) = ops {
        let page = Metrics::parse(&scrape::get(ops, "/metrics")?);
        return Ok(page.sum("tickwire_socket_writes_total", "") as u64);
    }
    let path = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&path).map_err(|source| ProcError::Unreadable { path, source })?;
    Ok(field(&text, "syscw:"))
}

/// The number after `name` at the beginning of a line; 0 if there is none.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_names() {
        let status = "Threads:\t1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 150);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), 545);
        assert_eq!(field(status, "syscw:"), 0);
    }

    #[test]
    fn this_process_is_sampled() {
        let clock = Clock::start();
        let take = || Sample::take(std::process::id(), clock).expect("this process is there");
        let earlier = take();
        let spent = (0..1_000_000_u64).fold(0, |sum: u64, i| sum.wrapping_add(std::hint::black_box(i)));
        std::hint::black_box(spent);
        let used = take().since(&earlier);
        assert!(earlier.rss_bytes > 0 && earlier.threads > 0);
        assert!(
            used.cpu > Duration::ZERO && used.time > Duration::ZERO,
            "{used:?}"
        );
    }
}

//! What the system tells about a process and about its own memory in /proc. Nothing is kept open.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use procfs::process::Process;
use serde::Serialize;

/// The memory of a process that is in RAM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// All of it (VmRSS).
    pub(crate) rss_bytes: u64,
    /// The part without a file behind it (RssAnon).
    pub(crate) anon_bytes: u64,
}

/// The counters of a process at one moment. Two of them make a measurement.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    at: Instant,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: u64,
    cpu: Duration,
    /// The time in which its threads were ready and others had the core.
    waited: Duration,
    voluntary: u64,
    involuntary: u64,
}

/// What a process used between two samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// The time in which its threads were ready and others had the core.
    pub(crate) waited: Duration,
    /// Context switches because it waited.
    pub(crate) voluntary: u64,
    /// Context switches because others wanted the core.
    pub(crate) involuntary: u64,
}

impl Sample {
    /// Takes a sample of process `pid`. CPU times are those of the scheduler, in nanoseconds. Threads that have ended
    /// are not included.
    pub(crate) fn take(pid: u32) -> anyhow::Result<Self> {
        let mut sample = Self {
            at: Instant::now(),
            rss_bytes: memory(pid)?.rss_bytes,
            threads: 0,
            cpu: Duration::ZERO,
            waited: Duration::ZERO,
            voluntary: 0,
            involuntary: 0,
        };
        for task in process(pid)?.tasks()? {
            // A thread may end after it is listed and before it is read.
            let Ok(task) = task else { continue };
            let (Ok(times), Ok(status)) = (task.schedstat(), task.status()) else {
                continue;
            };
            sample.threads += 1;
            sample.cpu += Duration::from_nanos(times.sum_exec_runtime);
            sample.waited += Duration::from_nanos(times.run_delay);
            sample.voluntary += status.voluntary_ctxt_switches.unwrap_or(0);
            sample.involuntary += status.nonvoluntary_ctxt_switches.unwrap_or(0);
        }
        ensure!(sample.threads > 0, "process {pid} has no thread that can be read");
        Ok(sample)
    }

    pub(crate) fn since(&self, earlier: &Self) -> Used {
        Used {
            time: self.at.saturating_duration_since(earlier.at),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waited: self.waited.saturating_sub(earlier.waited),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

fn process(pid: u32) -> anyhow::Result<Process> {
    let process = i32::try_from(pid).map(Process::new);
    process?.with_context(|| format!("cannot read about process {pid}"))
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = process(pid)?.status()?;
    let bytes = |kilobytes: Option<u64>| kilobytes.map(|kilobytes| kilobytes * 1024);
    Ok(Memory {
        rss_bytes: bytes(status.vmrss).context("a process without memory")?,
        anon_bytes: bytes(status.rssanon).context("a process without memory")?,
    })
}

/// How many system calls process `pid` has written with so far. The kernel counts `write` and `writev`, but not `send`
/// and `sendmsg`.
pub(crate) fn writes(pid: u32) -> anyhow::Result<u64> {
    Ok(process(pid)?.io()?.syscw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_sampled() {
        let take = || Sample::take(std::process::id()).expect("our own");
        let earlier = take();
        let spent = (0..1_000_000_u64).fold(0, |sum: u64, i| sum.wrapping_add(std::hint::black_box(i)));
        std::hint::black_box(spent);
        let used = take().since(&earlier);
        assert!(earlier.rss_bytes > 0 && earlier.threads > 0);
        assert!(
            used.cpu > Duration::ZERO && used.time > Duration::ZERO,
            "{used:?}"
        );
        assert!(memory(u32::MAX >> 1).is_err());
    }
}

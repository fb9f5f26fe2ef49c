//! Reads what the system tells about a process and about its own memory from /proc.
//!
//! Linux only. Each reading takes a few short files; nothing is kept open.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

/// The memory of a process that is in RAM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// All of it (VmRSS).
    pub(crate) rss_bytes: u64,
    /// The part without a file behind it (RssAnon).
    pub(crate) anon_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KernelMemory {
    /// The pages that TCP counts for its buffers.
    pub(crate) tcp_bytes: u64,
    /// The slabs: sockets, files, inodes and everything else.
    pub(crate) slab_bytes: u64,
}

/// The CPU time of a process by thread name, without the threads' numbers (`shard-0` and `shard-1` are `shard`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CpuTime(BTreeMap<String, Duration>);

impl CpuTime {
    /// The time that passed since `earlier`. A thread that ended in between counts as 0.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let passed = |(name, time): (&String, &Duration)| {
            (
                name.clone(),
                time.saturating_sub(earlier.of(name).unwrap_or_default()),
            )
        };
        Self(self.0.iter().map(passed).collect())
    }

    pub(crate) fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// The time of the threads with this name, if there are any.
    pub(crate) fn of(&self, name: &str) -> Option<Duration> {
        self.0.get(name).copied()
    }
}

/// The seconds by name: `feed 0.31, shard 4.02`.
impl Display for CpuTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, time)) in self.0.iter().enumerate() {
            let apart = if number == 0 { "" } else { ", " };
            write!(f, "{apart}{name} {:.2}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

/// The counters of a process at one moment. Two of them make a measurement.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    at: Instant,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: u64,
    cpu: CpuTime,
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
        let path = format!("/proc/{pid}/task");
        let mut sample = Self {
            at: Instant::now(),
            rss_bytes: memory(pid)?.rss_bytes,
            threads: 0,
            cpu: CpuTime::default(),
            waited: Duration::ZERO,
            voluntary: 0,
            involuntary: 0,
        };
        for task in fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
            let task = task?.path();
            let [name, times, status] =
                ["comm", "schedstat", "status"].map(|file| fs::read_to_string(task.join(file)));
            // A thread may end after it is listed and before it is read.
            let (Ok(name), Ok(times), Ok(status)) = (name, times, status) else {
                continue;
            };
            let mut times = times.split_ascii_whitespace().map_while(|time| time.parse().ok());
            let mut next = || Duration::from_nanos(times.next().unwrap_or(0));
            sample.threads += 1;
            *sample.cpu.0.entry(thread_group(&name).to_owned()).or_default() += next();
            sample.waited += next();
            sample.voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            sample.involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        ensure!(sample.threads > 0, "{path} has no thread that can be read");
        Ok(sample)
    }

    pub(crate) fn since(&self, earlier: &Self) -> Used {
        Used {
            time: self.at.saturating_duration_since(earlier.at),
            cpu: self.cpu.since(&earlier.cpu).total(),
            waited: self.waited.saturating_sub(earlier.waited),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    Ok(Memory {
        rss_bytes: kilobytes(&path, &text, "VmRSS:")?,
        anon_bytes: kilobytes(&path, &text, "RssAnon:")?,
    })
}

pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<CpuTime> {
    Sample::take(pid).map(|sample| sample.cpu)
}

/// How many system calls process `pid` has written with so far. The kernel counts `write` and `writev`, but not `send`
/// and `sendmsg`.
pub(crate) fn writes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/io");
    field(&read(&path)?, "syscw:").with_context(|| format!("{path} has no usable syscw"))
}

pub(crate) fn kernel_memory() -> anyhow::Result<KernelMemory> {
    let (sockets, memory) = ("/proc/net/sockstat", "/proc/meminfo");
    let pages = tcp_pages(&read(sockets)?).with_context(|| format!("{sockets} has no usable TCP mem"))?;
    Ok(KernelMemory {
        tcp_bytes: pages * rustix::param::page_size() as u64,
        slab_bytes: kilobytes(memory, &read(memory)?, "Slab:")?,
    })
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The number in the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(first_number)
}

/// The value of a line `name N kB`, in bytes.
fn kilobytes(path: &str, text: &str, name: &str) -> anyhow::Result<u64> {
    let kilobytes = field(text, name).with_context(|| format!("{path} has no usable {name}"))?;
    Ok(kilobytes * 1024)
}

/// The value of `mem` in the line of TCP.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    first_number(line.split_once(" mem ")?.1)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// A thread's name without its number.
fn thread_group(name: &str) -> &str {
    let name = name.trim_end();
    match name.rsplit_once('-') {
        Some((group, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => group,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let status = "Name:\ttickwire\nVmRSS:\t   12345 kB\nRssAnon:\t       7 kB\n";
        assert_eq!(kilobytes("p", status, "VmRSS:").expect("is there"), 12_345 * 1024);
        assert_eq!(kilobytes("p", status, "RssAnon:").expect("is there"), 7 * 1024);
        let error = kilobytes("p", status, "Slab:").expect_err("is not there");
        assert_eq!(error.to_string(), "p has no usable Slab:");
        let sockstat = "sockets: used 27\nTCP: inuse 7 orphan 0 tw 38 alloc 7 mem 12\nUDP: inuse 0 mem 3\n";
        assert_eq!(tcp_pages(sockstat), Some(12));
        assert_eq!(tcp_pages("UDP: inuse 0 mem 3\n"), None);
    }

    #[test]
    fn threads_are_grouped_by_name() {
        for (name, group) in [
            ("shard-12\n", "shard"),
            ("feed\n", "feed"),
            ("tokio-rt\n", "tokio-rt"),
        ] {
            assert_eq!(thread_group(name), group);
        }
    }

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
        assert!(kernel_memory().expect("everyone's").slab_bytes > 0);
        let error = memory(u32::MAX).expect_err("no such process").to_string();
        assert!(error.contains("/proc/4294967295/status"), "{error}");
    }

    #[test]
    fn cpu_time_is_a_difference() {
        let time = |shard, feed| {
            let of = |name: &str, ms| (name.to_owned(), Duration::from_millis(ms));
            CpuTime([of("shard", shard), of("feed", feed)].into())
        };
        let passed = time(30, 9).since(&time(10, 4));
        assert_eq!(passed, time(20, 5));
        assert_eq!((passed.total().as_millis(), passed.of("acceptor")), (25, None));
        assert_eq!(passed.to_string(), "feed 0.01, shard 0.02");
    }
}

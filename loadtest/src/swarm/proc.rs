//! What the system says of a process and of its own memory, out of /proc.
//!
//! Linux only. Each reading is a few short files; nothing is kept open.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

/// Why a reading failed.
#[derive(Debug, Error)]
pub(crate) enum ProcError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} has no usable {field}")]
    NoField { path: String, field: &'static str },
}

/// Memory of a process that is in RAM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// All of it (VmRSS).
    pub(crate) rss_bytes: u64,
    /// The part that no file backs (RssAnon), if it is known.
    pub(crate) anon_bytes: Option<u64>,
}

/// Memory of the kernel, the whole machine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KernelMemory {
    /// Pages that TCP counts for its buffers.
    pub(crate) tcp_bytes: u64,
    /// Slabs: sockets, files, inodes and everything else.
    pub(crate) slab_bytes: u64,
}

/// CPU time of a process, by the name of its threads without their number (`shard-0` and `shard-1` are `shard`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CpuTime(BTreeMap<String, Duration>);

impl CpuTime {
    /// CPU time of a process whose threads are not known.
    pub(crate) fn of_process(time: Duration) -> Self {
        Self(BTreeMap::from([("process".to_owned(), time)]))
    }

    /// The time that passed since `earlier`. A thread that ended in between counts as 0.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |name: &str| earlier.0.get(name).copied().unwrap_or_default();
        let passed = |(name, time): (&String, &Duration)| (name.clone(), time.saturating_sub(before(name)));
        Self(self.0.iter().map(passed).collect())
    }

    /// All threads together.
    pub(crate) fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// The threads of one name, if there are any.
    pub(crate) fn of(&self, name: &str) -> Option<Duration> {
        self.0.get(name).copied()
    }

    /// In seconds, by name.
    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        let seconds = |(name, time): (&String, &Duration)| (name.clone(), time.as_secs_f64());
        self.0.iter().map(seconds).collect()
    }
}

/// The memory of process `pid`.
///
/// # Errors
/// When it is gone or is not ours to look at.
pub(crate) fn memory(pid: u32) -> Result<Memory, ProcError> {
    let path = format!("/proc/{pid}/status");
    let text = read(&path)?;
    Ok(Memory {
        rss_bytes: kilobytes(&path, &text, "VmRSS:")?,
        anon_bytes: kilobytes(&path, &text, "RssAnon:").ok(),
    })
}

/// The CPU time of process `pid` so far, to the nanosecond. Threads that ended are not in it.
///
/// # Errors
/// When it is gone or is not ours to look at.
pub(crate) fn cpu_time(pid: u32) -> Result<CpuTime, ProcError> {
    let tasks = format!("/proc/{pid}/task");
    let unreadable = |source| ProcError::Unreadable {
        path: tasks.clone(),
        source,
    };
    let mut times = BTreeMap::new();
    for task in fs::read_dir(&tasks).map_err(unreadable)? {
        let task = task.map_err(unreadable)?.path();
        // A thread may end between being listed and being read.
        let (Ok(name), Ok(stat)) = (
            fs::read_to_string(task.join("comm")),
            fs::read_to_string(task.join("schedstat")),
        ) else {
            continue;
        };
        let nanos = first_number(&stat).ok_or_else(|| ProcError::NoField {
            path: task.join("schedstat").display().to_string(),
            field: "time",
        })?;
        *times.entry(thread_group(&name).to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    if times.is_empty() {
        let field = "thread with a readable schedstat";
        return Err(ProcError::NoField { path: tasks, field });
    }
    Ok(CpuTime(times))
}

/// How long the threads of process `pid` were ready to run and did not, since others had their core.
///
/// # Errors
/// When it is gone or is not ours to look at.
pub(crate) fn waited(pid: u32) -> Result<Duration, ProcError> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).map_err(|source| ProcError::Unreadable {
        path: tasks.clone(),
        source,
    })?;
    let of_task = |stat: String| -> Option<u64> { stat.split_ascii_whitespace().nth(1)?.parse().ok() };
    let nanos = entries
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(of_task)
        .sum();
    Ok(Duration::from_nanos(nanos))
}

/// The kernel's memory now.
///
/// # Errors
/// When /proc is not there.
pub(crate) fn kernel_memory() -> Result<KernelMemory, ProcError> {
    let (sockets, memory) = ("/proc/net/sockstat", "/proc/meminfo");
    let pages = tcp_pages(&read(sockets)?).ok_or_else(|| ProcError::NoField {
        path: sockets.to_owned(),
        field: "TCP mem",
    })?;
    Ok(KernelMemory {
        tcp_bytes: pages * rustix::param::page_size() as u64,
        slab_bytes: kilobytes(memory, &read(memory)?, "Slab:")?,
    })
}

fn read(path: &str) -> Result<String, ProcError> {
    fs::read_to_string(path).map_err(|source| ProcError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// The value of a line `field N kB`, in bytes.
fn kilobytes(path: &str, text: &str, field: &'static str) -> Result<u64, ProcError> {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(first_number)
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| ProcError::NoField {
            path: path.to_owned(),
            field,
        })
}

/// The `mem` of the line of TCP.
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
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(memory(pid).expect("our own").rss_bytes > 0);
        assert!(cpu_time(pid).expect("our own").total() > Duration::ZERO);
        assert!(kernel_memory().expect("everyone's").slab_bytes > 0);
        assert!(
            memory(u32::MAX)
                .expect_err("no such process")
                .to_string()
                .contains("/proc/4294967295/status")
        );
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
    }
}

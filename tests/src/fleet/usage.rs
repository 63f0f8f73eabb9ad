//! What the kernel says a process or a thread has used: memory and CPU time.

use anyhow::Context;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Proportional set size of a process, bytes: its own pages and its share of those it has in common with others
/// (`Documentation/filesystems/proc.rst`, smaps_rollup).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub all: u64,
    /// Of these, pages of files: of a static program, the program itself, which the kernel can drop and read again.
    pub of_files: u64,
}

impl Memory {
    /// What a process has now.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::read(&text).with_context(|| format!("{path} is not what the kernel documents"))
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
        };
        Some(Self { all: bytes("Pss:")?, of_files: bytes("Pss_File:")? })
    }
}

/// CPU time of a process, user and system, its threads that ended included (`proc_pid_stat(5)`, fields 14 and 15).
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let [user, system, ..] = cpu_times(pid)?;
    Ok(ticks(user + system))
}

/// CPU time of a process and of its children that have ended and were waited for (fields 16 and 17 too).
pub fn cpu_time_with_children(pid: u32) -> anyhow::Result<Duration> {
    Ok(ticks(cpu_times(pid)?.iter().sum()))
}

fn cpu_times(pid: u32) -> anyhow::Result<[u64; 4]> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name, which may hold anything but ends with the last bracket.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).context("no fields in stat")?;
    let times: Vec<u64> = fields.skip(11).take(4).map(str::parse).collect::<Result<_, _>>()?;
    times.try_into().map_err(|_| anyhow::anyhow!("{path} is cut short"))
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// CPU time of the calling thread, user and system.
pub fn own_cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // It is never negative.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A thread of this process.
pub struct Thread(PathBuf);

impl Thread {
    /// The thread of this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        for entry in fs::read_dir("/proc/self/task")? {
            let path = entry?.path();
            if fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
                return Ok(Self(path));
            }
        }
        anyhow::bail!("this process has no thread called {name}")
    }

    /// The time it has run (`Documentation/scheduler/sched-stats.rst`, schedstat: the first number, nanoseconds).
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let path = self.0.join("schedstat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let ns = text.split_whitespace().next().context("schedstat is empty")?.parse()?;
        Ok(Duration::from_nanos(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let text = "1-2 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss:      3 kB\nPss_Dirty: 7 kB\nPss_File:  2 kB\n";
        assert_eq!(Memory::read(text), Some(Memory { all: 3 << 10, of_files: 2 << 10 }));
        assert_eq!(Memory::read("Pss: 3 kB"), None);
    }

    #[test]
    fn this_process_has_memory_and_has_run() {
        let pid = std::process::id();
        assert!(Memory::of(pid).expect("memory").all > 100 << 10);
        assert!(cpu_time(pid).expect("time") < Duration::from_secs(3600));
        assert!(own_cpu_time() <= cpu_time(pid).expect("time") + Duration::from_millis(100));
        assert!(Thread::named("no such thread").is_err());
    }
}

//! What a program's CPU time went into: by thread, from the kernel's accounts; by stage, from `perf`'s samples of its call
//! chains, where `perf` is there.
//!
//! A sample is counted for the function it was taken in: what is inlined counts for what it was inlined into, and memory
//! that is allotted or copied for nobody but itself.

use super::super::Row;
use super::perf::{Recording, Sample};
use anyhow::Context;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Threads of the aggregator, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thread {
    /// The one that writes the journal.
    Journal,
    /// The one that writes the hot cache.
    Hot,
    /// Those that decode.
    Decoders,
    /// Connections, sessions, everything that is asynchronous.
    Workers,
}

impl Thread {
    /// By the name the kernel has, of 15 bytes at most.
    fn named(name: &str) -> Self {
        match name {
            "warm-writer" => Self::Journal,
            "hot" => Self::Hot,
            "decode" => Self::Decoders,
            _ => Self::Workers,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Hot => "hot cache",
            Self::Decoders => "decoders",
            Self::Workers => "the rest",
        }
    }
}

/// What CPU time is for, in the order in which a batch passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Datagrams in and out: system calls, the kernel's UDP and IP.
    Datagrams,
    /// Encryption and its keys.
    Tls,
    /// QUIC: packets, streams, acknowledgements, timers.
    Quic,
    /// Frames: cut, checksum, TLVs; who may say what.
    Frame,
    /// Batches decoded.
    Decode,
    /// What becomes of them: sets found, records made, answers put together.
    Session,
    /// The journal's thread: SQLite, the ledger, the disk.
    Journal,
    /// The hot cache's thread.
    Hot,
    /// Memory allotted, freed, copied, cleared, on other threads.
    Memory,
    /// Tasks and threads woken and put to sleep.
    Scheduling,
    /// Everything else.
    Rest,
}

impl Stage {
    const ALL: [Self; 11] = [
        Self::Datagrams,
        Self::Tls,
        Self::Quic,
        Self::Frame,
        Self::Decode,
        Self::Session,
        Self::Journal,
        Self::Hot,
        Self::Memory,
        Self::Scheduling,
        Self::Rest,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagrams",
            Self::Tls => "TLS",
            Self::Quic => "QUIC",
            Self::Frame => "frames",
            Self::Decode => "decoding",
            Self::Session => "sessions",
            Self::Journal => "journal",
            Self::Hot => "hot cache",
            Self::Memory => "memory",
            Self::Scheduling => "scheduling",
            Self::Rest => "rest",
        }
    }

    /// What a sample was taken in.
    fn of(sample: &Sample) -> Self {
        match Thread::named(&sample.thread) {
            Thread::Journal => Self::Journal,
            Thread::Hot => Self::Hot,
            Thread::Decoders | Thread::Workers => Self::of_call(&sample.frames),
        }
    }

    /// By the innermost function that says it; in the kernel, that is the system call.
    fn of_call(frames: &[String]) -> Self {
        let stage = |frame: &String| {
            // `<a::Type as b::Trait>::call` is a's.
            let name = frame.trim_start_matches(['<', '&']);
            WHERE.iter().find(|(_, heads)| heads.iter().any(|head| name.starts_with(head))).map(|(stage, _)| *stage)
        };
        frames.iter().find_map(stage).unwrap_or(Self::Rest)
    }
}

/// How the functions of a stage begin; the first one that fits counts.
const WHERE: &[(Stage, &[&str])] = &[
    (Stage::Datagrams, &["__sys_recvm", "__sys_sendm", "do_recvmmsg", "___sys_", "____sys_", "quinn_udp::"]),
    (Stage::Tls, &["aws_lc_", "aead_", "rustls::", "dsmil_crypto::"]),
    (Stage::Quic, &["quinn_proto::", "quinn::"]),
    (Stage::Decode, &["dsmil_protocol::batch::", "ZSTD_", "HUF_", "FSE_", "zstd"]),
    (Stage::Frame, &["dsmil_protocol::", "crc32c::"]),
    (Stage::Session, &["dsmil_"]),
    (
        Stage::Memory,
        &[
            "malloc",
            "__malloc",
            "_int_",
            "free",
            "__free",
            "calloc",
            "__libc_calloc",
            "realloc",
            "__libc_realloc",
            "unlink_chunk",
            "sysmalloc",
            "__memmove",
            "__memset",
            "asm_exc_page_fault",
            "__x64_sys_m",
            "__x64_sys_brk",
        ],
    ),
    (
        Stage::Scheduling,
        &["tokio::", "mio::", "epoll_wait", "syscall", "do_futex", "do_epoll_wait", "ksys_write", "__schedule"],
    ),
];

/// Measures one program.
pub(super) struct Meter {
    pid: u32,
}

impl Meter {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Begins; `by_stage`: with `perf`, if it is there.
    pub(super) fn start(&self, by_stage: bool) -> anyhow::Result<Running> {
        let recording = by_stage.then(|| Recording::start(self.pid));
        Ok(Running { pid: self.pid, before: threads(self.pid)?, recording })
    }
}

/// A measurement that is under way.
pub(super) struct Running {
    pid: u32,
    before: BTreeMap<u32, (Thread, Duration)>,
    recording: Option<Result<Recording, String>>,
}

impl Running {
    pub(super) fn stop(self) -> anyhow::Result<Cost> {
        let mut threads = BTreeMap::new();
        for (id, (thread, cpu)) in self::threads(self.pid)? {
            let before = self.before.get(&id).map_or(Duration::ZERO, |(_, cpu)| *cpu);
            *threads.entry(thread).or_default() += cpu.saturating_sub(before);
        }
        let count = |samples: Vec<Sample>| {
            let mut stages = BTreeMap::new();
            samples.iter().for_each(|sample| *stages.entry(Stage::of(sample)).or_default() += 1);
            stages
        };
        let stages = self.recording.map(|recording| Ok(count(recording?.stop()?)));
        Ok(Cost { threads, stages })
    }
}

/// What a stretch of time cost.
pub(super) struct Cost {
    threads: BTreeMap<Thread, Duration>,
    /// Samples by stage, or why there are none; nothing if nobody asked.
    stages: Option<Result<BTreeMap<Stage, u64>, String>>,
}

impl Cost {
    /// CPU time of all threads, seconds.
    pub(super) fn cpu(&self) -> f64 {
        self.threads.values().sum::<Duration>().as_secs_f64()
    }

    /// The share of each kind of thread, in words.
    pub(super) fn by_thread(&self) -> String {
        let share = |(thread, cpu): (&Thread, &Duration)| {
            format!("{} {:.0} %", thread.name(), 100.0 * cpu.as_secs_f64() / self.cpu())
        };
        self.threads.iter().map(share).collect::<Vec<_>>().join(", ")
    }

    /// A row a stage.
    pub(super) fn rows(&self, of: &str) -> Vec<Row> {
        let name = |stage: &str| format!("ingest of {of}: {stage}");
        match &self.stages {
            None => Vec::new(),
            Some(Err(why)) => vec![Row::absent(name("where the time goes"), "%", why.clone())],
            Some(Ok(stages)) => {
                let all: u64 = stages.values().sum();
                let share = |stage: &Stage| 100.0 * stages.get(stage).copied().unwrap_or(0) as f64 / all.max(1) as f64;
                let row = |stage: &Stage| Row::told(name(stage.name()), share(stage), "% of its CPU time");
                Stage::ALL.iter().map(row).collect()
            }
        }
    }
}

/// The CPU time of each thread (`Documentation/scheduler/sched-stats.rst`, schedstat: the first number, nanoseconds). What
/// a thread used that ends between two looks is not seen; the aggregator's own live as long as it does.
fn threads(pid: u32) -> anyhow::Result<BTreeMap<u32, (Thread, Duration)>> {
    let folder = format!("/proc/{pid}/task");
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let path = entry?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse().ok()).context("a thread without a number")?;
        // One that has just ended is not there any more.
        let (Ok(name), Ok(stat)) = (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let ns = stat.split_whitespace().next().context("schedstat is empty")?.parse()?;
        threads.insert(id, (Thread::named(name.trim_end()), Duration::from_nanos(ns)));
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(thread: &str, frames: &[&str]) -> Stage {
        Stage::of(&Sample { thread: thread.into(), frames: frames.iter().map(|frame| (*frame).to_owned()).collect() })
    }

    #[test]
    fn a_sample_is_counted_for_the_innermost_function_that_is_known() {
        assert_eq!(stage("tokio-rt-worker", &["dsmil_protocol::batch::column::read", "[unknown]"]), Stage::Decode);
        assert_eq!(stage("tokio-rt-worker", &["dsmil_protocol::tlv::Tlvs::decode"]), Stage::Frame);
        assert_eq!(stage("tokio-rt-worker", &["<quinn::endpoint::EndpointDriver as F>::poll"]), Stage::Quic);
        assert_eq!(stage("tokio-rt-worker", &["_copy_to_iter", "udp_recvmsg", "____sys_recvmsg"]), Stage::Datagrams);
        assert_eq!(stage("decode", &["_int_malloc", "dsmil_protocol::batch::decode"]), Stage::Memory);
        assert_eq!(stage("decode", &["core::fmt::write"]), Stage::Rest);
    }

    #[test]
    fn threads_that_write_are_stages_of_their_own() {
        assert_eq!(stage("warm-writer", &["_copy_to_iter", "__x64_sys_pread64"]), Stage::Journal);
        assert_eq!(stage("hot", &["sqlite3VdbeExec"]), Stage::Hot);
    }

    #[test]
    fn shares_are_of_all_samples() {
        let threads =
            BTreeMap::from([(Thread::Hot, Duration::from_secs(1)), (Thread::Workers, Duration::from_secs(3))]);
        let stages = Some(Ok(BTreeMap::from([(Stage::Hot, 25), (Stage::Quic, 75)])));
        let cost = Cost { threads, stages };
        assert_eq!((cost.cpu(), cost.by_thread().as_str()), (4.0, "hot cache 25 %, the rest 75 %"));
        let rows = cost.rows("x");
        assert_eq!(rows.len(), Stage::ALL.len());
        assert_eq!(rows[2].value, Some(75.0));
        let absent = Cost { threads: BTreeMap::new(), stages: Some(Err("no perf".into())) }.rows("x");
        assert!(absent[0].value.is_none() && absent[0].note.as_ref().is_some_and(|note| note.contains("no perf")));
    }

    #[test]
    fn this_process_has_threads() {
        let threads = threads(std::process::id()).expect("threads");
        assert!(threads.values().any(|(thread, _)| *thread == Thread::Workers));
    }
}

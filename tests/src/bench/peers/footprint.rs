//! What each side's programs on the host take, and what their networks carry, all in the same window.

use super::rig::Rig;
use super::side::Contender;
use crate::fleet::usage::{Memory, cpu_time};
use anyhow::Context;
use std::time::Duration;

/// Until caches are filled and garbage collectors have found their pace.
const WARM_UP: Duration = Duration::from_secs(20);
/// The window begins so long after one of our batches, in the middle between two: there are as many in it as there should be.
const AFTER_BATCH: Duration = Duration::from_secs(4);
/// How long is measured: six of our batches.
const WINDOW: Duration = Duration::from_secs(60);
/// Memory is the mean of what is seen so often: that of a program with a garbage collector goes up and down.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Bytes that the interfaces of a side have carried; none where they are everybody's, or there is no such interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    /// Between agent and backend, acknowledgements and IP headers included.
    pub(super) out: Option<u64>,
    /// Between exporter and agent.
    pub(super) scraped: Option<u64>,
}

/// What one program took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Used {
    pub(super) name: String,
    /// Proportional set size, bytes.
    pub(super) memory: f64,
    /// CPU time a second of time.
    pub(super) cpu: f64,
}

/// What one side took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Footprint {
    pub(super) programs: Vec<Used>,
    /// What reads beside them what no peer reads, and counts by itself.
    pub(super) beside: Vec<Used>,
    /// Samples a second.
    pub(super) samples: f64,
    /// Bytes a second between agent and backend.
    pub(super) out: Option<f64>,
    /// Bytes a second between exporter and agent.
    pub(super) scraped: Option<f64>,
}

impl Footprint {
    /// Of all programs together, bytes.
    pub(super) fn memory(&self) -> f64 {
        self.programs.iter().map(|program| program.memory).sum()
    }

    /// Of all programs together, CPU time a second.
    pub(super) fn cpu(&self) -> f64 {
        self.programs.iter().map(|program| program.cpu).sum()
    }
}

/// A program at the window's beginning, and what is seen of it in the window.
struct Watched {
    name: String,
    pid: u32,
    cpu_before: Duration,
    /// Bytes, each time that it was looked at.
    memory: Vec<u64>,
}

struct Before {
    programs: Vec<Watched>,
    beside: Vec<Watched>,
    carried: Carried,
}

/// Measures all contenders that run; none for one that does not, or does not survive.
pub(super) fn measure(rig: &Rig, contenders: &mut [Contender<'_>]) -> Vec<Option<Footprint>> {
    rig.sleep_until(rig.clock.mono() + WARM_UP);
    for contender in &mut *contenders {
        contender.ask_ours(|ours| ours.next_batch());
    }
    rig.sleep_until(rig.clock.mono() + AFTER_BATCH);
    let began = rig.clock.mono();
    let mut before: Vec<_> = contenders.iter_mut().map(begin).collect();
    let mut next = began;
    while next < began + WINDOW {
        next += LOOK_EVERY;
        rig.sleep_until(next);
        for program in before.iter_mut().flatten().flat_map(Before::all) {
            // One that is gone is found out at the end.
            program.memory.extend(Memory::of(program.pid).ok().map(|memory| memory.all));
        }
    }
    let seconds = rig.clock.mono().saturating_sub(began).as_secs_f64();
    let ends = contenders.iter_mut().zip(before).map(|(contender, before)| end(contender, before?, seconds));
    ends.collect()
}

impl Before {
    fn all(&mut self) -> impl Iterator<Item = &mut Watched> {
        self.programs.iter_mut().chain(&mut self.beside)
    }
}

fn begin(contender: &mut Contender<'_>) -> Option<Before> {
    let (agents, beside) = (contender.agents()?, contender.beside()?);
    Some(Before { programs: watch(agents)?, beside: watch(beside)?, carried: contender.carried()? })
}

fn watch(programs: Vec<(String, u32)>) -> Option<Vec<Watched>> {
    let watch = |(name, pid)| Some(Watched { name, pid, cpu_before: cpu(pid).ok()?, memory: Vec::new() });
    programs.into_iter().map(watch).collect()
}

fn end(contender: &mut Contender<'_>, before: Before, seconds: f64) -> Option<Footprint> {
    // Those that were started anew meanwhile are others.
    let (agents, beside, carried) = (contender.agents()?, contender.beside()?, contender.carried()?);
    let (programs, beside) = (used(before.programs, &agents, seconds)?, used(before.beside, &beside, seconds)?);
    let rate = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?) as f64 / seconds);
    let out = rate(before.carried.out, carried.out);
    let scraped = rate(before.carried.scraped, carried.scraped);
    // Asked last: the answer goes over the interface that was just read.
    Some(Footprint { programs, beside, samples: contender.samples()? as f64, out, scraped })
}

/// What was taken in the window by programs that are still there.
fn used(watched: Vec<Watched>, now: &[(String, u32)], seconds: f64) -> Option<Vec<Used>> {
    let used = |(program, (_, pid)): (Watched, &(String, u32))| {
        let cpu = cpu(*pid).ok()?.saturating_sub(program.cpu_before).as_secs_f64() / seconds;
        let memory = program.memory.iter().sum::<u64>() as f64 / program.memory.len() as f64;
        Some(Used { name: program.name, memory, cpu })
    };
    watched.into_iter().zip(now).map(used).collect()
}

/// CPU time of a process, in nanoseconds where its own count has hundredths of a second: all its threads' added up
/// (`Documentation/scheduler/sched-stats.rst`, schedstat: the first number). None of these programs ends a thread.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += Duration::from_nanos(text.split_whitespace().next().context("schedstat is empty")?.parse()?);
    }
    // A kernel without these counts shows zeros.
    if sum.is_zero() { cpu_time(pid) } else { Ok(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_takes_what_its_programs_take() {
        let used = |name: &str, memory, cpu| Used { name: name.to_owned(), memory, cpu };
        let programs = vec![used("a", 3.0, 0.25), used("b", 4.0, 0.5)];
        let footprint = Footprint { programs, beside: Vec::new(), samples: 10.0, out: None, scraped: None };
        assert_eq!((footprint.memory(), footprint.cpu()), (7.0, 0.75));
    }

    #[test]
    fn cpu_time_is_the_processs_own() {
        let pid = std::process::id();
        let (ours, kernels) = (cpu(pid).expect("time"), cpu_time(pid).expect("time"));
        // The test's other threads may have ended, and count in the second alone.
        assert!(ours > Duration::ZERO && ours < kernels + Duration::from_millis(100), "{ours:?} {kernels:?}");
    }
}

//! Looks at the memory of programs, and what they come to.
//!
//! What counts is what the kernel cannot drop: the proportional set size without pages of files, which here are the program's
//! own and come and go with what else the machine does. Growth is the slope that half of all pairs of looks exceed and half do not (Theil 1950, Sen 1968), times the time between
//! the first look and the last. A peak while a query is answered does not move it, however high it is; what is kept of each
//! of a thousand batches does.

use crate::life::Plan;
use anyhow::Context;
use dsmil_runtime::clock::Clock;
use e2e::fleet::usage::{Memory, cpu_time};
use std::convert::Infallible;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(10);

/// A program that is watched.
pub(crate) struct Subject {
    name: &'static str,
    pid: u32,
    /// What it may have grown by in the end, bytes.
    limit: u64,
    /// Its own memory after the warm-up, bytes, each at a time.
    looks: Vec<(Duration, u64)>,
    /// All of it at the last look, bytes.
    all: u64,
    /// CPU time when the warm-up was over.
    cpu: Duration,
}

impl Subject {
    pub(crate) fn new(name: &'static str, pid: u32, limit: u64) -> Self {
        Self { name, pid, limit, looks: Vec::new(), all: 0, cpu: Duration::ZERO }
    }
}

/// Who watches.
pub(crate) struct Watch {
    clock: Clock,
    started: Duration,
    warm_up: Duration,
    cycle: Duration,
    subjects: Vec<Subject>,
    /// Databases that grow because they keep what they are given.
    files: Vec<(&'static str, PathBuf)>,
}

impl Watch {
    pub(crate) fn new(
        plan: &Plan,
        clock: &Clock,
        subjects: Vec<Subject>,
        files: Vec<(&'static str, PathBuf)>,
    ) -> anyhow::Result<Self> {
        let (started, clock) = (clock.mono(), clock.clone());
        Ok(Self { clock, started, warm_up: plan.warm_up(), cycle: plan.cycle(), subjects, files })
    }

    /// Looks until it is dropped, and prints a line a cycle.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Infallible> {
        let mut next_line = Duration::ZERO;
        for look in 0_u32.. {
            self.clock.sleep_until(self.started + EVERY * look).await;
            let age = self.clock.mono() - self.started;
            let mut line = format!("minute {:>4.1}", age.as_secs_f64() / 60.0);
            for subject in &mut self.subjects {
                let memory = Memory::of(subject.pid).with_context(|| format!("the {} has ended", subject.name))?;
                let own = memory.all - memory.of_files;
                if age < self.warm_up {
                    subject.cpu = cpu_time(subject.pid)?;
                } else {
                    subject.looks.push((age, own));
                }
                subject.all = memory.all;
                line.push_str(&format!(", {} {} of {} KiB", subject.name, own >> 10, memory.all >> 10));
            }
            if age >= next_line {
                next_line += self.cycle;
                for (name, file) in &self.files {
                    line.push_str(&format!(", {name} {} KiB", on_disk(file)? >> 10));
                }
                println!("{line}");
            }
        }
        unreachable!("136 years have passed")
    }

    /// What all looks come to.
    pub(crate) fn verdict(&self) -> anyhow::Result<Verdict> {
        let outcomes = self.subjects.iter().map(|subject| {
            let (first, last) = subject.looks.first().zip(subject.looks.last()).context("nobody looked")?;
            let watched = last.0 - first.0;
            let cpu = cpu_time(subject.pid)?.saturating_sub(subject.cpu);
            Ok(Outcome {
                name: subject.name,
                looks: subject.looks.len(),
                watched,
                median: median(subject.looks.iter().map(|(_, bytes)| *bytes as f64).collect()),
                all: subject.all as f64,
                growth: slope(&subject.looks) * watched.as_secs_f64(),
                limit: subject.limit as f64,
                cores: cpu.as_secs_f64() / watched.as_secs_f64(),
            })
        });
        Ok(Verdict(outcomes.collect::<anyhow::Result<_>>()?))
    }
}

/// What became of each program.
pub(crate) struct Verdict(Vec<Outcome>);

struct Outcome {
    name: &'static str,
    looks: usize,
    watched: Duration,
    median: f64,
    all: f64,
    growth: f64,
    limit: f64,
    cores: f64,
}

impl Verdict {
    /// Whether nobody grew by more than was allowed.
    pub(crate) fn is_flat(&self) -> bool {
        self.0.iter().all(|outcome| outcome.growth <= outcome.limit)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.0 {
            let Outcome { name, looks, watched, median, all, growth, limit, cores } = outcome;
            writeln!(
                f,
                "{name}: {:+.0} KiB in {:.1} min ({:.0} allowed); own memory {:.0} KiB, the median of {looks} looks; \
                 PSS {:.0} KiB at the end; {:.1} % of a core",
                growth / 1024.0,
                watched.as_secs_f64() / 60.0,
                limit / 1024.0,
                median / 1024.0,
                all / 1024.0,
                cores * 100.0,
            )?;
        }
        Ok(())
    }
}

/// Bytes a second: the median over all pairs of looks.
fn slope(looks: &[(Duration, u64)]) -> f64 {
    let mut slopes = Vec::with_capacity(looks.len() * looks.len() / 2);
    for (n, (before, less)) in looks.iter().enumerate() {
        let later = looks[n + 1..].iter();
        slopes.extend(later.map(|(after, more)| (*more as f64 - *less as f64) / (*after - *before).as_secs_f64()));
    }
    median(slopes)
}

/// 0 of nothing.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

/// Bytes that a database and its log take.
fn on_disk(database: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for suffix in ["", "-wal"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        match std::fs::metadata(&path) {
            // stat(2): blocks are of 512 bytes, whatever the filesystem's.
            Ok(file) => sum += file.blocks() * 512,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be seen", Path::new(&path).display())),
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fifty minutes of looks at a program of 40 MiB that allocates and frees, and is asked something every minute.
    fn looks(more: impl Fn(u64) -> u64) -> Vec<(Duration, u64)> {
        let noise = |look: u64| (look * 7919 % 61) << 10;
        let peak = |look: u64| if look.is_multiple_of(6) { 8 << 20 } else { 0 };
        (0..300)
            .map(|look| (EVERY * u32::try_from(look).expect("few"), (40 << 20) + noise(look) + peak(look) + more(look)))
            .collect()
    }

    fn growth(looks: &[(Duration, u64)]) -> f64 {
        slope(looks) * 3_000.0
    }

    #[test]
    fn what_comes_and_goes_is_no_growth() {
        assert!(growth(&looks(|_| 0)).abs() < 16_384.0);
    }

    #[test]
    fn a_kibibyte_kept_of_each_look_is_seen_beneath_noise_and_peaks() {
        let grown = growth(&looks(|look| look << 10));
        assert!((280.0..320.0).contains(&(grown / 1024.0)), "{grown}");
    }

    #[test]
    fn one_step_is_less_than_it_would_be_if_it_went_on() {
        let step = growth(&looks(|look| if look > 150 { 1 << 20 } else { 0 }));
        assert!(step < f64::from(2 << 20), "{step}");
        assert!(slope(&[]).abs() < f64::EPSILON);
    }
}

//! Memory of the programs while something is broken: a bound, and no way up.

use crate::rig::Rig;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

/// An unoptimised agent; the released one is held to 8 MiB by the benchmark.
const AGENT_MAX: u64 = 24 << 20;
/// An unoptimised centre with one host; its hot cache is not its memory but the tmpfs's.
const CENTRE_MAX: u64 = 96 << 20;
/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// What a program may be larger at the end than it was after its start: allocators round up.
const GROWTH_MAX: u64 = 2 << 20;
/// Looks at a program that are its start: it reads certificates, makes its tables.
const WARM_UP: usize = 6;

/// What was seen, by program and process.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<(&'static str, u32), Vec<u64>>);

impl Memory {
    /// Looks at what runs of the rig for so long.
    pub(crate) async fn watch(&mut self, rig: &mut Rig<'_>, length: Duration) -> anyhow::Result<()> {
        let end = rig.clock.mono() + length;
        loop {
            let running = [("agent", rig.agent.process().ok()), ("aggregator", rig.centre.process().ok())];
            for (name, process) in running {
                let Some(process) = process else { continue };
                process.check_alive()?;
                let pss = pss_bytes(process.id())?;
                self.0.entry((name, process.id())).or_default().push(pss);
            }
            let now = rig.clock.mono();
            if now >= end {
                return Ok(());
            }
            rig.clock.sleep(EVERY.min(end - now)).await;
        }
    }

    /// Fails if a program was too large at any time, or grew after its start.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for ((name, id), looks) in &self.0 {
            let most = looks.iter().copied().max().unwrap_or(0);
            println!(
                "memory of {name} {id}: {} looks, {} KiB at most, {} KiB last",
                looks.len(),
                most >> 10,
                looks[looks.len() - 1] >> 10
            );
            let max = if *name == "agent" { AGENT_MAX } else { CENTRE_MAX };
            ensure!(most <= max, "{name} took {most} bytes, more than {max}: {looks:?}");
            // A centre that has just come back takes in what waited; only an agent has nothing new to do.
            let Some(settled) = looks.get(WARM_UP..).filter(|settled| settled.len() >= 2 * WARM_UP && *name == "agent")
            else {
                continue;
            };
            let (early, late) = (median(&settled[..settled.len() / 3]), median(&settled[settled.len() * 2 / 3..]));
            ensure!(late <= early + GROWTH_MAX, "{name} grew from {early} to {late} bytes: {looks:?}");
        }
        Ok(())
    }
}

fn median(looks: &[u64]) -> u64 {
    let mut sorted = looks.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Proportional set size (`Documentation/filesystems/proc.rst`, smaps_rollup).
fn pss_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("{path} has no Pss"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

//! The figures of the project, measured against their targets.
//!
//! A group is measured as a whole; each of its figures is a row. A target that is missed is printed as missed: only what
//! could not be measured is an error.

pub mod baseline;
pub mod codec;
pub mod count;
mod detection;
mod frame;
mod handshake;
mod hosts;
mod ingest;
mod joining;
mod link;
mod load;
mod peers;
mod probes;
mod process;
mod row;
mod series;
mod sessions;
mod size;
mod store;

pub use row::{Better, Row, Target, as_json, as_table};

use anyhow::Context;
use codec::Capture;
use dsmil_runtime::clock::Clock;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ticks in a batch, as an agent sends them.
pub(crate) const BATCH_TICKS: usize = 10;

/// Figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Group {
    /// The batch codec on the capture: bytes and nanoseconds a sample.
    Codec,
    /// One telemetry frame: what framing costs in bytes and in time.
    Frame,
    /// The store alone: batches a second into the hot cache and the warm journal.
    Hot,
    /// The agent's program file.
    Binary,
    /// The agent on this host: memory, CPU, tmpfs.
    Agent,
    /// From a tick's sampling to an answer that shows it.
    Latency,
    /// Real QUIC connections that push batches into an aggregator as fast as it acknowledges them.
    Ingest,
    /// Handshakes of the fleet link, full and resumed, beside classical ones.
    Handshake,
    /// What a session that sends nothing costs an aggregator.
    Sessions,
    /// A host that joins, and one that renews.
    Join,
    /// Instructions of a sample's way, counted by callgrind.
    Count,
    /// What the aggregator remembers of each series that a host sends.
    Series,
    /// Dead hosts, and hosts that only look dead.
    Detection,
    /// The fleet link beside TCP and TLS, with and without delay.
    Link,
    /// Other agents and their backends on this machine, from Debian's packages.
    Peers,
}

/// What to measure and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The groups; none means all.
    pub groups: BTreeSet<Group>,
    /// How long the agent runs.
    pub agent_for: Duration,
    /// How long batches are pushed, if there are so many.
    pub ingest_for: Duration,
    /// Connections that push.
    pub connections: usize,
    /// The folder of the product's programs.
    pub programs: PathBuf,
}

/// Measures, group after group. Progress goes to standard error.
pub fn run(options: &Options) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let began = clock.mono();
    let wants = |group| options.groups.is_empty() || options.groups.contains(&group);
    let mut rows = Vec::new();
    let mut measure = |group: Group, figures: &mut dyn FnMut() -> anyhow::Result<Vec<Row>>| {
        if wants(group) {
            eprintln!("measuring: {group:?} …");
            rows.extend(figures().with_context(|| format!("the group {group:?} could not be measured"))?);
        }
        anyhow::Ok(())
    };
    let capture = capture()?;
    measure(Group::Codec, &mut || codec::figures(&capture))?;
    measure(Group::Frame, &mut || frame::figures(&capture))?;
    measure(Group::Hot, &mut || store::figures(&capture))?;
    measure(Group::Binary, &mut || size::figures(&options.programs))?;
    let (agent, latency) = (wants(Group::Agent), wants(Group::Latency));
    let both = if agent { Group::Agent } else { Group::Latency };
    measure(both, &mut || {
        let found = hosts::figures(options.agent_for)?;
        let shown = [(agent, found.agent), (latency, found.latency)];
        Ok(shown.into_iter().filter(|(wanted, _)| *wanted).flat_map(|(_, rows)| rows).collect())
    })?;
    measure(Group::Ingest, &mut || ingest::figures(&capture, options))?;
    measure(Group::Handshake, &mut handshake::figures)?;
    measure(Group::Sessions, &mut sessions::figures)?;
    measure(Group::Join, &mut joining::figures)?;
    measure(Group::Count, &mut || count::figures(&capture))?;
    measure(Group::Series, &mut || series::figures(&capture))?;
    measure(Group::Detection, &mut detection::figures)?;
    measure(Group::Link, &mut link::figures)?;
    measure(Group::Peers, &mut || peers::figures(&capture))?;
    if options.groups.is_empty() {
        let took = clock.mono().saturating_sub(began).as_secs_f64() / 60.0;
        rows.push(Row::aimed("all of this", took, "min", Target::AtMost(15.0)).note("what was built before left out"));
    }
    Ok(rows)
}

fn capture() -> anyhow::Result<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-data");
    Capture::load(&folder.join("host-1hz.csv.zst"), &folder.join("host-set.txt")).context("cannot read the capture")
}

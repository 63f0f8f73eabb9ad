//! What `GET /api/v1/hosts/{id}` and range queries say, as far as drills look at it.

use crate::rig::Rig;
use anyhow::Context;
use dsmil_protocol::ids::HostName;
use e2e::fleet::Ledger;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// One host.
#[derive(Debug, Deserialize)]
pub(crate) struct HostDetail {
    pub(crate) link: Link,
    pub(crate) clock: Option<HostClock>,
    pub(crate) latest: Option<Newest>,
    pub(crate) boots: Vec<Boot>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Link {
    pub(crate) state: String,
    pub(crate) why: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct HostClock {
    pub(crate) boot_epoch_ns: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Newest {
    pub(crate) tick: u64,
}

/// The ledger of one boot.
#[derive(Debug, Deserialize)]
pub(crate) struct Boot {
    pub(crate) classification: u8,
    pub(crate) totals: Ledger,
    pub(crate) accounted: Vec<Ticks>,
    pub(crate) waiting: Vec<Ticks>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) truncated: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Ticks {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Gap {
    #[serde(flatten)]
    pub(crate) ticks: Ticks,
    pub(crate) reason: String,
}

impl HostDetail {
    /// The running boot.
    pub(crate) fn boot(&self) -> anyhow::Result<&Boot> {
        let boot = self.boots.first().context("the centre knows of no boot")?;
        anyhow::ensure!(!boot.truncated, "the ledger has too many ranges for one document");
        Ok(boot)
    }

    /// The last tick that is accounted for; none before the first.
    pub(crate) fn accounted_to(&self) -> Option<u64> {
        self.boots.first()?.accounted.first().map(|range| range.last)
    }

    /// Ticks lost for this reason.
    pub(crate) fn lost_to(&self, reason: &str) -> anyhow::Result<BTreeSet<u64>> {
        let gaps = self.boot()?.gaps.iter().filter(|gap| gap.reason == reason);
        Ok(gaps.flat_map(|gap| gap.ticks.first..=gap.ticks.last).collect())
    }

    /// Ticks that are stored: accounted for, and not lost.
    pub(crate) fn stored(&self) -> anyhow::Result<BTreeSet<u64>> {
        let boot = self.boot()?;
        let mut stored: BTreeSet<u64> = boot.accounted.iter().flat_map(|range| range.first..=range.last).collect();
        for tick in boot.gaps.iter().flat_map(|gap| gap.ticks.first..=gap.ticks.last) {
            stored.remove(&tick);
        }
        Ok(stored)
    }
}

#[derive(Deserialize)]
struct Matrix {
    data: MatrixData,
}

#[derive(Deserialize)]
struct MatrixData {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

impl Rig<'_> {
    /// What the centre says of a host.
    pub(crate) async fn detail(&self, host: &HostName) -> anyhow::Result<HostDetail> {
        Ok(self.centre.api().json(&format!("/api/v1/hosts/{host}")).await?)
    }

    /// The ticks at which a query over the last hour finds samples of one metric of the real host, each as often as it
    /// is found.
    pub(crate) async fn queried(&self) -> anyhow::Result<Vec<u64>> {
        let detail = self.detail(&self.host).await?;
        let epoch_ns = detail.clock.and_then(|clock| clock.boot_epoch_ns).context("no clock of the host")?;
        // Samples as they are, not at steps; braces, quotes and brackets percent-encoded.
        let selector = format!("node_time_seconds%7Bhost%3D%22{}%22%7D%5B1h%5D", self.host);
        let path = format!("/prometheus/api/v1/query?query={selector}");
        let answer: Matrix = self.centre.api().json(&path).await?;
        let ticks = answer.data.result.iter().flat_map(|series| &series.values).map(|(at_s, _)| {
            // What the estimate of the host's boot moved since is some milliseconds.
            let since_boot_s = at_s - epoch_ns as f64 / 1e9;
            Duration::try_from_secs_f64(since_boot_s + 0.5).map_or(0, |since| since.as_secs())
        });
        Ok(ticks.collect())
    }
}

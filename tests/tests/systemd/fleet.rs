//! A fleet of one host in a machine: centre and agent installed from their packages, joined, accounted for.

use crate::machine::{Machine, PACKAGES};
use anyhow::{Context, ensure};
use e2e::fleet::{Ledger, Pipeline, eventually};
use serde_json::Value;
use std::time::Duration;

/// Until the first batches are stored: ten seconds make one.
const STREAMS_WITHIN: Duration = Duration::from_secs(60);
/// Until what waits has arrived.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// Why ticks may be missing that were never sampled: nobody was there to do it, or was held up.
const NEVER_SAMPLED: [&str; 2] = ["agent_down", "tick_missed"];

/// The fleet.
pub(crate) struct Fleet {
    pub(crate) machine: Machine,
    api_token: String,
}

impl Fleet {
    /// A machine on which somebody has typed what docs/installation.md says.
    pub(crate) async fn installed() -> anyhow::Result<Self> {
        Self::installed_from(PACKAGES).await
    }

    /// The same with the packages of a folder.
    pub(crate) async fn installed_from(packages: &str) -> anyhow::Result<Self> {
        let machine = Machine::boot().await?;
        machine.run(&format!("apt-get install --yes {packages}/*.deb"))?;
        Self::founded(machine)
    }

    /// A centre and its host on a machine that has the packages.
    pub(crate) fn founded(machine: Machine) -> anyhow::Result<Self> {
        let made: Value = machine.json("dsmil-aggregator init --host h1 --advertise 127.0.0.1 --json")?;
        let api_token = made["api_token"].as_str().context("no API token")?.to_owned();
        machine.run("systemctl start dsmil-aggregator")?;
        let fleet = Self { machine, api_token };
        fleet.join("")?;
        Ok(fleet)
    }

    /// Joins the host with a new token.
    pub(crate) fn join(&self, options: &str) -> anyhow::Result<String> {
        self.machine.run(&format!("dsmil-agent join $(dsmil-aggregator token create --host h1) {options}"))
    }

    fn pipeline(&self) -> anyhow::Result<Pipeline> {
        let token = &self.api_token;
        let header = format!("--header 'authorization: Bearer {token}'");
        self.machine.json(&format!("curl --silent --fail --insecure {header} https://127.0.0.1:8443/health/pipeline"))
    }

    /// Waits until `more` ticks are stored than are now.
    pub(crate) async fn streams(&self, more: u64) -> anyhow::Result<()> {
        let mut least = None;
        let look = || {
            // A centre that is just starting says nothing.
            let stored = self.pipeline().map_or(0, |pipeline| pipeline.ledger.stored);
            let least = *least.get_or_insert(stored + more);
            std::future::ready(Ok(stored >= least))
        };
        let looked = eventually(&self.machine.clock, "ticks are stored", STREAMS_WITHIN, look).await;
        looked.with_context(|| self.machine.words())
    }

    /// Stops the agent, and shows that every tick that it ever sampled is stored once and that every second is accounted for.
    pub(crate) async fn accounts_for_every_tick(&self) -> anyhow::Result<Ledger> {
        self.accounts_since(&Ledger::default()).await
    }

    /// The same where the spool is a new one since `before`: it does not know who was down before it was made, and the ledger
    /// calls those seconds lost with the spool.
    pub(crate) async fn accounts_since(&self, before: &Ledger) -> anyhow::Result<Ledger> {
        self.machine.run("systemctl stop dsmil-agent")?;
        let mut last = Ledger::default();
        let look = || {
            let looked = self.pipeline().map(|pipeline| {
                last = pipeline.ledger;
                last.waiting == 0 && last.expected > 0
            });
            std::future::ready(looked)
        };
        let looked = eventually(&self.machine.clock, "nothing waits", DRAINED_WITHIN, look).await;
        looked.with_context(|| {
            format!("{}\n{}", self.machine.run("dsmilctl host spool").unwrap_or_default(), self.machine.words())
        })?;
        ensure!(last.expected == last.stored + last.lost, "{last:?}");
        ensure!(last.duplicates == 0, "{last:?}");
        let is_new = before.stored > 0;
        let known = |reason: &str| NEVER_SAMPLED.contains(&reason) || is_new && reason == "spool_lost";
        ensure!(last.lost_by.keys().all(|reason| known(reason)), "ticks that were sampled are lost: {last:?}");
        // Its exit code says that no agent runs, which is so.
        let spool: Value = self.machine.json("dsmilctl host spool --json || true")?;
        let of_spool = |name: &str| {
            spool["spool"]["spool"]["totals"][name].as_u64().with_context(|| format!("no {name} in {spool}"))
        };
        let (taken, evicted, refused) =
            (of_spool("ticks_taken")?, of_spool("ticks_evicted")?, of_spool("ticks_refused")?);
        ensure!(
            taken == last.stored - before.stored && evicted == 0 && refused == 0,
            "the spool took other ticks: {spool} {last:?}"
        );
        Ok(last)
    }
}

//! A GPU in an XID storm: the kernel's log is full of it while the library lags and fails, and one agent asks both.

use crate::host::{self, cards, say};
use crate::rig::{Rig, SOON, VERDICT_WITHIN, rig};
use anyhow::{Context, bail, ensure};
use dsmil_agent::local::{self, Reply, Verb};
use dsmil_agent::status::{Latest, Sample, SensorStatus};
use e2e::fleet::AgentProc;
use std::path::Path;
use std::time::Duration;

/// Where the GPU is whose storm it is, and its number.
const PLACE: &str = "0000:03:00.0";
const NUMBER: u8 = 2;
const XID: &str = "DCGM_FI_DEV_XID_ERRORS";

/// What a field engineer sees at one moment.
struct Seen {
    nvml: SensorStatus,
    kmsg: SensorStatus,
    latest: Latest,
    ticks: u64,
}

impl Seen {
    fn of(agent: &AgentProc<'_>) -> anyhow::Result<Self> {
        let Reply::Latest(latest) = local::ask(&agent.socket(), Verb::Latest)? else { bail!("another answer") };
        let status = agent.status()?;
        let sensor =
            |name: &str| status.sensors.iter().find(|sensor| sensor.name == name).cloned().context("no sensor");
        Ok(Self { nvml: sensor("nvml")?, kmsg: sensor("kmsg")?, ticks: status.spool.totals.ticks_taken, latest })
    }

    /// The values of the series of that name that have these labels.
    fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let is_it =
            |sample: &&Sample| labels.iter().all(|(label, is)| sample.labels.get(*label).is_some_and(|it| it == is));
        let families = self.latest.families.iter().filter(|family| family.name == name);
        families.flat_map(|family| &family.samples).filter(is_it).filter_map(|sample| sample.value).collect()
    }

    /// Whether it says of the GPU in its storm which XID was the last, what the burst asks for, and its state.
    fn names(&self, xid: f64, action: &str, state: &str, trouble: &str) -> bool {
        let gpu = NUMBER.to_string();
        self.values(XID, &[("gpu", &gpu)]) == [xid]
            && self.values("dsmil_gpu_xid_bursts_total", &[("device", PLACE), ("action", action)]) == [1.0]
            && self.values("dsmil_accelerator_state", &[("accelerator", PLACE), ("state", state)]) == [1.0]
            && self.nvml.trouble.as_deref().is_some_and(|said| said.starts_with(trouble))
    }
}

/// Looks until it is as expected, and says how long that took.
async fn until(
    rig: &Rig,
    agent: &AgentProc<'_>,
    within: Duration,
    mut is_so: impl FnMut(&Seen) -> bool,
) -> anyhow::Result<(Seen, Duration)> {
    let begin = rig.clock.mono();
    loop {
        let seen = Seen::of(agent);
        let took = rig.clock.mono() - begin;
        match seen {
            Ok(seen) if is_so(&seen) => return Ok((seen, took)),
            Ok(seen) if took > within => {
                let said =
                    ["DCGM_FI_DEV_GPU_TEMP", XID, "dsmil_gpu_xid_bursts_total"].map(|name| seen.values(name, &[]));
                bail!("not within {within:?}: {:?}, {:?}, {said:?}", seen.nvml.trouble, seen.kmsg.trouble)
            }
            Err(error) if took > within => return Err(error),
            _ => rig.clock.sleep(Duration::from_millis(200)).await,
        }
    }
}

/// XIDs of the GPU in its storm.
fn xids(log: &Path, first: u64, codes: &[u32]) -> anyhow::Result<()> {
    let said: Vec<_> = codes.iter().map(|code| format!("NVRM: Xid (PCI:0000:03:00): {code}, pid=1")).collect();
    say(log, first, &said)
}

#[test]
fn an_xid_storm_is_named_with_what_to_do_and_the_gpus_state_while_the_library_lags_and_fails() {
    rig(async |rig| {
        cards(rig, 4);
        rig.play("healthy 4")?;
        let (log, _probes) = host::probes(rig).await?;
        let (_centre, agent) = host::fleet(rig).await?;
        let temperatures = |seen: &Seen| seen.values("DCGM_FI_DEV_GPU_TEMP", &[]).len();
        let is_well = |seen: &Seen| temperatures(seen) == 4 && seen.values(XID, &[]) == [0.0; 4];
        let (before, _) = until(rig, &agent, SOON, is_well).await?;

        rig.play("storm 2")?;
        xids(&log, 2, &[&[31; 500][..], &[119]].concat())?;
        let reset = format!("the device at {PLACE} has to be reset");
        let names = |seen: &Seen| seen.names(119.0, "reset_gpu", "unknown", &reset);
        let (seen, took) = until(rig, &agent, VERDICT_WITHIN, names).await?;
        println!("{:>5} ms: {reset}; {:?}", took.as_millis(), seen.nvml.remedy);
        ensure!(temperatures(&seen) == 3 && seen.kmsg.ok, "the other three are read, and the log is: {:?}", seen.kmsg);

        rig.play("lost 2")?;
        rig.tree.file(&format!("sys/bus/pci/devices/{PLACE}/config"), &[0xFF; 64]);
        xids(&log, 503, &[79, 154])?;
        let off = format!("the GPU at {PLACE} fell off the bus: it is listed and does not answer");
        let names = |seen: &Seen| seen.names(154.0, "restart_machine", "lost", &off);
        let (seen, took) = until(rig, &agent, VERDICT_WITHIN, names).await?;
        println!("{:>5} ms: {off}; {:?}", took.as_millis(), seen.nvml.remedy);
        ensure!(temperatures(&seen) == 3 && seen.kmsg.ok, "{:?}", seen.kmsg);
        let boots = (before.latest.tick, seen.latest.tick);
        ensure!(seen.ticks - before.ticks + 1 >= boots.1 - boots.0, "a tick a second: {boots:?}, {}", seen.ticks);
        Ok(())
    });
}

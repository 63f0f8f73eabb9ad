//! A whole agent with a probe whose driver hangs.

use crate::host::{self, cards};
use crate::rig::{VERDICT_WITHIN, rig};
use anyhow::Context;
use e2e::fleet::{AgentProc, eventually};
use std::future::ready;
use std::time::Duration;

#[test]
fn a_hung_driver_is_named_in_the_status_and_everything_else_goes_on() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("healthy 1")?;
        let _probes = host::probes(rig).await?;
        let (_centre, agent) = host::fleet(rig).await?;
        let nvml = |agent: &AgentProc<'_>| -> anyhow::Result<_> {
            let status = agent.status()?;
            let spooled = status.spool.totals.ticks_taken;
            let others = status.sensors.iter().filter(|sensor| sensor.name != "nvml" && sensor.metrics > 0);
            let (others, well) = (others.clone().count(), others.filter(|sensor| sensor.ok).count());
            let nvml = status.sensors.into_iter().find(|sensor| sensor.name == "nvml").context("no such sensor")?;
            Ok((nvml, others, well, spooled))
        };
        let is_read = || ready(Ok(nvml(&agent).is_ok_and(|(nvml, ..)| nvml.ok && nvml.metrics > 20)));
        eventually(&rig.clock, "the GPU is read", Duration::from_secs(20), is_read).await?;
        let (.., before) = nvml(&agent)?;
        rig.play("hung")?;
        let begin = rig.clock.mono();
        let hangs =
            |trouble: &Option<String>| trouble.as_ref().is_some_and(|text| text.starts_with("a call hangs for"));
        let is_named = || ready(nvml(&agent).map(|(nvml, ..)| hangs(&nvml.trouble)));
        eventually(&rig.clock, "the status names it", VERDICT_WITHIN, is_named).await?;
        let took = rig.clock.mono() - begin;
        let (status, others, well, after) = nvml(&agent)?;
        println!("named after {took:?}: {:?}; {:?}", status.trouble, status.remedy);
        assert!(status.remedy.is_some_and(|remedy| remedy.contains("journalctl -k")));
        assert_eq!(well, others, "all others are well");
        let seconds = took.as_secs();
        assert!(after - before + 1 >= seconds, "a tick a second meanwhile: {} in {took:?}", after - before);
        Ok(())
    });
}

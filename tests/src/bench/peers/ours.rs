//! Ours beside the peers: the agent as it is shipped on this host's metrics, its probes, and an aggregator, in a place of their
//! own.

use super::super::probes::Probes;
use super::footprint::Carried;
use super::pipeline::TIME;
use super::place::Place;
use super::rig::Rig;
use crate::fleet::{AgentProc, Centre, Ledger, Pipeline, Ports};
use anyhow::Context;
use dsmil_protocol::ids::HostName;
use serde::Deserialize;
use std::time::Duration;

/// How long the first batch may take to be stored.
const FIRST_BATCH_WITHIN: Duration = Duration::from_secs(60);

/// The agent and the aggregator.
#[derive(Debug)]
pub(super) struct Ours<'f> {
    rig: &'f Rig,
    place: Place,
    host: HostName,
    centre: Centre<'f>,
    agent: AgentProc<'f>,
    probes: Probes,
}

/// What a range query answers, as Prometheus does.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

impl<'f> Ours<'f> {
    /// Starts both.
    pub(super) fn start(rig: &'f Rig) -> anyhow::Result<Self> {
        let place = rig.places.one("ours")?;
        let host = HostName::new("h1")?;
        let (centre, agent, probes) = place.within(|| {
            let mut centre = Centre::init(&rig.fleet, std::slice::from_ref(&host), Ports::free()?)?;
            rig.wait(centre.start())?;
            let mut agent = AgentProc::join(&rig.fleet, &centre, &host)?;
            let probes = Probes::start(&rig.fleet, &agent)?;
            agent.start()?;
            Ok((centre, agent, probes))
        })?;
        Ok(Self { rig, place, host, centre, agent, probes })
    }

    pub(super) fn start_agent(&mut self) -> anyhow::Result<()> {
        self.place.within(|| self.agent.start())
    }

    pub(super) fn kill_agent(&mut self) -> anyhow::Result<()> {
        self.agent.kill()
    }

    pub(super) fn start_backend(&mut self) -> anyhow::Result<()> {
        self.place.within(|| self.rig.wait(self.centre.start()))
    }

    pub(super) fn stop_backend(&mut self) -> anyhow::Result<()> {
        self.rig.wait(self.centre.stop()).map(drop)
    }

    /// The agent's process id; an error with its last words if it has ended.
    pub(super) fn agent(&mut self) -> anyhow::Result<u32> {
        let process = self.agent.process()?;
        process.check_alive()?;
        Ok(process.id())
    }

    /// The probes that the agent asks, with their process ids.
    pub(super) fn probes(&mut self) -> anyhow::Result<Vec<(String, u32)>> {
        self.probes.asked(&self.agent)
    }

    /// Waits until another batch is stored.
    pub(super) fn next_batch(&mut self) -> anyhow::Result<()> {
        let before = self.ledger()?.stored;
        let rig = self.rig;
        rig.eventually("a batch is stored", FIRST_BATCH_WITHIN, || {
            self.agent()?;
            Ok(self.ledger()?.stored > before)
        })
    }

    /// Samples of a second: those of all stored ticks, by ticks.
    pub(super) fn samples(&self) -> anyhow::Result<u64> {
        let pipeline = self.pipeline()?;
        pipeline.ingest.samples.checked_div(pipeline.ledger.stored).context("nothing was stored")
    }

    pub(super) fn ledger(&self) -> anyhow::Result<Ledger> {
        Ok(self.pipeline()?.ledger)
    }

    /// Bytes of telemetry frames a sample: without QUIC, heartbeats, acknowledgements.
    pub(super) fn frames(&self) -> anyhow::Result<f64> {
        self.pipeline()?.wire_bytes_per_sample.context("no sample was stored")
    }

    fn pipeline(&self) -> anyhow::Result<Pipeline> {
        self.place.within(|| self.rig.wait(self.centre.pipeline()))
    }

    pub(super) fn carried(&self) -> anyhow::Result<Carried> {
        Ok(Carried { out: self.place.carried_within()?, scraped: None })
    }

    /// The times of the samples of one series from then, or a little before, up to now: Unix milliseconds, each as often as
    /// the API finds it.
    pub(super) fn times(&self, from_ms: i64) -> anyhow::Result<Vec<i64>> {
        // A range is of whole seconds: one more, and one that may pass until it is looked at.
        let seconds = (self.rig.clock.wall_ms() - from_ms) / 1000 + 2;
        let query = crate::http::escaped(&format!("{TIME}{{host=\"{}\"}}[{seconds}s]", self.host));
        let path = format!("/prometheus/api/v1/query?query={query}");
        let answer: Answer = self.place.within(|| Ok(self.rig.wait(self.centre.api().json(&path))?))?;
        let values = answer.data.result.iter().flat_map(|series| &series.values);
        values.map(|(seconds, _)| Ok(Duration::try_from_secs_f64(seconds + 0.0005)?.as_millis().try_into()?)).collect()
    }
}

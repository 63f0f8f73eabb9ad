//! A peer as it is used: an agent, the exporter that it scrapes if it needs one, and VictoriaMetrics behind it.

use super::package::Package;
use super::place::Place;
use super::program::PeerProgram;
use super::rig::Rig;
use super::scrape::{node_exporter, prometheus, vmagent};
use super::victoria::Victoria;
use super::{collectd, footprint::Carried};

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Vmagent,
    Prometheus,
    Collectd,
}

/// A series of node_exporter's that is another number at each scrape.
pub(super) const TIME: &str = "node_time_seconds";

impl Peer {
    pub(super) const ALL: [Self; 3] = [Self::Vmagent, Self::Prometheus, Self::Collectd];

    /// What it is called in rows: the programs on the host.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vmagent => "node_exporter + vmagent",
            Self::Prometheus => "node_exporter + Prometheus agent",
            Self::Collectd => "collectd",
        }
    }

    /// What its folder and its networks are called.
    fn short(self) -> &'static str {
        match self {
            Self::Vmagent => "vm",
            Self::Prometheus => "prom",
            Self::Collectd => "collectd",
        }
    }
}

/// A peer with what it takes.
#[derive(Debug)]
pub(super) struct Pipeline<'f> {
    peer: Peer,
    place: Place,
    exporter: Option<PeerProgram<'f>>,
    agent: PeerProgram<'f>,
    backend: Victoria<'f>,
    versions: String,
}

impl<'f> Pipeline<'f> {
    /// Starts all of it.
    pub(super) fn start(rig: &'f Rig, peer: Peer) -> anyhow::Result<Self> {
        let store = Package::VictoriaMetrics.find()?;
        let home = rig.home(peer.short())?;
        // The scrapes of an exporter stay within a host: they go over another interface than what leaves it.
        let [place, beside] = match peer {
            Peer::Vmagent | Peer::Prometheus => rig.places.two(peer.short())?,
            Peer::Collectd => {
                let place = rig.places.one(peer.short())?;
                [place.clone(), place]
            }
        };
        let mut backend = Victoria::new(&store, &home, &place)?;
        backend.start()?;
        let (exporter, agent, versions) = match peer {
            Peer::Vmagent => {
                let exports = Package::NodeExporter.find()?;
                let exporter = node_exporter(&exports, &home, &beside)?;
                let agent = vmagent(&store, &home, &place, &exporter, &backend.remote_write())?;
                (
                    Some(exporter.program),
                    agent,
                    format!("node_exporter {}, vmagent {}", exports.version()?, store.version()?),
                )
            }
            Peer::Prometheus => {
                let (exports, found) = (Package::NodeExporter.find()?, Package::Prometheus.find()?);
                let exporter = node_exporter(&exports, &home, &beside)?;
                let agent = prometheus(&found, &home, &place, &exporter, &backend.remote_write())?;
                (
                    Some(exporter.program),
                    agent,
                    format!("node_exporter {}, Prometheus {}", exports.version()?, found.version()?),
                )
            }
            Peer::Collectd => {
                let found = Package::Collectd.find()?;
                let agent = collectd::collectd(&found, &home, &place, backend.graphite())?;
                (None, agent, format!("collectd {}", found.version()?))
            }
        };
        let mut pipeline = Self { peer, place, exporter, agent, backend, versions };
        pipeline.start_agents()?;
        Ok(pipeline)
    }

    /// Programs on the host and their versions.
    pub(super) fn versions(&self) -> &str {
        &self.versions
    }

    pub(super) fn start_agents(&mut self) -> anyhow::Result<()> {
        self.agents().try_for_each(PeerProgram::start)
    }

    pub(super) fn kill_agents(&mut self) -> anyhow::Result<()> {
        self.agents().try_for_each(PeerProgram::kill)
    }

    pub(super) fn start_backend(&mut self) -> anyhow::Result<()> {
        self.backend.start()
    }

    pub(super) fn stop_backend(&mut self) -> anyhow::Result<()> {
        self.backend.stop()
    }

    /// What runs on the host.
    pub(super) fn agents(&mut self) -> impl Iterator<Item = &mut PeerProgram<'f>> {
        self.exporter.iter_mut().chain([&mut self.agent])
    }

    /// Samples of a second.
    pub(super) fn samples(&self) -> anyhow::Result<u64> {
        self.backend.series()
    }

    pub(super) fn carried(&self) -> anyhow::Result<Carried> {
        Ok(Carried { out: self.place.carried_within()?, scraped: self.place.carried_over_cable()? })
    }

    /// The times of the samples of one series, Unix milliseconds, each as often as it is stored.
    pub(super) fn times(&self, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<i64>> {
        let judged = match self.peer {
            Peer::Vmagent | Peer::Prometheus => TIME,
            Peer::Collectd => collectd::JUDGED,
        };
        self.backend.times(judged, from_ms, to_ms)
    }
}

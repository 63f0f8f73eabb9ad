//! What is measured side by side: a peer or ours, with the same questions to both.

use super::footprint::Carried;
use super::ours::Ours;
use super::pipeline::{Peer, Pipeline};
use super::rig::Rig;

/// A peer or ours.
#[derive(Debug)]
enum Side<'f> {
    Ours(Box<Ours<'f>>),
    Peer(Box<Pipeline<'f>>),
}

/// One side, for as long as nothing fails: after that its figures are absent, and this is why.
#[derive(Debug)]
pub(super) struct Contender<'f> {
    name: &'static str,
    side: anyhow::Result<Side<'f>>,
}

/// What ours is called in rows.
pub(super) const OURS: &str = "ours";

impl<'f> Contender<'f> {
    /// Ours, which runs.
    pub(super) fn ours(ours: Ours<'f>) -> Self {
        Self { name: OURS, side: Ok(Side::Ours(Box::new(ours))) }
    }

    /// Starts a peer.
    pub(super) fn peer(rig: &'f Rig, peer: Peer) -> Self {
        Self { name: peer.name(), side: Pipeline::start(rig, peer).map(|pipeline| Side::Peer(Box::new(pipeline))) }
    }

    /// The programs on the host.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Why nothing more comes from it.
    pub(super) fn trouble(&self) -> Option<&anyhow::Error> {
        self.side.as_ref().err()
    }

    /// What its programs are exactly.
    pub(super) fn versions(&self) -> Option<String> {
        match self.side.as_ref().ok()? {
            Side::Ours(_) => Some("dsmil-agent as it is shipped".to_owned()),
            Side::Peer(pipeline) => Some(pipeline.versions().to_owned()),
        }
    }

    pub(super) fn start_agents(&mut self) {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.start_agent(),
            Side::Peer(pipeline) => pipeline.start_agents(),
        });
    }

    pub(super) fn kill_agents(&mut self) {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.kill_agent(),
            Side::Peer(pipeline) => pipeline.kill_agents(),
        });
    }

    pub(super) fn start_backend(&mut self) {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.start_backend(),
            Side::Peer(pipeline) => pipeline.start_backend(),
        });
    }

    pub(super) fn stop_backend(&mut self) {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.stop_backend(),
            Side::Peer(pipeline) => pipeline.stop_backend(),
        });
    }

    /// The programs on the host with their process ids.
    pub(super) fn agents(&mut self) -> Option<Vec<(String, u32)>> {
        self.ask(|side| match side {
            Side::Ours(ours) => Ok(vec![("dsmil-agent".to_owned(), ours.agent()?)]),
            Side::Peer(pipeline) => {
                pipeline.agents().map(|program| Ok((program.name().to_owned(), program.id()?))).collect()
            }
        })
    }

    /// The programs that read what no peer reads, with their process ids: our probes.
    pub(super) fn beside(&mut self) -> Option<Vec<(String, u32)>> {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.probes(),
            Side::Peer(_) => Ok(Vec::new()),
        })
    }

    /// Samples of a second.
    pub(super) fn samples(&mut self) -> Option<u64> {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.samples(),
            Side::Peer(pipeline) => pipeline.samples(),
        })
    }

    /// What its network has carried so far.
    pub(super) fn carried(&mut self) -> Option<Carried> {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.carried(),
            Side::Peer(pipeline) => pipeline.carried(),
        })
    }

    /// The times of the samples of one series, Unix milliseconds, each as often as it is stored.
    pub(super) fn times(&mut self, from_ms: i64, to_ms: i64) -> Option<Vec<i64>> {
        self.ask(|side| match side {
            Side::Ours(ours) => ours.times(from_ms),
            Side::Peer(pipeline) => pipeline.times(from_ms, to_ms),
        })
    }

    /// Asks what only ours can answer.
    pub(super) fn ask_ours<T>(&mut self, question: impl FnOnce(&mut Ours<'f>) -> anyhow::Result<T>) -> Option<T> {
        let answer = self.ask(|side| match side {
            Side::Ours(ours) => question(ours).map(Some),
            Side::Peer(_) => Ok(None),
        });
        answer.flatten()
    }

    /// Asks, if nothing has failed yet. What fails now ends it, and its programs.
    fn ask<T>(&mut self, question: impl FnOnce(&mut Side<'f>) -> anyhow::Result<T>) -> Option<T> {
        match question(self.side.as_mut().ok()?) {
            Ok(answer) => Some(answer),
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                self.side = Err(error);
                None
            }
        }
    }
}

//! Many hosts that push, as one sees them who starts their phases.

use super::{Pushed, Pusher, Stock};
use crate::bench::ingest::speaker;
use crate::enrol::enrol;
use crate::fleet::Centre;
use anyhow::{Context, bail};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, Semaphore, mpsc};

/// Hosts that connect at the same time: a fleet does not knock all at once either.
const CONNECTING: usize = 16;
/// How long the tasks may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The hosts of one measurement.
pub(in crate::bench) struct Crowd {
    hosts: usize,
    start: Arc<Barrier>,
    outcomes: mpsc::Receiver<anyhow::Result<Pushed>>,
    supervisor: Supervisor,
}

impl Crowd {
    /// Enrols these hosts, starts the centre, and has them connect, each with its stock.
    pub(in crate::bench) async fn gather(
        centre: &mut Centre<'_>,
        quic: u16,
        hosts: Vec<(HostName, Arc<Stock>)>,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let names: Vec<HostName> = hosts.iter().map(|(host, _)| host.clone()).collect();
        let (identities, trust) = enrol(&Config::load(centre.config())?, &names, clock).await?;
        centre.start().await?;
        // Hot is complete from its start on: the present begins behind it.
        let present_at = clock.boot() + Duration::from_secs(1);
        let supervisor = Supervisor::new(clock.clone());
        let start = Arc::new(Barrier::new(hosts.len() + 1));
        let connecting = Arc::new(Semaphore::new(CONNECTING));
        let (done, outcomes) = mpsc::channel(hosts.len());
        for (n, ((host, stock), identity)) in hosts.into_iter().zip(identities).enumerate() {
            let (trust, time) = (trust.clone(), time_source(clock));
            let link = Link { identity, trust, key_exchange: KeyExchange::Pure, time };
            let pusher = Pusher {
                host,
                speaker: speaker()?,
                aggregator: SocketAddr::from((Ipv4Addr::LOCALHOST, quic)),
                stock,
                clock: clock.clone(),
                present_at,
                share: n as f64 / names.len() as f64,
                connecting: Arc::clone(&connecting),
                start: Arc::clone(&start),
                done: done.clone(),
            };
            supervisor.spawn("bench-push", OnFailure::Note, async move {
                pusher.run(link).await;
                Ok::<(), std::convert::Infallible>(())
            });
        }
        Ok(Self { hosts: names.len(), start, outcomes, supervisor })
    }

    /// Waits until everybody is ready for the next phase, which begins then.
    pub(in crate::bench) async fn begin(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            _ = self.start.wait() => Ok(()),
            Some(outcome) = self.outcomes.recv() => {
                outcome?;
                bail!("a host was done before all had begun");
            }
        }
    }

    /// Waits until everybody is through with the phase, and says what all of them sent.
    pub(in crate::bench) async fn end(&mut self) -> anyhow::Result<Pushed> {
        let mut all = Pushed::default();
        for _ in 0..self.hosts {
            let Pushed { batches, samples } = self.outcomes.recv().await.context("a host ended early")??;
            (all.batches, all.samples) = (all.batches + batches, all.samples + samples);
        }
        Ok(all)
    }

    /// Ends all of them.
    pub(in crate::bench) async fn disperse(self) {
        self.supervisor.drain(DRAIN_WITHIN).await;
    }
}

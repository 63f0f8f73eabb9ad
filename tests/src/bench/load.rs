//! One host that sends what it has, as fast as it is acknowledged or at its own pace: a real connection and a real
//! session, but for a spool a list of batches that were encoded before.

mod crowd;

pub(super) use crowd::Crowd;

use anyhow::{Context, bail};
use dsmil_crypto::policy::Link;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::ids::{BootId, HostName, Tick, TickRange};
use dsmil_protocol::message::{Accounted, BootAccount, GoodbyeReason, Hello, HostTimes, PROTOCOL_VERSION};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Event, SpooledBatch, Vitals};
use dsmil_protocol::session::{Lane, Now, Speaker};
use dsmil_runtime::clock::Clock;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, Semaphore, mpsc};

/// The boot of every host here.
pub(super) const BOOT: BootId = BootId([0xB0; 16]);
/// Bytes taken from the control stream at once.
const CHUNK: usize = 16 << 10;
/// How long what was sent last may take to be acknowledged: a batch that was put off comes again after 30 s.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// A batch that waits, encoded.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) ticks: TickRange,
    pub(super) samples: u64,
    pub(super) bytes: Vec<u8>,
}

/// What every host sends: the same, for the aggregator tells them apart by their certificates.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) set: MetricSet,
    /// Oldest first.
    pub(super) batches: Vec<Prepared>,
    /// What is before this tick is of the past.
    pub(super) present: Tick,
    /// One after the other; all hosts begin each one together.
    pub(super) phases: Vec<Phase>,
}

/// A part of the stock, and how it is sent.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) batches: Range<usize>,
    pub(super) lane: Lane,
    pub(super) pace: Pace,
}

/// How fast batches are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As fast as they are acknowledged; after so long no more are begun.
    Flood(Duration),
    /// One each so often.
    Each(Duration),
}

/// Who pushes, and where to.
#[derive(Clone, Debug)]
pub(super) struct Pusher {
    pub(super) host: HostName,
    pub(super) speaker: Speaker,
    pub(super) aggregator: SocketAddr,
    pub(super) stock: Arc<Stock>,
    pub(super) clock: Clock,
    /// The machine's `CLOCK_BOOTTIME` at [`Stock::present`], which makes that tick's time on any clock.
    pub(super) present_at: Duration,
    /// Where in the time between two batches of [`Pace::Each`] this host has its own: 0 to 1.
    pub(super) share: f64,
    /// So many connect at a time.
    pub(super) connecting: Arc<Semaphore>,
    /// Everybody is ready before anybody begins a phase.
    pub(super) start: Arc<Barrier>,
    /// What became of each phase.
    pub(super) done: mpsc::Sender<anyhow::Result<Pushed>>,
}

/// What a host got rid of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushed {
    pub(super) batches: u64,
    pub(super) samples: u64,
}

impl Pusher {
    /// Connects, and sends one phase after the other, each until all that was sent is acknowledged.
    pub(super) async fn run(self, link: Link) {
        let done = self.done.clone();
        if let Err(error) = self.push(link).await {
            // The receiver waits for everybody.
            let _ = done.send(Err(error)).await;
        }
    }

    async fn push(self, link: Link) -> anyhow::Result<()> {
        let turn = Arc::clone(&self.connecting).acquire_owned().await?;
        let mut drive = Drive::connect(self, &link).await?;
        drop(turn);
        for phase in drive.pusher.stock.clone().phases.clone() {
            drive.wait_for_all().await?;
            let pushed = drive.phase(&phase).await?;
            drive.pusher.done.send(Ok(pushed)).await?;
        }
        drive.end().await
    }

    fn now(&self) -> Now {
        let boot = (self.clock.boot() + Duration::from_secs(self.stock.present.0)).saturating_sub(self.present_at);
        let boot_ns = u64::try_from(boot.as_nanos()).unwrap_or(u64::MAX);
        Now { mono: self.clock.mono(), boot_ns, wall_ns: self.clock.wall_ns() }
    }

    /// The host accounts for all of the past, as after an outage.
    fn hello(&self) -> anyhow::Result<Hello> {
        let (now, first) = (self.now(), self.stock.batches.first().context("there is nothing to push")?.ticks.first);
        let past = TickRange::new(first, self.stock.present.previous().context("there is a past")?);
        Ok(Hello {
            versions: vec![PROTOCOL_VERSION],
            host: self.host.clone(),
            boot: BOOT,
            devices: Vec::new(),
            agent_version: "bench".into(),
            accounts: past.into_iter().map(|ticks| BootAccount { boot: BOOT, ticks }).collect(),
            bundle_version: 0,
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
        })
    }
}

/// A host that is connected.
struct Drive {
    pusher: Pusher,
    session: AgentSession,
    control: quinn::SendStream,
    live: quinn::SendStream,
    backlog: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    /// The batch that was never sent yet.
    next: usize,
    /// Batches that were sent and are not acknowledged.
    waiting: VecDeque<usize>,
    pushed: Pushed,
}

impl Drive {
    /// Connects, and returns when the host is welcome and has said what its batches mean.
    async fn connect(pusher: Pusher, link: &Link) -> anyhow::Result<Self> {
        // A socket of its own: no two hosts share an address.
        let socket = endpoint((Ipv4Addr::UNSPECIFIED, 0).into(), None, &EndpointKeys::random())?;
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = socket.connect_with(link.client()?, pusher.aggregator, &name)?.await?;
        let (control, receive) = connection.open_bi().await?;
        let (live, backlog) = (connection.open_uni().await?, connection.open_uni().await?);
        let session = AgentSession::start(pusher.speaker.clone(), &pusher.hello()?, pusher.now());
        let (reader, waiting, pushed) = (FrameReader::new(), VecDeque::new(), Pushed::default());
        let mut drive = Self { pusher, session, control, live, backlog, receive, reader, next: 0, waiting, pushed };
        while !drive.session.is_open() {
            drive.step(std::future::pending()).await?;
        }
        drive.session.send_metric_set(drive.pusher.stock.set.encode(), drive.pusher.now());
        Ok(drive)
    }

    /// Keeps the session up until everybody is here.
    async fn wait_for_all(&mut self) -> anyhow::Result<()> {
        let start = Arc::clone(&self.pusher.start);
        let mut all = pin!(start.wait());
        loop {
            let is_time = async {
                let _ = all.as_mut().await;
            };
            if self.step(is_time).await? {
                return Ok(());
            }
        }
    }

    async fn phase(&mut self, phase: &Phase) -> anyhow::Result<Pushed> {
        let clock = self.pusher.clock.clone();
        (self.next, self.pushed) = (phase.batches.start, Pushed::default());
        let began = clock.mono();
        loop {
            let elapsed = clock.mono().saturating_sub(began);
            let (due, more_at) = phase.due(elapsed, self.next, self.pusher.share);
            if more_at.is_none() && due == self.next && self.waiting.is_empty() {
                return Ok(self.pushed);
            }
            let give_up = phase.ends() + LAST_WORDS;
            if elapsed >= give_up {
                bail!("{} batches of {} were never acknowledged", self.waiting.len(), self.pusher.host);
            }
            self.send(due, phase.lane);
            let wake = clock.sleep_until(began + more_at.unwrap_or(give_up));
            self.step(wake).await?;
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.session.goodbye(GoodbyeReason::Stopping, self.pusher.now());
        self.write().await?;
        self.control.finish()?;
        // The aggregator closes when it has read the last word.
        let _ = self.receive.read_to_end(CHUNK).await;
        Ok(())
    }

    /// Puts batches on the way as far as the window allows: first those that were put off, then those up to `due`.
    fn send(&mut self, due: usize, lane: Lane) {
        let now = self.pusher.now();
        let batches = &self.pusher.stock.batches;
        let put_off =
            self.waiting.iter().copied().filter(|i| !self.session.is_in_flight(BOOT, batches[*i].ticks.first));
        let mut going: Vec<usize> = put_off.collect();
        let room = self.session.backlog_room(now);
        going.truncate(room);
        while going.len() < room && self.next < due {
            going.push(self.next);
            self.waiting.push_back(self.next);
            self.next += 1;
        }
        for i in going {
            let Prepared { ticks, bytes, .. } = &batches[i];
            let set = self.pusher.stock.set.id();
            let batch = SpooledBatch { boot: BOOT, ticks: *ticks, set, bytes: bytes.clone() };
            self.session.send_batch(lane, batch, now);
        }
    }

    /// Writes what is to be written, then waits for a word, the session's deadline or `wake`; says whether it was that.
    async fn step(&mut self, wake: impl Future<Output = ()>) -> anyhow::Result<bool> {
        self.write().await?;
        let due = self.session.deadline().unwrap_or(Duration::MAX);
        let mut is_woken = false;
        tokio::select! {
            chunk = self.receive.read_chunk(CHUNK, true) => {
                self.reader.extend(&chunk?.context("the aggregator closed the connection")?.bytes);
                while let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("a damaged frame: {}", fault.code))? {
                    self.session.receive(&frame, self.pusher.now());
                }
            }
            () = self.pusher.clock.sleep_until(due) => {
                let last_tick = self.next.checked_sub(1).map(|last| self.pusher.stock.batches[last].ticks.last);
                self.session.on_deadline(Vitals { last_tick, ..Vitals::default() }, self.pusher.now());
            }
            () = wake => is_woken = true,
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Welcomed(_) | Event::TrustBundle(_) | Event::Settings(_) => {}
                Event::Accounted(accounted) => self.accounted(&accounted),
                Event::NeedSets(_) => self.session.send_metric_set(self.pusher.stock.set.encode(), self.pusher.now()),
                Event::Rejected(_, rejected) => {
                    bail!("the batch of tick {} was rejected: {}", rejected.first.0, rejected.code)
                }
                Event::Closed(closed) => bail!("the session of {} ended: {closed:?}", self.pusher.host),
            }
        }
        Ok(is_woken)
    }

    fn accounted(&mut self, accounted: &Accounted) {
        let (batches, pushed) = (&self.pusher.stock.batches, &mut self.pushed);
        self.waiting.retain(|i| {
            let is_stored = accounted.ranges.iter().any(|range| range.covers(batches[*i].ticks));
            if is_stored {
                pushed.batches += 1;
                pushed.samples += batches[*i].samples;
            }
            !is_stored
        });
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.session.poll_output() {
            match out.lane {
                Lane::Control => self.control.write_all(&out.bytes).await?,
                Lane::Live => self.live.write_all(&out.bytes).await?,
                Lane::Backlog => self.backlog.write_all(&out.bytes).await?,
            }
        }
        Ok(())
    }
}

impl Phase {
    /// When the last batch is begun.
    fn ends(&self) -> Duration {
        match self.pace {
            Pace::Flood(time) => time,
            Pace::Each(every) => every * u32::try_from(self.batches.len()).unwrap_or(u32::MAX),
        }
    }

    /// Up to which batch is to be on its way `elapsed` after the beginning, and when to look again, if there is more.
    fn due(&self, elapsed: Duration, next: usize, share: f64) -> (usize, Option<Duration>) {
        match self.pace {
            Pace::Flood(time) if elapsed < time && next < self.batches.end => (self.batches.end, Some(time)),
            Pace::Flood(_) => (next, None),
            Pace::Each(every) => {
                let first = every.mul_f64(share);
                let begun = (0..).zip(self.batches.clone()).take_while(|(n, _)| first + every * *n <= elapsed).count();
                let due = self.batches.start + begun;
                let more = due < self.batches.end;
                (due, more.then(|| first + every * u32::try_from(begun).unwrap_or(u32::MAX)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_ends_with_its_time_or_its_batches() {
        let time = Duration::from_secs(5);
        let phase = Phase { batches: 10..20, lane: Lane::Backlog, pace: Pace::Flood(time) };
        assert_eq!(phase.due(Duration::ZERO, 10, 0.5), (20, Some(time)));
        assert_eq!(phase.due(time, 12, 0.5), (12, None));
        assert_eq!(phase.due(Duration::ZERO, 20, 0.5), (20, None));
    }

    #[test]
    fn each_host_has_its_own_moment_for_a_batch() {
        let every = Duration::from_secs(10);
        let phase = Phase { batches: 3..5, lane: Lane::Live, pace: Pace::Each(every) };
        let at = |s| phase.due(Duration::from_secs(s), 3, 0.2);
        assert_eq!(at(1), (3, Some(Duration::from_secs(2))));
        assert_eq!(at(2), (4, Some(Duration::from_secs(12))));
        assert_eq!(at(12), (5, None));
        assert_eq!(phase.ends(), Duration::from_secs(20));
    }
}

//! One host that sends what it has as fast as it is acknowledged: a real connection and a real session, but for a spool
//! a list of batches that were encoded before.

use anyhow::{Context, bail};
use dsmil_crypto::policy::Link;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::ids::{BootId, HostName, TickRange};
use dsmil_protocol::message::{Accounted, BootAccount, GoodbyeReason, Hello, HostTimes, PROTOCOL_VERSION};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Event, SpooledBatch, Vitals};
use dsmil_protocol::session::{Lane, Now, Speaker};
use dsmil_runtime::clock::Clock;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;

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
}

impl Stock {
    fn ticks(&self) -> Option<TickRange> {
        TickRange::new(self.batches.first()?.ticks.first, self.batches.last()?.ticks.last)
    }
}

/// Who pushes, and where to.
#[derive(Clone, Debug)]
pub(super) struct Pusher {
    pub(super) host: HostName,
    pub(super) speaker: Speaker,
    pub(super) aggregator: SocketAddr,
    pub(super) stock: Arc<Stock>,
    pub(super) clock: Clock,
    /// Everybody is connected before anybody sends.
    pub(super) start: Arc<Barrier>,
    /// How long new batches are sent.
    pub(super) push_for: Duration,
}

/// What a host got rid of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushed {
    pub(super) batches: u64,
    pub(super) samples: u64,
}

impl Pusher {
    /// Connects, waits for the others, pushes, and waits until all that was sent is acknowledged.
    pub(super) async fn run(self, link: Link) -> anyhow::Result<Pushed> {
        let client = link.client()?;
        let socket = endpoint((Ipv4Addr::UNSPECIFIED, 0).into(), None, &EndpointKeys::random())?;
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = socket.connect_with(client, self.aggregator, &name)?.await?;
        let (control, receive) = connection.open_bi().await?;
        let backlog = connection.open_uni().await?;
        let session = AgentSession::start(self.speaker.clone(), &self.hello()?, self.now());
        let drive = Drive {
            pusher: self,
            session,
            control,
            backlog,
            receive,
            next: 0,
            waiting: VecDeque::new(),
            pushed: Pushed::default(),
        };
        drive.run().await
    }

    /// The batches are of the hours before now, as after an outage: the host claims to be up for as long.
    fn now(&self) -> Now {
        let uptime = self.stock.ticks().map_or(0, |ticks| ticks.last.0 + 1) * 1_000_000_000;
        let boot_ns = u64::try_from(self.clock.boot().as_nanos()).unwrap_or(u64::MAX);
        Now { mono: self.clock.mono(), boot_ns: boot_ns.saturating_add(uptime), wall_ns: self.clock.wall_ns() }
    }

    fn hello(&self) -> anyhow::Result<Hello> {
        let (now, ticks) = (self.now(), self.stock.ticks().context("there is nothing to push")?);
        Ok(Hello {
            versions: vec![PROTOCOL_VERSION],
            host: self.host.clone(),
            boot: BOOT,
            devices: Vec::new(),
            agent_version: "bench".into(),
            accounts: vec![BootAccount { boot: BOOT, ticks }],
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
    backlog: quinn::SendStream,
    receive: quinn::RecvStream,
    /// The batch that was never sent yet.
    next: usize,
    /// Batches that were sent and are not acknowledged.
    waiting: VecDeque<usize>,
    pushed: Pushed,
}

impl Drive {
    async fn run(mut self) -> anyhow::Result<Pushed> {
        let mut reader = FrameReader::new();
        while !self.session.is_open() {
            self.step(&mut reader, None).await?;
        }
        self.session.send_metric_set(self.pusher.stock.set.encode(), self.pusher.now());
        self.pusher.start.clone().wait().await;
        let until = self.pusher.clock.mono() + self.pusher.push_for;
        let give_up = until + LAST_WORDS;
        loop {
            let now = self.pusher.clock.mono();
            let more = now < until && self.next < self.pusher.stock.batches.len();
            if !more && self.waiting.is_empty() {
                break;
            }
            if now >= give_up {
                bail!("{} batches of {} were never acknowledged", self.waiting.len(), self.pusher.host);
            }
            self.send(more);
            self.step(&mut reader, Some(if more { until } else { give_up })).await?;
        }
        self.session.goodbye(GoodbyeReason::Stopping, self.pusher.now());
        self.write().await?;
        self.control.finish()?;
        // The aggregator closes when it has read the last word.
        let _ = self.receive.read_to_end(CHUNK).await;
        Ok(self.pushed)
    }

    /// Puts batches on the way as far as the window allows: first those that were put off, then `more`.
    fn send(&mut self, more: bool) {
        let now = self.pusher.now();
        let batches = &self.pusher.stock.batches;
        let put_off =
            self.waiting.iter().copied().filter(|i| !self.session.is_in_flight(BOOT, batches[*i].ticks.first));
        let mut due: Vec<usize> = put_off.collect();
        let room = self.session.backlog_room(now);
        due.truncate(room);
        while more && due.len() < room && self.next < batches.len() {
            due.push(self.next);
            self.waiting.push_back(self.next);
            self.next += 1;
        }
        for i in due {
            let Prepared { ticks, bytes, .. } = &batches[i];
            let set = self.pusher.stock.set.id();
            let batch = SpooledBatch { boot: BOOT, ticks: *ticks, set, bytes: bytes.clone() };
            self.session.send_batch(Lane::Backlog, batch, now);
        }
    }

    /// Writes what is to be written, then waits for a word, a deadline or `until`.
    async fn step(&mut self, reader: &mut FrameReader, until: Option<Duration>) -> anyhow::Result<()> {
        self.write().await?;
        let due = self.session.deadline().unwrap_or(Duration::MAX).min(until.unwrap_or(Duration::MAX));
        tokio::select! {
            chunk = self.receive.read_chunk(CHUNK, true) => {
                reader.extend(&chunk?.context("the aggregator closed the connection")?.bytes);
                while let Some(frame) = reader.next_frame().map_err(|fault| anyhow::anyhow!("a damaged frame: {}", fault.code))? {
                    self.session.receive(&frame, self.pusher.now());
                }
            }
            () = self.pusher.clock.sleep_until(due) => {
                let last_tick = self.next.checked_sub(1).map(|last| self.pusher.stock.batches[last].ticks.last);
                self.session.on_deadline(Vitals { last_tick, ..Vitals::default() }, self.pusher.now());
            }
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Welcomed(_) | Event::TrustBundle(_) => {}
                Event::Accounted(accounted) => self.accounted(&accounted),
                Event::NeedSets(_) => self.session.send_metric_set(self.pusher.stock.set.encode(), self.pusher.now()),
                Event::Rejected(_, rejected) => {
                    bail!("the batch of tick {} was rejected: {}", rejected.first.0, rejected.code)
                }
                Event::Closed(closed) => bail!("the session of {} ended: {closed:?}", self.pusher.host),
            }
        }
        Ok(())
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
                Lane::Live | Lane::Backlog => self.backlog.write_all(&out.bytes).await?,
            }
        }
        Ok(())
    }
}

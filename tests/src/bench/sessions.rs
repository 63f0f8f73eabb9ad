//! What an aggregator holds for a session that says nothing but heartbeats, and what opening it costs.
//!
//! The aggregator's program also keeps what it needs to resume a session. How much that is shows when all hosts come once
//! more, with a full handshake: they have as many sessions as before, and it remembers twice as many. When they come a third
//! time it has no more room to remember anything: what memory grows then is the allocator's, and says how far to trust the
//! rest.

use super::Row;
use super::ingest::speaker;
use super::load::BOOT;
use super::process::{Memory, cpu_time};
use crate::enrol::enrol;
use crate::fleet::{Centre, Fleet, Parents, Ports};
use anyhow::{Context, bail, ensure};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::ids::HostName;
use dsmil_protocol::message::{Hello, HostTimes, PROTOCOL_VERSION};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::Now;
use dsmil_protocol::session::agent::{AgentSession, Closed, Event, Vitals};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Sessions that are counted.
const SESSIONS: usize = 500;
/// Sessions before these: what the first ones bring about is not what each costs.
const WARM_UP: usize = 20;
/// Until connections that were replaced are forgotten, some heartbeats have gone by, and memory has settled.
const SETTLE: Duration = Duration::from_secs(5);
/// How long one host may take until it is welcomed.
const WELCOMED_WITHIN: Duration = Duration::from_secs(20);
/// Bytes taken from the control stream at once.
const CHUNK: usize = 16 << 10;
/// How long the tasks may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", &clock)?;
    let hosts = (0..WARM_UP + SESSIONS).map(|n| HostName::new(format!("h{n}"))).collect::<Result<Vec<_>, _>>()?;
    let ports = Ports::free()?;
    let mut centre = Centre::init(&fleet, &hosts, ports)?;
    let (identities, trust) = enrol(&Config::load(centre.config())?, &hosts, &clock).await?;
    centre.start().await?;
    let pid = centre.process()?.id();
    let fleet = Hosts {
        links: identities
            .into_iter()
            .map(|identity| Link {
                identity,
                trust: trust.clone(),
                key_exchange: KeyExchange::Pure,
                time: time_source(&clock),
            })
            .zip(hosts)
            .collect(),
        aggregator: (Ipv4Addr::LOCALHOST, ports.quic).into(),
        socket: endpoint((Ipv4Addr::LOCALHOST, 0).into(), None, &EndpointKeys::random())?,
        clock: clock.clone(),
        supervisor: Supervisor::new(clock.clone()),
    };
    let (first, counted) = fleet.links.split_at(WARM_UP);
    fleet.open(first).await?;
    let before = settled(&clock, pid).await?;
    let cpu_before = cpu_time(pid)?;
    fleet.open(counted).await?;
    let cpu = cpu_time(pid)?.saturating_sub(cpu_before).as_secs_f64();
    let open = settled(&clock, pid).await?;
    ensure_up(&centre, fleet.links.len()).await?;
    let mut again = [0.0; 2];
    for memory in &mut again {
        fleet.open(counted).await?;
        *memory = settled(&clock, pid).await?;
    }
    ensure_up(&centre, fleet.links.len()).await?;
    fleet.supervisor.drain(DRAIN_WITHIN).await;
    centre.stop().await?;
    let [twice, thrice] = again;
    Ok(rows([before, open, twice, thrice], cpu))
}

fn rows([before, open, twice, thrice]: [f64; 4], cpu: f64) -> Vec<Row> {
    let each = |more: f64, less: f64| (more - less) / SESSIONS as f64 / 1024.0;
    let (session, remembered, allocator) = (each(open, before), each(twice, open), each(thrice, twice));
    vec![
        Row::told("idle session, memory of the aggregator", session, "KiB PSS")
            .note(format!("{SESSIONS} sessions; with what is kept to resume it")),
        Row::told("idle session, without what is kept to resume it", session - remembered, "KiB PSS").note(format!(
            "{remembered:.1} KiB to resume it, give or take {allocator:.1} KiB of the allocator's own growth"
        )),
        Row::told("sessions opened, a second of the aggregator's CPU time", SESSIONS as f64 / cpu, "1/s")
            .note("full handshake, HELLO and WELCOME, and the heartbeats meanwhile"),
    ]
}

/// Memory of a process, bytes, when nothing changes any more.
async fn settled(clock: &Clock, pid: u32) -> anyhow::Result<f64> {
    clock.sleep(SETTLE).await;
    Ok(Memory::of(pid)?.all as f64)
}

async fn ensure_up(centre: &Centre<'_>, sessions: usize) -> anyhow::Result<()> {
    let up = centre.pipeline().await?.ingest.hosts_up;
    ensure!(up == sessions as u64, "{up} hosts are up, {sessions} should be");
    Ok(())
}

/// Hosts on one socket.
struct Hosts {
    links: Vec<(Link, HostName)>,
    aggregator: SocketAddr,
    socket: quinn::Endpoint,
    clock: Clock,
    supervisor: Supervisor,
}

impl Hosts {
    /// Opens a session for each of these hosts, one after the other, and leaves them open.
    async fn open(&self, links: &[(Link, HostName)]) -> anyhow::Result<()> {
        for (link, host) in links {
            let opened = tokio::select! {
                opened = Idle::open(self, link, host) => opened,
                () = self.clock.sleep(WELCOMED_WITHIN) => bail!("{host} was not welcomed within {WELCOMED_WITHIN:?}"),
            };
            let idle = opened.with_context(|| format!("the session of {host} could not be opened"))?;
            let stop = self.supervisor.stop();
            self.supervisor.spawn("bench-idle", OnFailure::Note, async move {
                tokio::select! {
                    ended = idle.run() => ended,
                    () = stop.requested() => Ok(()),
                }
            });
        }
        Ok(())
    }
}

/// A session that says nothing but heartbeats.
struct Idle {
    session: AgentSession,
    control: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    clock: Clock,
    bundle_version: u64,
    closed: Option<Closed>,
}

impl Idle {
    /// Connects, and returns when it is welcome. The link remembers nothing: each handshake is a full one.
    async fn open(hosts: &Hosts, link: &Link, host: &HostName) -> anyhow::Result<Self> {
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = hosts.socket.connect_with(link.client()?, hosts.aggregator, &name)?.await?;
        let (control, receive) = connection.open_bi().await?;
        let (clock, bundle_version) = (hosts.clock.clone(), link.trust.version());
        let now = now(&clock);
        let hello = Hello {
            versions: vec![PROTOCOL_VERSION],
            host: host.clone(),
            boot: BOOT,
            devices: Vec::new(),
            agent_version: "bench".into(),
            accounts: Vec::new(),
            bundle_version,
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
        };
        let session = AgentSession::start(speaker()?, &hello, now);
        let reader = FrameReader::new();
        let mut idle = Self { session, control, receive, reader, clock, bundle_version, closed: None };
        while !idle.session.is_open() {
            idle.step().await?;
            ensure!(idle.closed.is_none(), "the aggregator refused: {:?}", idle.closed);
        }
        Ok(idle)
    }

    /// Sends heartbeats until the session is replaced.
    async fn run(mut self) -> anyhow::Result<()> {
        while self.closed.is_none() {
            self.step().await?;
        }
        Ok(())
    }

    /// Writes what is to be written, then waits for a word or a deadline.
    async fn step(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.session.poll_output() {
            self.control.write_all(&out.bytes).await?;
        }
        tokio::select! {
            chunk = self.receive.read_chunk(CHUNK, true) => {
                self.reader.extend(&chunk?.context("the aggregator closed the connection")?.bytes);
                while let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("a damaged frame: {}", fault.code))? {
                    self.session.receive(&frame, now(&self.clock));
                }
            }
            () = self.clock.sleep_until(self.session.deadline().unwrap_or(Duration::MAX)) => {
                let vitals = Vitals { bundle_version: self.bundle_version, ..Vitals::default() };
                self.session.on_deadline(vitals, now(&self.clock));
            }
        }
        while let Some(event) = self.session.poll_event() {
            if let Event::Closed(closed) = event {
                self.closed = Some(closed);
            }
        }
        Ok(())
    }
}

fn now(clock: &Clock) -> Now {
    let boot_ns = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
    Now { mono: clock.mono(), boot_ns, wall_ns: clock.wall_ns() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_to_resume_is_told_apart() {
        let kib = |each: f64| each * SESSIONS as f64 * 1024.0;
        let rows = rows([kib(3.0), kib(103.0), kib(112.0), kib(113.0)], 2.0);
        let values: Vec<_> = rows.iter().map(|row| row.value).collect();
        assert_eq!(values, [100.0, 91.0, SESSIONS as f64 / 2.0].map(Some));
        assert!(rows[1].note.as_ref().is_some_and(|note| note.starts_with("9.0 KiB") && note.contains("take 1.0 KiB")));
    }
}

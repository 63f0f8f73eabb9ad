//! A host with a sound identity says what is not its to say: both sides name the same reason, and nothing of it is stored.

use crate::scene::{Scene, scene};
use anyhow::{Context, ensure};
use dsmil_agent::config::AgentConfig;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_crypto::trust::Trust;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{Frame, MessageType};
use dsmil_protocol::ids::{BootId, DeviceId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::message::{BootAccount, Hello, HostTimes};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Closed, Event, Vitals};
use dsmil_protocol::session::{Now, Speaker};
use dsmil_runtime::clock::Clock;
use e2e::fleet::AgentProc;
use std::net::{Ipv4Addr, SocketAddr};

/// What the centre has counted of refused frames, by code.
async fn faults(scene: &Scene<'_>, code: ErrorCode) -> anyhow::Result<u64> {
    let name = format!("dsmil_frame_faults_total{{code=\"{}\"}} ", code.name());
    let metrics = scene.centre.api().text("/metrics").await?;
    Ok(metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(Ok(0), str::parse)?)
}

/// Runs the agent with this configuration until it is refused with `code`, which the centre counts too.
async fn misconfigured(
    scene: &Scene<'_>,
    agent: &mut AgentProc<'_>,
    code: ErrorCode,
    change: impl FnOnce(&mut toml::Table),
) -> anyhow::Result<()> {
    let mut before = toml::Table::new();
    agent.configure(|table| {
        before = table.clone();
        change(table);
    })?;
    ensure!(faults(scene, code).await? == 0, "{code} was counted before");
    agent.start()?;
    scene.until_refused(agent, code).await?;
    ensure!(faults(scene, code).await? >= 1, "{code} was not counted");
    let log = scene.log("aggregator");
    ensure!(log.contains(code.name()), "the aggregator's log does not name {code}:\n{log}");
    agent.kill()?;
    agent.configure(|table| *table = before)
}

#[test]
fn an_agent_that_claims_a_device_a_tenant_or_a_name_that_is_not_its_own_is_refused_for_that() {
    scene(&["h1", "h2"], &[], async |scene| {
        scene.centre.start().await?;
        let mut agent = scene.agent("h1")?;
        misconfigured(scene, &mut agent, ErrorCode::NotOfThisHost, |table| {
            table.insert("devices".into(), vec![toml::Value::from(3)].into());
        })
        .await?;
        misconfigured(scene, &mut agent, ErrorCode::TenantMismatch, |table| {
            table.insert("tenant".into(), "other".into());
        })
        .await?;
        misconfigured(scene, &mut agent, ErrorCode::IdentityMismatch, |table| {
            table.insert("host".into(), "h2".into());
        })
        .await?;
        for host in ["h1", "h2"] {
            ensure!(scene.detail(host).await?["latest"].is_null(), "something of {host} was taken");
        }
        // As it was it is let in.
        agent.start()?;
        scene.fresh("h1").await
    });
}

/// A host that was let in, driven by hand.
struct Speaking {
    session: AgentSession,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    clock: Clock,
    _socket: quinn::Endpoint,
}

impl Speaking {
    /// Connects as the host of `agent`, and says HELLO.
    async fn start(scene: &Scene<'_>, agent: &AgentProc<'_>) -> anyhow::Result<Self> {
        let (clock, config) = (scene.clock.clone(), AgentConfig::load(agent.config())?);
        let wall = clock.clone();
        let link = Link {
            identity: Identity::load(&config.identity.file)?,
            trust: Trust::load(&config.identity.trust)?,
            key_exchange: KeyExchange::Pure,
            time: TimeSource::new(move || wall.wall_ms().div_euclid(1000)),
        };
        let socket = endpoint((Ipv4Addr::LOCALHOST, 0).into(), None, &EndpointKeys::random())?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, scene.ports.quic));
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = socket.connect_with(link.client()?, to, &name)?.await?;
        let (send, receive) = connection.open_bi().await?;
        let boot = BootId([3; 16]);
        let hello = Hello {
            versions: vec![1],
            host: HostName::new("h1")?,
            boot,
            devices: vec![],
            agent_version: "test".into(),
            accounts: vec![BootAccount { boot, ticks: TickRange { first: Tick(1), last: Tick(9) } }],
            bundle_version: 1,
            times: HostTimes { boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() },
        };
        let speaker =
            Speaker { tenant: config.tenant, compartments: config.compartments, classification: config.classification };
        let session = AgentSession::start(speaker, &hello, now(&clock));
        Ok(Self { session, send, receive, reader: FrameReader::new(), clock, _socket: socket })
    }

    /// Sends what waits, changed by `change`, and waits for the next thing that happens.
    async fn next(&mut self, change: impl Fn(&mut Frame)) -> anyhow::Result<Event> {
        while let Some(out) = self.session.poll_output() {
            let mut frame = Frame::from_bytes(&out.bytes).map_err(|code| anyhow::anyhow!("our own frame: {code}"))?;
            change(&mut frame);
            self.send.write_all(&frame.encode()).await?;
        }
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            let chunk = self.receive.read_chunk(1 << 16, true).await?.context("the stream has ended")?;
            self.reader.extend(&chunk.bytes);
            while let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("{fault:?}"))? {
                self.session.receive(&frame, now(&self.clock));
            }
        }
    }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() }
}

/// What is done to a frame on its way.
type Change = fn(&mut Frame);

#[test]
fn a_frame_in_the_name_of_a_device_or_a_tenant_of_somebody_else_is_refused_in_an_open_session_too() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let agent = scene.agent("h1")?;
        let changes: [(ErrorCode, Change); 2] = [
            (ErrorCode::NotOfThisHost, |frame| frame.tlvs.source = DeviceId(3)),
            (ErrorCode::TenantMismatch, |frame| frame.tlvs.tenant = TenantId::new("other").expect("a name")),
        ];
        for (code, change) in changes {
            let mut host = Speaking::start(scene, &agent).await?;
            let welcomed = host.next(|frame| assert_eq!(frame.kind, MessageType::Hello)).await?;
            ensure!(matches!(welcomed, Event::Welcomed(_)), "{welcomed:?}");
            let before = faults(scene, code).await?;
            host.session.heartbeat(Vitals::default(), now(&scene.clock));
            let mut end = host.next(change).await?;
            while matches!(end, Event::Accounted(_)) {
                end = host.next(change).await?;
            }
            ensure!(matches!(end, Event::Closed(Closed::Refused(said)) if said == code), "{code}: {end:?}");
            ensure!(faults(scene, code).await? == before + 1, "{code} was not counted");
        }
        Ok(())
    });
}

//! Hosts that are driven by hand: one whose agent knows no settings, and one that was offered what it could not believe.

use crate::rig::{Rig, SOON, rig};
use anyhow::{Context, ensure};
use dsmil_agent::config::AgentConfig;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_crypto::trust::Trust;
use dsmil_protocol::health::{Health, RefusedSettings, SettingsFault};
use dsmil_protocol::ids::{BootId, HostName};
use dsmil_protocol::message::{Hello, HostTimes};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Event, Vitals};
use dsmil_protocol::session::{Now, Speaker};
use dsmil_runtime::clock::Clock;
use e2e::fleet::AgentProc;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A host that was let in.
struct Speaking {
    session: AgentSession,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    clock: Clock,
    _socket: quinn::Endpoint,
}

impl Speaking {
    /// Connects as h1 with these protocol versions, up to its WELCOME.
    async fn start(rig: &Rig<'_>, agent: &AgentProc<'_>, versions: Vec<u8>) -> anyhow::Result<Self> {
        let (clock, config) = (rig.clock.clone(), AgentConfig::load(agent.config())?);
        let wall = clock.clone();
        let link = Link {
            identity: Identity::load(&config.identity.file)?,
            trust: Trust::load(&config.identity.trust)?,
            key_exchange: KeyExchange::Pure,
            time: TimeSource::new(move || wall.wall_ms().div_euclid(1000)),
        };
        let socket = endpoint((Ipv4Addr::LOCALHOST, 0).into(), None, &EndpointKeys::random())?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, rig.ports.quic));
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = socket.connect_with(link.client()?, to, &name)?.await?;
        let (send, receive) = connection.open_bi().await?;
        let hello = Hello {
            versions,
            host: HostName::new("h1")?,
            boot: BootId([3; 16]),
            devices: vec![],
            agent_version: "test".into(),
            accounts: vec![],
            bundle_version: 1,
            times: HostTimes { boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() },
        };
        let speaker =
            Speaker { tenant: config.tenant, compartments: config.compartments, classification: config.classification };
        let session = AgentSession::start(speaker, &hello, now(&clock));
        let mut host = Self { session, send, receive, reader: FrameReader::new(), clock, _socket: socket };
        host.until(|event| matches!(event, Event::Welcomed(_))).await?;
        Ok(host)
    }

    /// Sends what waits, and waits for something to happen.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        self.flush().await?;
        loop {
            while let Some(event) = self.session.poll_event() {
                if wanted(&event) {
                    return Ok(event);
                }
            }
            let chunk = tokio::select! {
                chunk = self.receive.read_chunk(1 << 16, true) => chunk?.context("the stream has ended")?,
                () = self.clock.sleep(SOON) => anyhow::bail!("nothing was said"),
            };
            self.reader.extend(&chunk.bytes);
            while let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("{fault:?}"))? {
                self.session.receive(&frame, now(&self.clock));
            }
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.session.poll_output() {
            self.send.write_all(&out.bytes).await?;
        }
        Ok(())
    }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() }
}

#[test]
fn an_agent_of_version_1_is_sent_nothing_and_shown_as_too_old() {
    rig(async |rig| {
        let agent = rig.joined("h1")?;
        let _host = Speaking::start(rig, &agent, vec![1]).await?;
        rig.push("[sensors]\nloadavg = \"off\"\n", &["--all"])?;
        rig.until_shown("h1", "agent_too_old", SOON).await?;
        ensure!(rig.shown("h2")?["state"] == "waiting", "nobody has heard of h2");
        Ok(())
    });
}

#[test]
fn a_host_that_was_offered_what_no_order_key_has_signed_is_in_the_security_log() {
    rig(async |rig| {
        let agent = rig.joined("h1")?;
        rig.push("", &["--all"])?;
        let mut host = Speaking::start(rig, &agent, vec![2, 1]).await?;
        // Nothing is offered before the host has said what it has.
        let refused = RefusedSettings {
            version: 0,
            fault: SettingsFault::Untrusted.number(),
            detail: "settings_other_key".into(),
        };
        let health = Health { refused: Some(refused), ..Health::default() };
        ensure!(host.session.send_health(&health, now(&rig.clock)));
        let offered = host.until(|event| matches!(event, Event::Settings(_))).await?;
        ensure!(matches!(offered, Event::Settings(bytes) if bytes.starts_with(b"DSFS")));
        let logged = async || {
            let log = rig.centre.cli(&["security", "log", "--kind", "refusal"])?;
            Ok(log.contains("settings_other_key") && log.contains("h1"))
        };
        rig.until("the refusal is in the security log", logged).await?;
        // What is said time and again is noted now and then: with the heartbeat after two seconds.
        for in_force in [0, 2, 1] {
            ensure!(host.session.send_health(&Health { in_force, ..Health::default() }, now(&rig.clock)));
        }
        host.flush().await?;
        let from = rig.clock.mono() + Duration::from_secs(2);
        rig.until("two seconds", async || Ok(rig.clock.mono() > from)).await?;
        ensure!(rig.shown("h1")?["state"] != "applied", "it was noted at once");
        host.session.heartbeat(Vitals::default(), now(&rig.clock));
        host.flush().await?;
        rig.until_shown("h1", "applied", SOON).await?;
        Ok(())
    });
}

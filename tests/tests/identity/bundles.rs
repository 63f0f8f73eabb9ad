//! Trust bundles that a running agent must not take, from an aggregator that we are: its leaf is sound, what it sends is not.

use crate::scene::{SOON, Scene, is_linked, scene};
use anyhow::{Context, ensure};
use dsmil_aggregator::credentials::newest_issuer;
use dsmil_authority::TrustBundle;
use dsmil_crypto::issue::{FleetRoot, LEAF_LIFETIME};
use dsmil_crypto::policy::{KeyExchange, Link, SessionCache};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_crypto::trust::{Trust, sign};
use dsmil_protocol::ids::HostName;
use dsmil_protocol::message::Settings;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::aggregator::{AggregatorSession, Grant, Incoming};
use dsmil_protocol::session::{Now, Speaker};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use e2e::fleet::AgentProc;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const DAY: i64 = 86_400;

/// An aggregator's end of one session, driven by hand.
struct StandIn {
    session: AggregatorSession,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    clock: Clock,
    _connection: quinn::Connection,
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() }
}

/// A socket for agents, with a leaf by the centre's own issuer.
fn listen(scene: &Scene<'_>, trust: &Trust) -> anyhow::Result<quinn::Endpoint> {
    let clock = scene.clock.clone();
    let now_s = clock.wall_ms().div_euclid(1000);
    let issuer = newest_issuer(&scene.config()?.identity.issuers, trust, now_s)?;
    let identity = issuer.issue_aggregator("stand-in", now_s, LEAF_LIFETIME)?;
    let time = TimeSource::new(move || clock.wall_ms().div_euclid(1000));
    let link = Link { identity, trust: trust.clone(), key_exchange: KeyExchange::Pure, time };
    let keys = EndpointKeys::random();
    let server = link.server(&keys, &SessionCache::none())?;
    Ok(endpoint((Ipv4Addr::LOCALHOST, 0).into(), Some(server), &keys)?)
}

impl StandIn {
    /// Takes in the agent that comes, up to its WELCOME.
    async fn accept(scene: &Scene<'_>, socket: &quinn::Endpoint) -> anyhow::Result<Self> {
        let connection = socket.accept().await.context("an agent")?.await?;
        let (send, receive) = connection.accept_bi().await?;
        let speaker = Speaker {
            tenant: scene.config()?.tenant,
            compartments: Compartments::SOC,
            classification: Classification::UNCLASS,
        };
        let grant = Grant {
            host: HostName::new("h1")?,
            devices: BTreeSet::new(),
            clearance: Classification::UNCLASS,
            compartments: Compartments::SOC,
        };
        let session = AggregatorSession::accept(speaker, grant);
        let (reader, clock) = (FrameReader::new(), scene.clock.clone());
        let mut end = Self { session, send, receive, reader, clock, _connection: connection };
        end.hear(|incoming| matches!(incoming, Incoming::Hello(_)).then_some(())).await?;
        let settings = Settings {
            heartbeat_ms: 200,
            window_batches: 8,
            backlog_bytes_per_second: 1 << 20,
            reconnect_window_ms: 200,
        };
        end.session.welcome(settings, vec![], now(&end.clock));
        end.flush().await?;
        Ok(end)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.session.poll_output() {
            self.send.write_all(&out.bytes).await?;
        }
        Ok(())
    }

    /// Reads until something is heard that is waited for.
    async fn hear<T>(&mut self, wanted: impl Fn(&Incoming) -> Option<T>) -> anyhow::Result<T> {
        loop {
            while let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("{fault:?}"))? {
                let heard = self.session.receive(frame, now(&self.clock));
                self.flush().await?;
                if let Some(found) = wanted(&heard.map_err(|fault| anyhow::anyhow!("{fault:?}"))?) {
                    return Ok(found);
                }
            }
            let chunk = tokio::select! {
                chunk = self.receive.read_chunk(1 << 16, true) => chunk?.context("the session has ended")?,
                () = self.clock.sleep(SOON) => anyhow::bail!("the agent has fallen silent"),
            };
            self.reader.extend(&chunk.bytes);
        }
    }

    /// Sends a bundle; what the agent says that it has, two heartbeats later.
    async fn offer(&mut self, bundle: &[u8]) -> anyhow::Result<u64> {
        ensure!(self.session.send_bundle(bundle.to_vec(), now(&self.clock)), "the session is not open");
        self.flush().await?;
        let mut held = 0;
        // The first may have been on its way.
        for _ in 0..2 {
            let version = |heard: &Incoming| match heard {
                Incoming::Heartbeat(beat) => Some(beat.bundle_version),
                _ => None,
            };
            held = self.hear(version).await?;
        }
        Ok(held)
    }
}

/// The agent has refused a bundle, says why, and everything else is as it was.
fn ensure_refused(agent: &AgentProc<'_>, words: &str, held: u64) -> anyhow::Result<()> {
    ensure!(held == 2, "it has bundle {held}");
    let status = agent.status()?;
    ensure!(status.trust.version == 2, "{:?}", status.trust);
    let said = status.trust.refused.clone().unwrap_or_default();
    ensure!(said.contains(words), "the status does not say {words:?}: {said:?}");
    println!("{said}");
    ensure!(is_linked(agent), "the session goes on");
    Ok(())
}

#[test]
fn a_bundle_that_is_altered_expired_or_of_another_root_is_refused_and_the_session_goes_on() {
    scene(&["h1"], &[], async |scene| {
        let exported = scene.folder("first.bundle");
        scene.centre.cli(&["trust", "export", &exported.to_string_lossy()])?;
        let first = std::fs::read(exported)?;
        scene.publish(&[&scene.root()])?;
        scene.centre.start().await?;
        let mut agent = scene.agent("h1")?;
        let held = Trust::load(&agent.folder().join("trust.bundle"))?;
        ensure!(held.version() == 2);
        let root = FleetRoot::load(&scene.root().join("root.pem"), &scene.root().join("root.key"))?;
        let newer = |version: u64, change: &dyn Fn(&mut TrustBundle)| {
            let mut bundle = TrustBundle { version, ..held.bundle().clone() };
            change(&mut bundle);
            bundle
        };
        let socket = listen(scene, &held)?;
        let aggregators = vec![toml::Value::from(socket.local_addr()?.to_string())];
        agent.configure(|table| drop(table.insert("aggregators".into(), aggregators.into())))?;
        agent.start()?;
        let mut end = StandIn::accept(scene, &socket).await?;

        let sound = sign(&newer(3, &|_| {}), &[&root])?;
        let mut altered = sound.clone();
        let middle = altered.len() / 2;
        altered[middle] ^= 1;
        ensure_refused(&agent, "bundle_altered", end.offer(&altered).await?)?;

        let over = newer(4, &|bundle| {
            bundle.issued_s -= 2 * DAY;
            bundle.expires_s = bundle.issued_s + DAY;
        });
        ensure_refused(&agent, "bundle_expired", end.offer(&sign(&over, &[&root])?).await?)?;

        let stranger = FleetRoot::create(held.trust_domain(), scene.clock.wall_ms() / 1000)?;
        let theirs = newer(5, &|bundle| bundle.roots = vec![stranger.certificate().to_vec()]);
        ensure_refused(&agent, "bundle_other_root", end.offer(&sign(&theirs, &[&stranger])?).await?)?;

        // An older one is what any aggregator may have that was not told yet: no fault, and not taken.
        let said = agent.status()?.trust.refused;
        ensure!(end.offer(&first).await? == 2 && agent.status()?.trust.refused == said);

        ensure!(end.offer(&sound).await? == 3, "one that is sound is taken");
        let status = agent.status()?;
        ensure!(status.trust.version == 3 && status.trust.refused.is_none(), "{:?}", status.trust);
        ensure!(Trust::load(&agent.folder().join("trust.bundle"))?.version() == 3, "and kept");
        ensure!(is_linked(&agent));
        Ok(())
    });
}

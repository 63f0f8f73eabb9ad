//! A whole host against a join port and an aggregator on loopback: what it does when it is not taken in as it is.

use super::*;
use crate::run::{self, Parts, Running, StartError};
use crate::sampler::{Row, Source};
use crate::spool::SpoolConfig;
use crate::status::LinkState;
use crate::test_fleet::{Asked, DAY, Fleet, HOUR, JoinServer, LinkServer, NOW, Reaction, Said, clock, settings, until};
use dsmil_authority::Fingerprint;
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};

struct Sensors(Arc<MetricSet>);

impl Source for Sensors {
    async fn collect(&mut self, tick: Tick) -> Row {
        Row { tick, wall_ms: 0, set: self.0.clone(), values: vec![Some(tick.0)] }
    }
}

/// A whole host with one sensor.
struct Host {
    credentials: Credentials,
    running: Running,
    supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

impl Host {
    fn start(credentials: Credentials, clock: Clock, link: &LinkServer, join: Vec<String>) -> Self {
        Self::try_start(credentials, clock, link, join).expect("starts")
    }

    fn try_start(
        credentials: Credentials,
        clock: Clock,
        link: &LinkServer,
        join: Vec<String>,
    ) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = Supervisor::new(clock.clone());
        let settings = settings("h1", vec![]);
        let metric = Metric { name: "m".into(), labels: vec![], kind: Kind::Gauge, repr: Repr::U64, scale: Scale::ONE };
        let path = folder.path().join("spool.sqlite");
        let running = run::start(Parts {
            source: Sensors(Arc::new(MetricSet::new(vec![metric]).expect("a set"))),
            spool: SpoolConfig { path, capacity_bytes: 1 << 20, batch_ticks: 10 },
            uplink: UplinkConfig {
                host: settings.host,
                boot: BootId([7; 16]),
                devices: settings.devices,
                speaker: Speaker {
                    tenant: settings.tenant,
                    compartments: settings.compartments,
                    classification: settings.classification,
                },
                aggregators: vec![link.address()],
            },
            credentials: credentials.clone(),
            join,
            clock,
            supervisor: supervisor.clone(),
        })?;
        Ok(Self { credentials, running, supervisor, _folder: folder })
    }

    fn key(&self) -> Fingerprint {
        self.credentials.current().identity().key_fingerprint().expect("a key")
    }

    fn refused_with(&self, code: &str) -> bool {
        matches!(self.running.board.status().state, LinkState::Refused { code: found, .. } if found == code)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.supervisor.request_stop();
    }
}

/// The kernel's clocks, with a wall clock that reads `now_s` now.
fn wall_at(now_s: i64) -> Clock {
    let (clock, shift) = Clock::shifted();
    shift.set(now_s * 1_000_000_000 - clock.wall_ns());
    clock
}

fn joined(fleet: &Fleet, clock: &Clock) -> Credentials {
    Credentials::new(fleet.enrol("h1", NOW), fleet.trust(1), KeyExchange::default(), None, clock.clone())
}

/// Certificate and bundle have expired, and it knows: it renews, connects once and is in.
#[tokio::test]
async fn a_host_that_lay_in_a_drawer_for_a_month_renews_before_it_connects() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW + 31 * DAY));
    let link = LinkServer::of(&fleet, NOW + 31 * DAY, 7);
    let credentials = joined(&fleet, &clock);
    let old = credentials.current().identity().key_fingerprint().expect("a key");
    let join = JoinServer::start(fleet, NOW + 31 * DAY, 7);
    join.enrol(old);
    let host = Host::start(credentials, clock, &link, vec![join.address()]);
    until("a connection", || host.running.board.is_connected()).await;
    assert_ne!(host.key(), old);
    assert_eq!(link.hellos(), [Said::Hello { key: host.key(), bundle_version: 7 }]);
    assert_eq!(link.calls(), 1, "not with what has expired");
}

/// A host that is switched off in its first second takes with it what nobody was told.
#[tokio::test]
async fn who_stops_while_it_calls_is_heard_all_the_same() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW));
    let link = LinkServer::of(&fleet, NOW, 1);
    let credentials = joined(&fleet, &clock);
    let host = Host::start(credentials, clock, &link, vec![]);
    until("a tick", || host.running.spool.lock().status().ticks_waiting > 0).await;
    host.supervisor.request_stop();
    until("a HELLO", || !link.hellos().is_empty()).await;
}

/// Nobody to renew with and nobody to call; what a reload names is used without a restart.
#[tokio::test]
async fn addresses_that_are_named_while_it_runs_are_used_next() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW + 31 * DAY));
    let link = LinkServer::of(&fleet, NOW + 31 * DAY, 7);
    let gone = LinkServer::of(&fleet, NOW + 31 * DAY, 7);
    let credentials = joined(&fleet, &clock);
    let old = credentials.current().identity().key_fingerprint().expect("a key");
    let join = JoinServer::start(fleet, NOW + 31 * DAY, 7);
    join.enrol(old);
    let host = Host::start(credentials, clock, &gone, vec![]);
    drop(gone);
    until("the first one is not reached", || {
        matches!(host.running.board.status().state, LinkState::Offline { .. } | LinkState::Refused { .. })
    })
    .await;
    host.running.addresses.set_aggregators(vec![link.address()]);
    host.running.addresses.set_join(vec![join.address()]);
    until("a connection", || host.running.board.is_connected()).await;
    assert_ne!(host.key(), old);
}

#[tokio::test]
async fn while_a_renewal_is_refused_nobody_is_called_and_the_status_says_why() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW + 200 * DAY));
    let link = LinkServer::of(&fleet, NOW + 200 * DAY, 7);
    let credentials = joined(&fleet, &clock);
    let join = JoinServer::start(fleet, NOW + 200 * DAY, 7);
    join.refuse(ErrorCode::RenewalTooOld);
    let host = Host::start(credentials, clock, &link, vec![join.address()]);
    until("the status says it", || host.refused_with("renewal_too_old")).await;
    let status = host.running.board.status();
    let LinkState::Refused { remedy, .. } = status.state else { panic!("{status:?}") };
    assert_eq!((remedy.as_str(), status.attempts), (ErrorCode::RenewalTooOld.remedy(), 0));
    assert_eq!(link.calls(), 0);
}

#[tokio::test]
async fn a_host_whose_key_the_registry_does_not_know_renews_and_is_back() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW));
    let link = LinkServer::of(&fleet, NOW, 1);
    let credentials = joined(&fleet, &clock);
    let old = credentials.current().identity().key_fingerprint().expect("a key");
    link.react(Reaction::NotWith(old));
    let join = JoinServer::start(fleet, NOW, 1);
    join.enrol(old);
    let host = Host::start(credentials, clock, &link, vec![join.address()]);
    until("a connection", || host.running.board.is_connected()).await;
    assert_eq!(join.asked(), [Asked::Renew { by: old, next: host.key() }]);
    assert_eq!(link.hellos().last(), Some(&Said::Hello { key: host.key(), bundle_version: 1 }));
}

#[tokio::test]
async fn a_host_that_is_revoked_says_so_and_comes_back_after_minutes_only() {
    for reaction in [Reaction::ThrowOut, Reaction::Refuse(ErrorCode::Revoked)] {
        let (fleet, clock) = (Fleet::new(), wall_at(NOW));
        let link = LinkServer::of(&fleet, NOW, 1);
        link.react(reaction);
        let host = Host::start(joined(&fleet, &clock), clock, &link, vec![]);
        until("a refusal", || host.refused_with("revoked")).await;
        let status = host.running.board.status();
        let LinkState::Refused { next_attempt_in_ms, .. } = status.state else { panic!("{status:?}") };
        assert!(next_attempt_in_ms > 55_000, "{next_attempt_in_ms} ms");
        assert_eq!(link.hellos().len(), 1);
    }
}

#[tokio::test]
async fn a_trust_bundle_that_is_sent_is_taken_and_told_of() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW));
    let link = LinkServer::of(&fleet, NOW, 3);
    link.react(Reaction::Bundle(fleet.bundle(3)));
    let host = Host::start(joined(&fleet, &clock), clock, &link, vec![]);
    until("a heartbeat with it", || link.said().contains(&Said::Heartbeat { bundle_version: 3 })).await;
    assert_eq!(link.hellos(), [Said::Hello { key: host.key(), bundle_version: 1 }]);
    assert!(host.running.board.is_connected());
}

#[tokio::test]
async fn an_aggregator_that_a_new_bundle_shuts_out_is_left_at_once_and_not_called_again() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW));
    let aggregator = fleet.aggregator(NOW);
    let revoked = vec![aggregator.key_fingerprint().expect("a key")];
    let link = LinkServer::start(aggregator, fleet.trust(1), NOW);
    link.react(Reaction::Bundle(fleet.bundle_without(2, NOW, revoked)));
    let host = Host::start(joined(&fleet, &clock), clock, &link, vec![]);
    until("a refusal", || host.refused_with("revoked")).await;
    until("another attempt", || host.running.board.status().attempts > 1).await;
    assert_eq!(link.hellos().len(), 1);
}

#[tokio::test]
async fn an_identity_of_another_kind_stops_the_start() {
    let (fleet, clock) = (Fleet::new(), wall_at(NOW));
    let link = LinkServer::of(&fleet, NOW, 1);
    let identity = fleet.aggregator(NOW);
    let credentials = Credentials::new(identity, fleet.trust(1), KeyExchange::default(), None, clock.clone());
    let error = Host::try_start(credentials, clock, &link, vec![]).err().expect("refused");
    assert!(matches!(error, StartError::Policy(PolicyError::WrongRole { .. })), "{error}");
}

/// TLS checks no certificates when it resumes: the aggregator's leaf has expired since, and we notice all the same.
#[tokio::test]
async fn a_resumed_session_is_judged_as_a_new_one_is() {
    let fleet = Fleet::new();
    let (clock, hand) = clock();
    // Its leaf has four hours left; ours has more, and sessions can be resumed for a day.
    let link = LinkServer::start(fleet.aggregator(NOW - 20 * HOUR), fleet.trust(1), NOW);
    let credentials = joined(&fleet, &clock);
    let mut caller = Caller::new(credentials).expect("a socket");
    let first = caller.call(&link.address()).await.expect("connected");
    // What the server sends after the handshake is there once it has answered something.
    let (mut send, mut receive) = first.open_bi().await.expect("a stream");
    send.write_all(b"nonsense that is no frame of anybody's, and long enough to be judged").await.expect("sent");
    let _ = receive.read_chunk(1, true).await;
    drop(first);

    hand.set_wall_ns((NOW + 5 * HOUR) * 1_000_000_000);
    let refused = caller.call(&link.address()).await.expect_err("its leaf has expired");
    assert!(matches!(refused, End::Handshake { refusal: Refusal::Expired, ours: true }), "{refused:?}");
}

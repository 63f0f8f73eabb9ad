//! The keeper against a join port on loopback, with a clock that is moved by hand.

use super::*;
use crate::addresses::Addresses;
use crate::test_fleet::{Asked, HOUR, JoinServer, settings, until};
use dsmil_authority::Fingerprint;
use dsmil_protocol::error::ErrorCode;
use dsmil_runtime::clock::ManualClock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};

/// A host with a keeper at work.
struct Host {
    credentials: Credentials,
    clock: Clock,
    hand: ManualClock,
    supervisor: Supervisor,
}

impl Host {
    /// Enrolled at `server`, whose fleet is `fleet`; its clock says that it is `now_s`.
    fn start(credentials: Credentials, clock: Clock, hand: ManualClock, ports: Vec<String>) -> Self {
        let supervisor = Supervisor::new(clock.clone());
        let settings = settings("h1", ports.clone());
        let addresses = Addresses::new(settings.aggregators.clone(), ports);
        let keeper = Keeper::new(credentials.clone(), settings, addresses, &supervisor, clock.clone());
        supervisor.spawn("keeper", OnFailure::Stop, keeper.run());
        Self { credentials, clock, hand, supervisor }
    }

    fn key(&self) -> Fingerprint {
        self.credentials.current().identity().key_fingerprint().expect("a key")
    }

    fn failed_with(&self, code: &str) -> bool {
        self.credentials.renewal().failed.is_some_and(|(_, failure)| failure.code == code)
    }

    /// Time passes as it does for a program, a minute at a time. Not beyond the moment at which something is due: what is
    /// asked over the network then would time out.
    async fn pass(&self, seconds: i64) {
        for _ in 0..seconds / 60 {
            self.hand.advance(Duration::from_secs(60));
            tokio::task::yield_now().await;
        }
    }

    /// Time passes until the keeper asks.
    fn come_due(&self) {
        let next_in = self.credentials.renewal().next_in.expect("it can renew");
        self.hand.advance(next_in + Duration::from_secs(1));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.supervisor.request_stop();
    }
}

/// A host that joined at [`NOW`], beside the join port of its fleet `later_s` seconds later.
fn world(later_s: i64, version: u64) -> (JoinServer, Host) {
    let fleet = Fleet::new();
    let (clock, hand) = clock();
    let credentials =
        Credentials::new(fleet.enrol("h1", NOW), fleet.trust(1), KeyExchange::default(), None, clock.clone());
    hand.set_wall_ns((NOW + later_s) * 1_000_000_000);
    let server = JoinServer::start(fleet, NOW + later_s, version);
    let host = Host::start(credentials, clock, hand, vec![server.address()]);
    server.enrol(host.key());
    (server, host)
}

#[tokio::test]
async fn a_leaf_is_renewed_at_half_of_its_life_by_its_key_and_for_a_new_one() {
    let (server, host) = world(0, 2);
    let old = host.key();
    host.pass(11 * HOUR).await;
    assert_eq!(server.asked(), []);
    let next_in = host.credentials.renewal().next_in.expect("it can renew");
    assert!(next_in >= Duration::from_secs(3_000) && next_in <= Duration::from_secs(7 * 3_600 + 60), "{next_in:?}");
    host.come_due();
    until("a renewal", || host.key() != old).await;
    assert_eq!(server.asked(), [Asked::Renew { by: old, next: host.key() }]);
    assert_eq!(version(&host.credentials), 2, "a renewal brings the bundle along");
    until("a note of it", || host.credentials.renewal().renewed_ago.is_some()).await;
    assert_eq!(host.credentials.renewal().failed, None);
    let again = host.credentials.renewal().next_in.expect("it can renew");
    assert!(again > Duration::from_secs(60), "not at once again: {again:?}");
}

/// Leaf and bundle have expired long ago; nobody touches the host.
#[tokio::test]
async fn a_host_that_lay_in_a_drawer_for_a_month_renews_as_soon_as_it_starts() {
    let (server, host) = world(31 * DAY, 7);
    let old = host.key();
    assert_eq!(host.credentials.awaits_renewal(), Some(Want::Identity), "connecting is of no use yet");
    until("a renewal", || host.key() != old).await;
    assert_eq!((host.credentials.awaits_renewal(), version(&host.credentials)), (None, 7));
    assert_eq!(server.asked().len(), 1, "one question is enough");
}

#[tokio::test]
async fn a_bundle_that_has_expired_beside_a_good_leaf_is_asked_for_alone() {
    let fleet = Fleet::new();
    let (clock, hand) = clock();
    let now_s = NOW + BUNDLE_LIFE + DAY;
    let credentials =
        Credentials::new(fleet.enrol("h1", now_s), fleet.trust(1), KeyExchange::default(), None, clock.clone());
    hand.set_wall_ns(now_s * 1_000_000_000);
    let server = JoinServer::start(fleet, now_s, 4);
    let host = Host::start(credentials, clock, hand, vec![server.address()]);
    until("a bundle", || version(&host.credentials) == 4).await;
    assert_eq!(server.asked(), [Asked::Bundle { held: 1 }]);
}

#[tokio::test]
async fn a_refusal_on_the_link_renews_at_once_but_not_twice_in_five_seconds() {
    let (server, host) = world(0, 1);
    let old = host.key();
    tokio::task::yield_now().await;
    host.credentials.renew_soon(Want::Identity, "leaf_expired");
    until("a renewal", || host.key() != old).await;
    until("a note of it", || host.credentials.renewal().renewed_ago.is_some()).await;
    host.credentials.renew_soon(Want::Identity, "leaf_expired");
    until("the wish is heard", || host.credentials.renewal().next_in.is_some_and(|d| d <= Duration::from_secs(5)))
        .await;
    assert_eq!(server.asked().len(), 1);
    host.hand.advance(Duration::from_secs(5));
    until("another renewal", || server.asked().len() == 2).await;
}

#[tokio::test]
async fn where_somebody_has_to_act_it_says_so_and_waits_ten_minutes() {
    let codes = [ErrorCode::Revoked, ErrorCode::NotEnrolled, ErrorCode::RenewalTooOld, ErrorCode::RenewalWrongKey];
    for code in codes {
        let (server, host) = world(0, 1);
        server.refuse(code);
        let old = host.key();
        tokio::task::yield_now().await;
        host.credentials.renew_soon(Want::Identity, "key_not_enrolled");
        until("a refusal", || host.failed_with(code.name())).await;
        let (_, failure) = host.credentials.renewal().failed.expect("failed");
        assert!(failure.somebody_must_act && failure.remedy == code.remedy(), "{failure:?}");
        host.credentials.renew_soon(Want::Identity, "key_not_enrolled");
        host.pass(9 * 60).await;
        assert_eq!(server.asked().len(), 1, "{code}");
        server.untwist();
        host.come_due();
        until("a renewal", || host.key() != old).await;
        assert_eq!(host.credentials.renewal().failed, None);
    }
}

#[tokio::test]
async fn a_key_that_is_not_enrolled_any_more_renews_nothing() {
    let (server, host) = world(0, 1);
    server.with(|state| state.forget());
    tokio::task::yield_now().await;
    host.credentials.renew_soon(Want::Identity, "key_not_enrolled");
    until("a refusal", || host.failed_with("renewal_wrong_key")).await;
}

#[tokio::test]
async fn a_join_port_that_is_away_is_asked_again_and_the_next_one_is_tried() {
    let fleet = Fleet::new();
    let (clock, hand) = clock();
    let credentials =
        Credentials::new(fleet.enrol("h1", NOW), fleet.trust(1), KeyExchange::default(), None, clock.clone());
    let server = JoinServer::start(fleet, NOW, 1);
    let host = Host::start(credentials, clock, hand, vec!["no-port".into(), server.address()]);
    server.enrol(host.key());
    let old = host.key();
    server.twist(|_| None);
    tokio::task::yield_now().await;
    host.credentials.renew_soon(Want::Identity, "leaf_expired");
    until("a failure", || host.failed_with("lost")).await;
    assert_eq!(host.key(), old);
    server.untwist();
    // The next attempt is within the first bound of the backoff.
    host.hand.advance(Duration::from_secs(10));
    until("a renewal", || host.key() != old).await;
    assert!(host.clock.mono() < Duration::from_secs(60));
}

/// The aggregator forgets the old key once it has seen the new one: what is not on disk is not used.
#[tokio::test]
async fn an_identity_that_cannot_be_kept_is_not_used() {
    let (fleet, dir) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
    let (clock, hand) = clock();
    let credentials = stored(&fleet, dir.path(), &clock);
    let server = JoinServer::start(fleet, NOW, 1);
    let host = Host::start(credentials, clock.clone(), hand, vec![server.address()]);
    server.enrol(host.key());
    let old = host.key();
    let away = dir.path().with_extension("away");
    std::fs::rename(dir.path(), &away).expect("moves");
    tokio::task::yield_now().await;
    host.credentials.renew_soon(Want::Identity, "leaf_expired");
    until("a failure", || host.failed_with("identity_file")).await;
    assert_eq!(host.key(), old);
    std::fs::rename(&away, dir.path()).expect("moves");
    host.hand.advance(Duration::from_secs(10));
    until("a renewal", || host.key() != old).await;
    let found = load(dir.path(), &clock);
    assert_eq!(found.current().identity().key_fingerprint().expect("a key"), host.key(), "a restart finds it");
}

/// Trust is written before the identity; between the two the host may lose its power.
#[tokio::test]
async fn a_host_that_stopped_between_the_two_files_starts_and_renews() {
    let (fleet, dir) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
    let (clock, hand) = clock();
    drop(stored(&fleet, dir.path(), &clock));
    fleet.trust(2).save(&dir.path().join("trust.bundle")).expect("writes");
    let server = JoinServer::start(fleet, NOW, 2);
    let host = Host::start(load(dir.path(), &clock), clock, hand, vec![server.address()]);
    server.enrol(host.key());
    let old = host.key();
    tokio::task::yield_now().await;
    host.come_due();
    until("a renewal", || host.key() != old).await;
}

#[tokio::test]
async fn a_leaf_of_somebody_else_is_not_taken() {
    let (server, host) = world(0, 1);
    server.with(|state| state.misname("h2"));
    let old = host.key();
    tokio::task::yield_now().await;
    host.credentials.renew_soon(Want::Identity, "leaf_expired");
    until("a failure", || host.failed_with("identity_mismatch")).await;
    assert_eq!(host.key(), old);
}

#[tokio::test]
async fn without_a_join_port_nothing_is_awaited() {
    let fleet = Fleet::new();
    let (clock, hand) = clock();
    let credentials =
        Credentials::new(fleet.enrol("h1", NOW), fleet.trust(1), KeyExchange::default(), None, clock.clone());
    let host = Host::start(credentials, clock, hand, vec![]);
    host.pass(2 * DAY).await;
    assert_eq!((host.credentials.awaits_renewal(), host.credentials.renewal().next_in), (None, None));
}

//! Leaves are renewed by possession of the enrolled key, and by nothing else. Days pass on a clock that the test moves.

use crate::inside::{Centre, DAY, Days, HOUR, Host, Place};
use crate::scene::{SOON, Scene, scene};
use anyhow::{Context, ensure};
use dsmil_agent::credentials::Want;
use dsmil_agent::join_port::JoinPort;
use dsmil_authority::Fingerprint;
use dsmil_crypto::csr;
use dsmil_crypto::key::{SigningKey, sha384};
use dsmil_crypto::policy::join_client;
use dsmil_crypto::trust::JoinTrust;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::{EXPORTER_LEN, JoinAnswer, JoinRequest, renewal_statement};
use dsmil_runtime::clock::Clock;
use std::time::Duration;

/// A host's end of the join port, driven by hand.
struct Renewer<'p> {
    place: &'p Place,
    clock: Clock,
}

impl Renewer<'_> {
    async fn connect(&self) -> anyhow::Result<JoinPort> {
        let held = self.place.credentials(&self.clock)?.current();
        let floor_s = held.trust().bundle().issued_s;
        let client = join_client(JoinTrust::Held(held.trust().clone()), held.link().time.clone(), floor_s)?;
        let name = held.trust().trust_domain().aggregator_dns_name();
        let address = self.place.config()?.join.first().context("a join port")?.clone();
        Ok(JoinPort::connect(&address, client, &name, &self.clock, SOON).await?)
    }

    /// A renewal of `host`, proved by `key` over `exporter`.
    fn request(host: &HostName, key: &SigningKey, exporter: &[u8; EXPORTER_LEN]) -> anyhow::Result<JoinRequest> {
        let csr = csr::request(&SigningKey::generate()?)?;
        let proof = key.sign(&renewal_statement(exporter, &sha384(&csr).0))?;
        Ok(JoinRequest::Renew { host: host.clone(), public_key: key.public_key().to_vec(), csr, proof })
    }

    /// Asks on a new connection, with a proof of that connection.
    async fn renew(&self, host: &HostName, key: &SigningKey) -> anyhow::Result<JoinAnswer> {
        let port = self.connect().await?;
        let request = Self::request(host, key, &port.exporter()?)?;
        Ok(port.ask(&request, SOON).await?)
    }

    fn key(&self) -> anyhow::Result<SigningKey> {
        Ok(self.place.credentials(&self.clock)?.current().identity().key()?)
    }
}

fn ensure_refused(centre: &Centre, answer: &JoinAnswer, code: ErrorCode) -> anyhow::Result<()> {
    let JoinAnswer::Refused { code: said, detail } = answer else { anyhow::bail!("not refused: {answer:?}") };
    ensure!(*said == code.number() && !detail.is_empty(), "not {code}: {answer:?}");
    ensure!(centre.refused("join", code.name()) >= 1, "{code} was not counted");
    Ok(())
}

async fn registered(centre: &Centre, host: &HostName) -> anyhow::Result<(Option<Fingerprint>, Option<Fingerprint>)> {
    let row = centre.running.registry.state().host(host).await?.context("a row")?;
    Ok((row.key, row.next))
}

#[test]
fn a_leaf_is_renewed_by_age_and_the_new_key_counts_from_its_first_hello() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let place = Place::join(scene, "h1", "h1", &days.clock).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        let first = host.key()?;
        ensure!(host.credentials.renewal().next_in.is_some_and(|next| next.as_secs() > 11 * HOUR), "not due");
        host.credentials.renew_soon(Want::Identity, "a test");
        host.until("it renews", || host.key().is_ok_and(|key| key != first)).await?;
        let second = host.key()?;
        let both = (Some(first), Some(second));
        ensure!(registered(&centre, &place.host).await? == both, "both are good until the second is used");
        ensure!(host.running.board.is_connected(), "a session does not end with its leaf");
        host.stop().await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        let only = (Some(second), None);
        ensure!(registered(&centre, &place.host).await? == only, "the first is worth nothing now");
        host.stop().await?;

        // Between half and three quarters of its life, whatever the jitter.
        days.later(19 * HOUR);
        let host = place.start(&days.clock)?;
        host.until("it renews by age", || host.key().is_ok_and(|key| key != second)).await?;
        host.until_connected().await?;
        let left_s = host.credentials.current().identity().validity().not_after - days.clock.wall_ms() / 1000;
        ensure!(left_s > i64::try_from(23 * HOUR)?, "{left_s} s are left");
        ensure!(centre.running.telemetry.refused.totals().is_empty(), "nobody was refused");
        host.stop().await?;
        centre.stop().await
    });
}

/// A host that slept, or whose clock was set: nothing wakes its keeper but the keeper's own look at the clock, once a minute.
#[test]
fn long_a_running_host_notices_by_itself_that_its_leaf_is_due() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let place = Place::join(scene, "h1", "h1", &days.clock).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        let old = host.key()?;
        days.later(19 * HOUR);
        let renewed = || host.key().is_ok_and(|key| key != old);
        host.until_within(Duration::from_secs(75), "it renews", renewed).await?;
        ensure!(host.running.board.is_connected() && centre.running.telemetry.refused.totals().is_empty());
        host.stop().await?;
        centre.stop().await
    });
}

#[test]
fn a_renewal_is_refused_for_what_is_wrong_with_it() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let place = Place::join(scene, "h1", "h1", &days.clock).await?;
        let renewer = Renewer { place: &place, clock: days.clock.clone() };
        let key = renewer.key()?;

        let answer = renewer.renew(&place.host, &SigningKey::generate()?).await?;
        ensure_refused(&centre, &answer, ErrorCode::RenewalWrongKey)?;
        let answer = renewer.renew(&HostName::new("nobody")?, &key).await?;
        ensure_refused(&centre, &answer, ErrorCode::NotEnrolled)?;

        // What was recorded on one connection is said on another.
        let (first, second) = (renewer.connect().await?, renewer.connect().await?);
        let recorded = Renewer::request(&place.host, &key, &first.exporter()?)?;
        ensure_refused(&centre, &second.ask(&recorded, SOON).await?, ErrorCode::RenewalReplayed)?;
        ensure!(registered(&centre, &place.host).await?.1.is_none(), "nothing came of it");
        // Where it belongs it is good.
        let answer = first.ask(&recorded, SOON).await?;
        ensure!(matches!(answer, JoinAnswer::Granted(_)), "{answer:?}");
        ensure!(registered(&centre, &place.host).await?.1.is_some());

        scene.centre.cli(&["host", "revoke", "h1", "--reason", "stolen"])?;
        let answer = renewer.renew(&place.host, &key).await?;
        ensure_refused(&centre, &answer, ErrorCode::Revoked)?;
        centre.stop().await
    });
}

/// A host that comes back, is refused, and says so; it has sampled all the while.
async fn comes_back(scene: &Scene<'_>, days: &Days, place: &Place, code: ErrorCode) -> anyhow::Result<(Centre, Host)> {
    let centre = Centre::start(scene, &days.clock).await?;
    let host = place.start(&days.clock)?;
    host.until_not_renewed(code).await?;
    ensure!(centre.refused("join", code.name()) >= 1, "{code} was not counted");
    host.until("its link says so too", || host.refusal().as_deref() == Some(code.name())).await?;
    host.until("it samples", || host.sampled() >= 2).await?;
    Ok((centre, host))
}

#[test]
fn a_host_that_was_away_too_long_is_told_so_and_a_day_less_is_not_too_long() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let place = Place::join(scene, "h1", "h1", &days.clock).await?;
        centre.stop().await?;

        // Ninety days after the leaf, which was good for one.
        days.later(91 * DAY + HOUR);
        let (centre, host) = comes_back(scene, &days, &place, ErrorCode::RenewalTooOld).await?;
        ensure!(centre.refused("fleet", "expired") == 0, "it does not even try with what has expired");
        host.stop().await?;
        centre.stop().await?;

        days.later(91 * DAY - HOUR);
        let centre = Centre::start(scene, &days.clock).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        host.stop().await?;
        centre.stop().await
    });
}

/// Somebody has copied the disk, or the host was set up anew beside its old self.
#[test]
fn the_old_copy_of_a_host_that_joined_again_is_shut_out_and_says_why() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let copy = Place::join(scene, "h1", "copy", &days.clock).await?;
        let real = Place::join(scene, "h1", "real", &days.clock).await?;
        let host = real.start(&days.clock)?;
        host.until_connected().await?;
        let old = copy.start(&days.clock)?;
        old.until_not_renewed(ErrorCode::RenewalWrongKey).await?;
        ensure!(centre.refused("fleet", "key_not_enrolled") >= 1 && centre.refused("join", "renewal_wrong_key") >= 1);
        ensure!(old.refusal().as_deref() == Some("key_not_enrolled"), "{:?}", old.running.board.status());
        ensure!(host.running.board.is_connected(), "the right one goes on");
        old.stop().await?;
        host.stop().await?;
        centre.stop().await
    });
}

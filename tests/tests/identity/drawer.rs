//! A month in a drawer: the host is switched on, renews by itself, sends what it has, and nobody touched it.

use crate::inside::{Centre, DAY, Days, Place};
use crate::scene::scene;
use anyhow::{Context, ensure};
use dsmil_store::ledger::{Fate, LossReason};

/// Meanwhile its leaf has ended, the trust bundle was replaced twice, and the issuer that it knows was retired.
#[test]
fn a_host_that_lay_in_a_drawer_for_a_month_samples_at_once_renews_and_sends_everything() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let mut place = Place::join(scene, "h1", "h1", &days.clock).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        host.until("it samples", || host.sampled() >= 2).await?;
        let old = host.key()?;
        let first_boot = host.stop().await?;
        ensure!(centre.totals().stored == first_boot, "{:?}", centre.totals());
        centre.stop().await?;

        let issuer = scene.cli_json(&["trust", "show"])?["issuers"][0]["name"].clone();
        scene.centre.cli(&["trust", "add-issuer"])?;
        scene.publish(&[&scene.root()])?;
        scene.centre.cli(&["trust", "retire", issuer.as_str().context("an issuer")?])?;
        scene.publish(&[&scene.root()])?;

        days.later(30 * DAY);
        place.boot_again();
        // Nobody is there at first: it samples all the same.
        let host = place.start(&days.clock)?;
        host.until("it samples without anybody", || host.sampled() >= 3).await?;
        ensure!(host.credentials.current().trust().version() == 1 && host.key()? == old);

        let centre = Centre::start(scene, &days.clock).await?;
        let started = days.clock.mono();
        host.until_connected().await?;
        println!("connected {:?} after the centre was there", days.clock.mono() - started);
        ensure!(host.key()? != old, "it has renewed");
        ensure!(host.credentials.current().trust().version() == 3, "it follows");
        ensure!(centre.refused("fleet", "expired") == 0 && centre.refused("fleet", "issuer_retired") == 0);
        let next = host.sampled() + 1;
        host.until("it goes on", || host.sampled() > next).await?;

        let sampled = host.stop().await?;
        let ledgers = centre.running.store.warm().ledgers();
        let second_boot = ledgers.iter().find(|(key, _)| key.boot == place.boot()).context("its second boot")?;
        let totals = second_boot.1.totals();
        println!("{sampled} ticks sampled; {totals:?}");
        ensure!((totals.stored, totals.expected) == (sampled, sampled), "{sampled} sampled: {totals:?}");
        centre.stop().await
    });
}

/// Its network was gone, and it was on all the while: when it comes back, what was acknowledged before is older than anything
/// that is kept, and is removed. It is stored all the same, and no loss.
#[test]
fn a_host_that_was_cut_off_for_a_month_has_lost_nothing_that_was_acknowledged() {
    scene(&["h1"], &[], async |scene| {
        let days = Days::begin();
        let centre = Centre::start(scene, &days.clock).await?;
        let place = Place::join(scene, "h1", "h1", &days.clock).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        host.until("it samples", || host.sampled() >= 3).await?;
        let before = host.stop().await?;
        ensure!(centre.totals().stored == before, "{:?}", centre.totals());
        centre.stop().await?;

        days.later(30 * DAY);
        let centre = Centre::start(scene, &days.clock).await?;
        let week_ago_ms = days.clock.wall_ms() - i64::try_from(7 * DAY * 1000)?;
        centre.running.store.warm().prune(week_ago_ms).await?;
        let host = place.start(&days.clock)?;
        host.until_connected().await?;
        host.until("it goes on", || host.sampled() >= before + 3).await?;
        let sampled = host.stop().await?;

        let ledgers = centre.running.store.warm().ledgers();
        let [(_, ledger)] = &ledgers[..] else { anyhow::bail!("{} ledgers of one boot", ledgers.len()) };
        let expired = ledger.segments().filter(|s| s.fate == Fate::Expired).map(|s| s.range.len()).sum::<u64>();
        let totals = ledger.totals();
        println!("{sampled} ticks sampled, {expired} of them a month ago; {totals:?}");
        ensure!((expired, totals.stored) == (before, sampled), "{before} a month ago, {sampled} in all: {totals:?}");
        let away = totals.lost_by.get(&LossReason::AgentDown).copied().unwrap_or(0);
        ensure!((totals.lost, totals.waiting) == (away, 0), "seconds are missing that it sampled: {totals:?}");
        centre.stop().await
    });
}

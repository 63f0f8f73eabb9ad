//! A fleet that comes back all at once: after a restart of the aggregator, and at a first start of everybody.

use crate::rig::{Rig, Setup, drill};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everybody is back within this: a thousand hosts in one process on two cores that somebody else compiles on. How they are
/// spread is judged by the centre's log, not by this.
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// The largest second has less than so many times the mean.
const PEAK: f64 = 3.0;
/// What the fleet does before the aggregator is killed.
const QUIET: Duration = Duration::from_secs(3);
const DAY_MS: i64 = 86_400_000;

/// What the aggregator has logged so far.
fn log(rig: &mut Rig<'_>) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(rig.centre.process()?.log())?)
}

/// When sessions were opened, by the log, milliseconds since the midnight before the first of them.
fn openings(log: &str) -> Vec<i64> {
    let opened = log.lines().filter(|line| line.contains("session opened"));
    let mut openings: Vec<i64> = opened.filter_map(|line| time_of_day_ms(line.split_whitespace().next()?)).collect();
    let first = openings.first().copied().unwrap_or(0);
    // A night may pass meanwhile.
    openings.iter_mut().filter(|at| **at < first - DAY_MS / 2).for_each(|at| *at += DAY_MS);
    openings.sort_unstable();
    openings
}

/// Of `2026-01-02T03:04:05.678901Z`.
fn time_of_day_ms(stamp: &str) -> Option<i64> {
    let time = stamp.split_once('T')?.1.trim_end_matches('Z');
    let (clock, fraction) = time.split_once('.')?;
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<i64>().ok()?))?;
    Some(seconds * 1000 + fraction.get(..3)?.parse::<i64>().ok()?)
}

/// Openings by second, from the first one on.
fn bins(openings: &[i64]) -> BTreeMap<i64, u32> {
    let mut bins = BTreeMap::new();
    for at in openings {
        *bins.entry((at - openings[0]) / 1000).or_default() += 1;
    }
    bins
}

/// Waits until all have a session again, of those that were opened after `seen` bytes of the log, and returns how the
/// seconds compare: the largest, and the mean over the window.
async fn come_back(rig: &mut Rig<'_>, seen: usize, hosts: usize, window: Duration) -> anyhow::Result<(f64, f64)> {
    let from = rig.clock.mono();
    rig.all_up(BACK_WITHIN).await?;
    let (took, openings) = (rig.clock.mono() - from, openings(&log(rig)?[seen..]));
    ensure!(openings.len() >= hosts, "{} sessions were opened", openings.len());
    let (bins, cpu) = (bins(&openings), rig.usage()?.cpu);
    let largest = bins.values().copied().max().context("nobody came back")?;
    let span_ms = openings[openings.len() - 1] - openings[0];
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let mean = openings.len() as f64 / window.as_secs_f64().max(span_ms as f64 / 1000.0);
    println!(
        "back within {took:?}, over {span_ms} ms, {cpu:?} of a processor: {bins:?}; largest {largest}, mean {mean:.1}"
    );
    Ok((f64::from(largest), mean))
}

fn returns(hosts: usize, window: Duration) {
    drill(&Setup { honest: hosts, batch_ticks: 10, ..Setup::default() }, async |rig| {
        rig.start_centre().await?;
        rig.start_hosts(None).await?;
        rig.all_up(BACK_WITHIN).await?;
        rig.clock.sleep(QUIET).await;
        let seen = log(rig)?.len();
        rig.centre.kill()?;
        rig.clock.sleep(Duration::from_secs(2)).await;
        rig.start_centre().await?;
        let (largest, mean) = come_back(rig, seen, hosts, window).await?;
        ensure!(largest < PEAK * mean, "{largest} came back within one second, {mean:.1} on average");
        let metrics = rig.metrics().await?;
        println!("{}", metrics.changed(&<_>::default(), &["refusals_total", "admission", "sessions_total"]));
        let ledger = rig.finish().await?;
        ensure!(ledger.duplicates == 0, "{ledger:?}");
        Ok(())
    });
}

#[test]
fn a_hundred_hosts_come_back_spread_over_the_window_and_lose_nothing() {
    returns(100, Duration::from_secs(5));
}

#[test]
fn long_a_thousand_hosts_come_back_spread_over_the_window_and_lose_nothing() {
    returns(1_000, Duration::from_secs(5));
}

/// Nobody has been told a window yet: the whole fleet is switched on by one switch.
fn starts(hosts: usize) {
    drill(&Setup { honest: hosts, batch_ticks: 10, ..Setup::default() }, async |rig| {
        rig.start_centre().await?;
        let lost = kernel_drops(rig)?;
        rig.start_hosts(Some(Duration::from_millis(1))).await?;
        let (largest, mean) = come_back(rig, 0, hosts, Duration::from_secs(1)).await?;
        let lost = kernel_drops(rig)? - lost;
        println!("largest second {largest}, mean {mean:.1}; the kernel dropped {lost} datagrams");
        let metrics = rig.metrics().await?;
        println!("{}", metrics.changed(&<_>::default(), &["refusals_total", "admission", "sessions_total"]));
        rig.finish().await?;
        Ok(())
    });
}

#[test]
fn a_hundred_hosts_that_start_at_the_same_moment_are_all_taken_in() {
    starts(100);
}

#[test]
fn long_a_thousand_hosts_that_start_at_the_same_moment_are_all_taken_in() {
    starts(1_000);
}

/// Datagrams for the fleet link that found its buffer full, from proc(5), net/udp: the last field.
fn kernel_drops(rig: &Rig<'_>) -> anyhow::Result<u64> {
    let port = format!(":{:04X}", rig.quic.port());
    let table = std::fs::read_to_string("/proc/net/udp").context("/proc/net/udp cannot be read")?;
    let ours = table.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port)));
    let drops = ours.and_then(|line| line.split_whitespace().last()).context("nobody listens on the link's port")?;
    Ok(drops.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_when_sessions_were_opened_over_midnight_too() {
        let line =
            |time: &str| format!("2026-01-02T{time}Z  INFO x: session opened host=h\n2026-01-02T{time}Z  INFO other\n");
        let log = [line("23:59:59.900123"), line("00:00:00.100999")].concat();
        assert_eq!(openings(&log), [DAY_MS - 100, DAY_MS + 100]);
    }

    #[test]
    fn openings_are_counted_by_the_second() {
        assert_eq!(bins(&[1_000, 1_999, 2_000, 4_500]), BTreeMap::from([(0, 2), (1, 1), (3, 1)]));
    }
}

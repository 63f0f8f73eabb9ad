//! What a program costs, and what its metrics say: two looks, and the difference between them.

use anyhow::Context;
use e2e::client::ApiClient;
use std::collections::BTreeMap;
use std::time::Duration;

/// Of everybody's ticks: how long they took until they could be queried.
const DELAY: &str = "dsmil_tick_to_queryable_seconds_bucket";

/// One look at `/metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) async fn of(api: &ApiClient) -> anyhow::Result<Self> {
        let text = api.text("/metrics").await?;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self(samples.collect()))
    }

    /// One sample; absent is 0.
    fn sample(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The sum of a family's samples that have all of these labels. There has to be one: a metric that was renamed would
    /// be 0 for ever.
    fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let is_meant = |name: &str| {
            let rest = name.strip_prefix(family)?;
            let is_of_family = rest.is_empty() || rest.starts_with('{');
            Some(is_of_family && wanted.iter().all(|wanted| rest.contains(wanted)))
        };
        let mut found = self.0.iter().filter(|(name, _)| is_meant(name) == Some(true)).peekable();
        assert!(found.peek().is_some(), "there is no metric {family} with {labels:?}");
        found.map(|(_, value)| value).sum()
    }

    /// The sum of a family.
    pub(crate) fn get(&self, family: &str) -> f64 {
        self.sum(family, &[])
    }

    /// How often peers were refused on a port, whoever refused: any reason, or one.
    pub(crate) fn refused(&self, port: &str, reason: Option<&str>) -> f64 {
        let labels = [("port", port)].into_iter().chain(reason.map(|reason| ("reason", reason)));
        self.sum("dsmil_refusals_total", &labels.collect::<Vec<_>>())
    }

    /// How often a limit of admission was run into.
    pub(crate) fn limited(&self, limit: &str) -> f64 {
        self.sum("dsmil_admission_limited_total", &[("limit", limit)])
    }

    /// All that was not 0 or has changed, and whose name has one of these words: for the output of a drill.
    pub(crate) fn changed(&self, before: &Self, words: &[&str]) -> String {
        let is_meant = |name: &str| words.iter().any(|word| name.contains(word));
        let changed = self.0.iter().filter(|(name, value)| is_meant(name) && before.sample(name) != **value);
        changed.map(|(name, value)| format!("\n    {name} {:+}", value - before.sample(name))).collect()
    }

    /// What 99 of 100 ticks since `before` did not exceed, and how many ticks that was. Interpolated within its bucket as
    /// the aggregator does it, so under 50 ms nothing is told apart.
    pub(crate) fn p99_since(&self, before: &Self) -> (Duration, u64) {
        let mut buckets: Vec<(f64, f64)> = self
            .0
            .range(DELAY.to_owned()..)
            .map_while(|(name, count)| {
                let bound = name.strip_prefix(DELAY)?.trim_start_matches("{le=\"").trim_end_matches("\"}");
                Some((bound.parse().unwrap_or(f64::INFINITY), count - before.sample(name)))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        let wanted = 0.99 * all;
        let (mut low, mut under) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && count > 0.0 {
                let high = if bound.is_finite() { bound } else { low };
                let part = if count > under { (wanted - under) / (count - under) } else { 1.0 };
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of ticks")]
                return (Duration::from_secs_f64(low + (high - low) * part), all as u64);
            }
            (low, under) = (bound, count);
        }
        (Duration::ZERO, 0)
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Memory, bytes.
    pub(crate) rss: u64,
    /// Time on a processor.
    pub(crate) cpu: Duration,
}

impl Usage {
    /// Of a process, from proc(5).
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))
        };
        let status = read("status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let rss: u64 = rss.trim().trim_end_matches("kB").trim().parse()?;
        let stat = read("stat")?;
        // The name in brackets may hold anything; utime and stime are the 12th and 13th field behind it.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |n: usize| -> anyhow::Result<u64> { Ok(fields.get(n).context("stat is cut")?.parse()?) };
        let jiffies = ticks(11)? + ticks(12)?;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Self { rss: rss << 10, cpu: Duration::from_millis(jiffies * 1000 / per_second) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_100_is_found_in_its_bucket() {
        let metrics = |counts: [f64; 4]| {
            let bounds = ["0.05", "0.1", "0.25", "+Inf"];
            let named = bounds.iter().zip(counts).map(|(bound, n)| (format!("{DELAY}{{le=\"{bound}\"}}"), n));
            Metrics(named.collect())
        };
        let before = metrics([10.0, 10.0, 10.0, 10.0]);
        let (p99, ticks) = metrics([110.0, 110.0, 110.0, 110.0]).p99_since(&before);
        assert_eq!((p99.as_millis(), ticks), (49, 100));
        let (p99, _) = metrics([100.0, 100.0, 110.0, 110.0]).p99_since(&before);
        assert!((200..=250).contains(&p99.as_millis()), "{p99:?}");
        assert_eq!(before.p99_since(&before), (Duration::ZERO, 0));
    }

    #[test]
    fn our_own_usage_can_be_read() {
        let usage = Usage::of(std::process::id()).expect("proc");
        assert!(usage.rss > 1 << 20);
    }
}

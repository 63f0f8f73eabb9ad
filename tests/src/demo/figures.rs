//! What the demo shows while it runs, as the centre's API tells it.

use crate::fleet::{Centre, Delay, Ledger};
use dsmil_protocol::ids::HostName;
use serde::Deserialize;

/// One look at the fleet. What is not known yet is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) hosts: u64,
    pub(super) hosts_up: u64,
    /// The key-exchange group and the signature scheme of this host's link.
    pub(super) link: Option<(String, String)>,
    /// Of all CPUs of this host, between its last two batches.
    pub(super) cpu_percent: Option<f64>,
    pub(super) load1: Option<f64>,
    pub(super) memory_available_bytes: Option<f64>,
    pub(super) memory_total_bytes: Option<f64>,
    pub(super) ledger: Ledger,
    pub(super) delay: Option<Delay>,
    pub(super) wire_bytes_per_sample: Option<f64>,
}

/// Looks at one fleet again and again.
#[derive(Debug)]
pub(super) struct Watcher {
    host: HostName,
    link: Option<(String, String)>,
    cpu: CpuMeter,
}

/// What of `GET /api/v1/hosts/{id}` is shown.
#[derive(Deserialize)]
struct Detail {
    link: LinkDetail,
}

#[derive(Deserialize)]
struct LinkDetail {
    negotiated: Option<Negotiated>,
}

#[derive(Deserialize)]
struct Negotiated {
    group: String,
    scheme: String,
}

impl Watcher {
    pub(super) fn new(host: HostName) -> Self {
        Self { host, link: None, cpu: CpuMeter::default() }
    }

    /// Asks the API.
    pub(super) async fn look(&mut self, centre: &Centre<'_>) -> anyhow::Result<Figures> {
        let (pipeline, host) = (centre.pipeline().await?, &self.host);
        if self.link.is_none() {
            let detail: Detail = centre.api().json(&format!("/api/v1/hosts/{host}")).await?;
            self.link = detail.link.negotiated.map(|link| (link.group, link.scheme));
        }
        // It fails until the first batch is there.
        let answer = centre.api().get(&format!("/api/v1/hosts/{host}/metrics")).await?;
        let text = if answer.status.is_success() { String::from_utf8_lossy(&answer.body) } else { "".into() };
        Ok(Figures {
            hosts: pipeline.ingest.hosts,
            hosts_up: pipeline.ingest.hosts_up,
            link: self.link.clone(),
            cpu_percent: self.cpu.read(&text),
            load1: value(&text, "node_load1"),
            memory_available_bytes: value(&text, "node_memory_MemAvailable_bytes"),
            memory_total_bytes: value(&text, "node_memory_MemTotal_bytes"),
            ledger: pipeline.ledger,
            delay: pipeline.tick_to_queryable_ms,
            wire_bytes_per_sample: pipeline.wire_bytes_per_sample,
        })
    }
}

/// How busy the CPUs were between the last two times that there was something new.
#[derive(Debug, Default)]
struct CpuMeter {
    /// Seconds of all CPUs: of work, and in all.
    last: Option<(f64, f64)>,
    percent: Option<f64>,
}

impl CpuMeter {
    fn read(&mut self, text: &str) -> Option<f64> {
        let (mut busy, mut all) = (0.0, 0.0);
        for (labels, seconds) in samples(text, "node_cpu_seconds_total") {
            all += seconds;
            if !labels.contains("mode=\"idle\"") && !labels.contains("mode=\"iowait\"") {
                busy += seconds;
            }
        }
        match self.last {
            Some((busy_before, all_before)) if all > all_before => {
                self.percent = Some(100.0 * (busy - busy_before).max(0.0) / (all - all_before));
                self.last = Some((busy, all));
            }
            None if all > 0.0 => self.last = Some((busy, all)),
            _ => {}
        }
        self.percent
    }
}

/// The value of a metric that has one sample.
fn value(text: &str, name: &str) -> Option<f64> {
    samples(text, name).next().map(|(_, value)| value)
}

/// Labels and value of each sample of a metric in Prometheus's text format.
fn samples<'t>(text: &'t str, name: &str) -> impl Iterator<Item = (&'t str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE node_load1 gauge\nnode_load1 0.5\nnode_load15 0.7\n\
        node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 90\nnode_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 10\n";

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        assert_eq!((value(TEXT, "node_load1"), value(TEXT, "node_load15")), (Some(0.5), Some(0.7)));
        assert_eq!((value(TEXT, "node_load"), value("", "node_load1")), (None, None));
    }

    #[test]
    fn cpu_is_what_was_not_idle_since_the_last_news() {
        let mut meter = CpuMeter::default();
        assert_eq!((meter.read(""), meter.read(TEXT)), (None, None));
        let later = TEXT.replace("} 90", "} 93").replace("} 10", "} 11");
        assert_eq!(meter.read(&later), Some(25.0));
        assert_eq!(meter.read(&later), Some(25.0), "no news changes nothing");
        assert_eq!(meter.read(""), Some(25.0));
    }
}

//! VictoriaMetrics, the backend that all peers send to: it takes what each of them speaks, and gives samples back as they
//! came, those that came twice as well.

use super::package::Found;
use super::place::Place;
use super::program::PeerProgram;
use super::rig::{Home, Rig, flag};
use crate::http::{Http, escaped};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it may take until it answers: a second, on a machine with nothing else to do.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to merge an hour of samples.
const MERGED_WITHIN: Duration = Duration::from_secs(60);
/// Series are counted of so many seconds …
const COUNTED_SECONDS: i64 = 5;
/// … that ended so long ago: by then every peer has sent what it had.
const COUNTED_BEFORE_SECONDS: i64 = 10;

/// One VictoriaMetrics, which can be stopped and started again with what it has.
#[derive(Debug)]
pub(super) struct Victoria<'f> {
    rig: &'f Rig,
    place: Place,
    program: PeerProgram<'f>,
    http: Http,
    graphite: SocketAddr,
    data: PathBuf,
}

/// A line of its export.
#[derive(Deserialize)]
struct Exported {
    timestamps: Vec<i64>,
}

/// What it answers to a query, as Prometheus does: of each series a moment and a number.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: (f64, String),
}

impl<'f> Victoria<'f> {
    /// It is not started.
    pub(super) fn new(found: &Found, home: &Home<'f>, place: &Place) -> anyhow::Result<Self> {
        let rig = home.rig;
        let path = home.take(&found.path("usr/bin/victoria-metrics"))?;
        let data = home.data("victoria-metrics-data")?;
        let http = SocketAddr::new(place.address, place.free_port()?);
        let graphite = SocketAddr::new(place.address, place.free_port()?);
        let args = vec![
            flag("-storageDataPath", &data),
            flag("-httpListenAddr", http.to_string()),
            flag("-graphiteListenAddr", graphite.to_string()),
        ];
        let program = PeerProgram::new(rig.fleet.launcher(), place, "victoria-metrics", path, args);
        let http = Http { address: http, clock: rig.clock.clone() };
        Ok(Self { rig, place: place.clone(), program, http, graphite, data })
    }

    /// Starts it, again if need be, and waits until it answers.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.program.start()?;
        self.rig.eventually("VictoriaMetrics answers", READY_WITHIN, || Ok(self.get("/health").is_ok()))?;
        self.program.process().map(drop)
    }

    /// Asks it to stop, and waits until all that it has is on its disk.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.rig.wait(self.program.stop())?;
        ensure!(status.success(), "VictoriaMetrics failed at its end ({status})");
        Ok(())
    }

    /// Where it takes Prometheus's remote write.
    pub(super) fn remote_write(&self) -> String {
        format!("http://{}/api/v1/write", self.http.address)
    }

    /// Where it takes Graphite's lines.
    pub(super) fn graphite(&self) -> SocketAddr {
        self.graphite
    }

    /// How many series had samples a few seconds ago: with one a second, these are the samples of a second.
    pub(super) fn series(&self) -> anyhow::Result<u64> {
        let at = self.rig.clock.wall_ms() / 1000 - COUNTED_BEFORE_SECONDS;
        let query = escaped(&format!("count(count_over_time({{__name__!=\"\"}}[{COUNTED_SECONDS}s]))"));
        // Otherwise it would answer for half a minute ago, in case something is late.
        let body = self.get(&format!("/api/v1/query?query={query}&time={at}&nocache=1"))?;
        let answer: Answer = serde_json::from_slice(&body).context("VictoriaMetrics answered in another form")?;
        match answer.data.result.first() {
            Some(Value { value: (_, number) }) => number.parse().context("a count is a number"),
            None => Ok(0),
        }
    }

    /// The times of all samples of one series, Unix milliseconds, each as often as it is there.
    pub(super) fn times(&self, selector: &str, from_ms: i64, to_ms: i64) -> anyhow::Result<Vec<i64>> {
        self.get("/internal/force_flush")?;
        let (selector, from, to) = (escaped(selector), seconds(from_ms), seconds(to_ms));
        let body = self.get(&format!("/api/v1/export?match[]={selector}&start={from}&end={to}"))?;
        let lines = std::str::from_utf8(&body)?.lines().filter(|line| !line.is_empty());
        let mut times = Vec::new();
        for line in lines {
            let exported: Exported = serde_json::from_str(line).context("VictoriaMetrics exported another form")?;
            times.extend(exported.timestamps);
        }
        Ok(times)
    }

    /// Takes samples in, in the form of its own export.
    pub(super) fn import(&self, lines: String) -> anyhow::Result<()> {
        self.place.within(|| self.rig.wait(self.http.post("/api/v1/import", lines))).map(drop)
    }

    /// Has it write everything down as tightly as it can.
    pub(super) fn merge(&self) -> anyhow::Result<()> {
        self.get("/internal/force_flush")?;
        self.get("/internal/force_merge")?;
        self.rig.eventually("VictoriaMetrics has merged", MERGED_WITHIN, || {
            let metrics = self.get("/metrics")?;
            let metrics = String::from_utf8_lossy(&metrics);
            // It merges in its own time: it is done when it is at rest and all samples are in one part.
            let running = sum(&metrics, "vm_active_merges") + sum(&metrics, "vm_active_force_merges");
            Ok(running == 0 && sum(&metrics, "vm_parts{type=\"storage/") == 1)
        })
    }

    /// Its folder.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    fn get(&self, path: &str) -> anyhow::Result<hyper::body::Bytes> {
        self.place.within(|| self.rig.wait(self.http.get(path)))
    }
}

/// Unix seconds with their fraction, from milliseconds.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// The sum of all counters that begin like this.
fn sum(metrics: &str, prefix: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(prefix));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up() {
        let metrics =
            "vm_parts{type=\"indexdb\"} 7\nvm_parts{type=\"storage/big\"} 1\nvm_parts{type=\"storage/small\"} 2\n";
        assert_eq!((sum(metrics, "vm_parts{type=\"storage/"), sum(metrics, "vm_rows")), (3, 0));
    }

    #[test]
    fn a_time_has_its_milliseconds() {
        assert_eq!(seconds(1_700_000_000_045), "1700000000.045");
    }
}

//! Bytes at rest: the same capture, an hour of one host, in our journal, in VictoriaMetrics and in Prometheus's blocks.

use super::super::BATCH_TICKS;
use super::super::codec::{Capture, CapturedMetric};
use super::package::Package;
use super::rig::{Home, Rig};
use super::victoria::Victoria;
use anyhow::{Context, ensure};
use dsmil_protocol::batch::Encoder;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::warm::{Warm, WarmConfig};
use dsmil_store::{Appended, BatchRecord, StreamKey};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long the journal may take to close.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// The span of one of Prometheus's blocks, milliseconds: the capture goes into one.
const BLOCK_MS: i64 = 2 * 3600 * 1000;
/// The hour of the capture is over for so long by now, milliseconds.
const AGO_MS: i64 = 3600 * 1000;

/// The capture's samples as everybody takes them: under one name each, of one host, a second apart.
struct Samples<'c> {
    capture: &'c Capture,
    /// The time of the first tick, Unix milliseconds.
    base_ms: i64,
}

/// Bytes a sample in our journal: batches, their index, ledger and metric sets.
pub(super) fn ours(rig: &Rig, capture: &Capture) -> anyhow::Result<f64> {
    let folder = rig.home("rest-ours")?.data("journal")?;
    let journal = folder.join("journal.sqlite");
    rig.wait(append(rig, capture, &journal))?;
    ensure!(!journal.with_extension("sqlite-wal").exists(), "the journal's log is still there after its end");
    let file = std::fs::metadata(&journal).context("the journal cannot be seen")?;
    Ok(file.len() as f64 / Samples::of(rig, capture).count() as f64)
}

/// Bytes a sample in VictoriaMetrics's folder, without its caches, after it has merged everything.
pub(super) fn victoria(rig: &Rig, capture: &Capture) -> anyhow::Result<f64> {
    let found = Package::VictoriaMetrics.find()?;
    let samples = Samples::of(rig, capture);
    let mut victoria = Victoria::new(&found, &rig.home("rest-victoria")?, &rig.places.one("rest")?)?;
    victoria.start()?;
    victoria.import(samples.as_lines())?;
    victoria.merge()?;
    victoria.stop()?;
    Ok(size(victoria.data(), &["cache"])? as f64 / samples.count() as f64)
}

/// Bytes a sample in a block of Prometheus's, made by promtool.
pub(super) fn prometheus(rig: &Rig, capture: &Capture) -> anyhow::Result<f64> {
    let promtool = Package::Prometheus.find()?.path("usr/bin/promtool");
    let samples = Samples::of(rig, capture);
    let home: Home<'_> = rig.home("rest-prometheus")?;
    let (text, blocks) = (home.write("capture.om", &samples.as_open_metrics())?, home.data("blocks")?);
    let mut make = Command::new(&promtool);
    make.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&text).arg(&blocks);
    let output = make.output().with_context(|| format!("{} cannot be started", promtool.display()))?;
    ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(size(&blocks, &[])? as f64 / samples.count() as f64)
}

/// Bytes of all files below `folder`, but for those in folders called as in `without`.
fn size(folder: &Path, without: &[&str]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let file = entry.metadata()?;
        if !file.is_dir() {
            sum += file.len();
        } else if without.iter().all(|name| entry.file_name() != *name) {
            sum += size(&entry.path(), without)?;
        }
    }
    Ok(sum)
}

/// The journal, with the whole capture, closed.
async fn append(rig: &Rig, capture: &Capture, journal: &Path) -> anyhow::Result<()> {
    let supervisor = Supervisor::new(rig.clock.clone());
    let (warm, _) = Warm::open(journal, &rig.clock, &supervisor, WarmConfig::default())?;
    let (tenant, host) = (TenantId::new("bench")?, HostName::new("h1")?);
    let set = Arc::new(MetricSet::new(capture.columns().map(|(metric, _)| described(metric)).collect())?);
    warm.put_metric_set(&tenant, Arc::clone(&set)).await?;
    let key = Arc::new(StreamKey { tenant, host, boot: BootId([0xB0; 16]), classification: Classification::UNCLASS });
    let base_ms = Samples::of(rig, capture).base_ms;
    let mut encoder = Encoder::new();
    for mut batch in capture.batches(BATCH_TICKS) {
        batch.header.set = set.id();
        let start_ms = base_ms + 1000 * i64::try_from(batch.header.range().first.0)?;
        let record = BatchRecord::new(Arc::clone(&key), &batch.header, start_ms, encoder.encode(&batch)?.into())?;
        let outcome = warm.append(vec![Arc::new(record)]).await?;
        ensure!(outcome == [Appended::Stored], "a batch was not stored: {outcome:?}");
    }
    drop(warm);
    supervisor.drain(CLOSED_WITHIN).await;
    Ok(())
}

fn described(metric: &CapturedMetric) -> Metric {
    let scale = if metric.hundredths { Scale::per(100) } else { Scale::ONE };
    Metric { name: prometheus_name(&metric.name), labels: Vec::new(), kind: Kind::Gauge, repr: Repr::I64, scale }
}

/// A column's name with the characters that Prometheus takes.
fn prometheus_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl<'c> Samples<'c> {
    fn of(rig: &Rig, capture: &'c Capture) -> Self {
        // Of today, so that no backend takes it for too old, and within one block.
        let base_ms = (rig.clock.wall_ms() - AGO_MS - BLOCK_MS).div_euclid(BLOCK_MS) * BLOCK_MS;
        Self { capture, base_ms }
    }

    fn count(&self) -> usize {
        self.capture.columns().map(|(_, values)| values.iter().flatten().count()).sum()
    }

    /// The samples of each metric: their times, Unix milliseconds, and their values.
    fn columns(&self) -> impl Iterator<Item = (String, impl Iterator<Item = (i64, String)>)> {
        self.capture.columns().map(|(metric, values)| {
            let times = (0..).map(|n| self.base_ms + 1000 * n);
            let samples = times.zip(values).filter_map(|(at_ms, value)| Some((at_ms, decimal((*value)?, metric))));
            (prometheus_name(&metric.name), samples)
        })
    }

    /// As VictoriaMetrics exports and imports: a line a series.
    fn as_lines(&self) -> String {
        let mut text = String::new();
        for (name, samples) in self.columns() {
            let (times, values): (Vec<_>, Vec<_>) = samples.map(|(at_ms, value)| (at_ms.to_string(), value)).unzip();
            let (times, values) = (times.join(","), values.join(","));
            let labels = format!("{{\"__name__\":\"{name}\",\"host\":\"h1\"}}");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{{\"metric\":{labels},\"values\":[{values}],\"timestamps\":[{times}]}}");
        }
        text
    }

    /// As the OpenMetrics format has it: a line a sample.
    fn as_open_metrics(&self) -> String {
        let mut text = String::new();
        for (name, samples) in self.columns() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} gauge");
            for (at_ms, value) in samples {
                let _ = writeln!(text, "{name}{{host=\"h1\"}} {value} {}", at_ms / 1000);
            }
        }
        text.push_str("# EOF\n");
        text
    }
}

/// A value as it was before it was scaled to an integer.
fn decimal(bits: u64, metric: &CapturedMetric) -> String {
    let value = bits.cast_signed();
    if !metric.hundredths {
        return value.to_string();
    }
    let (sign, hundredths) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    format!("{sign}{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_decimals_again() {
        let metric = |hundredths| CapturedMetric { name: "x".to_owned(), hundredths };
        let values = [0_i64, 7, 1234, -50].map(i64::cast_unsigned);
        assert_eq!(values.map(|value| decimal(value, &metric(true))), ["0.00", "0.07", "12.34", "-0.50"]);
        assert_eq!(decimal((-50_i64).cast_unsigned(), &metric(false)), "-50");
    }

    #[test]
    fn a_folder_has_the_size_of_its_files_but_for_what_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        for (inner, file, bytes) in [("data/small", "a", 3), ("cache/x", "b", 5)] {
            let inner = folder.path().join(inner);
            std::fs::create_dir_all(&inner).expect("a folder");
            std::fs::write(inner.join(file), vec![0; bytes]).expect("a file");
        }
        assert_eq!(size(folder.path(), &["cache"]).expect("a size"), 3);
        assert_eq!(size(folder.path(), &[]).expect("a size"), 8);
    }
}

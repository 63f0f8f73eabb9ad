//! The batch codec on a real capture: bytes and nanoseconds a sample.

use super::frame::framing_len;
use super::{BATCH_TICKS, Better, Row, Target};
use dsmil_protocol::batch::{Batch, BatchError, BatchHeader, Decoder, Encoder, MAX_TICKS, Matrix, Stamp};
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_protocol::metric::SetId;
use dsmil_runtime::clock::Clock;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// Decimals in the capture have two places; as hundredths they are integers, as an agent sends them.
const PLACES: usize = 2;

/// A capture in memory: a wall time a tick, and a column a metric.
#[derive(Clone, Debug)]
pub struct Capture {
    wall_ms: Vec<i64>,
    columns: Vec<Vec<Option<u64>>>,
    metrics: Vec<CapturedMetric>,
}

/// What a column of a capture holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CapturedMetric {
    /// `source.field[.instance]`.
    pub(super) name: String,
    /// Its numbers are decimals, in hundredths.
    pub(super) hundredths: bool,
}

/// What the codec made of a capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodecReport {
    /// Ticks in a batch.
    pub ticks: usize,
    /// Metrics in a batch.
    pub metrics: usize,
    /// Batches measured.
    pub batches: usize,
    /// Values in all batches.
    pub samples: u64,
    /// Encoded bytes, header included, frame excluded.
    pub bytes_per_sample: f64,
    /// The quickest round.
    pub encode_ns_per_sample: f64,
    /// The quickest round.
    pub decode_ns_per_sample: f64,
}

impl Capture {
    /// Reads a zstd-compressed CSV file whose first column is `ts_ms`, of which the columns named in `set`, a line each.
    pub fn load(csv_zst: &Path, set: &Path) -> io::Result<Self> {
        let text = io::read_to_string(zstd::Decoder::new(File::open(csv_zst)?)?)?;
        let wanted = std::fs::read_to_string(set)?;
        let mut lines = text.lines();
        let head = lines.next().ok_or_else(|| malformed("the capture is empty"))?;
        let places: HashMap<&str, usize> = head.split(',').enumerate().map(|(i, name)| (name, i)).collect();
        let find = |name: &str| places.get(name).copied().ok_or_else(|| malformed(name));
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
        let column = |name: &str| -> io::Result<(CapturedMetric, Vec<Option<i64>>)> {
            let at = find(name)?;
            let cells: Vec<&str> = rows.iter().map(|row| row.get(at).copied().unwrap_or("")).collect();
            let hundredths = cells.iter().any(|cell| cell.contains('.'));
            let numbers = cells.into_iter().map(|cell| number(cell, hundredths)).collect::<io::Result<_>>()?;
            Ok((CapturedMetric { name: name.to_owned(), hundredths }, numbers))
        };
        let (_, wall) = column("ts_ms")?;
        let wall_ms = wall.into_iter().map(|ms| ms.ok_or_else(|| malformed("ts_ms"))).collect::<io::Result<_>>()?;
        let (mut columns, mut metrics) = (Vec::new(), Vec::new());
        for name in wanted.lines() {
            let (metric, numbers) = column(name)?;
            columns.push(numbers.into_iter().map(|number| number.map(i64::cast_unsigned)).collect());
            metrics.push(metric);
        }
        Ok(Self { wall_ms, columns, metrics })
    }

    /// Its columns: what each holds, and a number a tick.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&CapturedMetric, &[Option<u64>])> {
        self.metrics.iter().zip(self.columns.iter().map(Vec::as_slice))
    }

    /// How many metrics it has.
    pub fn metrics(&self) -> usize {
        self.columns.len()
    }

    /// How many ticks it has.
    pub fn ticks(&self) -> usize {
        self.wall_ms.len()
    }

    /// The capture as batches of `ticks` ticks, what does not fill one left out.
    pub fn batches(&self, ticks: usize) -> Vec<Batch> {
        assert!((1..=MAX_TICKS).contains(&ticks), "a batch has 1 to {MAX_TICKS} ticks");
        self.wall_ms.chunks_exact(ticks).enumerate().map(|(i, wall)| self.batch(i * ticks, wall)).collect()
    }

    fn batch(&self, start: usize, wall: &[i64]) -> Batch {
        let stamp = |(t, ms): (usize, &i64)| Stamp { tick: Tick((start + t) as u64), wall_ms: *ms };
        let mut matrix = Matrix::new(self.columns.len(), wall.len());
        for (metric, column) in self.columns.iter().enumerate() {
            (0..wall.len()).for_each(|t| matrix.set(metric, t, column[start + t]));
        }
        let header = BatchHeader {
            boot: BootId([0xB0; 16]),
            set: SetId([0x5E; 16]),
            metrics: self.columns.len(),
            stamps: wall.iter().enumerate().map(stamp).collect(),
        };
        Batch { header, matrix }
    }
}

/// Encodes and decodes the whole capture `rounds` times in batches of `ticks`; `now` is a monotonic clock.
///
/// Every batch is compared with what it was before anything is timed.
pub fn measure(
    capture: &Capture,
    ticks: usize,
    rounds: usize,
    now: impl Fn() -> Duration,
) -> Result<CodecReport, BatchError> {
    let batches = capture.batches(ticks);
    let metrics = capture.columns.len();
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let encoded = batches.iter().map(|batch| encoder.encode(batch)).collect::<Result<Vec<_>, _>>()?;
    for (batch, bytes) in batches.iter().zip(&encoded) {
        assert_eq!(&decoder.decode(bytes, metrics)?, batch, "a batch reads back as it was");
    }
    let (mut encode, mut decode) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let start = now();
        for batch in &batches {
            std::hint::black_box(encoder.encode(batch)?);
        }
        let middle = now();
        for bytes in &encoded {
            std::hint::black_box(decoder.decode(bytes, metrics)?);
        }
        encode = encode.min(middle.saturating_sub(start));
        decode = decode.min(now().saturating_sub(middle));
    }
    let samples: u64 = batches.iter().map(|batch| batch.matrix.samples()).sum();
    let bytes: usize = encoded.iter().map(Vec::len).sum();
    let per_sample = |n: f64| n / samples as f64;
    Ok(CodecReport {
        ticks,
        metrics,
        batches: batches.len(),
        samples,
        bytes_per_sample: per_sample(bytes as f64),
        encode_ns_per_sample: per_sample(encode.as_nanos() as f64),
        decode_ns_per_sample: per_sample(decode.as_nanos() as f64),
    })
}

/// A cell as an integer, of a decimal column as hundredths; nothing for an empty one.
fn number(cell: &str, decimal: bool) -> io::Result<Option<i64>> {
    if cell.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = cell.split_once('.').unwrap_or((cell, ""));
    let places = if decimal { PLACES } else { 0 };
    if fraction.len() > places {
        return Err(malformed(cell));
    }
    let digits = format!("{whole}{fraction:0<places$}");
    digits.parse().map(Some).map_err(|_| malformed(cell))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a capture of this benchmark: {what:?}"))
}

/// Rounds over the capture, of which the quickest counts.
const ROUNDS: usize = 5;

/// The codec on the capture.
pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let report = measure(capture, BATCH_TICKS, ROUNDS, || clock.mono())?;
    let minute = measure(capture, 60, 1, || clock.mono())?;
    let samples_per_batch = report.samples as f64 / report.batches as f64;
    let framed = report.bytes_per_sample + framing_len() as f64 / samples_per_batch;
    let what = format!("{} metrics, batches of {} ticks, frame included", report.metrics, report.ticks);
    Ok(vec![
        Row::aimed("wire", framed, "B/sample", Target::AtMost(0.8)).kept(Better::Less).note(what),
        Row::told("wire, batches of 60 ticks", minute.bytes_per_sample, "B/sample")
            .kept(Better::Less)
            .note("without the frame"),
        Row::aimed("encode", report.encode_ns_per_sample, "ns/sample", Target::AtMost(60.0)),
        Row::aimed("decode", report.decode_ns_per_sample, "ns/sample", Target::AtMost(20.0)),
    ])
}

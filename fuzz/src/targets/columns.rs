//! Matrices of every kind of series, encoded and read back.

use super::Target;
use super::batches::read_back;
use arbitrary::{Result, Unstructured};
use dsmil_protocol::batch::{Batch, BatchHeader, MAX_TICKS, Matrix, Stamp};
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_protocol::metric::SetId;

pub(super) const TARGET: Target = Target {
    name: "columns",
    what: "series of every kind through the batch codec and back",
    run,
    seeds,
    dictionary: &[b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x00\x00\x00\x00\x00\x00\x00\x80"],
    max_len: 2048,
};

/// Columns of one batch; more are only slower.
const MAX_COLUMNS: usize = 24;

fn run(input: &[u8]) {
    let mut source = Unstructured::new(input);
    if let Ok(batch) = batch(&mut source) {
        read_back(&batch);
    }
}

fn batch(source: &mut Unstructured<'_>) -> Result<Batch> {
    let ticks = source.int_in_range(1..=MAX_TICKS)?;
    let metrics = source.int_in_range(0..=MAX_COLUMNS)?;
    let stamps = stamps(source, ticks)?;
    let header = BatchHeader { boot: BootId([0xB0; 16]), set: SetId([0x5E; 16]), metrics, stamps };
    let mut matrix = Matrix::new(metrics, ticks);
    let mut series = vec![0; ticks];
    for metric in 0..metrics {
        // Now and then the column before again, so that there is something to copy.
        if !source.ratio(1, 6)? {
            fill(source, &mut series)?;
        }
        let absent: u128 = if source.ratio(1, 4)? { source.arbitrary()? } else { 0 };
        for (tick, value) in series.iter().enumerate() {
            matrix.set(metric, tick, (absent >> tick & 1 == 0).then_some(*value));
        }
    }
    Ok(Batch { header, matrix })
}

fn stamps(source: &mut Unstructured<'_>, count: usize) -> Result<Vec<Stamp>> {
    let mut now =
        Stamp { tick: Tick(source.arbitrary::<u64>()? >> source.int_in_range(0..=63)?), wall_ms: source.arbitrary()? };
    let mut stamps = Vec::with_capacity(count);
    let left = |stamps: &Vec<Stamp>| (count - stamps.len()) as u64;
    while stamps.len() < count {
        // Room for the ticks to come, whatever the one before skipped.
        now.tick = Tick(now.tick.0.min(u64::MAX - left(&stamps)));
        stamps.push(now);
        let (skip, drift) = if source.ratio(1, 8)? { (source.arbitrary()?, source.arbitrary()?) } else { (0, 0) };
        let skip: u64 = skip;
        now.tick =
            Tick(now.tick.0.saturating_add(1).saturating_add(skip).min(u64::MAX - left(&stamps)).max(now.tick.0 + 1));
        now.wall_ms = now.wall_ms.wrapping_add(1000).wrapping_add(drift);
    }
    Ok(stamps)
}

/// A series as a sensor tells it: constant, rising, in steps, at random, of doubles.
fn fill(source: &mut Unstructured<'_>, series: &mut [u64]) -> Result<()> {
    let mut value = source.arbitrary::<u64>()? >> source.int_in_range(0..=63)?;
    let kind = source.int_in_range(0..=5)?;
    let shift = source.int_in_range(0..=63u32)?;
    let mut slope = source.arbitrary::<u64>()? >> shift;
    for slot in series {
        *slot = value;
        value = match kind {
            0 => value,
            1 => value.wrapping_add(slope),
            2 => value.wrapping_add(u64::from(source.arbitrary::<u8>()?) << shift),
            3 => value.wrapping_add(if source.ratio(1, 16)? { source.arbitrary()? } else { 0 }),
            4 => {
                slope = slope.wrapping_add(u64::from(source.arbitrary::<u8>()? & 3)).wrapping_sub(1);
                value.wrapping_add(slope)
            }
            _ => source.arbitrary()?,
        };
    }
    Ok(())
}

/// Batches with a column of every mode.
pub(super) fn seed_batches() -> Vec<Batch> {
    let noise = |len: usize, step: u8| (0..len).map(|i| step.wrapping_mul(i.to_le_bytes()[0])).collect::<Vec<u8>>();
    let bytes = (1..40).map(|step| noise(400, step * 5));
    let mut batches: Vec<Batch> = bytes.filter_map(|bytes| batch(&mut Unstructured::new(&bytes)).ok()).collect();
    let mut steady = Matrix::new(100, 10);
    for metric in 0..100 {
        (0..10).for_each(|tick| steady.set(metric, tick, Some((metric / 50 * tick) as u64)));
    }
    let stamps = (0..10).map(|tick| Stamp { tick: Tick(7 + tick), wall_ms: 1000 * tick.cast_signed() }).collect();
    let header = BatchHeader { boot: BootId([1; 16]), set: SetId([2; 16]), metrics: 100, stamps };
    batches.push(Batch { header, matrix: steady });
    batches
}

fn seeds() -> Vec<Vec<u8>> {
    (1..24u8).map(|step| (0..300usize).map(|i| step.wrapping_mul(i.to_le_bytes()[0])).collect()).collect()
}

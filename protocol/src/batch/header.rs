//! The part of a batch that is read without decompressing anything.

use super::bits::{BitReader, BitWriter, Bytes, bit_len, put_varint, small, unzigzag, zigzag};
use super::{BatchError, BatchHeader, MAX_BATCH_LEN, MAX_TICKS, Stamp};
use crate::ids::{BootId, Tick};
use crate::metric::{MAX_METRICS, SetId};

/// The batch format of this program.
pub(super) const VERSION: u8 = 1;

/// What the wall clock is expected to advance in a tick, milliseconds.
const TICK_MS: u64 = 1000;

/// Appends the encoded header to `out`.
pub(super) fn write(header: &BatchHeader, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let stamps = &header.stamps;
    let first = stamps.first().ok_or(BatchError::Count)?;
    if stamps.len() > MAX_TICKS || header.metrics > MAX_METRICS {
        return Err(BatchError::Count);
    }
    let mut skipped = Vec::with_capacity(stamps.len());
    let mut drift = Vec::with_capacity(stamps.len());
    for pair in stamps.windows(2) {
        let rise = pair[1].tick.0.checked_sub(pair[0].tick.0).filter(|rise| *rise > 0).ok_or(BatchError::Ticks)?;
        let wall = pair[1].wall_ms.wrapping_sub(pair[0].wall_ms).cast_unsigned();
        skipped.push(rise - 1);
        drift.push(zigzag(wall.wrapping_sub(rise.wrapping_mul(TICK_MS))));
    }
    out.push(VERSION);
    out.extend_from_slice(&header.boot.0);
    out.extend_from_slice(&header.set.0);
    put_varint(out, header.metrics as u64);
    put_varint(out, stamps.len() as u64);
    put_varint(out, first.tick.0);
    put_packed(out, &skipped);
    put_varint(out, zigzag(first.wall_ms.cast_unsigned()));
    put_packed(out, &drift);
    Ok(())
}

/// The boot of a batch whose header need not be sound behind it.
pub(super) fn boot(bytes: &mut Bytes<'_>) -> Result<BootId, BatchError> {
    let version = bytes.byte()?;
    if version == VERSION { Ok(BootId(bytes.id()?)) } else { Err(BatchError::Version(version)) }
}

/// Reads a header and leaves the cursor behind it.
pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<BatchHeader, BatchError> {
    if bytes.rest().len() > MAX_BATCH_LEN {
        return Err(BatchError::Count);
    }
    let boot = boot(bytes)?;
    let set = SetId(bytes.id()?);
    let metrics = count(bytes, 0, MAX_METRICS)?;
    let ticks = count(bytes, 1, MAX_TICKS)?;
    let mut tick = bytes.varint()?;
    let mut skipped = [0; MAX_TICKS];
    take_packed(bytes, &mut skipped[1..ticks])?;
    let mut wall = unzigzag(bytes.varint()?);
    let mut drift = [0; MAX_TICKS];
    take_packed(bytes, &mut drift[1..ticks])?;

    let mut stamps = Vec::with_capacity(ticks);
    stamps.push(Stamp { tick: Tick(tick), wall_ms: wall.cast_signed() });
    for (skip, drift) in skipped[1..ticks].iter().zip(&drift[1..ticks]) {
        let rise = skip.checked_add(1).ok_or(BatchError::Ticks)?;
        tick = tick.checked_add(rise).ok_or(BatchError::Ticks)?;
        wall = wall.wrapping_add(rise.wrapping_mul(TICK_MS)).wrapping_add(unzigzag(*drift));
        stamps.push(Stamp { tick: Tick(tick), wall_ms: wall.cast_signed() });
    }
    Ok(BatchHeader { boot, set, metrics, stamps })
}

fn count(bytes: &mut Bytes<'_>, min: usize, max: usize) -> Result<usize, BatchError> {
    let count = usize::try_from(bytes.varint()?).map_err(|_| BatchError::Count)?;
    if (min..=max).contains(&count) { Ok(count) } else { Err(BatchError::Count) }
}

/// Appends the width of the widest number and all numbers in that width; nothing for no numbers.
fn put_packed(out: &mut Vec<u8>, numbers: &[u64]) {
    if numbers.is_empty() {
        return;
    }
    let width = bit_len(numbers.iter().fold(0, |all, n| all | n));
    out.push(small(width));
    let mut bits = BitWriter::default();
    numbers.iter().for_each(|n| bits.put(*n, width));
    bits.finish(out);
}

fn take_packed(bytes: &mut Bytes<'_>, numbers: &mut [u64]) -> Result<(), BatchError> {
    if numbers.is_empty() {
        return Ok(());
    }
    let width = u32::from(bytes.byte()?);
    if width > u64::BITS {
        return Err(BatchError::Column);
    }
    let packed = bytes.slice((numbers.len() * width as usize).div_ceil(8))?;
    let mut bits = BitReader::new(packed);
    bits.fill(width, numbers)?;
    bits.finish()?;
    let widest = bit_len(numbers.iter().fold(0, |all, n| all | n));
    if widest == width { Ok(()) } else { Err(BatchError::Column) }
}

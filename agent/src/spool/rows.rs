//! The rows of the spool's tables: their keys, their checksums, and the form of a tick that is not in a batch yet.
//!
//! Each row proves itself by a checksum that covers its key and its table, so that rows read straight from the pages of
//! a damaged file (`salvage`) can be trusted, and a stale or mangled one cannot pass for another.

use crc32c::{crc32c, crc32c_append};
use dsmil_protocol::ids::{Tick, TickRange};
use dsmil_protocol::message::GapReason;

/// Starts every checksum: a row of another version of the tables never fits.
const FORMAT: &[u8] = b"dsmil-spool-1";
/// The form of [`encode_values`].
const VALUES_VERSION: u8 = 1;
/// Bits of a row's number that are the tick: 34,000 years of seconds. The bits above are the boot's ordinal.
const TICK_BITS: u32 = 40;
/// The last tick that can be stored.
pub(super) const MAX_TICK: Tick = Tick((1 << TICK_BITS) - 1);
/// What makes the number of a rejection reason; the error code is in the bits below.
const REJECTED: i64 = 1 << 16;

/// Counts the boots that this spool has seen, from 1. Row numbers start with it, so they rise with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ordinal(pub(super) i64);

impl Ordinal {
    /// The number of the row of this boot that starts at `tick`.
    pub(super) fn row(self, tick: Tick) -> i64 {
        self.0 << TICK_BITS | tick.0.min(MAX_TICK.0).cast_signed()
    }

    /// The numbers of all rows of this boot that start in `range`.
    pub(super) fn rows(self, range: TickRange) -> (i64, i64) {
        (self.row(range.first), self.row(range.last))
    }

    /// The numbers of all rows of this boot.
    pub(super) fn all(self) -> (i64, i64) {
        (self.row(Tick(0)), self.row(MAX_TICK))
    }

    /// Takes a row's number apart.
    pub(super) fn split(row: i64) -> (Self, Tick) {
        (Self(row >> TICK_BITS), Tick(row.cast_unsigned() & MAX_TICK.0))
    }
}

/// The tables whose rows carry a checksum. A metric set is named by its own hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Boot = 1,
    Tick = 2,
    Batch = 3,
    Gap = 4,
    Rejected = 5,
    Totals = 6,
}

/// The checksum of a row: its table, its number, its numbers, then its bytes.
pub(super) fn crc(table: Table, row: i64, numbers: &[i64], bytes: &[&[u8]]) -> i64 {
    let mut sum = crc32c_append(crc32c(FORMAT), &[table as u8]);
    for number in std::iter::once(&row).chain(numbers) {
        sum = crc32c_append(sum, &number.to_le_bytes());
    }
    i64::from(bytes.iter().fold(sum, |sum, part| crc32c_append(sum, part)))
}

/// The checksum of a batch's row, two in one number: of its key in the upper half, of all of it in the lower. So the key,
/// which names the ticks, is trusted without reading the content, and when the content is damaged.
pub(super) fn batch_crc(row: i64, last: i64, hash: &[u8; 16], content: &[u8]) -> i64 {
    crc(Table::Batch, row, &[last], &[hash]) << 32 | crc(Table::Batch, row, &[last], &[hash, content])
}

/// Whether a batch's row number, last tick and metric set are what was written.
pub(super) fn batch_key_is_whole(stored: i64, row: i64, last: i64, hash: &[u8; 16]) -> bool {
    stored >> 32 == crc(Table::Batch, row, &[last], &[hash]) << 32 >> 32
}

/// The range from a row's number and its last tick, if it can be one.
pub(super) fn range(row: i64, last: i64) -> Option<TickRange> {
    let last = Tick(u64::try_from(last).ok()?);
    TickRange::new(Ordinal::split(row).1, last).filter(|range| range.last <= MAX_TICK)
}

/// A tick as a column.
pub(super) fn sql(tick: Tick) -> i64 {
    tick.0.min(MAX_TICK.0).cast_signed()
}

/// A gap's reason as a column.
pub(super) fn reason_number(reason: GapReason) -> i64 {
    match reason {
        GapReason::AgentDown => 0,
        GapReason::SamplerLate => 1,
        GapReason::HostSuspended => 2,
        GapReason::Evicted => 3,
        GapReason::SpoolDamaged => 4,
        GapReason::SpoolFull => 5,
        GapReason::JournalLost => 6,
        GapReason::Rejected(code) => REJECTED | i64::from(code),
    }
}

/// The reason of a number.
pub(super) fn reason(number: i64) -> Option<GapReason> {
    Some(match number {
        0 => GapReason::AgentDown,
        1 => GapReason::SamplerLate,
        2 => GapReason::HostSuspended,
        3 => GapReason::Evicted,
        4 => GapReason::SpoolDamaged,
        5 => GapReason::SpoolFull,
        6 => GapReason::JournalLost,
        _ => GapReason::Rejected(u16::try_from(number.checked_sub(REJECTED)?).ok()?),
    })
}

/// A tick's values: version, one bit a metric for presence, then the values that are there, 8 bytes little-endian each.
///
/// Plain, because it lives for ten seconds at most; the batch is what is small.
pub(super) fn encode_values(values: &[Option<u64>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_len(values.len()));
    out.push(VALUES_VERSION);
    out.extend(
        values
            .chunks(8)
            .map(|chunk| chunk.iter().enumerate().fold(0u8, |bits, (i, value)| bits | u8::from(value.is_some()) << i)),
    );
    out.extend(values.iter().flatten().flat_map(|value| value.to_le_bytes()));
    out
}

/// The most bytes that the values of so many metrics take.
pub(super) fn encoded_len(metrics: usize) -> usize {
    1 + metrics.div_ceil(8) + 8 * metrics
}

/// Reads [`encode_values`]'s bytes for so many metrics; nothing if they do not fit.
pub(super) fn decode_values(bytes: &[u8], metrics: usize) -> Option<Vec<Option<u64>>> {
    let (&version, rest) = bytes.split_first()?;
    let (present, mut rest) = rest.split_at_checked(metrics.div_ceil(8))?;
    if version != VALUES_VERSION {
        return None;
    }
    let mut values = Vec::with_capacity(metrics);
    for metric in 0..metrics {
        values.push(if present[metric / 8] >> (metric % 8) & 1 == 1 {
            let (value, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(u64::from_le_bytes(*value))
        } else {
            None
        });
    }
    rest.is_empty().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_keep_their_numbers() {
        let all = [
            GapReason::AgentDown,
            GapReason::SamplerLate,
            GapReason::HostSuspended,
            GapReason::Evicted,
            GapReason::SpoolDamaged,
            GapReason::SpoolFull,
            GapReason::JournalLost,
            GapReason::Rejected(0),
            GapReason::Rejected(u16::MAX),
        ];
        for known in all {
            assert_eq!(reason(reason_number(known)), Some(known));
        }
        assert_eq!([reason(7), reason(-1), reason(REJECTED << 1), reason(i64::MIN)], [None; 4]);
    }

    #[test]
    fn row_numbers_rise_with_boot_and_tick() {
        let (one, two) = (Ordinal(1), Ordinal(2));
        assert!(one.row(MAX_TICK) < two.row(Tick(0)));
        assert_eq!(Ordinal::split(two.row(Tick(77))), (two, Tick(77)));
    }

    proptest! {
        #[test]
        fn values_read_back_and_no_cut_passes(values in proptest::collection::vec(any::<Option<u64>>(), 0..40)) {
            let bytes = encode_values(&values);
            prop_assert!(bytes.len() <= encoded_len(values.len()));
            prop_assert_eq!(decode_values(&bytes, values.len()), Some(values.clone()));
            for end in 0..bytes.len() {
                prop_assert_eq!(decode_values(&bytes[..end], values.len()), None);
            }
            prop_assert_eq!(decode_values(&[&bytes[..], &[0]].concat(), values.len()), None);
        }
    }
}

//! One column: the plan that takes the fewest bits, its writing, its reading.

use super::bits::{BitReader, BitWriter, bit_len, small, unzigzag, zigzag};
use super::numbers::Coding;
use super::shape::{Mode, Presence, Shape, ShapeReader, ShapeWriter};
use super::{BatchError, MAX_TICKS};

/// What a shift costs in the shapes: dropping fewer bits than this is no gain, and a rare byte compresses badly.
const SHIFT_BITS: u32 = 8;
/// What the second whole number of [`Mode::DeltaOfDelta`] costs in the shapes.
const LENGTH_BITS: u32 = 5;

/// The numbers of a series, in each of the ways in which they can be told; an encoder keeps one for all columns.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Every change.
    deltas: [u64; MAX_TICKS],
    /// Every change that is one, less 1.
    changes: [u64; MAX_TICKS],
    /// The change of every change.
    seconds: [u64; MAX_TICKS],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { deltas: [0; MAX_TICKS], changes: [0; MAX_TICKS], seconds: [0; MAX_TICKS] }
    }
}

/// How a series is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    mode: Mode,
    values: usize,
    coding: Coding,
    /// Low bits left out of a packed number.
    shift: u32,
    /// No change is negative, and the packed numbers are changes.
    rising: bool,
    /// Bit `i`: value `i + 1` is not value `i`.
    changes: u128,
    /// The first change, zigzagged.
    first_delta: u64,
}

impl Plan {
    /// The plan for `values`, of which there is at least one; their numbers are left in `scratch`.
    pub(super) fn of(values: &[u64], scratch: &mut Scratch) -> Self {
        let first = values[0];
        let mut best = Self {
            mode: if first == 0 { Mode::Zero } else { Mode::Constant },
            values: values.len(),
            coding: Coding::NOTHING,
            shift: 0,
            rising: false,
            changes: 0,
            first_delta: 0,
        };
        if values.iter().all(|v| *v == first) {
            return best;
        }
        let second_shift = best.measure(values, scratch);
        let (places, changes) = (values.len() - 1, best.changes.count_ones());

        let (coding, mut fewest) = Coding::of(&scratch.deltas[..places]);
        best = Self { mode: Mode::Delta, coding, ..best };
        let (coding, bits) = Coding::of(&scratch.changes[..changes as usize]);
        let listed = lists_places(values.len(), changes);
        let bits = bits + if listed { place_bits(values.len(), changes) } else { bits_of(places) };
        if bits <= fewest {
            best = Self { mode: if listed { Mode::Steps } else { Mode::Mask }, coding, ..best };
            fewest = bits;
        }
        if places > 1 {
            let (coding, bits) = Coding::of(&scratch.seconds[..places - 1]);
            if bits + bit_len(best.first_delta) + LENGTH_BITS < fewest {
                best = Self { mode: Mode::DeltaOfDelta, coding, shift: second_shift, rising: false, ..best };
            }
        }
        best
    }

    /// Takes down the changes of `values`, which are not all the same, and returns the shift of their changes.
    fn measure(&mut self, values: &[u64], scratch: &mut Scratch) -> u32 {
        let places = values.len() - 1;
        let (mut any, mut any_second, mut last, mut falls) = (0, 0, 0, 0);
        for (i, pair) in values.windows(2).enumerate() {
            let delta = pair[1].wrapping_sub(pair[0]);
            scratch.deltas[i] = delta;
            self.changes |= u128::from(delta != 0) << i;
            any |= delta;
            falls |= delta >> 63;
            if i > 0 {
                let second = delta.wrapping_sub(last);
                scratch.seconds[i - 1] = zigzag(second);
                any_second |= second;
            }
            last = delta;
        }
        self.rising = falls == 0;
        self.first_delta = zigzag(scratch.deltas[0]);
        self.shift = shift_of(any, self.changes.count_ones());
        let mut changed = 0;
        for delta in &mut scratch.deltas[..places] {
            // Zigzag and shift may change places: both keep what the other looks at.
            *delta = if self.rising { *delta } else { zigzag(*delta) } >> self.shift;
            if *delta != 0 {
                scratch.changes[changed] = *delta - 1;
                changed += 1;
            }
        }
        let shift = shift_of(any_second, bits_of(places - 1));
        scratch.seconds[..places - 1].iter_mut().for_each(|second| *second >>= shift);
        shift
    }

    /// Whether a copy would be shorter: not if the column takes hardly more than the number of its original.
    pub(super) fn is_worth_copying(&self, values: &[u64]) -> bool {
        match self.mode {
            Mode::Zero | Mode::Copy => false,
            Mode::Constant => values[0] > u64::from(u16::MAX),
            Mode::Mask | Mode::Steps | Mode::Delta | Mode::DeltaOfDelta => true,
        }
    }

    /// Writes the series that starts with `first`, as planned; what says which values are there has been written.
    pub(super) fn write(
        &self,
        presence: Presence,
        first: u64,
        scratch: &Scratch,
        shapes: &mut ShapeWriter,
        bits: &mut BitWriter,
    ) {
        let (golomb, rising) = (self.coding.golomb, self.rising);
        shapes.shape(Shape { mode: self.mode, presence, shifted: self.shift > 0, golomb, rising });
        if self.mode.is_packed() {
            shapes.width(small(self.coding.width));
            if self.shift > 0 {
                shapes.shift(small(self.shift));
            }
        }
        if self.mode != Mode::Zero {
            put_whole(first, shapes, bits);
        }
        let numbers = match self.mode {
            Mode::Zero | Mode::Constant | Mode::Copy => return,
            Mode::Mask | Mode::Steps => {
                self.write_changes(bits);
                &scratch.changes[..self.changes.count_ones() as usize]
            }
            Mode::Delta => &scratch.deltas[..self.values - 1],
            Mode::DeltaOfDelta => {
                put_whole(self.first_delta, shapes, bits);
                &scratch.seconds[..self.values - 2]
            }
        };
        numbers.iter().for_each(|number| self.coding.put(*number, bits));
    }

    fn write_changes(&self, bits: &mut BitWriter) {
        if self.mode == Mode::Mask {
            return bits.put_wide(self.changes, bits_of(self.values - 1));
        }
        let width = place_width(self.values);
        bits.put(u64::from(self.changes.count_ones()), width);
        let mut left = self.changes;
        while left != 0 {
            bits.put(u64::from(left.trailing_zeros()), width);
            left &= left - 1;
        }
    }
}

/// How many low bits are 0 in all of `count` numbers, from the OR of them; 0 where dropping them does not pay.
fn shift_of(any: u64, count: u32) -> u32 {
    let zeros = if any == 0 { 0 } else { any.trailing_zeros() };
    if zeros * count < SHIFT_BITS { 0 } else { zeros }
}

#[allow(clippy::cast_possible_truncation, reason = "at most the ticks of a batch")]
fn bits_of(count: usize) -> u32 {
    count as u32
}

/// Bits of one place, or of the number of places, in a column of `values` values.
fn place_width(values: usize) -> u32 {
    bit_len(values as u64 - 1)
}

/// Bits of `changes` places and their number.
fn place_bits(values: usize, changes: u32) -> u32 {
    place_width(values) * (changes + 1)
}

/// Whether a list of the places is shorter than a mask.
fn lists_places(values: usize, changes: u32) -> bool {
    place_bits(values, changes) < bits_of(values - 1)
}

/// A number and, in the shapes, its length; the top bit of the length is known to be set and left out.
fn put_whole(value: u64, shapes: &mut ShapeWriter, bits: &mut BitWriter) {
    let length = bit_len(value);
    shapes.length(small(length));
    if length > 1 {
        bits.put(value ^ 1 << (length - 1), length - 1);
    }
}

fn take_whole(shapes: &mut ShapeReader<'_>, bits: &mut BitReader<'_>) -> Result<u64, BatchError> {
    match shapes.length()? {
        0 => Ok(0),
        length => Ok(bits.take(length - 1)? | 1 << (length - 1)),
    }
}

/// Fills `values`, at least one, with a series of the given shape.
pub(super) fn read(
    shape: Shape,
    shapes: &mut ShapeReader<'_>,
    bits: &mut BitReader<'_>,
    values: &mut [u64],
) -> Result<(), BatchError> {
    if shape.mode == Mode::Zero {
        values.fill(0);
        return Ok(());
    }
    let first = take_whole(shapes, bits)?;
    if shape.mode == Mode::Constant {
        values.fill(first);
        return if first == 0 { Err(BatchError::Column) } else { Ok(()) };
    }
    let (coding, shift) = shapes.packing(shape)?;
    let change = |packed| {
        let shifted = if shape.rising { packed } else { unzigzag(packed) };
        shifted << shift
    };
    let mut value = first;
    match shape.mode {
        Mode::Zero | Mode::Constant | Mode::Copy => return Err(BatchError::Column),
        Mode::Mask | Mode::Steps => {
            let changes = take_changes(shape.mode, values.len(), bits)?;
            values[0] = value;
            for (i, slot) in values[1..].iter_mut().enumerate() {
                if changes >> i & 1 == 1 {
                    value = value.wrapping_add(change(coding.take(bits)?.wrapping_add(1)));
                }
                *slot = value;
            }
        }
        Mode::Delta if values.len() > 1 => {
            coding.fill(bits, &mut values[1..])?;
            values[0] = value;
            for slot in &mut values[1..] {
                value = value.wrapping_add(change(*slot));
                *slot = value;
            }
        }
        Mode::DeltaOfDelta if values.len() > 2 => {
            let mut delta = unzigzag(take_whole(shapes, bits)?);
            coding.fill(bits, &mut values[2..])?;
            values[0] = value;
            value = value.wrapping_add(delta);
            values[1] = value;
            for slot in &mut values[2..] {
                delta = delta.wrapping_add(change(*slot));
                value = value.wrapping_add(delta);
                *slot = value;
            }
        }
        Mode::Delta | Mode::DeltaOfDelta => return Err(BatchError::Column),
    }
    Ok(())
}

/// Where the changes are, never nowhere.
fn take_changes(mode: Mode, values: usize, bits: &mut BitReader<'_>) -> Result<u128, BatchError> {
    if mode == Mode::Mask {
        let changes = bits.take_wide(bits_of(values - 1))?;
        let fits = changes != 0 && !lists_places(values, changes.count_ones());
        return if fits { Ok(changes) } else { Err(BatchError::Column) };
    }
    let width = place_width(values);
    let count = bits.take(width)?;
    let mut changes = 0u128;
    for _ in 0..count {
        let place = bits.take(width)?;
        // Rising, and of this column.
        if place >= values as u64 - 1 || changes >> place != 0 {
            return Err(BatchError::Column);
        }
        changes |= 1 << place;
    }
    let fits = changes != 0 && lists_places(values, changes.count_ones());
    if fits { Ok(changes) } else { Err(BatchError::Column) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise() {
        // Of 60 values: places take six bits, and so does their number.
        let steps = |places: [u64; 2]| {
            let (mut writer, mut bytes) = (BitWriter::default(), vec![]);
            [2, places[0], places[1]].into_iter().for_each(|n| writer.put(n, 6));
            writer.finish(&mut bytes);
            take_changes(Mode::Steps, 60, &mut BitReader::new(&bytes))
        };
        assert_eq!(steps([5, 58]), Ok(1 << 5 | 1 << 58));
        for bad in [[5, 5], [7, 5], [5, 59]] {
            assert_eq!(steps(bad), Err(BatchError::Column), "{bad:?}");
        }
    }

    #[test]
    fn each_kind_of_series_gets_its_plan() {
        let plan = |values: &[u64]| Plan::of(values, &mut Scratch::default());
        let few: Vec<u64> = (0..60).map(|t| u64::from(t > 40)).collect();
        assert_eq!(plan(&few).mode, Mode::Steps);
        let some: Vec<u64> = (0..60).map(|t| t / 4).collect();
        assert_eq!(plan(&some).mode, Mode::Mask);
        let pages = [400, 804, 12, 1208, 704, 0, 88, 1100];
        assert_eq!((plan(&pages).mode, plan(&pages).shift), (Mode::Delta, 2), "multiples of four");
        let ramp: Vec<u64> = (0..60).map(|t| 5_000 * t + 77).collect();
        assert_eq!((plan(&ramp).mode, plan(&ramp).coding), (Mode::DeltaOfDelta, Coding::NOTHING));
        let falling: Vec<u64> = ramp.iter().rev().map(|v| v * v).collect();
        assert!(!plan(&falling).rising);
    }
}

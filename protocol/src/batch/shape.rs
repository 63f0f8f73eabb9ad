//! The shapes of a batch's columns: one byte a column, and the small numbers that go with some of them.
//!
//! Shapes lie apart from the bits of the columns because they repeat from column to column and compress, while packed
//! bits do not.

use super::BatchError;
use super::bits::{Bytes, put_varint};
use super::numbers::Coding;

/// How a column's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All are 0.
    Zero = 0,
    /// All are the first one, which is not 0.
    Constant = 1,
    /// Some changes: a mask says where, then each change.
    Mask = 2,
    /// Few changes: their number and places, then each change.
    Steps = 3,
    /// Every change.
    Delta = 4,
    /// The first change, then the change of every change.
    DeltaOfDelta = 5,
    /// As an earlier column of this batch.
    Copy = 6,
}

/// Which of a column's values are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Every one.
    All = 0,
    /// None; the mode is [`Mode::Zero`].
    None = 1,
    /// Those whose bits are set in a mask that starts the column.
    Some = 2,
}

const SHIFTED: u8 = 1 << 3;
const PRESENCE_AT: u32 = 4;
const PRESENCE: u8 = 3;
const GOLOMB: u8 = 1 << 6;
const RISING: u8 = 1 << 7;

/// The most bytes one column takes in the shapes: its own, width, shift and two lengths; a copy takes four.
pub(super) const MAX_SHAPE_LEN: usize = 5;

/// The first byte of a column's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) mode: Mode,
    pub(super) presence: Presence,
    /// Whether the packed numbers lack some low bits that are 0 in all of them.
    pub(super) shifted: bool,
    /// Whether the packed numbers are in an exponential Golomb code instead of one width.
    pub(super) golomb: bool,
    /// Whether no value is below the one before it: the packed changes have no sign.
    pub(super) rising: bool,
}

impl Shape {
    /// A shape without packed numbers.
    pub(super) fn plain(mode: Mode, presence: Presence) -> Self {
        Self { mode, presence, shifted: false, golomb: false, rising: false }
    }

    fn byte(self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let presence = (self.presence as u8) << PRESENCE_AT;
        self.mode as u8 | presence | flag(self.shifted, SHIFTED) | flag(self.golomb, GOLOMB) | flag(self.rising, RISING)
    }

    fn from_byte(byte: u8) -> Result<Self, BatchError> {
        let mode = match byte & 7 {
            0 => Mode::Zero,
            1 => Mode::Constant,
            2 => Mode::Mask,
            3 => Mode::Steps,
            4 => Mode::Delta,
            5 => Mode::DeltaOfDelta,
            6 => Mode::Copy,
            _ => return Err(BatchError::Column),
        };
        let presence = match byte >> PRESENCE_AT & PRESENCE {
            0 => Presence::All,
            1 if mode == Mode::Zero => Presence::None,
            // A copy's values are there where its original's are.
            2 if mode != Mode::Copy => Presence::Some,
            _ => return Err(BatchError::Column),
        };
        let flags = byte & (SHIFTED | GOLOMB | RISING);
        // A change of a change has a sign.
        if flags != 0 && !mode.is_packed() || flags & RISING != 0 && mode == Mode::DeltaOfDelta {
            return Err(BatchError::Column);
        }
        Ok(Self {
            mode,
            presence,
            shifted: byte & SHIFTED != 0,
            golomb: byte & GOLOMB != 0,
            rising: byte & RISING != 0,
        })
    }
}

impl Mode {
    /// Whether it has packed numbers, hence a width.
    pub(super) fn is_packed(self) -> bool {
        matches!(self, Self::Mask | Self::Steps | Self::Delta | Self::DeltaOfDelta)
    }

    /// How many whole numbers precede the packed ones, each with a length.
    fn lengths(self) -> usize {
        match self {
            Self::Zero | Self::Copy => 0,
            Self::Constant | Self::Mask | Self::Steps | Self::Delta => 1,
            Self::DeltaOfDelta => 2,
        }
    }
}

/// The shapes being written, stream by stream.
#[derive(Debug, Default)]
pub(super) struct ShapeWriter {
    shapes: Vec<u8>,
    widths: Vec<u8>,
    shifts: Vec<u8>,
    lengths: Vec<u8>,
    distances: Vec<u8>,
}

impl ShapeWriter {
    pub(super) fn clear(&mut self) {
        self.shapes.clear();
        self.widths.clear();
        self.shifts.clear();
        self.lengths.clear();
        self.distances.clear();
    }

    pub(super) fn shape(&mut self, shape: Shape) {
        self.shapes.push(shape.byte());
    }

    /// The width of a packed column's numbers.
    pub(super) fn width(&mut self, width: u8) {
        self.widths.push(width);
    }

    /// How many low bits a shifted column's numbers lack.
    pub(super) fn shift(&mut self, shift: u8) {
        self.shifts.push(shift);
    }

    /// The length of a whole number, in bits.
    pub(super) fn length(&mut self, length: u8) {
        self.lengths.push(length);
    }

    /// How many columns back a copy's original is.
    pub(super) fn distance(&mut self, distance: u64) {
        put_varint(&mut self.distances, distance);
    }

    /// Appends all streams to `out`.
    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        for stream in [&self.shapes, &self.widths, &self.shifts, &self.lengths, &self.distances] {
            out.extend_from_slice(stream);
        }
    }
}

/// The shapes being read.
#[derive(Debug)]
pub(super) struct ShapeReader<'a> {
    shapes: Bytes<'a>,
    widths: Bytes<'a>,
    shifts: Bytes<'a>,
    lengths: Bytes<'a>,
    distances: Bytes<'a>,
}

impl<'a> ShapeReader<'a> {
    /// Finds the streams of `columns` columns in `bytes`.
    pub(super) fn new(bytes: &'a [u8], columns: usize) -> Result<Self, BatchError> {
        let mut bytes = Bytes::new(bytes);
        let shapes = bytes.slice(columns)?;
        let (mut widths, mut shifts, mut lengths) = (0, 0, 0);
        for byte in shapes {
            let shape = Shape::from_byte(*byte)?;
            widths += usize::from(shape.mode.is_packed());
            shifts += usize::from(shape.shifted);
            lengths += shape.mode.lengths();
        }
        Ok(Self {
            shapes: Bytes::new(shapes),
            widths: Bytes::new(bytes.slice(widths)?),
            shifts: Bytes::new(bytes.slice(shifts)?),
            lengths: Bytes::new(bytes.slice(lengths)?),
            distances: bytes,
        })
    }

    pub(super) fn shape(&mut self) -> Result<Shape, BatchError> {
        Shape::from_byte(self.shapes.byte()?)
    }

    /// Coding and shift of a packed column.
    pub(super) fn packing(&mut self, shape: Shape) -> Result<(Coding, u32), BatchError> {
        let coding = Coding { width: u32::from(self.widths.byte()?), golomb: shape.golomb };
        let shift = if shape.shifted { u32::from(self.shifts.byte()?) } else { 0 };
        let room = u64::BITS - u32::from(coding.golomb);
        let fits = coding.width <= room && shift < u64::BITS && (shift > 0) == shape.shifted;
        // A column whose every change is 0 is a constant.
        let empty = coding == Coding::NOTHING && shape.mode == Mode::Delta;
        if fits && !empty { Ok((coding, shift)) } else { Err(BatchError::Column) }
    }

    /// The length of a whole number, at most 64.
    pub(super) fn length(&mut self) -> Result<u32, BatchError> {
        let length = u32::from(self.lengths.byte()?);
        if length <= u64::BITS { Ok(length) } else { Err(BatchError::Column) }
    }

    /// How many columns back the original is of a copy at `column`.
    pub(super) fn distance(&mut self, column: usize) -> Result<usize, BatchError> {
        let distance = usize::try_from(self.distances.varint()?).map_err(|_| BatchError::Column)?;
        if (1..=column).contains(&distance) { Ok(distance) } else { Err(BatchError::Column) }
    }

    /// Checks that nothing is left. All streams but the last have the length that the shapes ask for.
    pub(super) fn finish(self) -> Result<(), BatchError> {
        if self.distances.rest().is_empty() { Ok(()) } else { Err(BatchError::Length) }
    }
}

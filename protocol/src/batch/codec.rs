//! Batches to bytes and back.

use super::bits::{BitReader, BitWriter, Bytes, put_varint};
use super::column::{self, Plan, Scratch};
use super::shape::{MAX_SHAPE_LEN, Mode, Presence, Shape, ShapeReader, ShapeWriter};
use super::{Batch, BatchError, BatchHeader, MAX_BATCH_LEN, MAX_TICKS, Matrix, header};
use crate::ids::BootId;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, find_frame_compressed_size};

/// Compression of the shapes: they are a few hundred bytes, and higher levels save less than 1 % of a batch.
const ZSTD_LEVEL: i32 = 1;
/// A slot of the table of columns that no column has taken.
const EMPTY: u32 = u32::MAX;

/// Encodes batches; keeps its memory from one to the next.
pub struct Encoder {
    zstd: CCtx<'static>,
    shapes: ShapeWriter,
    bits: BitWriter,
    /// The shapes in one piece, and compressed.
    joined: Vec<u8>,
    packed: Vec<u8>,
    /// The newest column of each hash, to find columns that are alike.
    seen: Vec<u32>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder that has allotted little yet.
    pub fn new() -> Self {
        let mut zstd = CCtx::create();
        for parameter in [CParameter::CompressionLevel(ZSTD_LEVEL), CParameter::ContentSizeFlag(false)] {
            zstd.set_parameter(parameter).expect("zstd takes its own level and flag");
        }
        Self {
            zstd,
            shapes: ShapeWriter::default(),
            bits: BitWriter::default(),
            joined: Vec::new(),
            packed: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The bytes of `batch`.
    ///
    /// Fails with [`BatchError::Count`] if a limit is passed, [`BatchError::Ticks`] if the ticks do not rise, and
    /// [`BatchError::Columns`] if header and matrix disagree.
    pub fn encode(&mut self, batch: &Batch) -> Result<Vec<u8>, BatchError> {
        let (head, matrix) = (&batch.header, &batch.matrix);
        if head.metrics != matrix.metrics() {
            return Err(BatchError::Columns { columns: matrix.metrics(), metrics: head.metrics });
        }
        if head.stamps.len() != matrix.ticks() {
            return Err(BatchError::Count);
        }
        let mut out = Vec::with_capacity(64 + matrix.metrics() * 8);
        header::write(head, &mut out)?;
        self.write_columns(matrix);
        self.write_shapes(&mut out)?;
        self.bits.finish(&mut out);
        if out.len() > MAX_BATCH_LEN { Err(BatchError::Count) } else { Ok(out) }
    }

    fn write_columns(&mut self, matrix: &Matrix) {
        self.shapes.clear();
        self.bits.clear();
        self.seen.clear();
        self.seen.resize((2 * matrix.metrics()).next_power_of_two(), EMPTY);
        let mut present_values = [0; MAX_TICKS];
        let mut scratch = Scratch::default();
        for metric in 0..matrix.metrics() {
            let (present, row) = matrix.row(metric);
            let (presence, values) = match present.count_ones() as usize {
                0 => {
                    self.shapes.shape(Shape::plain(Mode::Zero, Presence::None));
                    continue;
                }
                all if all == row.len() => (Presence::All, row),
                some => {
                    let there = row.iter().enumerate().filter(|(t, _)| present >> t & 1 == 1);
                    present_values.iter_mut().zip(there).for_each(|(slot, (_, value))| *slot = *value);
                    (Presence::Some, &present_values[..some])
                }
            };
            let plan = Plan::of(values, &mut scratch);
            if plan.is_worth_copying(values)
                && let Some(distance) = self.look_up(matrix, metric)
            {
                self.shapes.shape(Shape::plain(Mode::Copy, Presence::All));
                self.shapes.distance(distance);
                continue;
            }
            if presence == Presence::Some {
                self.bits.put_wide(present, row_bits(row));
            }
            plan.write(presence, values[0], &scratch, &mut self.shapes, &mut self.bits);
        }
    }

    /// How many columns back a column like `metric` is, if one is known; remembers `metric`.
    fn look_up(&mut self, matrix: &Matrix, metric: usize) -> Option<u64> {
        let row = matrix.row(metric);
        // A different column in the slot is just forgotten: a copy missed costs its bytes and nothing else.
        let slot = hash(row.1) & (self.seen.len() - 1);
        let other =
            std::mem::replace(&mut self.seen[slot], u32::try_from(metric).expect("metrics are below their limit"))
                as usize;
        (other < metric && matrix.row(other) == row).then(|| (metric - other) as u64)
    }

    fn write_shapes(&mut self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        self.joined.clear();
        self.shapes.finish(&mut self.joined);
        self.packed.resize(compress_bound(self.joined.len()), 0);
        let packed =
            self.zstd.compress2(self.packed.as_mut_slice(), &self.joined).map_err(|_| BatchError::Compression)?;
        put_varint(out, self.joined.len() as u64);
        if packed < self.joined.len() {
            put_varint(out, packed as u64);
            out.extend_from_slice(&self.packed[..packed]);
        } else {
            put_varint(out, 0);
            out.extend_from_slice(&self.joined);
        }
        Ok(())
    }
}

/// A hash to find columns that are alike; what it finds is compared.
#[allow(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
fn hash(values: &[u64]) -> usize {
    /// 2^64 / φ, odd: multiplying by it spreads low bits upwards.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = values.iter().fold(0u64, |hash, v| (hash.rotate_left(23) ^ v).wrapping_mul(SPREAD));
    (mixed >> 32) as usize
}

#[allow(clippy::cast_possible_truncation, reason = "at most the ticks of a batch")]
fn row_bits(row: &[u64]) -> u32 {
    row.len() as u32
}

/// Decodes batches; keeps its memory from one to the next.
pub struct Decoder {
    zstd: DCtx<'static>,
    shapes: Vec<u8>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has allotted little yet.
    pub fn new() -> Self {
        Self { zstd: DCtx::create(), shapes: Vec::new() }
    }

    /// Reads a whole batch whose metric set has `metrics` metrics.
    ///
    /// Fails with [`BatchError::Columns`] if it is of another size, before anything is allotted for its values, and
    /// with what else is wrong otherwise; bytes left over are wrong too.
    pub fn decode(&mut self, bytes: &[u8], metrics: usize) -> Result<Batch, BatchError> {
        let mut cursor = Bytes::new(bytes);
        let header = header::read(&mut cursor)?;
        if header.metrics != metrics {
            return Err(BatchError::Columns { columns: header.metrics, metrics });
        }
        let mut shapes = self.unpack_shapes(&mut cursor, metrics)?;
        let mut bits = BitReader::new(cursor.rest());
        let mut matrix = Matrix::new(metrics, header.stamps.len());
        for metric in 0..metrics {
            read_column(metric, &mut shapes, &mut bits, &mut matrix)?;
        }
        shapes.finish()?;
        bits.finish()?;
        Ok(Batch { header, matrix })
    }

    fn unpack_shapes(&mut self, cursor: &mut Bytes<'_>, columns: usize) -> Result<ShapeReader<'_>, BatchError> {
        let length = usize::try_from(cursor.varint()?).map_err(|_| BatchError::Length)?;
        // The number of columns is limited and known to be right: this bounds what the next lines allot.
        if !(columns..=columns * MAX_SHAPE_LEN).contains(&length) {
            return Err(BatchError::Length);
        }
        let packed = usize::try_from(cursor.varint()?).map_err(|_| BatchError::Length)?;
        self.shapes.clear();
        if packed == 0 {
            self.shapes.extend_from_slice(cursor.slice(length)?);
            return ShapeReader::new(&self.shapes, columns);
        }
        let frame = cursor.slice(packed)?;
        if packed >= length || find_frame_compressed_size(frame) != Ok(packed) {
            return Err(BatchError::Compression);
        }
        self.shapes.resize(length, 0);
        // zstd writes into the slice and no further, whatever the frame says of its own size.
        match self.zstd.decompress(self.shapes.as_mut_slice(), frame) {
            Ok(unpacked) if unpacked == length => ShapeReader::new(&self.shapes, columns),
            _ => Err(BatchError::Compression),
        }
    }
}

fn read_column(
    metric: usize,
    shapes: &mut ShapeReader<'_>,
    bits: &mut BitReader<'_>,
    matrix: &mut Matrix,
) -> Result<(), BatchError> {
    let shape = shapes.shape()?;
    if shape.mode == Mode::Copy {
        let distance = shapes.distance(metric)?;
        matrix.copy_row(metric - distance, metric);
        return Ok(());
    }
    let (present, row) = matrix.row_mut(metric);
    let ticks = row_bits(row);
    let all = u128::MAX >> (u128::BITS - ticks);
    match shape.presence {
        Presence::None => Ok(()),
        Presence::All => {
            *present = all;
            column::read(shape, shapes, bits, row)
        }
        Presence::Some => {
            let mask = bits.take_wide(ticks)?;
            if mask == 0 || mask == all {
                return Err(BatchError::Column);
            }
            let mut values = [0; MAX_TICKS];
            let values = &mut values[..mask.count_ones() as usize];
            column::read(shape, shapes, bits, values)?;
            *present = mask;
            let there = row.iter_mut().enumerate().filter(|(t, _)| mask >> t & 1 == 1);
            there.zip(values).for_each(|((_, slot), value)| *slot = *value);
            Ok(())
        }
    }
}

/// The bytes of `batch`; see [`Encoder::encode`], which is quicker for many.
pub fn encode(batch: &Batch) -> Result<Vec<u8>, BatchError> {
    Encoder::new().encode(batch)
}

/// What a batch says of itself; reads a few dozen bytes and decompresses nothing.
///
/// Every limit is checked; what follows the header is not looked at.
pub fn decode_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    header::read(&mut Bytes::new(bytes))
}

/// The boot of a batch, as far as it can be read; nothing behind it is looked at.
pub fn decode_boot(bytes: &[u8]) -> Result<BootId, BatchError> {
    header::boot(&mut Bytes::new(bytes))
}

/// The batch in `bytes`, of a metric set with `metrics` metrics; see [`Decoder::decode`], which is quicker for many.
pub fn decode(bytes: &[u8], metrics: usize) -> Result<Batch, BatchError> {
    Decoder::new().decode(bytes, metrics)
}

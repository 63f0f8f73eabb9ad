//! A batch is a matrix: ticks × metrics, encoded column by column at the edge and stored as it came.
//!
//! # The format, version 1
//!
//! It is frozen: what is stored stays readable, so a change takes a new version byte. A reader refuses what it does not
//! know, bytes left over, set bits that nothing uses, and, where it is cheap to see, forms that no encoder writes.
//!
//! A *varint* is a number in groups of 7 bits, lowest group first, the top bit of a byte set if another follows; only
//! the shortest form is valid. *Bits* fill a byte from its lowest bit, numbers start with their lowest bit, and the last
//! byte is filled with zeros. *Zigzag* turns 0, −1, 1, −2 … into 0, 1, 2, 3 …. All arithmetic is modulo 2^64, so a value
//! may be any 64 bits: an integer of either sign or an IEEE 754 double.
//!
//! ## Header
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version, 1 |
//! | 16 | boot id |
//! | 16 | hash of the metric set |
//! | varint | M, the number of columns, at most [`MAX_METRICS`](crate::metric::MAX_METRICS) |
//! | varint | T, the number of ticks, 1 to [`MAX_TICKS`] |
//! | varint | the first tick |
//! | packed | T − 1 numbers: how far each tick is from the one before, less 1 |
//! | varint | the first wall time in milliseconds, zigzag |
//! | packed | T − 1 numbers: what each wall time is off from the one before plus 1000 ms a tick, zigzag |
//!
//! *Packed* is one byte, the width in bits of the largest number (0 to 64), then all numbers in that width as bits;
//! nothing at all for no numbers.
//!
//! ## Shapes
//!
//! | bytes | content |
//! |---|---|
//! | varint | the length of the shapes |
//! | varint | the length of the zstd frame that holds them, or 0 if they follow as they are |
//! | | the shapes or their frame |
//!
//! A frame is shorter than what it holds. The shapes are five streams, one after the other, each in column order:
//!
//! 1. M bytes, one a column: bits 0–2 the mode, bit 3 *shifted*, bits 4–5 the presence, bit 6 *Golomb*, bit 7 *rising*.
//! 2. For each column of modes 2 to 5 one byte: the width of its numbers, or with *Golomb* the order of their code.
//! 3. For each *shifted* column one byte, 1 to 63: how many low bits all its numbers lack.
//! 4. The lengths of whole numbers, 0 to 64, a byte each: one for modes 1 to 4, two for mode 5.
//! 5. For each column of mode 6 a varint: how many columns back its original is.
//!
//! Presence is 0 if every tick has a value, 1 if none has (mode 0 only), 2 if some have: T bits say which, and the column
//! is the series of the values that are there.
//!
//! ## Columns
//!
//! All else is bits, column after column: the T bits of presence 2, then what the mode asks for. A *whole number* is as
//! many bits as its length in the shapes says, less the top one, which is known to be 1; of length 0 it is 0.
//!
//! | mode | content, for a series of N values |
//! |---|---|
//! | 0 zero | nothing |
//! | 1 constant | the value, whole, not 0 |
//! | 2 mask | the first value, whole; N − 1 bits, set where a value is not the one before; for each of them its change, as a number, less 1 |
//! | 3 steps | the same, but instead of the mask the number of changes, and their places from 0, rising, each in the bits that N − 1 takes |
//! | 4 delta | the first value, whole; N − 1 changes as numbers |
//! | 5 delta of delta | the first value, whole; the first change, zigzag, whole; N − 2 changes of the change as numbers |
//! | 6 copy | nothing: presence and values are those of an earlier column |
//!
//! Mode 3 is used exactly where it takes fewer bits than mode 2. A *number* is a change, zigzag or, if *rising*, as it
//! is, shifted right by the shift: the bits that are dropped are 0. It takes the column's width or, with *Golomb* of
//! order k, as many zeros as number + 2^k is longer than k + 1 bits, a one, and number + 2^k without its top bit.
//!
//! # Why so
//!
//! One width a column is what ten ticks need; Golomb keeps a burst from widening all of sixty. Shapes repeat and are
//! what zstd shortens; packed bits are not. A copy pays for what the kernel tells twice, and for devices all alike.

mod bits;
mod codec;
mod column;
mod header;
mod matrix;
mod numbers;
mod shape;
#[cfg(test)]
mod tests;

pub use codec::{Decoder, Encoder, decode, decode_boot, decode_header, encode};
pub use matrix::{Batch, BatchError, BatchHeader, MAX_BATCH_LEN, MAX_TICKS, Matrix, Stamp};

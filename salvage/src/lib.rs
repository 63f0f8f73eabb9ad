//! Rows out of damaged SQLite files, without their trees.
//!
//! A damaged header or inner page hides every row below it from SQL. The rows themselves lie in leaf pages that say what
//! they are, so an [`Image`] is walked page by page, and every row that can be read whole is taken. What is found may be
//! stale (a row that was deleted since, an older form of one) or garbage: **rows must prove themselves**, by a checksum
//! of their own. Nothing is ever written, and a damaged length asks for no more memory than [`MAX_ROW`].
//!
//! Formats: <https://www.sqlite.org/fileformat2.html>, for the log section 4.

mod image;
mod record;
#[cfg(test)]
mod tests;

pub use image::Image;

/// Bytes of a page, in every file that is to be salvaged: a damaged header cannot tell. Nothing is reserved at its end.
pub const PAGE: u64 = 4096;
/// The longest row that is worth reading: a batch of 4 MiB and its columns. A longer one is taken for garbage.
pub const MAX_ROW: usize = (4 << 20) + 4096;
/// Columns of the widest table that is salvaged (twelve), and some: garbage may claim thousands.
pub const MAX_COLUMNS: usize = 32;

/// [`PAGE`] as a length in memory.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
const USABLE: usize = PAGE as usize;

/// A value of a row. Doubles are in no table that is salvaged; a row with one is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL; also what a table keeps in the column that is its row number (`INTEGER PRIMARY KEY`).
    Null,
    /// An integer of whatever length.
    Int(i64),
    /// Text as its bytes, which need not be UTF-8 in a damaged file.
    Text(Vec<u8>),
    /// A blob.
    Blob(Vec<u8>),
}

/// A row of some table, or an entry of some index; of which one, its values tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// The number of a table's row; an index entry has it as its last value instead.
    pub rowid: Option<i64>,
    /// Every column, in the order of the table or the index.
    pub values: Vec<Value>,
}

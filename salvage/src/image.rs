//! A file and its log, walked page by page.
//!
//! Formats: <https://www.sqlite.org/fileformat2.html>, sections 1.5 and 1.6 for pages, 4 for the log.

use crate::record::{record, varint};
use crate::{MAX_ROW, PAGE, RawRow, USABLE};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a leaf page of a table starts with, and the inner and leaf pages of an index.
pub(crate) const TABLE_LEAF: u8 = 0x0D;
pub(crate) const INDEX_INNER: u8 = 0x02;
pub(crate) const INDEX_LEAF: u8 = 0x0A;
/// The longest index entry that is all on its page. The names and hashes that are looked for are far shorter.
const MAX_INDEX_ENTRY: usize = (USABLE - 12) * 64 / 255 - 23;
/// The file's own header on page 1, before the page's.
const FILE_HEADER: usize = 100;
/// The log's header, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A database as it lies there, whatever is wrong with it: its file, and its log unless it is of the file alone.
#[derive(Debug)]
pub struct Image {
    file: Option<File>,
    log: Option<File>,
    /// Where the log has the newest form of a page.
    frames: HashMap<u32, u64>,
    /// Pages of the file alone; the log may have more.
    pages: u32,
}

impl Image {
    /// Opens the file at `path` and the log beside it (`…-wal`), whose pages go before the file's. What cannot be opened
    /// is empty: either of them may be all that is left.
    pub fn open(path: &Path) -> Self {
        let file = File::open(path).ok();
        let len = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = File::open(log).ok();
        let frames = log.as_ref().map(frames).unwrap_or_default();
        Self { file, log, frames, pages: page_count(len) }
    }

    /// The file alone, for who has had SQLite bring the log into it.
    ///
    /// # Errors
    ///
    /// Its length cannot be read.
    pub fn of_file(file: File) -> io::Result<Self> {
        let pages = page_count(file.metadata()?.len());
        Ok(Self { file: Some(file), log: None, frames: HashMap::new(), pages })
    }

    /// Calls `take` with every whole row of every table and every short entry (one that is all on its page) of every
    /// index, page by page. A page that the disk does not give is one more damaged page.
    ///
    /// # Errors
    ///
    /// The first of `take`, which ends the walk.
    pub fn rows<E>(&self, mut take: impl FnMut(RawRow) -> Result<(), E>) -> Result<(), E> {
        let mut beyond: Vec<u32> = self.frames.keys().copied().filter(|number| *number > self.pages).collect();
        beyond.sort_unstable();
        for number in (1..=self.pages).chain(beyond) {
            let Some(page) = self.page(number) else { continue };
            let header = if number == 1 { FILE_HEADER } else { 0 };
            let (kind, pointers) = (page[header], if page[header] == INDEX_INNER { 12 } else { 8 });
            if ![TABLE_LEAF, INDEX_INNER, INDEX_LEAF].contains(&kind) {
                continue;
            }
            let cells = usize::from(u16::from_be_bytes([page[header + 3], page[header + 4]]));
            for cell in 0..cells {
                let at = header + pointers + 2 * cell;
                let Some(pointer) = page.get(at..at + 2) else { break };
                let start = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
                let cell = page.get(start..).unwrap_or_default();
                let row = match kind {
                    TABLE_LEAF => self.table_row(cell),
                    // The page below comes first.
                    INDEX_INNER => cell.get(4..).and_then(index_entry),
                    _ => index_entry(cell),
                };
                row.map_or(Ok(()), &mut take)?;
            }
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Option<[u8; USABLE]> {
        let offset = u64::from(number.checked_sub(1)?) * PAGE;
        let mut page = [0u8; USABLE];
        match (self.frames.get(&number), &self.log, &self.file) {
            (Some(offset), Some(log), _) => log.read_exact_at(&mut page, *offset).ok()?,
            (_, _, Some(file)) => file.read_exact_at(&mut page, offset).ok()?,
            _ => return None,
        }
        Some(page)
    }

    /// A cell of a table: length of the payload, row number, the payload's start, and the page on which it goes on.
    fn table_row(&self, cell: &[u8]) -> Option<RawRow> {
        let (length, rest) = varint(cell)?;
        let (rowid, rest) = varint(rest)?;
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_ROW)?;
        let local = local_len(length);
        let mut payload = rest.get(..local)?.to_vec();
        if local < length {
            let mut next = u32::from_be_bytes(rest.get(local..local + 4)?.try_into().ok()?);
            // The payload's length is known, so a chain that runs in a circle ends too.
            while payload.len() < length {
                let page = self.page(next)?;
                next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
                payload.extend_from_slice(&page[4..4 + (length - payload.len()).min(USABLE - 4)]);
            }
        }
        Some(RawRow { rowid: Some(rowid.cast_signed()), values: record(&payload)? })
    }
}

/// Pages of a file; what is left of a page that was cut does not count.
fn page_count(len: u64) -> u32 {
    u32::try_from(len / PAGE).unwrap_or(u32::MAX)
}

/// Where each page's newest committed form is in a log. A frame counts if it carries the salt of the log's header: older
/// ones do not, and what a killed process did not commit is behind the last frame that ends a transaction.
fn frames(log: &File) -> HashMap<u32, u64> {
    let (mut committed, mut open) = (HashMap::new(), Vec::new());
    let mut header = [0u8; LOG_HEADER];
    if log.read_exact_at(&mut header, 0).is_err() || header[0..3] != [0x37, 0x7F, 0x06] {
        return committed;
    }
    let mut offset = LOG_HEADER as u64;
    let mut frame = [0u8; FRAME_HEADER];
    while log.read_exact_at(&mut frame, offset).is_ok() && frame[8..16] == header[16..24] {
        let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        open.push((number(0), offset + FRAME_HEADER as u64));
        if number(4) != 0 {
            committed.extend(open.drain(..));
        }
        offset += FRAME_HEADER as u64 + PAGE;
    }
    committed
}

/// A cell of an index: length of the payload, and the payload.
fn index_entry(cell: &[u8]) -> Option<RawRow> {
    let (length, rest) = varint(cell)?;
    let length = usize::try_from(length).ok().filter(|n| *n <= MAX_INDEX_ENTRY)?;
    Some(RawRow { rowid: None, values: record(rest.get(..length)?)? })
}

/// How much of a payload is in the leaf itself.
fn local_len(length: usize) -> usize {
    if length <= USABLE - 35 {
        return length;
    }
    let least = (USABLE - 12) * 32 / 255 - 23;
    let some = least + (length - least) % (USABLE - 4);
    if some <= USABLE - 35 { some } else { least }
}

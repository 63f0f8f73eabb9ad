//! Encoded batches.

use super::{Target, columns};
use crate::memory;
use dsmil_protocol::batch::{
    Batch, BatchError, BatchHeader, Decoder, Encoder, MAX_BATCH_LEN, MAX_TICKS, decode_header, encode,
};
use dsmil_protocol::metric::MAX_METRICS;

pub(super) const TARGET: Target = Target {
    name: "batches",
    what: "encoded batches",
    run,
    seeds,
    dictionary: &[b"\x28\xb5\x2f\xfd", b"\x00\x00", b"\x80\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
    max_len: 4096,
};

/// Values of the largest batch that is decoded here: one byte can stand for a column of 120, and large ones are slow
/// without being different.
const MAX_VALUES: usize = 1 << 16;

fn run(input: &[u8]) {
    let Ok(header) = memory::within(8 * MAX_TICKS * 8, || decode_header(input)) else {
        assert!(Decoder::new().decode(input, 3).is_err(), "a header that cannot be read is that of no batch");
        return;
    };
    check(&header);
    let (metrics, ticks) = (header.metrics, header.stamps.len());
    let mut decoder = Decoder::new();
    let other = decoder.decode(input, metrics + 1);
    assert_eq!(other, Err(BatchError::Columns { columns: metrics, metrics: metrics + 1 }));
    if metrics * ticks > MAX_VALUES {
        return;
    }
    // The matrix is what it is; the shapes have five bytes a column at most.
    let warranted = metrics * (ticks * 8 + 16 + 8) + 4 * input.len() + 8 * MAX_TICKS * 8;
    let first = memory::within(warranted, || decoder.decode(input, metrics));
    assert_eq!(decoder.decode(input, metrics), first, "a decoder that was used reads the same");
    let Ok(batch) = first else { return };
    assert_eq!(batch.header, header, "header and whole agree");
    assert!(!input.is_empty() && Decoder::new().decode(&input[..input.len() - 1], metrics).is_err(), "a byte less");
    read_back(&batch);
}

fn check(header: &BatchHeader) {
    assert!(header.metrics <= MAX_METRICS && (1..=MAX_TICKS).contains(&header.stamps.len()));
    assert!(header.stamps.windows(2).all(|pair| pair[0].tick < pair[1].tick), "ticks rise");
    assert!(header.range().first <= header.range().last);
}

/// Encodes a batch and reads it back; encoding what was read makes the same bytes.
pub(super) fn read_back(batch: &Batch) {
    let bytes = encode(batch).expect("a batch of this size is encoded");
    assert!(bytes.len() <= most(batch), "{} bytes", bytes.len());
    assert_eq!(decode_header(&bytes).as_ref(), Ok(&batch.header));
    let mut decoder = Decoder::new();
    assert!(decoder.decode(&bytes[..bytes.len() - 1], batch.header.metrics).is_err(), "a byte less");
    assert_eq!(decoder.decode(&bytes, batch.header.metrics).as_ref(), Ok(batch));
    let mut encoder = Encoder::new();
    assert_eq!(encoder.encode(batch).as_ref(), Ok(&bytes));
    assert_eq!(encoder.encode(batch).as_ref(), Ok(&bytes), "an encoder that was used writes the same");
}

/// The most bytes a batch may take: the header, and for each column its shape, presence and values as they are.
fn most(batch: &Batch) -> usize {
    let (metrics, ticks) = (batch.matrix.metrics(), batch.matrix.ticks());
    let header = 33 + 4 * 10 + 2 * (1 + 8 * ticks);
    (header + 20 + metrics * (5 + ticks.div_ceil(8) + 8 * ticks + 1)).min(MAX_BATCH_LEN)
}

fn seeds() -> Vec<Vec<u8>> {
    columns::seed_batches().iter().map(|batch| encode(batch).expect("a batch")).collect()
}

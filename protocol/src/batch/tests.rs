//! What the codec promises as a whole.

use super::*;
use crate::ids::{BootId, Tick};
use crate::metric::{MAX_METRICS, SetId};
use proptest::collection::vec;
use proptest::prelude::*;

type Column = Vec<Option<u64>>;

fn batch(first: u64, wall: i64, columns: &[Column], ticks: usize) -> Batch {
    let stamps = (0..ticks as u64).map(|t| Stamp { tick: Tick(first + t), wall_ms: wall + 1000 * t.cast_signed() });
    let mut matrix = Matrix::new(columns.len(), ticks);
    for (m, column) in columns.iter().enumerate() {
        column.iter().enumerate().for_each(|(t, value)| matrix.set(m, t, *value));
    }
    let stamps = stamps.collect();
    let header = BatchHeader { boot: BootId([0xB0; 16]), set: SetId([0x5E; 16]), metrics: columns.len(), stamps };
    Batch { header, matrix }
}

fn walk(start: u64, steps: Vec<u64>) -> Vec<u64> {
    let mut value = start;
    let next = |step| {
        let next = value.wrapping_add(step);
        std::mem::replace(&mut value, next)
    };
    steps.into_iter().map(next).collect()
}

/// A series as some sensor might tell it, and some that none would.
fn series(ticks: usize) -> impl Strategy<Value = Vec<u64>> {
    let start = || (any::<u64>(), 0u32..64).prop_map(|(n, shift)| n >> shift);
    prop_oneof![
        start().prop_map(move |n| vec![n; ticks]),
        Just(vec![0; ticks]),
        vec(any::<u64>(), ticks),
        vec(prop_oneof![9 => Just(0u64), 1 => any::<u64>()], ticks).prop_map(|steps| walk(7, steps)),
        (start(), vec(prop_oneof![5 => Just(0u64), 1 => 1u64..9], ticks)).prop_map(|(n, steps)| walk(n, steps)),
        (start(), vec(0u64..1000, ticks)).prop_map(|(n, steps)| walk(n, steps)),
        (start(), vec(0u64..50, ticks), 0u32..64)
            .prop_map(|(n, steps, shift)| walk(n, steps.into_iter().map(|s| s << shift).collect())),
        (start(), vec(prop_oneof![30 => 0u64..4, 1 => any::<u64>()], ticks)).prop_map(|(n, steps)| walk(n, steps)),
        (start(), any::<u64>()).prop_map(move |(n, slope)| walk(n, vec![slope; ticks])),
        (start(), vec(-3i64..3, ticks)).prop_map(|(n, s)| walk(n, s.into_iter().map(i64::cast_unsigned).collect())),
        vec(-1e6f64..1e6, ticks).prop_map(|values| values.into_iter().map(f64::to_bits).collect()),
        vec(any::<f64>(), ticks).prop_map(|values| values.into_iter().map(f64::to_bits).collect()),
    ]
}

fn column(ticks: usize) -> impl Strategy<Value = Column> {
    let presence = prop_oneof![
        4 => Just(vec![true; ticks]),
        1 => Just(vec![false; ticks]),
        2 => vec(any::<bool>(), ticks),
    ];
    (series(ticks), presence)
        .prop_map(|(values, there)| values.into_iter().zip(there).map(|(v, there)| there.then_some(v)).collect())
}

fn stamps(ticks: usize) -> impl Strategy<Value = Vec<Stamp>> {
    let rise = prop_oneof![8 => Just(1u64), 1 => 1u64..100, 1 => 1u64..1 << 50];
    let wall = prop_oneof![8 => 990i64..1010, 1 => any::<i64>()];
    (0u64..1 << 40, any::<i64>(), vec((rise, wall), ticks)).prop_map(|(tick, wall, steps)| {
        let mut now = Stamp { tick: Tick(tick), wall_ms: wall };
        let next = |(rise, wall): (u64, i64)| {
            let next = Stamp { tick: Tick(now.tick.0 + rise), wall_ms: now.wall_ms.wrapping_add(wall) };
            std::mem::replace(&mut now, next)
        };
        steps.into_iter().map(next).collect()
    })
}

fn batches() -> impl Strategy<Value = Batch> {
    let ticks = prop_oneof![2 => 1usize..=4, 4 => Just(10usize), 2 => 1usize..=MAX_TICKS];
    ticks.prop_flat_map(|ticks| {
        // Columns are picked from fewer ones, so that some are alike.
        let columns = (vec(column(ticks), 1..12), vec(any::<prop::sample::Index>(), 0..20));
        (stamps(ticks), columns, any::<[u8; 16]>()).prop_map(move |(stamps, (kinds, picks), boot)| {
            let columns: Vec<Column> = picks.iter().map(|pick| pick.get(&kinds).clone()).collect();
            let mut batch = batch(0, 0, &columns, ticks);
            batch.header.stamps = stamps;
            batch.header.boot = BootId(boot);
            batch
        })
    })
}

proptest! {
    #[test]
    fn a_batch_reads_back(batch in batches()) {
        let bytes = encode(&batch).expect("a valid batch");
        prop_assert_eq!(decode_header(&bytes), Ok(batch.header.clone()));
        prop_assert_eq!(decode(&bytes, batch.header.metrics), Ok(batch));
    }

    /// What one batch leaves in an encoder or decoder does not show in the next.
    #[test]
    fn a_codec_can_be_used_again(batches in vec(batches(), 1..4)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for batch in &batches {
            let bytes = encoder.encode(batch).expect("a valid batch");
            prop_assert_eq!(encode(batch), Ok(bytes.clone()));
            // One that fails half-way.
            prop_assert!(decoder.decode(&bytes[..bytes.len() - 1], batch.header.metrics).is_err());
            prop_assert_eq!(decoder.decode(&bytes, batch.header.metrics), Ok(batch.clone()));
        }
    }

    #[test]
    fn any_value_takes_its_eight_bytes_at_most(values in vec(any::<u64>(), 10 * 30)) {
        let columns: Vec<Column> = values.chunks(10).map(|c| c.iter().copied().map(Some).collect()).collect();
        let bytes = encode(&batch(0, 0, &columns, 10)).expect("a valid batch");
        prop_assert!(bytes.len() <= 64 + 300 * 8 + 30 * 4, "{} bytes", bytes.len());
    }

}

proptest! {
    // Each case decodes a batch hundreds of times over.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_truncation_is_refused(batch in batches()) {
        let bytes = encode(&batch).expect("a valid batch");
        let mut decoder = Decoder::new();
        for end in 0..bytes.len() {
            prop_assert!(decoder.decode(&bytes[..end], batch.header.metrics).is_err(), "cut at {}", end);
        }
    }

    #[test]
    fn bytes_left_over_are_refused(batch in batches(), more in vec(any::<u8>(), 1..5)) {
        let mut bytes = encode(&batch).expect("a valid batch");
        bytes.extend(more);
        prop_assert!(decode(&bytes, batch.header.metrics).is_err());
    }

    /// A damaged batch is refused or read as another one, in bounded memory; it never panics.
    #[test]
    fn damage_does_no_harm(batch in batches(), with in any::<u8>()) {
        let bytes = encode(&batch).expect("a valid batch");
        let mut decoder = Decoder::new();
        for at in 0..bytes.len() {
            for flip in [with, 1 << (at % 8), 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let Ok(read) = decoder.decode(&damaged, batch.header.metrics) {
                    prop_assert!(read.matrix.metrics() == batch.header.metrics);
                }
            }
        }
    }

}

proptest! {
    #[test]
    fn noise_does_no_harm(noise in vec(any::<u8>(), 0..300), metrics in 0usize..40) {
        prop_assert!(decode(&noise, metrics).is_err() || noise[0] == 1);
        // The same behind a good header, where the columns begin.
        let columns = vec![vec![Some(1)]; metrics];
        let mut bytes = encode(&batch(0, 0, &columns, 1)).expect("a valid batch");
        bytes.truncate(HEADER_LEN);
        bytes.extend(noise);
        drop(decode(&bytes, metrics));
    }
}

/// The header of `batch(0, 0, …)` with one tick and less than 128 metrics: no packed numbers, four varints.
const HEADER_LEN: usize = 33 + 4;
const METRICS_AT: usize = 33;
const TICKS_AT: usize = 34;

fn constants(metrics: usize) -> Vec<u8> {
    encode(&batch(0, 0, &vec![vec![Some(1)]; metrics], 1)).expect("a valid batch")
}

#[test]
fn unknown_versions_are_refused() {
    let mut bytes = constants(1);
    for version in (0..=255).filter(|v| *v != 1) {
        bytes[0] = version;
        assert_eq!(decode(&bytes, 1), Err(BatchError::Version(version)));
        assert_eq!(decode_header(&bytes), Err(BatchError::Version(version)));
    }
}

#[test]
fn a_batch_of_another_set_is_refused() {
    let bytes = constants(3);
    assert_eq!(decode(&bytes, 4), Err(BatchError::Columns { columns: 3, metrics: 4 }));
    let mut odd = batch(0, 0, &[vec![Some(1)]], 1);
    odd.header.metrics = 2;
    assert_eq!(encode(&odd), Err(BatchError::Columns { columns: 1, metrics: 2 }));
}

#[test]
fn ticks_that_do_not_rise_are_refused() {
    let mut same = batch(5, 0, &[vec![Some(1); 3]], 3);
    same.header.stamps[2].tick = Tick(6);
    assert_eq!(encode(&same), Err(BatchError::Ticks));
    same.header.stamps[2].tick = Tick(1);
    assert_eq!(encode(&same), Err(BatchError::Ticks));
    // On the wire ticks cannot fall, but they can pass the last one there is.
    let mut last = batch(u64::MAX - 2, 0, &[vec![Some(1); 3]], 3);
    let bytes = encode(&last).expect("the very last ticks");
    assert_eq!(decode(&bytes, 1), Ok(last.clone()));
    last.header.stamps.truncate(2);
    let mut beyond = bytes;
    assert_eq!(beyond[35..45], [0xFD, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    beyond[35] = 0xFF;
    assert_eq!(decode_header(&beyond), Err(BatchError::Ticks));
}

#[test]
fn counts_over_the_limits_are_refused() {
    let none = batch(0, 0, &[], 0);
    assert_eq!(encode(&none), Err(BatchError::Count));
    let mut ragged = batch(0, 0, &[vec![Some(1); 3]], 3);
    ragged.header.stamps.pop();
    assert_eq!(encode(&ragged), Err(BatchError::Count));

    for ticks in [0, 121, 127] {
        let mut bytes = constants(1);
        bytes[TICKS_AT] = ticks;
        assert_eq!(decode_header(&bytes), Err(BatchError::Count), "{ticks} ticks");
    }
    for metrics in [MAX_METRICS as u64 + 1, 1 << 40, u64::MAX] {
        let mut bytes = constants(1);
        let mut count = vec![];
        bits::put_varint(&mut count, metrics);
        bytes.splice(METRICS_AT..=METRICS_AT, count);
        assert_eq!(decode_header(&bytes), Err(BatchError::Count), "{metrics} metrics");
    }
    assert_eq!(decode_header(&vec![1; MAX_BATCH_LEN + 1]), Err(BatchError::Count));
}

#[test]
fn the_largest_batches_are_encoded_or_refused() {
    let mut large = batch(0, 0, &[], 10);
    large.header.metrics = MAX_METRICS;
    large.matrix = Matrix::new(MAX_METRICS, 10);
    for m in 0..MAX_METRICS {
        (0..10).for_each(|t| large.matrix.set(m, t, Some((m * t) as u64)));
    }
    let bytes = encode(&large).expect("it compresses well");
    assert_eq!(decode(&bytes, MAX_METRICS), Ok(large.clone()));
    for m in 0..MAX_METRICS {
        let noise = (m as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..10).for_each(|t| large.matrix.set(m, t, Some(noise.wrapping_mul(noise ^ t as u64))));
    }
    assert_eq!(encode(&large), Err(BatchError::Count), "5 MiB of noise");
}

/// A batch of 100 one-tick columns whose shapes are the frame `frame`, said to hold `length` bytes.
fn with_frame(length: u64, frame: &[u8]) -> Vec<u8> {
    let mut bytes = constants(100);
    bytes.truncate(HEADER_LEN);
    bits::put_varint(&mut bytes, length);
    bits::put_varint(&mut bytes, frame.len() as u64);
    bytes.extend_from_slice(frame);
    bytes
}

#[test]
fn bombs_are_refused() {
    let zeros = zstd::bulk::compress(&[0; 100], 1).expect("memory to memory");
    let fine = with_frame(100, &zeros);
    assert_eq!(decode(&fine, 100), Ok(batch(0, 0, &vec![vec![Some(0)]; 100], 1)));

    // More than a hundred columns can need, or less: refused before the frame is looked at.
    for length in [0, 99, 501, 1 << 20, 1 << 40, u64::MAX] {
        assert_eq!(decode(&with_frame(length, &zeros), 100), Err(BatchError::Length), "{length} bytes of shapes");
    }
    // A frame of more than is said of it, with its size and without.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).expect("memory to memory");
    let mut silent = zstd::bulk::Compressor::new(1).expect("a level of zstd");
    silent.include_contentsize(false).expect("a flag of zstd");
    let silent = silent.compress(&vec![0; 1 << 20]).expect("memory to memory");
    for frame in [bomb, silent] {
        assert_eq!(decode(&with_frame(500, &frame), 100), Err(BatchError::Compression), "{} bytes", frame.len());
    }
    // Of less; two in a row; and one that is no shorter than what it holds.
    let short = zstd::bulk::compress(&[0; 99], 1).expect("memory to memory");
    let empty = zstd::bulk::compress(&[], 1).expect("memory to memory");
    let twice = [&zeros[..], &empty].concat();
    let long = zstd::bulk::compress(&(0..100).collect::<Vec<u8>>(), 1).expect("memory to memory");
    for frame in [short, twice, long] {
        assert_eq!(decode(&with_frame(100, &frame), 100), Err(BatchError::Compression), "{frame:?}");
    }
}

/// One column of ten ticks from its shape and bits.
fn column_of(shapes: &[u8], packed: &[u8]) -> Result<Matrix, BatchError> {
    let mut bytes = encode(&batch(0, 0, &[], 10)).expect("a valid batch");
    bytes[METRICS_AT] = 1;
    bytes.truncate(bytes.len() - 2);
    bytes.extend([u8::try_from(shapes.len()).expect("a short shape"), 0]);
    bytes.extend_from_slice(shapes);
    bytes.extend_from_slice(packed);
    decode(&bytes, 1).map(|batch| batch.matrix)
}

#[test]
fn what_no_encoder_writes_is_refused() {
    assert!(column_of(&[0x00], &[]).is_ok(), "zeros");
    assert!(column_of(&[0x10], &[]).is_ok(), "nothing there");
    assert!(column_of(&[0x01, 3], &[0b11]).is_ok(), "a constant 7");
    assert!(column_of(&[0x04, 1, 0], &[0b1010_1010, 1]).is_ok(), "deltas");
    assert!(column_of(&[0x03, 1, 0], &[0b0101_0001, 0]).is_ok(), "a step at 5");
    assert!(column_of(&[0x02, 0, 0], &[0b0101_0001, 0]).is_ok(), "three changes of -1");
    assert!(column_of(&[0x20], &[0b101, 0]).is_ok(), "zero here and there");
    for (shapes, packed, what) in [
        (&[0x07][..], &[][..], "an unknown mode"),
        (&[0x30], &[], "an unknown presence"),
        (&[0x11, 1], &[], "a constant that is not there"),
        (&[0x26, 1], &[], "a copy of a part"),
        (&[0x06, 1], &[], "a copy of nothing"),
        (&[0x06, 0], &[], "a copy of itself"),
        (&[0x08], &[], "shifted zeros"),
        (&[0x40], &[], "zeros in a Golomb code"),
        (&[0x80], &[], "rising zeros"),
        (&[0x85, 1, 0, 0], &[0], "a change of change without a sign"),
        (&[0x01, 0], &[], "a constant zero"),
        (&[0x01, 65], &[0; 8], "a value of 65 bits"),
        (&[0x01, 3], &[0b111], "a bit that nothing uses"),
        (&[0x04, 0, 0], &[], "changes that are none"),
        (&[0x04, 65, 0], &[0; 74], "changes of 65 bits"),
        (&[0x44, 64, 0], &[0xFF; 80], "a Golomb code of order 64"),
        (&[0x0C, 1, 0, 0], &[1, 0], "a shift by nothing"),
        (&[0x0C, 1, 64, 0], &[1, 0], "a shift by 64"),
        (&[0x02, 1, 0], &[0, 0], "no change in the mask"),
        (&[0x02, 1, 0], &[1, 0], "a mask for a single change"),
        (&[0x03, 1, 0], &[0x00], "no step"),
        (&[0x03, 1, 0], &[0x91, 0], "a step behind the end"),
        (&[0x03, 1, 0], &[0x12, 0x02, 0], "steps where a mask is shorter"),
        (&[0x20], &[0, 0], "some values, but none"),
        (&[0x20], &[0xFF, 0x03], "some values, but all"),
        (&[0x24, 1, 0], &[1, 0], "the changes of one value"),
        (&[0x25, 1, 0, 0], &[3, 0], "the changes of the changes of two"),
    ] {
        assert_eq!(column_of(shapes, packed), Err(BatchError::Column), "{what}");
    }
    assert_eq!(column_of(&[0x00, 0], &[]), Err(BatchError::Length), "shapes left over");
    assert_eq!(column_of(&[0x01], &[]), Err(BatchError::Length), "shapes missing");
}

#[test]
fn absent_values_take_no_space_and_stay_absent() {
    let full: Column = (0..10).map(|t| Some(1000 + t * t)).collect();
    let mut holes = full.clone();
    holes[3] = None;
    holes[9] = None;
    let columns = [full, holes.clone(), vec![None; 10], holes];
    let whole = batch(0, 0, &columns, 10);
    let bytes = encode(&whole).expect("a valid batch");
    let read = decode(&bytes, 4).expect("our own batch");
    assert_eq!(read, whole);
    assert_eq!(read.matrix.get(1, 3), None);
    assert_eq!(read.matrix.samples(), 26);
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

/// One column of every mode, with every flag.
fn golden() -> Batch {
    let all = |values: [u64; 10]| values.map(Some).to_vec();
    let mut golden = batch(
        1_000_000,
        1_700_000_000_000,
        &[
            all([0; 10]),
            all([300; 10]),
            vec![None; 10],
            all([5, 5, 6, 6, 6, 7, 7, 7, 8, 8]),
            all([90, 90, 90, 90, 90, 10, 10, 10, 10, 10]),
            all([100, 103, 101, 100, 104, 105, 101, 100, 102, 101]),
            all([500, 900, 480, 930, 410, 880, 500, 950, 470, 900]),
            all([4096, 8192, 20480, 24576, 24576, 28672, 49152, 53248, 61440, 65536]),
            all([
                1_000_000, 1_010_000, 1_020_001, 1_030_001, 1_040_001, 1_050_000, 1_060_000, 1_070_001, 1_080_001,
                1_090_001,
            ]),
            all([0, 1, 1, 3, 4, 70_004, 70_005, 70_005, 70_006, 70_008]),
            all([100, 103, 101, 100, 104, 105, 101, 100, 102, 101]),
            vec![Some(u64::MAX), None, Some(u64::MAX - 1), None, None, None, None, None, Some(1 << 63), Some(0)],
        ],
        10,
    );
    golden.header.stamps[4].wall_ms -= 3;
    golden.header.stamps[9] = Stamp { tick: Tick(1_000_011), wall_ms: 1_700_000_011_002 };
    golden
}

/// The format cannot change unnoticed. If this test fails, the version must rise, and the old one must stay readable.
#[test]
fn the_bytes_of_version_1_are_these() {
    let bytes = from_hex(GOLDEN);
    let hex: String = encode(&golden()).expect("a valid batch").iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN.split_whitespace().collect::<String>());
    assert_eq!(decode(&bytes, 12), Ok(golden()));
}

/// As above with shapes in a zstd frame, which a newer zstd may write otherwise but must read the same.
#[test]
fn compressed_version_1_stays_readable() {
    let bytes = from_hex(GOLDEN_ZSTD);
    let columns: Vec<Column> = (0..100).map(|m| (0..10).map(|t| Some(m / 50 * t)).collect()).collect();
    let expected = batch(7, -1, &columns, 10);
    let encoded = encode(&expected).expect("a valid batch");
    assert_eq!(decode(&bytes, 100), Ok(expected.clone()));
    assert_eq!(decode(&encoded, 100), Ok(expected));
}

const GOLDEN: &str = "
    01b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b05e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e0c0ac0843d0200000280a0abfef96203006a0004220000
    01108203440ccc05c206250008020a01020040010c09030707090d140f004001052c49d2823c49f5c9ba89d143369a70075ab79770dfb906
    00dbedcb404207718c347a5700807011abe0ffffffffffffff7ffeffffffffffffff0000000000000000";
const GOLDEN_ZSTD: &str = "
    01b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b05e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e640a0700010098011928b52ffd00008500004000000506
    000002010314002591705800";

//! Frames out of a stream of bytes, however it is cut.

use super::{Target, choose};
use crate::memory;
use dsmil_protocol::frame::{FRAME_VERSION, Flags, Frame, HEADER_LEN, MAX_PAYLOAD_LEN, MessageType};
use dsmil_protocol::ids::{DeviceId, TenantId};
use dsmil_protocol::reader::{FrameReader, ReadFault};
use dsmil_protocol::tlv::{Classification, Compartments, MAX_TLVS_LEN, TlvType, Tlvs};

pub(super) const TARGET: Target = Target {
    name: "frames",
    what: "a stream of bytes into frames, in any cutting; TLVs",
    run,
    seeds,
    dictionary: &[
        b"DSMI\x01",
        b"\x00\x01\x00\x04demo",
        b"\x00\x02\x00\x08",
        b"\x00\x03\x00\x01",
        b"\x00\x06\x00\x02\xff\xff",
        b"\x00\x07\x00\x02",
        b"\x00\x08\x00\x08",
        b"\x00\x0c\x00\x08",
        b"\x00\x0d\x00\x04",
        b"\x00\x0e\x00\x01",
        b"\x80\x77\x00\x00",
    ],
    max_len: 4096,
};

/// What a frame costs beside its bytes: its own struct, its TLVs' and the vector of frames that this test keeps.
const BESIDE: usize = 16 << 10;

/// The first byte says whether checksums and lengths are made right, the second how the stream is cut.
fn run(input: &[u8]) {
    let (sealed, rest) = choose(input, 2);
    let (cut, rest) = choose(rest, 255);
    let mut bytes = rest.to_vec();
    if sealed == 1 {
        seal(&mut bytes);
    }
    // Twice for the buffer and what comes out of it, and once more while the buffer grows; a TLV has four bytes at least
    // and forty in memory.
    let read = |chunk: usize| memory::within(16 * bytes.len() + BESIDE, || read(&bytes, chunk));
    let whole = read(bytes.len().max(1));
    assert_eq!(read(1 + usize::from(cut)), whole, "the cutting changes what is read");
    for frame in whole.iter().flatten() {
        let again = frame.encode();
        assert_eq!(Frame::from_bytes(&again).as_ref(), Ok(frame), "it reads back");
        assert!(again.len() <= bytes.len(), "the form that is sent is the shortest");
        assert!(frame.head_len() + frame.payload.len() == again.len());
        if let Some((last, all)) = again.split_last() {
            assert!(Frame::from_bytes(all).is_err(), "a byte less");
            assert!(Frame::from_bytes(&[all, &[last ^ 1]].concat()).is_err(), "a bit changed");
        }
    }
}

/// All frames and faults of a stream; after a fault that names no batch nothing can be read.
fn read(bytes: &[u8], chunk: usize) -> Vec<Result<Frame, ReadFault>> {
    let (mut reader, mut all) = (FrameReader::new(), Vec::new());
    for piece in bytes.chunks(chunk) {
        reader.extend(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => all.push(Ok(frame)),
                Ok(None) => break,
                Err(fault) => {
                    all.push(Err(fault));
                    if fault.batch.is_none() {
                        return all;
                    }
                }
            }
        }
        assert!(reader.awaited().unwrap_or(0) <= MAX_TLVS_LEN + MAX_PAYLOAD_LEN, "a length was believed");
    }
    all
}

/// Makes every frame's magic, version, lengths and checksum right, so that what is behind them is reached.
fn seal(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(frame) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEADER_LEN) {
        let room = frame.len() - HEADER_LEN;
        let wish = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
        let tlvs = wish(frame[26], frame[27]).min(room);
        let payload = wish(frame[22], frame[23]).min(room - tlvs);
        frame[..4].copy_from_slice(b"DSMI");
        frame[4] = FRAME_VERSION;
        frame[16..24].copy_from_slice(&(payload as u64).to_be_bytes());
        frame[24..28].copy_from_slice(&u32::try_from(tlvs).expect("at most 64 KiB").to_be_bytes());
        frame[28..32].fill(0);
        let len = HEADER_LEN + tlvs + payload;
        let crc = crc32c::crc32c(&frame[..len]);
        frame[28..32].copy_from_slice(&crc.to_be_bytes());
        at += len;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let tlvs = |other: Vec<(TlvType, Vec<u8>)>| Tlvs {
        tenant: TenantId::new("demo").expect("a tenant"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
        source: DeviceId::HOST,
        timestamp_ns: 1_700_000_000_000_000_000,
        sequence: Some(7),
        destination: Some(DeviceId(4)),
        other,
    };
    let every_other = || {
        let plain = TlvType::ALL
            .iter()
            .copied()
            .filter(|kind| kind.value().contains("signed") || kind.value().contains("signature"));
        plain
            .map(|kind| (kind, vec![1; 9]))
            .chain([(TlvType::LayerPath, vec![3, 4]), (TlvType::RoeLevel, vec![1])])
            .collect()
    };
    let mut seeds = Vec::new();
    let mut stream = vec![1, 16];
    for kind in MessageType::ALL {
        let other = if *kind == MessageType::Error { every_other() } else { Vec::new() };
        let frame = Frame {
            kind: *kind,
            flags: Flags::REQUIRE_ACK.with(Flags::REPLAY_PROTECTED),
            correlation: 42,
            tlvs: tlvs(other),
            payload: vec![5; 12],
        };
        let bytes = frame.encode();
        stream.extend(&bytes);
        seeds.push([&[0, 8], &bytes[..]].concat());
    }
    seeds.push(stream);
    seeds
}

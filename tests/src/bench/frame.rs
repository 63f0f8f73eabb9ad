//! What a frame around a batch costs: bytes, and the time to make and to check it.

use super::codec::Capture;
use super::{BATCH_TICKS, Better, Row, Target};
use anyhow::Context;
use dsmil_protocol::batch::encode;
use dsmil_protocol::frame::{Flags, Frame, MessageType};
use dsmil_protocol::ids::{DeviceId, TenantId};
use dsmil_protocol::tlv::{Classification, Compartments, Tlvs};
use dsmil_runtime::clock::Clock;

/// Frames made and checked; one in a hundred may be slower than what p99 says.
const FRAMES: usize = 20_000;

/// A telemetry frame as a session makes it.
pub(super) fn telemetry(payload: Vec<u8>) -> Frame {
    let tlvs = Tlvs {
        tenant: TenantId::new("default").expect("it is a tenant's name"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
        source: DeviceId::HOST,
        timestamp_ns: 1_800_000_000_000_000_000,
        sequence: Some(1),
        destination: None,
        other: Vec::new(),
    };
    let flags = Flags::REQUIRE_ACK.with(Flags::REPLAY_PROTECTED);
    Frame { kind: MessageType::Telemetry, flags, correlation: 1, tlvs, payload }
}

/// Bytes of header and TLVs of a telemetry frame.
pub(super) fn framing_len() -> usize {
    telemetry(Vec::new()).head_len()
}

pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let batches = capture.batches(BATCH_TICKS).iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let frames: Vec<Frame> = batches.into_iter().map(telemetry).collect();
    let mut took_us = Vec::with_capacity(FRAMES);
    for frame in frames.iter().cycle().take(FRAMES) {
        let start = clock.mono();
        let bytes = frame.encode();
        let read = Frame::from_bytes(&bytes);
        took_us.push(clock.mono().saturating_sub(start).as_secs_f64() * 1e6);
        anyhow::ensure!(read.as_ref() == Ok(frame), "a frame reads back as it was");
    }
    took_us.sort_by(f64::total_cmp);
    let at = |percent: usize| took_us.get(took_us.len() * percent / 100).copied().context("no frame was made");
    Ok(vec![
        Row::aimed("frame, made and checked, p99", at(99)?, "µs", Target::Under(50.0)),
        Row::told("frame, made and checked, p50", at(50)?, "µs"),
        Row::aimed("framing of a batch", framing_len() as f64, "B", Target::AtMost(96.0)).kept(Better::Less),
    ])
}

//! Hosts that are watched.

use super::*;
use crate::message::MAX_WATCH_MS;

fn tick_alone(tick: u64, ticks: u64) -> Vec<u8> {
    let stamps = (tick..tick + ticks).map(|tick| Stamp { tick: Tick(tick), wall_ms: 0 }).collect();
    let header = BatchHeader { boot: BOOT, set: metric_set(0).id(), metrics: 1, stamps };
    let matrix = Matrix::new(1, header.stamps.len());
    encode(&Batch { header, matrix }).expect("a batch")
}

fn hand(agent: &mut AgentSession, aggregator: &mut AggregatorSession, now: Now) {
    while let Some(out) = aggregator.poll_output() {
        agent.receive(&Frame::from_bytes(&out.bytes).expect("a frame"), now);
    }
}

/// The next tick, after its metric set if that is new.
fn said(agent: &mut AgentSession) -> Frame {
    let frames = std::iter::from_fn(|| agent.poll_output()).map(|out| {
        assert_eq!(out.lane, Lane::Live);
        Frame::from_bytes(&out.bytes).expect("a frame")
    });
    let frames: Vec<Frame> = frames.collect();
    let kinds: Vec<MessageType> = frames.iter().map(|frame| frame.kind).collect();
    assert!(matches!(kinds[..], [MessageType::MetricSet, MessageType::Live] | [MessageType::Live]), "{kinds:?}");
    frames.into_iter().next_back().expect("LIVE")
}

#[test]
fn each_tick_comes_while_somebody_watches_and_for_no_longer() {
    let (mut aggregator, mut agent) = met(vec![3, 2, 1]);
    assert!(!agent.send_live(Tick(1), &metric_set(0), tick_alone(1, 1), now_at(1)), "nobody watches");
    assert!(aggregator.watch(5_000, now_at(1)));
    hand(&mut agent, &mut aggregator, now_at(1));
    assert!(agent.is_watched(now_at(5)) && !agent.is_watched(now_at(6)));
    assert!(agent.send_live(Tick(2), &metric_set(0), tick_alone(2, 1), now_at(2)));
    let frame = said(&mut agent);
    let Ok(Incoming::Live(live)) = aggregator.receive(frame, now_at(2)) else { panic!("a tick") };
    assert_eq!((live.header.range().first, live.header.boot), (Tick(2), BOOT));
    assert!(aggregator.poll_output().is_none(), "nobody acknowledges it");
    // Asked for anew it goes on, and ends when nobody watches any more.
    assert!(aggregator.watch(u32::MAX, now_at(5)));
    hand(&mut agent, &mut aggregator, now_at(5));
    let longest = 5 + u64::from(MAX_WATCH_MS) / 1000;
    assert!(agent.is_watched(now_at(longest - 1)) && !agent.is_watched(now_at(longest)));
    assert!(aggregator.watch(0, now_at(6)));
    hand(&mut agent, &mut aggregator, now_at(6));
    assert!(!agent.send_live(Tick(3), &metric_set(0), tick_alone(3, 1), now_at(6)) && agent.is_open());
}

#[test]
fn a_metric_set_goes_before_its_first_tick_and_not_before_the_others() {
    let (mut aggregator, mut agent) = met(vec![3]);
    aggregator.watch(60_000, now_at(1));
    hand(&mut agent, &mut aggregator, now_at(1));
    let mut kinds = Vec::new();
    for (tick, set) in [(2, 0), (3, 0), (4, 1), (5, 0)] {
        assert!(agent.send_live(Tick(tick), &metric_set(set), tick_alone(tick, 1), now_at(tick)));
        kinds.extend(std::iter::from_fn(|| agent.poll_output()).map(|out| {
            assert_eq!(out.lane, Lane::Live, "on the same stream, so that it comes before");
            Frame::from_bytes(&out.bytes).expect("a frame").kind
        }));
    }
    let (set, live) = (MessageType::MetricSet, MessageType::Live);
    assert_eq!(kinds, [set, live, live, set, live, set, live]);
}

#[test]
fn agents_of_earlier_versions_are_not_asked_and_break_off_if_they_are() {
    for version in [1, 2] {
        let (mut aggregator, mut agent) = met(vec![version]);
        assert!(!aggregator.watch(5_000, now_at(1)) && aggregator.poll_output().is_none());
        let mut writer = super::super::Writer::new(speaker());
        let asked = writer.message(&Config::Watch { for_ms: 1 }, now_at(1));
        agent.receive(&Frame::from_bytes(&asked).expect("a frame"), now_at(1));
        let closed = std::iter::from_fn(|| agent.poll_event())
            .any(|event| event == Event::Closed(Closed::Fault(ErrorCode::PayloadMalformed)));
        assert!(closed, "version {version}");
    }
}

#[test]
fn what_nobody_asked_for_and_what_is_no_single_tick_is_refused() {
    let refused = |asked: bool, at: u64, number: u64, payload: Vec<u8>| {
        let (mut aggregator, mut agent) = met(vec![3]);
        if asked {
            aggregator.watch(1_000, now_at(1));
        }
        agent.watched_until = Duration::MAX;
        assert!(agent.send_live(Tick(number), &metric_set(0), payload, now_at(at)));
        let frame = said(&mut agent);
        aggregator.receive(frame, now_at(at)).err().map(|fault| fault.code)
    };
    assert_eq!(refused(false, 20, 7, tick_alone(7, 1)), Some(ErrorCode::OutOfTurn));
    assert_eq!(refused(true, 12, 7, tick_alone(7, 1)), None, "it was on the way");
    assert_eq!(refused(true, 13, 7, tick_alone(7, 1)), Some(ErrorCode::OutOfTurn));
    assert_eq!(refused(true, 2, 7, tick_alone(7, 2)), Some(ErrorCode::BatchMalformed));
    assert_eq!(refused(true, 2, 8, tick_alone(7, 1)), Some(ErrorCode::BatchMalformed));
    assert_eq!(refused(true, 2, 7, b"nonsense".to_vec()), Some(ErrorCode::BatchMalformed));
}

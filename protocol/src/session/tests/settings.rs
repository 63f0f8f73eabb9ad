//! The fleet's settings in sessions of different versions.

use super::*;

#[test]
fn settings_go_to_an_agent_of_version_2_and_health_comes_back() {
    let (mut aggregator, mut agent) = met(vec![2, 1]);
    assert_eq!(aggregator.version(), 2);
    assert!(!aggregator.send_settings(vec![0; MAX_SETTINGS_LEN + 1], now_at(1)), "no agent would take it");
    assert!(aggregator.send_settings(vec![7; 30], now_at(1)));
    let out = aggregator.poll_output().expect("CONFIG");
    agent.receive(&Frame::from_bytes(&out.bytes).expect("a frame"), now_at(1));
    assert_eq!(agent.poll_event(), Some(Event::Settings(vec![7; 30])));
    let health = Health { on_trial: 7, ..Health::default() };
    assert!(agent.send_health(&health, now_at(2)));
    let said = agent.poll_output().expect("HEALTH");
    let heard = aggregator.receive(Frame::from_bytes(&said.bytes).expect("a frame"), now_at(2));
    assert_eq!(heard, Ok(Incoming::Health(health)));
}

#[test]
fn an_agent_of_version_1_gets_no_settings_and_says_no_health() {
    for versions in [vec![1], vec![9, 1]] {
        let (mut aggregator, mut agent) = met(versions);
        assert!(agent.is_open() && aggregator.version() == 1);
        assert!(!aggregator.send_settings(vec![7; 30], now_at(1)) && aggregator.poll_output().is_none());
        assert!(!agent.send_health(&Health::default(), now_at(1)) && agent.poll_output().is_none());
    }
    // One that says it all the same.
    let (mut session, mut writer) = open();
    let frame = Frame::from_bytes(&writer.message(&Health::default(), now_at(2))).expect("a frame");
    assert_eq!(session.receive(frame, now_at(2)), Err(Fault { code: ErrorCode::OutOfTurn, disconnect: false }));
}

#[test]
fn an_agent_of_version_2_talks_to_an_aggregator_of_version_1_as_before() {
    let start = || {
        let hello = Hello { versions: vec![2, 1], ..hello(vec![], now_at(1)) };
        AgentSession::start(speaker(), &hello, now_at(1))
    };
    let welcome = |version| Welcome {
        version,
        settings: SETTINGS,
        accounted: vec![],
        hello_boot_ns: 1_000_000_000,
        received_wall_ns: 1,
        answered_wall_ns: 2,
    };
    let (mut agent, mut old) = (start(), super::super::Writer::new(speaker()));
    agent.receive(&Frame::from_bytes(&old.message(&welcome(1), now_at(1))).expect("a frame"), now_at(1));
    assert!(agent.is_open() && !agent.speaks_of_settings());
    while agent.poll_output().is_some() {}
    assert!(!agent.send_health(&Health::default(), now_at(1)) && agent.poll_output().is_none());
    let settings = old.message(&Config::Settings(vec![1]), now_at(1));
    agent.receive(&Frame::from_bytes(&settings).expect("a frame"), now_at(1));
    let closed = std::iter::from_fn(|| agent.poll_event())
        .any(|event| event == Event::Closed(Closed::Fault(ErrorCode::PayloadMalformed)));
    assert!(closed, "which nobody of version 1 sends");
    // A version that was not offered is none.
    let (mut agent, mut newer) = (start(), super::super::Writer::new(speaker()));
    agent.receive(&Frame::from_bytes(&newer.message(&welcome(9), now_at(1))).expect("a frame"), now_at(1));
    assert_eq!(agent.poll_event(), Some(Event::Closed(Closed::Fault(ErrorCode::NoCommonVersion))));
}

#[test]
fn the_backlog_keeps_to_the_lower_of_two_caps() {
    let batch = |first| {
        let ticks = TickRange::new(Tick(first), Tick(first)).expect("a range");
        SpooledBatch { boot: BOOT, ticks, set: SetId([1; 16]), bytes: vec![0; 1024] }
    };
    let sent_in_ten_seconds = |cap: Option<u32>| {
        let (_, mut agent) = met(vec![2, 1]);
        agent.cap_backlog(cap);
        (10..20)
            .flat_map(|second| (0..4).map(move |quarter| (second, quarter)))
            .filter(|(second, quarter)| {
                let now = Now { mono: now_at(*second).mono + Duration::from_millis(250 * quarter), ..now_at(*second) };
                let room = agent.backlog_room(now) > 0;
                if room {
                    agent.send_batch(Lane::Backlog, batch(second * 10 + quarter), now);
                    // Acknowledged at once: the window is not what is tested.
                    let ranges = vec![TickRange::new(Tick(0), Tick(1000)).expect("a range")];
                    let ack = crate::message::Ack {
                        accounted: vec![Accounted { boot: BOOT, ranges }],
                        rejected: vec![],
                        echo: None,
                    };
                    let ack = super::super::Writer::new(speaker()).message(&ack, now);
                    agent.receive(&Frame::from_bytes(&ack).expect("a frame"), now);
                }
                room
            })
            .count()
    };
    let (welcomed, capped, no_cap) =
        (sent_in_ten_seconds(None), sent_in_ten_seconds(Some(1024)), sent_in_ten_seconds(Some(1 << 30)));
    assert!((7..=11).contains(&capped), "a batch of 1.1 KB a second, and not {capped}");
    assert!(welcomed > 3 * capped && no_cap == welcomed, "{welcomed}, {no_cap}");
}

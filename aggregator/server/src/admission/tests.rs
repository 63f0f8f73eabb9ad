//! Admission under floods, with a clock that is moved by hand.

use super::limits::{Answer, Limits, Slot};
use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const SECOND: Duration = Duration::from_secs(1);

fn address(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

fn host(n: u32) -> HostName {
    HostName::new(format!("h{n}")).expect("a name")
}

fn limits(change: impl FnOnce(&mut AdmissionSection)) -> Limits {
    let mut section = AdmissionSection::default();
    change(&mut section);
    section.check().expect("within the ranges");
    Limits::new(section)
}

/// Peers that were admitted and only sit there, until their time is over.
#[derive(Default)]
struct Sitting(VecDeque<(Duration, Slot)>);

impl Sitting {
    /// `from` asks for another place to sit in; true if it got one.
    fn ask(&mut self, limits: &mut Limits, from: IpAddr, proof: Proof, now: Duration) -> bool {
        let Answer::Admit(slot) = limits.ask(from, proof, now) else { return false };
        self.0.push_back((now + slot.within, slot));
        true
    }

    fn expire(&mut self, limits: &mut Limits, now: Duration) {
        self.0.retain(|(until, slot)| {
            if *until <= now {
                limits.leave(slot);
            }
            *until > now
        });
    }
}

/// One handshake of `from` that ends in a session of `host`, which is closed at once.
fn session(limits: &mut Limits, from: IpAddr, host: &HostName, now: Duration) -> Result<bool, Answer> {
    match limits.ask(from, Proof::Given, now) {
        Answer::Admit(mut slot) => {
            let is_slow_enough = limits.authenticated(&mut slot, host, now);
            limits.leave(&slot);
            Ok(is_slow_enough)
        }
        other => Err(other),
    }
}

#[test]
fn ten_thousand_forged_addresses_hold_a_few_places_and_leave_no_trace_in_the_table() {
    let (mut limits, mut sitting, now) = (limits(|_| {}), Sitting::default(), SECOND);
    let admitted = (0..10_000).filter(|n| sitting.ask(&mut limits, address(*n), Proof::None, now)).count();
    let occupancy = limits.occupancy();
    assert_eq!((admitted, occupancy.half_open, occupancy.unproven), (64, 64, 64));
    assert_eq!(occupancy.addresses, 0);
    assert_eq!(occupancy.proofs_asked + occupancy.ignored, 10_000 - 64);
    assert!(occupancy.ignored > 0, "answers are bounded too");
    assert_eq!(session(&mut limits, address(3), &host(3), now), Ok(true), "whose address was forged gets in");
}

#[test]
fn ten_thousand_half_open_handshakes_of_one_address_leave_room_for_the_others() {
    let (mut limits, mut sitting, mut now) = (limits(|_| {}), Sitting::default(), SECOND);
    for _ in 0..100 {
        now += SECOND / 10;
        sitting.expire(&mut limits, now);
        for _ in 0..100 {
            sitting.ask(&mut limits, address(1), Proof::Given, now);
        }
        assert!(limits.half_open_of(address(1)) <= 256);
        assert_eq!(session(&mut limits, address(2), &host(now.subsec_millis()), now), Ok(true));
    }
    let occupancy = limits.occupancy();
    assert!(
        occupancy.limited[Limit::AddressHalfOpen as usize] + occupancy.limited[Limit::AddressHandshakes as usize] > 0
    );
}

/// 1,000 addresses ask ten times a second each for 40 s and finish nothing. Returns which sessions of an honest host, one
/// a second from the step `first` (of a tenth of a second) on, were refused.
fn refused_in_flood(limits: &mut Limits, honest: IpAddr, first: u32) -> Vec<u32> {
    let (mut sitting, mut refused, start) = (Sitting::default(), Vec::new(), SECOND);
    for step in 0..400 {
        let now = start + SECOND / 10 * step;
        sitting.expire(limits, now);
        for flooder in 0..1_000 {
            sitting.ask(limits, address(100 + flooder), Proof::Given, now);
        }
        let nth = step.checked_sub(first).filter(|since| since % 10 == 0).map(|since| since / 10);
        refused.extend(nth.filter(|_| session(limits, honest, &host(step), now).is_err()));
    }
    assert!(limits.occupancy().limited.iter().sum::<u64>() > 300_000, "it was a flood");
    refused
}

#[test]
fn a_known_address_is_always_admitted_while_a_thousand_others_flood() {
    let mut limits = limits(|_| {});
    limits.recall(address(1));
    assert_eq!(refused_in_flood(&mut limits, address(1), 0), Vec::<u32>::new());
}

#[test]
fn a_new_address_gets_in_within_seconds_while_a_thousand_others_flood_and_is_known_then() {
    // At the start each flooder looks like an agent that connects, and every ten seconds again.
    for first in [0, 40, 80, 105] {
        let refused = refused_in_flood(&mut limits(|_| {}), address(1), first);
        assert!(refused.iter().all(|nth| *nth < 8), "from {first} on: {refused:?}");
    }
}

#[test]
fn a_thousand_hosts_behind_one_address_come_back_within_their_window() {
    let (mut limits, site) = (limits(|_| {}), address(1));
    // 200 a second, each with a handshake of a second on the way, which is slow.
    let mut under_way = VecDeque::new();
    for n in 0..1_000 {
        let now = SECOND + Duration::from_millis(u64::from(n) * 5);
        let Answer::Admit(slot) = limits.ask(site, Proof::Given, now) else { panic!("host {n} was refused") };
        under_way.push_back((n, slot));
        if under_way.len() > 200 {
            let (n, mut slot) = under_way.pop_front().expect("it is there");
            assert!(limits.authenticated(&mut slot, &host(n), now));
        }
    }
}

#[test]
fn a_thousand_handshakes_of_one_address_that_come_to_nothing_are_admitted_within_a_minute() {
    let (mut limits, site) = (limits(|_| {}), address(1));
    let mut tried = 0;
    for ms in (0..60_000).step_by(10) {
        if let Answer::Admit(slot) = limits.ask(site, Proof::Given, SECOND + Duration::from_millis(ms)) {
            limits.leave(&slot);
            tried += 1;
        }
    }
    assert!((1_000..=256 + 60 * 32).contains(&tried), "{tried}");
}

#[test]
fn a_host_that_reconnects_in_a_loop_is_told_and_then_slowed_and_the_others_at_its_address_are_not() {
    let mut limits = limits(|_| {});
    let (site, looping, now) = (address(1), host(1), SECOND);
    let opened = (0..200).filter(|_| session(&mut limits, site, &looping, now) == Ok(true)).count();
    assert_eq!(opened, 30);
    assert_eq!(limits.occupancy().limited[Limit::Sessions as usize], 170);
    assert_eq!(session(&mut limits, site, &host(2), now), Ok(true));
    let more = (0..200).filter(|_| session(&mut limits, site, &looping, now).is_ok()).count();
    assert_eq!(more, 256 - 170, "what came to nothing counts for the address");
    assert_eq!(session(&mut limits, site, &looping, now + 2 * SECOND), Ok(true), "one every two seconds");
}

#[test]
fn handshakes_have_less_time_while_many_are_half_open() {
    let mut limits = limits(|s| s.half_open = 40);
    let times: Vec<Duration> = (0..20)
        .filter_map(|n| match limits.ask(address(n), Proof::Given, SECOND) {
            Answer::Admit(slot) => Some(slot.within),
            _ => None,
        })
        .collect();
    assert_eq!((times[0], times[9]), (10 * SECOND, 10 * SECOND));
    assert_eq!((times[10], times[19]), (2 * SECOND, 2 * SECOND));
}

#[test]
fn all_connections_taken_is_an_end_for_everybody_until_one_leaves() {
    let mut limits = limits(|s| s.connections = 4);
    let mut slots: Vec<Slot> = (0..4)
        .map(|n| match limits.ask(address(n), Proof::Given, SECOND) {
            Answer::Admit(mut slot) => {
                assert!(limits.authenticated(&mut slot, &host(n), SECOND));
                slot
            }
            other => panic!("{other:?}"),
        })
        .collect();
    for proof in [Proof::Given, Proof::None] {
        assert_eq!(limits.ask(address(9), proof, SECOND), Answer::Refuse(Limit::Connections));
    }
    limits.leave(&slots.pop().expect("four"));
    assert!(matches!(limits.ask(address(9), Proof::Given, SECOND), Answer::Admit(_)));
}

#[test]
fn the_table_of_addresses_is_bounded() {
    let mut limits = limits(|s| (s.handshakes_per_second, s.half_open) = (100_000, 8_192));
    let site = IpAddr::from([10, 255, 0, 1]);
    limits.recall(site);
    let mut now = SECOND;
    for n in 0..100_000 {
        now += Duration::from_millis(1);
        match limits.ask(address(n), Proof::Given, now) {
            Answer::Admit(slot) => limits.leave(&slot),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(limits.occupancy().addresses, 2 * 8_192);
}

#[tokio::test]
async fn a_place_is_given_back_when_it_is_dropped() {
    let (clock, hand) = Clock::manual();
    let admission = Admission::new(&AdmissionSection::default(), clock).expect("the defaults");
    hand.advance(SECOND);
    let ask = |proof| match admission.ask(address(1), proof) {
        Verdict::Admit(place) => place,
        other => panic!("{other:?}"),
    };
    let (mut one, two) = (ask(Proof::Given), ask(Proof::None));
    assert_eq!(admission.occupancy().half_open, 2);
    one.authenticated(&host(1)).expect("its first session");
    one.authenticated(&host(1)).expect("said twice");
    let now = admission.occupancy();
    assert_eq!((now.half_open, now.unproven, now.connected), (1, 1, 1));
    drop((one, two));
    let now = admission.occupancy();
    assert_eq!((now.half_open, now.unproven, now.connected), (0, 0, 0));
    assert!(
        Admission::new(&AdmissionSection { connections: 0, ..AdmissionSection::default() }, Clock::real()).is_err()
    );
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(u32, Proof),
    Authenticate(usize, u32),
    Leave(usize),
    Wait(u64),
}

/// A place that is held.
struct Held {
    slot: Slot,
    from: u32,
    proof: Proof,
    authenticated: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let proof = prop_oneof![Just(Proof::None), Just(Proof::Given)];
    prop_oneof![
        4 => (0_u32..6, proof).prop_map(|(n, proof)| Step::Ask(n, proof)),
        2 => (any::<prop::sample::Index>(), 0_u32..3).prop_map(|(at, host)| Step::Authenticate(at.index(64), host)),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::Leave(at.index(64))),
        1 => (0_u64..3_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn counts_are_those_of_the_places_held_and_never_over_a_limit(steps in proptest::collection::vec(step(), 1..300)) {
        let mut limits = limits(|s| {
            (s.half_open, s.half_open_per_address, s.half_open_unproven, s.connections) = (16, 5, 3, 24);
            (s.handshakes_per_second, s.address_handshakes_burst, s.sessions_per_minute) = (8, 8, 4);
        });
        let (mut held, mut now): (Vec<Held>, _) = (Vec::new(), Duration::ZERO);
        for step in steps {
            match step {
                Step::Ask(n, proof) => {
                    if let Answer::Admit(slot) = limits.ask(address(n), proof, now) {
                        held.push(Held { slot, from: n, proof, authenticated: false });
                    }
                }
                Step::Authenticate(at, n) => {
                    if let Some(held) = held.get_mut(at) {
                        limits.authenticated(&mut held.slot, &host(n), now);
                        held.authenticated = true;
                    }
                }
                Step::Leave(at) if at < held.len() => limits.leave(&held.swap_remove(at).slot),
                Step::Leave(_) => {}
                Step::Wait(ms) => now += Duration::from_millis(ms),
            }
            let count = |is: &dyn Fn(&Held) -> bool| held.iter().filter(|held| is(held)).count();
            let is = limits.occupancy();
            let expected = (
                count(&|h| !h.authenticated),
                count(&|h| !h.authenticated && h.proof == Proof::None),
                count(&|h| h.authenticated),
            );
            prop_assert_eq!((is.half_open as usize, is.unproven as usize, is.connected as usize), expected);
            prop_assert!(is.half_open <= 16 && is.unproven <= 3 && is.half_open + is.connected <= 24);
            for n in 0..6 {
                let here = count(&|h| h.from == n && h.proof == Proof::Given && !h.authenticated);
                prop_assert_eq!(limits.half_open_of(address(n)) as usize, here);
                prop_assert!(here <= 5);
            }
        }
    }
}

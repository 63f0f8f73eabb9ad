//! A reader that does what it is told, and the desk before it.

use super::*;
use dsmil_protocol::metric::Scale;
use dsmil_sensors::Form;
use dsmil_sensors::tree::Tree;
use std::sync::mpsc::{Sender, channel};

/// Does at each reading what it is told, and waits for that.
struct Told(Receiver<Act>);

enum Act {
    Push(Vec<(&'static str, u64)>, Option<Fault>),
    Panic,
}

impl Source for Told {
    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), Fault> {
        match self.0.recv() {
            Ok(Act::Push(values, fault)) => {
                for (name, value) in values {
                    out.push(name, &[], Form::gauge(Scale::ONE), Some(value));
                }
                fault.map_or(Ok(()), Err)
            }
            Ok(Act::Panic) => panic!("on purpose"),
            Err(_) => Ok(()),
        }
    }
}

fn desk() -> (Desk, Sender<Act>, dsmil_runtime::clock::ManualClock) {
    let (clock, hand) = Clock::manual();
    let (sender, acts) = channel();
    let own = Root::host().expect("a Linux host");
    let supervisor = Supervisor::new(clock.clone());
    let desk = Desk::start(clock, &supervisor, Tree::new().root(), own, Box::new(Told(acts))).expect("a thread");
    (desk, sender, hand)
}

fn push(values: &[(&'static str, u64)], fault: Option<Fault>) -> Act {
    Act::Push(values.to_vec(), fault)
}

#[test]
fn the_metric_set_comes_along_for_who_does_not_know_it() {
    let (mut desk, acts, _hand) = desk();
    acts.send(push(&[("a", 1), ("b", 2)], None)).expect("a reader");
    let first = desk.read(None).expect("a reader");
    let set = first.checked_set().expect("whole").expect("it came along");
    assert_eq!((first.values, first.fault), (vec![Some(1), Some(2)], None));
    acts.send(push(&[("a", 3), ("b", 4)], None)).expect("a reader");
    let second = desk.read(Some(set.id())).expect("a reader");
    assert_eq!((second.metrics, second.set, second.values), (None, set.id(), vec![Some(3), Some(4)]));
    acts.send(push(&[("a", 5)], None)).expect("a reader");
    let third = desk.read(Some(set.id())).expect("a reader");
    assert_eq!(third.checked_set().expect("whole").expect("it changed").metrics().len(), 1);
}

#[test]
fn a_fault_of_everything_keeps_the_metrics_and_one_of_a_device_takes_its_away() {
    let (mut desk, acts, _hand) = desk();
    acts.send(push(&[("a", 1), ("b", 2)], None)).expect("a reader");
    desk.read(None).expect("a reader");
    acts.send(push(&[("a", 1)], Some(Fault::DriverNotLoaded))).expect("a reader");
    let all = desk.read(None).expect("a reader");
    assert_eq!((all.values, all.fault), (vec![Some(1), None], Some(Fault::DriverNotLoaded)));
    let lost = Fault::DeviceLost { device: "0000:01:00.0".parse().expect("an address") };
    acts.send(push(&[("a", 1)], Some(lost.clone()))).expect("a reader");
    let part = desk.read(None).expect("a reader");
    assert_eq!((part.values, part.fault), (vec![Some(1)], Some(lost)));
}

#[test]
fn a_reading_that_does_not_come_back_is_said_with_its_place_and_a_late_one_is_not_passed_on() {
    let (mut desk, acts, hand) = desk();
    acts.send(push(&[("a", 1)], None)).expect("a reader");
    desk.read(None).expect("a reader");
    let hung = desk.read(None).expect("a reader");
    assert_eq!(hung.values, [None], "absent, not what it was");
    // It waits for us: in state S, and where, if this kernel tells.
    assert!(matches!(hung.fault, Some(Fault::Hung { for_s: 0, state: Some('S'), .. })), "{:?}", hung.fault);
    hand.advance(Duration::from_secs(7));
    let hung = desk.read(None).expect("a reader");
    assert!(matches!(hung.fault, Some(Fault::Hung { for_s: 7, .. })), "at once, without waiting again");
    assert_eq!(desk.stuck(), Some((Duration::from_secs(7), true)));
    acts.send(push(&[("a", 9)], None)).expect("a reader");
    while desk.stuck().is_some() {
        std::thread::yield_now();
    }
    acts.send(push(&[("a", 10)], None)).expect("a reader");
    assert_eq!(desk.read(None).expect("a reader").values, [Some(10)]);
}

#[test]
fn a_reader_that_panics_is_gone() {
    let (mut desk, acts, _hand) = desk();
    acts.send(Act::Panic).expect("a reader");
    assert!(desk.read(None).is_err());
    assert!(desk.read(None).is_err());
}

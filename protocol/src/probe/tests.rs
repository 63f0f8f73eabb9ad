//! Messages there and back, cut, mangled and made up.

use super::*;
use crate::metric::{Kind, Metric, Repr, Scale};
use proptest::prelude::*;

fn set() -> MetricSet {
    let metric = |name: &str| Metric {
        name: name.into(),
        labels: vec![("gpu".into(), "0".into())],
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    };
    MetricSet::new(vec![metric("DCGM_FI_DEV_GPU_TEMP"), metric("DCGM_FI_DEV_GPU_UTIL")]).expect("a set")
}

fn address() -> PciAddress {
    PciAddress { domain: 0, bus: 0x3b, device: 0, function: 0 }
}

fn faults() -> Vec<Fault> {
    let text = Text::of("libnvidia-ml.so.1");
    vec![
        Fault::LibraryMissing { library: text.clone() },
        Fault::LibraryUnusable { what: text.clone() },
        Fault::ProgramMissing { program: text.clone() },
        Fault::ProgramFailed { what: text.clone() },
        Fault::DriverNotLoaded,
        Fault::VersionMismatch { driver: Some(text.clone()) },
        Fault::VersionMismatch { driver: None },
        Fault::NoPermission { to: text.clone() },
        Fault::DeviceLost { device: address() },
        Fault::ResetRequired { device: address() },
        Fault::Hung { for_s: 7, state: Some('D'), wait_channel: Some(text.clone()) },
        Fault::Hung { for_s: 0, state: None, wait_channel: None },
        Fault::Unreadable { what: text },
        Fault::TooMany { reported: 3 },
        Fault::NotImplemented,
    ]
}

fn reading(fault: Option<Fault>) -> ProbeReading {
    let set = set();
    ProbeReading { set: set.id(), metrics: Some(set.encode()), values: vec![Some(63), None], took_us: 1500, fault }
}

fn answers() -> Vec<Answer> {
    let mut answers: Vec<Answer> =
        ProbeKind::ALL.into_iter().map(|kind| Answer::Hello { kind, pid: 4_194_304 }).collect();
    answers.push(Answer::Reading(ProbeReading { metrics: None, values: Vec::new(), ..reading(None) }));
    answers.extend(faults().into_iter().map(|fault| Answer::Reading(reading(Some(fault)))));
    answers
}

#[test]
fn messages_read_back_and_every_cut_is_refused() {
    for question in [Question::Hello, Question::Read { known: None }, Question::Read { known: Some(set().id()) }] {
        let bytes = super::question(question);
        let whole = body(&bytes, MAX_QUESTION_LEN).expect("a length").expect("a body");
        assert_eq!(read_question(whole), Ok(question));
        for end in 0..bytes.len() {
            assert_eq!(body(&bytes[..end], MAX_QUESTION_LEN), Ok(None), "not all of it is there");
        }
        for end in 0..whole.len() {
            assert!(read_question(&whole[..end]).is_err(), "cut at {end}");
        }
    }
    for answer in answers() {
        let bytes = super::answer(&answer).expect("it fits");
        let whole = body(&bytes, MAX_ANSWER_LEN).expect("a length").expect("a body");
        assert_eq!(read_answer(whole).as_ref(), Ok(&answer));
        for end in 0..whole.len() {
            assert!(read_answer(&whole[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(read_answer(&[whole, &[0]].concat()), Err(ProbeError::Malformed), "a byte too many");
        let mut newer = whole.to_vec();
        newer[0] = 2;
        assert_eq!(read_answer(&newer), Err(ProbeError::Version(2)));
    }
}

#[test]
fn what_follows_a_message_is_the_next_one() {
    let bytes = [question(Question::Hello), question(Question::Read { known: None })].concat();
    let first = body(&bytes, MAX_QUESTION_LEN).expect("a length").expect("a body");
    let second = body(&bytes[PREFIX_LEN + first.len()..], MAX_QUESTION_LEN).expect("a length").expect("a body");
    assert_eq!([first, second].map(read_question), [Ok(Question::Hello), Ok(Question::Read { known: None })]);
}

#[test]
fn a_length_that_lies_allots_nothing() {
    assert_eq!(body(&u32::MAX.to_le_bytes(), MAX_ANSWER_LEN), Err(ProbeError::Length(u32::MAX)));
    // A reading that announces 2^34 values.
    let mut bytes = vec![PROBE_VERSION, 1];
    bytes.extend([0; 16]);
    bytes.extend([0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(read_answer(&bytes), Err(ProbeError::Malformed));
    let many = ProbeReading { values: vec![None; MAX_PROBE_METRICS + 1], ..reading(None) };
    let bytes = answer(&Answer::Reading(many)).expect("a byte each");
    assert_eq!(read_answer(&bytes[PREFIX_LEN..]), Err(ProbeError::Malformed));
    let huge = ProbeReading { values: vec![Some(u64::MAX); MAX_ANSWER_LEN / 10], ..reading(None) };
    assert_eq!(answer(&Answer::Reading(huge)), None, "what is too long is not sent");
}

#[test]
fn a_set_is_the_one_that_is_named_and_fits_its_values() {
    assert_eq!(reading(None).checked_set(), Ok(Some(set())));
    let other = ProbeReading { set: SetId([7; 16]), ..reading(None) };
    assert_eq!(other.checked_set(), Err(ProbeError::Malformed));
    let short = ProbeReading { values: vec![None], ..reading(None) };
    assert_eq!(short.checked_set(), Err(ProbeError::Malformed));
    let garbage = ProbeReading { metrics: Some(vec![1, 2, 3]), ..reading(None) };
    assert_eq!(garbage.checked_set(), Err(ProbeError::Malformed));
}

#[test]
fn a_text_is_short_and_harmless() {
    assert_eq!(Text::of("a\x1b[2J\nb").as_str(), "a?[2J?b");
    assert!(Text::of(&"ä".repeat(500)).as_str().len() <= 80);
    let long = Text("x".repeat(81));
    let fault = Fault::Unreadable { what: long };
    let bytes = answer(&Answer::Reading(reading(Some(fault)))).expect("it fits");
    assert_eq!(read_answer(&bytes[PREFIX_LEN..]), Err(ProbeError::Malformed));
    let control = Fault::Unreadable { what: Text("\x1b".into()) };
    let bytes = answer(&Answer::Reading(reading(Some(control)))).expect("it fits");
    assert_eq!(read_answer(&bytes[PREFIX_LEN..]), Err(ProbeError::Malformed));
}

/// What a probe makes up is refused, and not only printed oddly; found by the fuzzer.
#[test]
fn a_state_that_is_no_letter_and_an_address_that_no_bus_has_are_refused() {
    let hung = |state| Fault::Hung { for_s: 1, state: Some(state), wait_channel: None };
    let at = |device, function| Fault::DeviceLost { device: PciAddress { device, function, ..address() } };
    let reads = |fault| {
        let bytes = answer(&Answer::Reading(reading(Some(fault)))).expect("it fits");
        read_answer(&bytes[PREFIX_LEN..]).is_ok()
    };
    assert!(reads(hung('D')) && reads(hung('t')) && reads(at(31, 7)));
    for fault in [hung('\x1b'), hung('\n'), hung('ä'), hung(' '), at(32, 0), at(0, 8), at(255, 255)] {
        assert!(!reads(fault.clone()), "{fault:?}");
    }
}

#[test]
fn a_fault_is_said_in_a_line() {
    let lines: Vec<String> = faults().iter().map(ToString::to_string).collect();
    assert!(lines.iter().all(|line| !line.contains('\n') && line.len() < 160), "{lines:?}");
    let hung = Fault::Hung { for_s: 3, state: Some('D'), wait_channel: Some(Text::of("nv_lock")) };
    assert_eq!(hung.to_string(), "a call hangs for 3 s, state D, cannot be killed, in nv_lock");
}

#[test]
fn addresses_are_read_as_everybody_writes_them() {
    for text in ["0000:3b:00.0", "00000000:3B:00.0", "0000:3b:00"] {
        assert_eq!(text.parse(), Ok(address()), "{text}");
    }
    assert_eq!(address().to_string(), "0000:3b:00.0");
    for bad in
        ["", "3b:00.0", "0000:3b:20.0", "0000:3b:00.8", "0000:3b:00.0 ", "+000:3b:00.0", "0000:3b:00:00.0", "é:é:é.é"]
    {
        assert_eq!(bad.parse::<PciAddress>(), Err(NotAnAddress), "{bad}");
    }
}

#[test]
fn kinds_have_names() {
    for kind in ProbeKind::ALL {
        assert_eq!(ProbeKind::of_name(kind.name()), Some(kind));
    }
    assert_eq!(ProbeKind::of_name("shell"), None);
}

proptest! {
    /// Whatever a probe sends, reading it ends, and what is read can be said again.
    #[test]
    fn no_bytes_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), like in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let answers = answers();
        let mut near = answer(&answers[like.index(answers.len())]).expect("it fits")[PREFIX_LEN..].to_vec();
        let at = at.index(near.len());
        near[at] = bytes.first().copied().unwrap_or(0);
        for body in [&bytes, &near] {
            let _ = read_question(body);
            if let Ok(read) = read_answer(body) {
                let again = answer(&read).expect("no longer than it was");
                prop_assert_eq!(read_answer(&again[PREFIX_LEN..]), Ok(read));
            }
        }
    }
}

//! What agent and probe say to each other on their host: the one may have been taken over by what it loads, and to the other
//! anybody may speak who may open its socket.

use super::{Target, choose, metric_sets};
use crate::memory;
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_protocol::probe::{
    Answer, Fault, MAX_ANSWER_LEN, MAX_PROBE_METRICS, MAX_QUESTION_LEN, PREFIX_LEN, PciAddress, ProbeKind,
    ProbeReading, Question, Text, answer, body, question, read_answer, read_question,
};

pub(super) const TARGET: Target = Target {
    name: "probe_messages",
    what: "questions to probes and their answers, their lengths first",
    run,
    seeds,
    dictionary: &[
        b"\x01\x00",
        b"\x01\x01",
        b"\x00\x01",
        b"\x1b[2J",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x00",
        b"\x14dsmil_",
    ],
    max_len: 4096,
};

/// How often its own length a message may be in memory: a value that could not be read is a byte and takes sixteen, and while
/// a list grows by doubling, the old one and the new one are there.
const SWELL: usize = 64;
/// Bytes of the line that a fault is said in.
const MAX_LINE_LEN: usize = 160;

/// The first byte says which of the two, and whether the length is made right.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 4);
    let mut wire = rest.to_vec();
    if choice >= 2 && wire.len() > PREFIX_LEN {
        let len = u32::try_from(wire.len() - PREFIX_LEN).expect("inputs are short");
        wire[..PREFIX_LEN].copy_from_slice(&len.to_le_bytes());
    }
    let is_question = choice % 2 == 0;
    let max = if is_question { MAX_QUESTION_LEN } else { MAX_ANSWER_LEN };
    let Ok(Some(whole)) = body(&wire, max) else { return };
    assert!(whole.len() <= max, "a length was believed");
    let warranted = SWELL * whole.len() + 1024;
    if is_question {
        let Ok(read) = memory::within(warranted, || read_question(whole)) else { return };
        let again = question(read);
        assert!(again.len() <= PREFIX_LEN + whole.len(), "the form that is sent is the shortest");
        assert_eq!(read_question(&again[PREFIX_LEN..]), Ok(read), "it reads back");
    } else {
        let Ok(read) = memory::within(warranted, || read_answer(whole)) else { return };
        let again = answer(&read).expect("no longer than it was");
        assert!(again.len() <= PREFIX_LEN + whole.len(), "the form that is sent is the shortest");
        assert_eq!(read_answer(&again[PREFIX_LEN..]).as_ref(), Ok(&read), "it reads back");
        if let Answer::Reading(reading) = read {
            check_reading(reading);
        }
    }
}

/// What is read keeps its bounds, and its metric set is taken exactly if it is one, named right and of as many values.
fn check_reading(mut reading: ProbeReading) {
    assert!(reading.values.len() <= MAX_PROBE_METRICS);
    if let Some(fault) = &reading.fault {
        check_fault(fault);
    }
    let Some(bytes) = &reading.metrics else {
        assert_eq!(reading.checked_set(), Ok(None), "what did not come along is not wrong");
        return;
    };
    let set = MetricSet::decode(bytes).ok();
    match (reading.checked_set(), &set) {
        (Ok(Some(checked)), Some(set)) => {
            assert_eq!((&checked, checked.id()), (set, reading.set));
            assert_eq!(set.metrics().len(), reading.values.len());
        }
        (Ok(_), _) => panic!("a set that is none was taken"),
        (Err(_), _) => {}
    }
    // The fuzzer guesses no hash: made right, the set is taken.
    if let Some(set) = set {
        reading.set = set.id();
        reading.values.resize(set.metrics().len(), None);
        assert_eq!(reading.checked_set(), Ok(Some(set)));
    }
}

/// A fault is a line that does nothing to a terminal, and names a device that a bus can have.
fn check_fault(fault: &Fault) {
    let line = fault.to_string();
    assert!(line.len() <= MAX_LINE_LEN && !line.chars().any(char::is_control), "{line:?}");
    if let Fault::DeviceLost { device } | Fault::ResetRequired { device } = fault {
        assert_eq!(device.to_string().parse(), Ok(*device), "an address is one");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let set = MetricSet::new(metric_sets::metrics()).expect("a set");
    let text = Text::of("libnvidia-ml.so.1");
    let device = PciAddress { domain: 0, bus: 0x3b, device: 0, function: 0 };
    let hung = Fault::Hung { for_s: 7, state: Some('D'), wait_channel: Some(text.clone()) };
    let faults = [
        None,
        Some(Fault::DriverNotLoaded),
        Some(Fault::VersionMismatch { driver: Some(text.clone()) }),
        Some(Fault::NoPermission { to: text }),
        Some(Fault::DeviceLost { device }),
        Some(Fault::ResetRequired { device }),
        Some(hung),
        Some(Fault::TooMany { reported: 300 }),
    ];
    let values = vec![Some(0), None, Some(u64::MAX)];
    let reading = |fault| ProbeReading {
        set: set.id(),
        metrics: Some(set.encode()),
        values: values.clone(),
        took_us: 1500,
        fault,
    };
    let known = ProbeReading { metrics: None, ..reading(None) };
    let hello = Answer::Hello { kind: ProbeKind::Nvml, pid: 4_194_304 };
    let answers = faults.map(|fault| Answer::Reading(reading(fault)));
    let questions = [Question::Hello, Question::Read { known: None }, Question::Read { known: Some(SetId([7; 16])) }];
    let questions = questions.map(|one| [&[0], &question(one)[..]].concat());
    let answers = answers.into_iter().chain([hello, Answer::Reading(known)]);
    let answers = answers.map(|one| [&[1], &answer(&one).expect("it fits")[..]].concat());
    questions.into_iter().chain(answers).collect()
}

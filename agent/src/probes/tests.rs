//! Probes that behave and probes that do not, played by threads of the test on real sockets.

use super::*;
use dsmil_protocol::metric::{Kind, Metric, Repr, Scale};
use dsmil_protocol::probe::{Answer, MAX_QUESTION_LEN, PREFIX_LEN, Question, Text, answer, body, read_question};
use dsmil_sensors::tree::Tree;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use tempfile::TempDir;

const PID: u32 = 7;

struct Stage {
    folder: TempDir,
    tree: Tree,
    probe: Probe,
    time: dsmil_runtime::clock::ManualClock,
}

/// What a tick brought.
#[derive(Debug, PartialEq)]
struct Seen {
    values: Vec<Option<u64>>,
    trouble: Option<String>,
}

impl Stage {
    fn new(kind: ProbeKind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, time) = Clock::manual();
        time.advance(Duration::from_secs(1000));
        let probe = Probe::new(kind, folder.path().join("s"), clock);
        let tree = Tree::new();
        tree.sys("class/powercap/intel-rapl:0/name", "package-0\n");
        tree.sys("module/nvidia/version", "535.104.05\n");
        tree.sys("class/drm/version", "drm 1.1.0 20060810\n");
        tree.sys("class/drm/card0/dev", "226:0\n");
        tree.sys("block/vda/size", "131072\n");
        tree.sys("block/sda/size", "131072\n");
        Self { folder, tree, probe, time }
    }

    fn listen(&self) -> UnixListener {
        let _ = std::fs::remove_file(self.folder.path().join("s"));
        UnixListener::bind(self.folder.path().join("s")).expect("a socket")
    }

    fn tick(&mut self) -> Seen {
        let mut reading = Reading::new();
        reading.begin();
        let outcome = self.probe.read(&self.tree.root(), &mut reading);
        reading.complete();
        let trouble = outcome.err().map(|error| error.to_string());
        Seen { values: reading.values().collect(), trouble }
    }

    /// A tick in which a thread plays the probe.
    fn tick_with(&mut self, act: impl FnOnce(UnixStream) + Send) -> Seen {
        let listener = self.listen();
        std::thread::scope(|scope| {
            scope.spawn(move || act(listener.accept().expect("the agent").0));
            self.tick()
        })
    }

    fn pass(&self, seconds: u64) {
        self.time.advance(Duration::from_secs(seconds));
    }
}

fn set(names: &[&str]) -> MetricSet {
    let metric = |name: &&str| Metric {
        // What both kinds that are played here may say, unless it says what it is.
        name: if name.contains('_') { (*name).into() } else { format!("dsmil_gpu_xid_{name}") },
        labels: vec![("gpu".into(), "0".into())],
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    };
    MetricSet::new(names.iter().map(metric).collect()).expect("a set")
}

fn reading(names: &[&str], values: &[Option<u64>], fault: Option<Fault>) -> ProbeReading {
    let set = set(names);
    ProbeReading { set: set.id(), metrics: Some(set.encode()), values: values.to_vec(), took_us: 10, fault }
}

fn questions(stream: &mut UnixStream, count: usize) -> Vec<Question> {
    let (mut inbox, mut found) = (Vec::new(), Vec::new());
    while found.len() < count {
        if let Some(whole) = body(&inbox, MAX_QUESTION_LEN).expect("a length") {
            found.push(read_question(whole).expect("a question"));
            inbox.drain(..PREFIX_LEN + whole.len());
            continue;
        }
        let mut piece = [0; 64];
        let length = stream.read(&mut piece).expect("bytes");
        inbox.extend_from_slice(&piece[..length]);
    }
    found
}

/// Answers as a probe does; the asker may have gone.
fn answers(mut stream: UnixStream, kind: ProbeKind, reading: &ProbeReading) {
    questions(&mut stream, 2);
    for said in [Answer::Hello { kind, pid: PID }, Answer::Reading(reading.clone())] {
        let _ = stream.write_all(&answer(&said).expect("it fits"));
    }
}

#[test]
fn what_a_probe_reads_is_what_its_sensor_reads() {
    let mut stage = Stage::new(ProbeKind::Kmsg);
    let first = reading(&["a", "b"], &[Some(1), None], None);
    let seen = stage.tick_with(|stream| answers(stream, ProbeKind::Kmsg, &first));
    assert_eq!(seen, Seen { values: vec![Some(1), None], trouble: None });
    stage.pass(1);
    let known = first.set;
    let second = ProbeReading { metrics: None, values: vec![Some(2), Some(3)], ..first };
    let seen = stage.tick_with(|mut stream| {
        let asked = questions(&mut stream, 2);
        assert_eq!(asked, [Question::Hello, Question::Read { known: Some(known) }]);
        for said in [Answer::Hello { kind: ProbeKind::Kmsg, pid: PID }, Answer::Reading(second)] {
            stream.write_all(&answer(&said).expect("it fits")).expect("the agent");
        }
    });
    assert_eq!(seen, Seen { values: vec![Some(2), Some(3)], trouble: None });
}

#[test]
fn a_probe_that_is_not_installed_is_no_trouble_and_one_that_goes_away_is() {
    let mut stage = Stage::new(ProbeKind::Kmsg);
    assert_eq!(stage.tick(), Seen { values: vec![], trouble: None });
    stage.pass(60);
    let good = reading(&["a"], &[Some(1)], None);
    assert_eq!(stage.tick_with(|stream| answers(stream, ProbeKind::Kmsg, &good)).trouble, None);
    stage.pass(1);
    let gone = stage.tick().trouble.expect("its listener is dropped");
    assert_eq!(gone, "nobody holds the probe's socket any more");
    std::fs::remove_file(stage.folder.path().join("s")).expect("the socket");
    stage.pass(60);
    assert_eq!(stage.tick().trouble.as_deref(), Some("nobody holds the probe's socket any more"));
}

#[test]
fn a_probe_that_ends_at_once_is_asked_at_growing_intervals() {
    let mut stage = Stage::new(ProbeKind::Kmsg);
    let listener = stage.listen();
    listener.set_nonblocking(true).expect("a flag");
    let mut asked_at = Vec::new();
    for second in 0..200 {
        let trouble = std::thread::scope(|scope| {
            let tick = scope.spawn(|| stage.tick().trouble);
            while !tick.is_finished() {
                match listener.accept() {
                    Ok(_) => asked_at.push(second),
                    Err(_) => std::thread::yield_now(),
                }
            }
            tick.join().expect("a verdict")
        });
        assert_eq!(trouble.as_deref(), Some("the probe ends before it has answered"), "at {second} s");
        stage.pass(1);
    }
    assert_eq!(asked_at, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
}

#[test]
fn garbage_floods_and_lies_are_refused_and_named() {
    let hello = |kind| answer(&Answer::Hello { kind, pid: PID }).expect("it fits");
    let good = reading(&["a"], &[Some(1)], None);
    let lies = ProbeReading { values: vec![Some(1), Some(2)], ..good.clone() };
    let unknown = ProbeReading { metrics: None, ..good.clone() };
    let others = reading(&["node_load1"], &[Some(1)], None);
    let whole = |reading: &ProbeReading| answer(&Answer::Reading(reading.clone())).expect("it fits");
    let kmsg = ProbeKind::Kmsg;
    let cases: [(&str, Vec<u8>); 9] = [
        ("text", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("endless", u32::MAX.to_le_bytes().to_vec()),
        ("another kind", hello(ProbeKind::Nvml)),
        ("twice", [hello(kmsg), hello(kmsg)].concat()),
        ("unasked", whole(&good)),
        ("more values than metrics", [hello(kmsg), whole(&lies)].concat()),
        ("a set nobody has", [hello(kmsg), whole(&unknown)].concat()),
        ("metrics of others", [hello(kmsg), whole(&others)].concat()),
        ("another version", [1u32.to_le_bytes().to_vec(), vec![9]].concat()),
    ];
    for (what, bytes) in cases {
        let mut stage = Stage::new(kmsg);
        let seen = stage.tick_with(|mut stream| {
            questions(&mut stream, 2);
            let _ = stream.write_all(&bytes);
        });
        let trouble = seen.trouble.expect(what);
        assert!(trouble.starts_with("the probe sends garbage: "), "{what}: {trouble}");
        assert_eq!(seen.values, [], "{what}");
    }
    let mut stage = Stage::new(kmsg);
    let flood = stage.tick_with(|mut stream| while stream.write_all(&hello(kmsg)).is_ok() {});
    assert!(flood.trouble.expect("a flood").starts_with("the probe sends garbage"));
}

#[test]
fn a_silent_probe_is_named_with_what_the_kernel_knows_of_it() {
    let mut stage = Stage::new(ProbeKind::Nvml);
    stage.tree.proc("7/stat", "7 (dsmil-probe) D 1 7 7 0 -1\n");
    stage.tree.proc("7/wchan", "nv_open_wait");
    let listener = stage.listen();
    let greet = |listener: &UnixListener| {
        let mut stream = listener.accept().expect("the agent").0;
        stream
            .write_all(&answer(&Answer::Hello { kind: ProbeKind::Nvml, pid: PID }).expect("it fits"))
            .expect("a word");
        stream
    };
    // Time stands still for the probe's sensor: what it waits for shortly has to come by itself.
    let (_held, seen) = std::thread::scope(|scope| {
        let held = scope.spawn(|| greet(&listener));
        let seen = stage.tick();
        (held.join().expect("a stream"), seen)
    });
    assert_eq!(seen.trouble.as_deref(), Some("no answer for 0 ms"));
    stage.pass(1);
    assert_eq!(stage.tick().trouble.as_deref(), Some("no answer for 1000 ms"));
    stage.pass(1);
    let silent = "no answer for 2 s: process 7 in state D, cannot be killed, in nv_open_wait";
    assert_eq!(stage.tick().trouble.as_deref(), Some(silent));
    stage.pass(5);
    let (_held, seen) = std::thread::scope(|scope| {
        let held = scope.spawn(|| greet(&listener));
        let seen = stage.tick();
        (held.join().expect("a stream"), seen)
    });
    assert!(seen.trouble.expect("still silent").starts_with("no answer for 7 s: process 7"));
}

#[test]
fn a_slow_probe_is_asked_at_one_tick_and_taken_at_the_next() {
    let mut stage = Stage::new(ProbeKind::Nvml);
    let slow = |value| ProbeReading { took_us: 600_000, ..reading(&["a"], &[Some(value)], None) };
    let listener = stage.listen();
    let serve = |stage: &mut Stage, answer_to: Option<ProbeReading>| {
        std::thread::scope(|scope| {
            let probe = answer_to.map(|reading| {
                let listener = &listener;
                scope.spawn(move || answers(listener.accept().expect("the agent").0, ProbeKind::Nvml, &reading))
            });
            let seen = stage.tick();
            probe.into_iter().for_each(|probe| probe.join().expect("it answers"));
            stage.pass(1);
            seen
        })
    };
    assert_eq!(serve(&mut stage, Some(slow(1))).values, [Some(1)], "the first is waited for");
    // The second question was asked with the first answer, and waits in the socket.
    answers(listener.accept().expect("the agent").0, ProbeKind::Nvml, &slow(2));
    for value in 2..6 {
        let seen = stage.tick();
        assert_eq!(seen, Seen { values: vec![Some(value)], trouble: None });
        answers(listener.accept().expect("the agent").0, ProbeKind::Nvml, &slow(value + 1));
        stage.pass(1);
    }
}

#[test]
fn a_kind_that_is_read_seldom_is_waited_for_over_the_next_ticks_and_not_asked_ahead() {
    let mut stage = Stage::new(ProbeKind::Smart);
    assert_eq!((stage.probe.interval_s(), stage.probe.expects_answer()), (60, false));
    let listener = stage.listen();
    for value in [1, 2] {
        let known = stage.tick();
        let unread = if value == 1 { vec![] } else { vec![None] };
        assert_eq!(known, Seen { values: unread, trouble: None }, "its answer is not there, and that is no trouble");
        assert!(stage.probe.expects_answer(), "so the next tick is its");
        let slow = ProbeReading { took_us: 900_000, ..reading_of("dsmil_disk_health_a", value) };
        answers(listener.accept().expect("the agent").0, ProbeKind::Smart, &slow);
        stage.pass(1);
        assert_eq!(stage.tick(), Seen { values: vec![Some(value)], trouble: None });
        assert!(!stage.probe.expects_answer(), "until its interval is over");
        listener.set_nonblocking(true).expect("a flag");
        assert!(listener.accept().is_err(), "an answer that is asked for now would be old by then");
        listener.set_nonblocking(false).expect("a flag");
        stage.pass(59);
    }
    // Two seconds later, silence is what it is for every kind.
    stage.tick();
    stage.pass(2);
    assert_eq!(stage.tick().trouble.as_deref(), Some("no answer for 2 s"));
    assert!(!stage.probe.expects_answer());
}

fn reading_of(name: &str, value: u64) -> ProbeReading {
    reading(&[name], &[Some(value)], None)
}

fn fault(stage: &mut Stage, fault: Fault) -> Option<String> {
    let said = reading(&["a"], &[Some(1)], Some(fault));
    let seen = stage.tick_with(|stream| answers(stream, ProbeKind::Nvml, &said));
    assert_eq!(seen.values, [Some(1)], "what could be read is reported");
    stage.pass(60);
    seen.trouble
}

fn card(tree: &Tree, config: &[u8]) {
    tree.sys("bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
    tree.sys("bus/pci/devices/0000:01:00.0/class", "0x030200\n");
    tree.file("sys/bus/pci/devices/0000:01:00.0/config", config);
}

#[test]
fn a_probe_is_started_only_where_it_has_something_to_read() {
    for (kind, its) in [
        (ProbeKind::Nvml, "module/nvidia"),
        (ProbeKind::Rapl, "class/powercap"),
        (ProbeKind::Fdinfo, "class/drm/card0"),
        (ProbeKind::Smart, "block/sda"),
    ] {
        let mut stage = Stage::new(kind);
        std::fs::remove_dir_all(stage.tree.path().join("sys").join(its)).expect("it was there");
        let listener = stage.listen();
        listener.set_nonblocking(true).expect("a flag");
        for _ in 0..100 {
            assert_eq!(stage.tick(), Seen { values: vec![], trouble: None });
            stage.pass(1);
        }
        assert!(listener.accept().is_err(), "nobody knocked for {kind}");
    }
    let missing = Fault::LibraryMissing { library: Text::of("libnvidia-ml.so.1") };
    let mut stage = Stage::new(ProbeKind::Nvml);
    std::fs::remove_dir_all(stage.tree.path().join("sys/module")).expect("it was there");
    card(&stage.tree, &[0xDE, 0x10]);
    assert_eq!(fault(&mut stage, Fault::DriverNotLoaded).as_deref(), Some("the driver is not loaded"));
    let said = "libnvidia-ml.so.1 cannot be loaded: it is not installed";
    assert_eq!(fault(&mut stage, missing).as_deref(), Some(said));
}

#[test]
fn a_gpu_that_fell_off_the_bus_is_exactly_that() {
    let device = "0000:01:00.0".parse().expect("an address");
    let mut stage = Stage::new(ProbeKind::Nvml);
    card(&stage.tree, &[0xDE, 0x10]);
    let lost = Fault::DeviceLost { device };
    let by_driver = "the driver has lost the GPU at 0000:01:00.0, which still answers on the bus";
    assert_eq!(fault(&mut stage, lost.clone()).as_deref(), Some(by_driver));
    card(&stage.tree, &[0xFF; 64]);
    let silent = "the GPU at 0000:01:00.0 fell off the bus: it is listed and does not answer";
    assert_eq!(fault(&mut stage, lost.clone()).as_deref(), Some(silent));
    let hung = Fault::Hung { for_s: 2, state: Some('D'), wait_channel: None };
    assert_eq!(fault(&mut stage, hung).as_deref(), Some(silent), "which is why the call hangs");
    std::fs::remove_dir_all(stage.tree.path().join("sys/bus/pci/devices/0000:01:00.0")).expect("a card");
    let gone = "the GPU at 0000:01:00.0 fell off the bus: the kernel does not list it any more";
    assert_eq!(fault(&mut stage, lost).as_deref(), Some(gone));
    let good = reading(&["a"], &[Some(1)], None);
    let seen = stage.tick_with(|stream| answers(stream, ProbeKind::Nvml, &good));
    assert_eq!(seen.trouble.as_deref(), Some(gone), "the library's silence about it is no comfort");
}

#[test]
fn every_trouble_has_a_short_text_and_a_remedy() {
    let device = "0000:01:00.0".parse().expect("an address");
    let process = Process::look(
        &{
            let tree = Tree::new();
            tree.proc("7/stat", "7 (dsmil-probe) D 1");
            tree.root()
        },
        7,
    );
    let troubles = [
        Trouble::Silent { since: Duration::ZERO, process },
        Trouble::Busy,
        Trouble::Ends,
        Trouble::Gone,
        Trouble::Forbidden,
        Trouble::Garbage(ProbeError::Malformed),
        Trouble::Fault(Fault::VersionMismatch { driver: Some(Text::of("535.104.05")) }),
        Trouble::Fault(Fault::Hung { for_s: 9999, state: Some('D'), wait_channel: Some(Text::of(&"n".repeat(32))) }),
        Trouble::lost(device, Presence::Gone),
    ];
    for trouble in troubles {
        let text = trouble.at(Duration::from_secs(9)).to_string();
        assert!(text.len() <= 95 && !trouble.remedy(ProbeKind::Nvml).is_empty(), "{text}");
    }
}

//! Hosts whose processes use devices, as trees: what is made of them, and what none of them can do.

use super::*;
use dsmil_runtime::clock::ManualClock;
use dsmil_sensors::tree::{Tree, series};
use proptest::prelude::*;
use std::collections::BTreeMap;

const I915: &str = include_str!("../../fixtures/fdinfo/i915.txt");
const XE: &str = include_str!("../../fixtures/fdinfo/xe.txt");
const AMDGPU: &str = include_str!("../../fixtures/fdinfo/amdgpu.txt");
const AMDXDNA: &str = include_str!("../../fixtures/fdinfo/amdxdna.txt");
const IVPU: &str = include_str!("../../fixtures/fdinfo/ivpu.txt");
const PANTHOR: &str = include_str!("../../fixtures/fdinfo/panthor.txt");
const MSM: &str = include_str!("../../fixtures/fdinfo/msm.txt");
const NUMBERLESS: &str = include_str!("../../fixtures/fdinfo/without-a-number.txt");

const RENDER: &str = "/dev/dri/renderD128";
const GPU: &str = "devices/pci0000:00/0000:00:02.0";

/// A host, the probe on it, and its clock.
struct Host {
    tree: Tree,
    hand: ManualClock,
    probe: Fdinfo,
}

impl Host {
    /// With a GPU of Intel's at [`RENDER`] that is awake, and a process that uses none.
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let host = Self { tree: Tree::new(), hand, probe: Fdinfo::new(clock) };
        host.device("drm/renderD128", GPU);
        host.tree.link("proc/1/fd/0", "/dev/null");
        host.tree.proc("1/comm", "systemd\n");
        host
    }

    fn device(&self, node: &str, directory: &str) {
        self.tree.sys(&format!("class/{node}/dev"), "226:128\n");
        self.tree.link(&format!("sys/class/{node}/device"), &format!("../../../{directory}"));
        self.power(directory, "runtime_status", "active");
    }

    fn power(&self, directory: &str, file: &str, value: &str) {
        self.tree.sys(&format!("{directory}/power/{file}"), &format!("{value}\n"));
    }

    /// A process of the name `comm` has `node` open, and the kernel says `text` of it.
    fn opens(&self, pid: u32, comm: &str, descriptor: u32, node: &str, text: &str) {
        self.tree.proc(&format!("{pid}/comm"), &format!("{comm}\n"));
        self.tree.link(&format!("proc/{pid}/fd/{descriptor}"), node);
        self.says(pid, descriptor, text);
    }

    fn says(&self, pid: u32, descriptor: u32, text: &str) {
        self.tree.proc(&format!("{pid}/fdinfo/{descriptor}"), text);
    }

    fn ends(&self, pid: u32) {
        std::fs::remove_dir_all(self.tree.path().join(format!("proc/{pid}"))).expect("it ran");
    }

    /// A reading ten seconds later.
    fn read(&mut self) -> Read {
        self.hand.advance(Duration::from_secs(10));
        let mut reading = Reading::new();
        reading.begin();
        let fault = self.probe.read(&self.tree.root(), &mut reading).err();
        reading.complete();
        let pairs = reading.metrics().zip(reading.values());
        let values = pairs.map(|(metric, bits)| (series(metric), bits.map(|bits| metric.value(bits)))).collect();
        Read { values, fault }
    }
}

struct Read {
    values: BTreeMap<String, Option<f64>>,
    fault: Option<Fault>,
}

impl Read {
    /// The value of the only series of that name whose labels have all of these.
    fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let is_it = |series: &str| {
            series.strip_prefix("dsmil_drm_").and_then(|series| series.split('{').next()) == Some(name)
                && labels.iter().all(|label| series.contains(label))
        };
        let mut found = self.values.iter().filter(|(series, _)| is_it(series));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} {labels:?} is one");
        *value
    }

    fn busy(&self, engine: &str) -> Option<f64> {
        self.value("engine_busy_seconds_total", &[&format!("engine=\"{engine}\"")])
    }
}

/// What i915 says of a client that has rendered for so many nanoseconds.
fn rendered(client: u32, ns: u64) -> String {
    format!("drm-driver:\ti915\ndrm-client-id:\t{client}\ndrm-pdev:\t0000:00:02.0\ndrm-engine-render:\t{ns} ns\n")
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_client_counts_from_when_we_look_however_often_it_is_open() {
    let mut host = Host::new();
    for (pid, descriptor) in [(100, 5), (100, 6), (101, 9)] {
        host.opens(pid, "Xorg", descriptor, RENDER, I915);
    }
    let seen = host.read();
    assert_eq!(seen.fault, None);
    assert_eq!(seen.busy("render"), Some(0.0), "what it did before is not of now");
    assert_eq!(seen.value("clients", &["accelerator=\"0000:00:02.0\"", "driver=\"i915\""]), Some(1.0));
    assert_eq!(seen.value("engine_capacity", &["engine=\"video\""]), Some(2.0));
    assert_eq!(seen.value("engine_capacity", &["engine=\"video-enhance\""]), Some(1.0));
    let memory = |kind: &str| seen.value("memory_bytes", &["region=\"system0\"", &format!("kind=\"{kind}\"")]);
    assert_eq!(memory("total"), Some(96.0 * 1_048_576.0));
    assert_eq!((memory("shared"), memory("active")), (Some(32.0 * 1_048_576.0), Some(0.0)));
    assert_eq!(seen.value("process_memory_bytes", &["comm=\"Xorg\""]), Some(80.0 * 1_048_576.0));
    let later = I915.replace("5000000000 ns", "7500000000 ns");
    [(100, 5), (100, 6), (101, 9)].iter().for_each(|(pid, descriptor)| host.says(*pid, *descriptor, &later));
    let seen = host.read();
    assert_eq!(seen.busy("render"), Some(2.5));
    assert_eq!(seen.value("process_busy_seconds_total", &["comm=\"Xorg\""]), Some(2.5));
}

#[test]
fn work_never_falls_though_clients_end_and_counters_do() {
    let mut host = Host::new();
    host.read();
    host.opens(100, "game", 5, RENDER, &rendered(1, 3 * SECOND));
    assert_eq!(host.read().busy("render"), Some(3.0), "it came while we looked");
    host.says(100, 5, &rendered(1, 2 * SECOND));
    assert_eq!(host.read().busy("render"), Some(3.0), "a counter may fall");
    host.says(100, 5, &rendered(1, 3 * SECOND + SECOND / 2));
    assert_eq!(host.read().busy("render"), Some(3.5), "and catch up");
    host.ends(100);
    let seen = host.read();
    assert_eq!((seen.busy("render"), seen.value("clients", &[])), (Some(3.5), Some(0.0)));
    // The same process id, and by chance the same client's number: a counter that is lower has not grown yet.
    host.opens(100, "other", 5, RENDER, &rendered(1, SECOND));
    assert_eq!(host.read().busy("render"), Some(3.5));
    host.ends(100);
    (0..3).for_each(|_| drop(host.read()));
    host.opens(100, "third", 5, RENDER, &rendered(1, SECOND));
    assert_eq!(host.read().busy("render"), Some(4.5), "once it is forgotten, it is another one");
}

#[test]
fn a_client_that_waits_for_its_visit_is_not_forgotten() {
    let mut host = Host::new();
    host.read();
    host.opens(100, "game", 5, RENDER, &rendered(1, 5 * SECOND));
    assert_eq!(host.read().busy("render"), Some(5.0));
    for _ in 0..5 {
        // As where there are so many that a reading does not come to all of them.
        host.probe.due = vec![100];
        assert_eq!(host.probe.look_for_more(&host.tree.root()), Ok(()));
    }
    host.says(100, 5, &rendered(1, 6 * SECOND));
    assert_eq!(host.read().busy("render"), Some(6.0), "and not counted twice");
}

#[test]
fn equal_numbers_on_two_cards_are_two_clients() {
    let mut host = Host::new();
    host.device("drm/renderD129", "devices/pci0000:00/0000:03:00.0");
    host.read();
    host.opens(100, "a", 5, RENDER, &rendered(1, SECOND));
    let other = rendered(1, 2 * SECOND).replace("0000:00:02.0", "0000:03:00.0");
    host.opens(101, "b", 5, "/dev/dri/renderD129", &other);
    let seen = host.read();
    let busy = |card: &str| seen.value("engine_busy_seconds_total", &[&format!("accelerator=\"{card}\"")]);
    assert_eq!((busy("0000:00:02.0"), busy("0000:03:00.0")), (Some(1.0), Some(2.0)));
    // In a container, where the second card has the first one's name.
    host.opens(102, "c", 5, RENDER, &rendered(2, 3 * SECOND).replace("0000:00:02.0", "0000:03:00.0"));
    let seen = host.read();
    assert_eq!(seen.value("engine_busy_seconds_total", &["accelerator=\"0000:03:00.0\""]), Some(5.0));
}

#[test]
fn every_driver_is_understood() {
    let mut host = Host::new();
    let platform = "devices/platform";
    for (node, directory) in [
        ("drm/renderD129", "devices/pci0000:00/0000:03:00.0"),
        ("drm/renderD130", "devices/pci0000:00/0000:0a:00.0"),
        ("accel/accel0", "devices/pci0000:00/0000:c5:00.1"),
        ("accel/accel1", "devices/pci0000:00/0000:00:0b.0"),
        ("drm/renderD131", &format!("{platform}/fb000000.gpu")),
        ("drm/card7", &format!("{platform}/5000000.gpu")),
    ] {
        host.device(node, directory);
    }
    host.read();
    for (at, (node, text)) in [
        ("dri/renderD129", XE),
        ("dri/renderD130", AMDGPU),
        ("accel/accel0", AMDXDNA),
        ("accel/accel1", IVPU),
        ("dri/renderD131", PANTHOR),
        ("dri/card7", MSM),
        ("dri/renderD128", NUMBERLESS),
    ]
    .into_iter()
    .enumerate()
    {
        let pid = 100 + u32::try_from(at).expect("a few");
        host.opens(pid, "app", 3, &format!("/dev/{node}"), text);
    }
    let seen = host.read();
    let of = |name: &str, driver: &str, label: &str| seen.value(name, &[&format!("driver=\"{driver}\""), label]);
    let time = "engine_busy_seconds_total";
    assert_eq!(of(time, "amdgpu", "engine=\"gfx\""), Some(60.0));
    assert_eq!(of(time, "amdxdna_accel_driver", "accelerator=\"0000:c5:00.1\""), Some(0.34));
    assert_eq!(of(time, "panthor", "accelerator=\"fb000000.gpu\""), Some(11.0));
    assert_eq!(of(time, "msm", "accelerator=\"5000000.gpu\""), Some(4.0));
    assert_eq!(of(time, "xe", ""), None, "it counts cycles");
    assert_eq!(of("engine_busy_cycles_total", "xe", "engine=\"rcs\""), Some(19_200_000.0));
    assert_eq!(of("process_busy_cycles_total", "xe", "comm=\"app\""), Some(24_000_000.0));
    assert_eq!(of("engine_capacity", "xe", "engine=\"ccs\""), Some(4.0));
    assert_eq!(of("engine_max_frequency_hertz", "panthor", ""), Some(1e9));
    let vram = |kind: &str| seen.value("memory_bytes", &["region=\"vram\"", &format!("kind=\"{kind}\"")]);
    assert_eq!((vram("resident"), vram("total")), (Some(122_880_000.0), Some(133_120_000.0)), "under two names");
    assert!(!seen.values.keys().any(|series| series.contains("vram\",kind=\"active")), "absent, not 0");
    assert_eq!(of("memory_bytes", "amdgpu", "region=\"cpu\""), Some(0.0));
    assert_eq!(of("memory_bytes", "intel_vpu", "kind=\"resident\""), Some(201_326_592.0));
    assert_eq!(of(time, "intel_vpu", ""), None);
    assert_eq!(of("clients", "none", ""), None, "its copies cannot be told from it");
    // The clock of xe's cycles goes on whoever is read.
    let later = XE.replace("7655183225", "7655183325").replace("19200000", "19200050");
    host.says(100, 3, &later);
    let seen = host.read();
    let rcs = ["driver=\"xe\"", "engine=\"rcs\""];
    assert_eq!(seen.value("engine_elapsed_cycles_total", &rcs), Some(100.0));
    assert_eq!(seen.value("engine_busy_cycles_total", &rcs), Some(19_200_050.0));
}

#[test]
fn a_device_that_sleeps_is_not_asked_and_its_work_stays_known() {
    let mut host = Host::new();
    host.read();
    host.opens(100, "desktop", 5, RENDER, I915);
    assert_eq!(host.read().busy("render"), Some(5.0));
    host.power(GPU, "runtime_status", "suspended");
    let witness = dsmil_sensors::witness::Witness::of(&host.tree.path().join("proc/100"));
    let seen = host.read();
    assert_eq!(seen.busy("render"), Some(5.0), "work stands still");
    assert_eq!(seen.value("clients", &[]), None, "nobody knows");
    assert_eq!(seen.value("memory_bytes", &["region=\"system0\"", "kind=\"total\""]), None);
    assert_eq!(witness.opened(), ["comm"], "not what the driver answers");
    (0..5).for_each(|_| drop(host.read()));
    host.power(GPU, "runtime_status", "active");
    let seen = host.read();
    assert_eq!((seen.busy("render"), seen.value("clients", &[])), (Some(5.0), Some(1.0)), "it is no new client");
}

#[test]
fn of_a_device_found_asleep_the_past_does_not_count() {
    let mut host = Host::new();
    host.power(GPU, "runtime_status", "suspended");
    host.opens(100, "desktop", 5, RENDER, I915);
    (0..3).for_each(|_| assert!(host.read().values.is_empty()));
    host.power(GPU, "runtime_status", "active");
    assert_eq!(host.read().busy("render"), Some(0.0));
    host.opens(101, "game", 5, RENDER, &rendered(2, SECOND));
    assert_eq!(host.read().busy("render"), Some(1.0));
}

#[test]
fn an_idle_device_is_asked_rarely_enough_to_fall_asleep() {
    let mut host = Host::new();
    for (file, value) in [("control", "auto"), ("runtime_usage", "0"), ("autosuspend_delay_ms", "25000")] {
        host.power(GPU, file, value);
    }
    host.opens(100, "desktop", 5, RENDER, &rendered(1, 0));
    let asked = |host: &mut Host| host.read().value("clients", &[]).is_some();
    let pattern: Vec<bool> = (0..7).map(|_| asked(&mut host)).collect();
    assert_eq!(pattern, [true, false, false, true, false, false, true]);
    // At work, it is awake for its work.
    for ns in 1..4 {
        host.says(100, 5, &rendered(1, ns));
        while !asked(&mut host) {}
    }
    host.says(100, 5, &rendered(1, 9));
    assert!(asked(&mut host));
    host.power(GPU, "runtime_usage", "1");
    assert!(asked(&mut host) && asked(&mut host), "a screen keeps it awake");
}

#[test]
fn a_host_without_devices_is_not_searched_and_one_that_hides_its_processes_is_named() {
    let (clock, _hand) = Clock::manual();
    let (tree, mut reading) = (Tree::new(), Reading::new());
    tree.sys("class/drm/version", "drm 1.1.0\n");
    assert_eq!(Fdinfo::new(clock).read(&tree.root(), &mut reading), Ok(()));
    let mut host = Host::new();
    assert_eq!(host.read().fault, None);
    host.ends(1);
    assert!(matches!(host.read().fault, Some(Fault::NoPermission { .. })), "all but ours are hidden");
    let of = |open, closed| may_look(&host.tree.root(), Some(Seen { open, closed }));
    assert_eq!(of(300, 2), Ok(()), "a few are closed to everybody");
    assert!(of(20, 300).is_err(), "a user sees his own");
}

#[test]
fn engines_without_end_are_cut() {
    let mut host = Host::new();
    host.read();
    for client in 0..40u32 {
        let mut text = rendered(client, SECOND);
        for engine in 0..500 {
            text += &format!("drm-engine-e{client}x{engine}:\t1 ns\ndrm-total-r{client}x{engine}:\t1 KiB\n");
        }
        text += &format!("drm-engine-{}:\t1 ns\n", "x".repeat(3000));
        host.opens(100 + client, &format!("app{client}"), 5, RENDER, &text);
    }
    let seen = host.read();
    assert_eq!(seen.busy("render"), Some(40.0));
    assert!(seen.values.len() < 100, "{}", seen.values.len());
}

#[test]
fn thousands_of_processes_are_looked_at_in_turns_of_bounded_length() {
    const PROCESSES: u32 = 4000;
    let host = Host::new();
    for pid in 2..PROCESSES {
        (0..4).for_each(|descriptor| host.tree.link(&format!("proc/{pid}/fd/{descriptor}"), "/dev/null"));
    }
    host.opens(PROCESSES, "last", 3, RENDER, &rendered(1, SECOND));
    let clock = Clock::real();
    let (mut probe, root, mut reading) = (Fdinfo::new(clock.clone()), host.tree.root(), Reading::new());
    let (mut longest, mut readings) = (Duration::ZERO, 0);
    while probe.search.from > 0 || readings == 0 || reading.values().count() == 0 {
        reading.begin();
        let begin = clock.mono();
        assert_eq!(probe.read(&root, &mut reading), Ok(()));
        longest = longest.max(clock.mono() - begin);
        reading.complete();
        readings += 1;
        assert!(readings < 10_000, "every process has its turn");
    }
    println!("{readings} readings, the longest {longest:?}");
    assert!(readings > 1, "it took several");
}

#[test]
fn this_machines_processes_are_looked_through() {
    let tree = Tree::new();
    tree.sys("class/drm/renderD128/dev", "226:128\n");
    let root = Root::at("/proc".as_ref(), &tree.path().join("sys"), "/".as_ref()).expect("every Linux has /proc");
    let clock = Clock::real();
    let (mut probe, mut reading, begin, mut readings) = (Fdinfo::new(clock.clone()), Reading::new(), clock.mono(), 0);
    while probe.search.last.is_none() {
        reading.begin();
        let _ = probe.read(&root, &mut reading);
        readings += 1;
        assert!(readings < 10_000, "every process has its turn");
    }
    let Seen { open, closed } = probe.search.last.unwrap_or_default();
    println!("{open} processes looked into, {closed} closed, {readings} readings, {:?}", clock.mono() - begin);
    assert!(open > 0, "at least ourselves");
}

proptest! {
    #[test]
    fn no_text_harms(
        lines in proptest::collection::vec("(drm-(driver|client-id|pdev|engine-|engine-capacity-|cycles-|total-cycles-|maxfreq-|memory-|total-|shared-)[a-z0-9]{0,4}: ?)?(\\PC{0,30}|[0-9]{1,25}( (ns|KiB|MiB|MHz))?)", 0..30),
        again in proptest::collection::vec(any::<u64>(), 0..6),
        link in "(/dev/(dri|accel)/(renderD|card|accel)[0-9]{0,10}|\\PC{0,60})",
    ) {
        let mut host = Host::new();
        let text = lines.join("\n");
        prop_assume!(!link.is_empty() && !link.contains('\0'));
        host.opens(100, "a", 5, RENDER, &format!("drm-driver: x\ndrm-client-id: 1\n{text}"));
        host.opens(100, "a", 6, &link, &text);
        let mut last: BTreeMap<String, Option<f64>> = BTreeMap::new();
        for number in again {
            host.says(100, 5, &format!("drm-driver: x\ndrm-client-id: 1\ndrm-engine-e: {number} ns\n{text}"));
            let seen = host.read();
            for (series, value) in seen.values.iter().filter(|(series, _)| series.contains("_total{")) {
                let before = last.get(series).copied().flatten();
                prop_assert!(value.unwrap_or(0.0) >= before.unwrap_or(0.0), "{series} falls");
            }
            last = seen.values;
        }
    }
}

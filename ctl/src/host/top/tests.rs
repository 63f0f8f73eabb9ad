//! Whole pictures of made hosts, at sizes that people have, and of any host at any size.

use super::feed::Follower;
use super::model::Model;
use super::paint::{Scene, Theme, paint};
use super::view::{Page, View};
use super::*;
use dsmil_agent::status::{
    ClockStatus, Family, GapSummary, IdentityStatus, Latest, LinkState, LinkStatus, MetricKind, Sample, SensorStatus,
    SettingsStatus, SpoolStatus, Status, TrustStatus,
};
use dsmil_protocol::ids::{HostName, TenantId};
use proptest::prelude::*;
use std::collections::BTreeMap;

const WALL_MS: i64 = 1_800_000_000_000;

/// A metric of a made host: name, labels, its value at the first tick, and how much it grows by the second; nothing if it
/// cannot be read.
type Made = (String, Vec<(String, String)>, Option<(f64, f64)>);

fn made(name: &str, labels: &[(&str, &str)], value: f64, growth: f64) -> Made {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (name.into(), labels, Some((value, growth)))
}

/// The tick `at` seconds after the first.
fn tick(metrics: &[Made], at: u64) -> Latest {
    let mut families: Vec<Family> = Vec::new();
    for (name, labels, value) in metrics {
        let kind = if name.ends_with("_total") || name.starts_with("node_vmstat") {
            MetricKind::Counter
        } else {
            MetricKind::Gauge
        };
        #[allow(clippy::cast_precision_loss, reason = "a few seconds")]
        let value = value.map(|(first, growth)| first + growth * at as f64);
        let sample = Sample { labels: labels.iter().cloned().collect::<BTreeMap<_, _>>(), value, read_at: 1_000 + at };
        match families.last_mut().filter(|family| family.name == *name) {
            Some(family) => family.samples.push(sample),
            None => families.push(Family { name: name.clone(), kind, samples: vec![sample] }),
        }
    }
    let wall_ms = WALL_MS + i64::try_from(at).expect("a few seconds") * 1_000;
    Latest { boot: "b".into(), tick: 1_000 + at, wall_ms, families, left_out: 0 }
}

fn status(host: &str) -> Status {
    let sensor = |name: &str| SensorStatus {
        name: name.into(),
        ok: true,
        trouble: None,
        remedy: None,
        metrics: 20,
        took_us: Some(120),
    };
    Status {
        host: HostName::new(host).expect("a name"),
        tenant: TenantId::new("lab").expect("a name"),
        agent_version: "0.1.0".into(),
        boot: "b".into(),
        host_uptime_s: 1_001,
        agent_uptime_s: 900,
        link: LinkStatus {
            state: LinkState::Connected,
            since_ms: 890_000,
            aggregator: Some("centre.example:8100".into()),
            negotiated: None,
            attempts: 0,
            last_error: None,
            last_ack_ms_ago: Some(900),
        },
        spool: SpoolStatus {
            path: "/mnt/dsmil-ram/agent/spool.sqlite".into(),
            writable: true,
            used_bytes: 3 << 20,
            capacity_bytes: 64 << 20,
            ticks_waiting: 7,
            ..SpoolStatus::default()
        },
        gaps: GapSummary::default(),
        sensors: ["stat", "meminfo", "pressure", "diskstats"].map(sensor).to_vec(),
        identity: IdentityStatus {
            key: "0123456789abcdef".into(),
            not_before_s: WALL_MS / 1000 - 3_600,
            not_after_s: WALL_MS / 1000 + 72_000,
            renewal: dsmil_agent::status::RenewalStatus { next_in_s: Some(30_000), ..Default::default() },
            ..IdentityStatus::default()
        },
        trust: TrustStatus { version: 3, expires_s: WALL_MS / 1000 + 90 * 86_400, ..TrustStatus::default() },
        settings: SettingsStatus::default(),
        clock: ClockStatus { wall_ms: WALL_MS, ahead_ms: Some(-3), ..ClockStatus::default() },
    }
}

fn processor(cores: usize, busy: impl Fn(usize) -> f64) -> Vec<Made> {
    let mut all = Vec::new();
    for core in 0..cores {
        let share = busy(core);
        let modes = [("idle", 1.0 - share), ("iowait", 0.0), ("system", share / 4.0), ("user", share * 3.0 / 4.0)];
        all.extend(modes.map(|(mode, part)| {
            made("node_cpu_seconds_total", &[("cpu", &core.to_string()), ("mode", mode)], 500.0, part)
        }));
    }
    all.extend(
        [("node_load1", 1.25), ("node_load5", 0.8), ("node_load15", 0.5)]
            .map(|(name, load)| made(name, &[], load, 0.0)),
    );
    all
}

fn memory(total_gib: f64, available_gib: f64, swap_gib: f64) -> Vec<Made> {
    const GIB: f64 = 1_073_741_824.0;
    let of = |name: &str, gib: f64| made(&format!("node_memory_{name}_bytes"), &[], gib * GIB, 0.0);
    let mut all =
        vec![of("MemTotal", total_gib), of("MemAvailable", available_gib), of("Cached", 3.0), of("Buffers", 0.25)];
    all.extend([of("Dirty", 0.01), of("SwapTotal", swap_gib), of("SwapFree", swap_gib * 0.9)]);
    all
}

fn disk(device: &str, read: f64, written: f64, busy: f64) -> Vec<Made> {
    let of = |name: &str, growth: f64| made(&format!("node_disk_{name}_total"), &[("device", device)], 1e6, growth);
    vec![
        of("io_time_seconds", busy),
        of("read_bytes", read),
        of("written_bytes", written),
        of("reads_completed", read / 16_384.0),
        of("writes_completed", written / 16_384.0),
        of("read_time_seconds", busy / 2.0),
        of("write_time_seconds", busy / 2.0),
    ]
}

fn filesystem(mount: &str, device: &str, size: f64, used: f64) -> Vec<Made> {
    let at = [("device", device), ("mountpoint", mount)];
    let of = |name: &str, value: f64| made(&format!("node_filesystem_{name}"), &at, value, 0.0);
    vec![of("size_bytes", size), of("avail_bytes", size * (1.0 - used)), of("readonly", 0.0)]
}

fn network(device: &str, received: f64, sent: f64, drops: f64) -> Vec<Made> {
    let of = |name: &str, growth: f64| made(&format!("node_network_{name}_total"), &[("device", device)], 1e9, growth);
    let both = |name: &str, receive: f64, send: f64| {
        [of(&format!("receive_{name}"), receive), of(&format!("transmit_{name}"), send)]
    };
    let all = [
        both("bytes", received, sent),
        both("packets", received / 900.0, sent / 900.0),
        both("errs", 0.0, 0.0),
        both("drop", drops, 0.0),
    ];
    all.concat()
}

fn pressure() -> Vec<Made> {
    let of = |name: &str, share: f64| made(&format!("node_pressure_{name}_seconds_total"), &[], 50.0, share);
    vec![
        of("cpu_waiting", 0.021),
        of("io_stalled", 0.05),
        of("io_waiting", 0.12),
        of("memory_stalled", 0.0),
        of("memory_waiting", 0.0),
    ]
}

fn accelerator(id: &str, kind: &str, vendor: &str, state: &str, figures: &[(&str, f64)]) -> Vec<Made> {
    let at = [("accelerator", id), ("kind", kind), ("vendor", vendor)];
    let mut info = at.to_vec();
    info.extend([("model", "made for a test"), ("driver", "made")]);
    let mut all = vec![made("dsmil_accelerator_info", &info, 1.0, 0.0)];
    for one in ["active", "suspended", "lost", "unknown"] {
        let labels = [&at[..], &[("state", one)]].concat();
        all.push(made("dsmil_accelerator_state", &labels, f64::from(u8::from(one == state)), 0.0));
    }
    let labels = [&at[..], &[("source", "measured")]].concat();
    let of = |(name, value): &(&str, f64)| {
        let growth = if name.ends_with("_total") { *value } else { 0.0 };
        made(&format!("dsmil_accelerator_{name}"), &labels, *value, growth)
    };
    all.extend(figures.iter().map(of));
    all
}

/// Those of one name together, as an agent tells them.
fn sorted(parts: Vec<Vec<Made>>) -> Vec<Made> {
    let mut all: Vec<Made> = parts.concat();
    all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    all
}

/// A small virtual machine.
fn small() -> Vec<Made> {
    sorted(vec![
        processor(2, |core| if core == 0 { 0.5 } else { 0.92 }),
        memory(24.0, 15.0, 0.0),
        pressure(),
        disk("vda", 0.0, 1_500_000.0, 0.12),
        filesystem("/", "/dev/vda1", 5e10, 0.61),
        network("eth0", 125_000.0, 30_000.0, 0.0),
        network("lo", 900.0, 900.0, 0.0),
    ])
}

/// A server with everything.
fn large() -> Vec<Made> {
    let mut parts = vec![
        processor(64, |core| (core % 10) as f64 / 10.0),
        memory(512.0, 20.0, 8.0),
        pressure(),
        network("ens1f0", 1.2e9, 9e8, 12.0),
        network("ens1f1", 0.0, 0.0, 0.0),
        network("lo", 1e5, 1e5, 0.0),
    ];
    parts.extend((0..6).map(|i| disk(&format!("nvme{i}n1"), 3e8 * f64::from(i), 1e8, 0.19 * f64::from(i))));
    parts.extend(
        [
            ("/", "0", 0.4),
            ("/var", "1", 0.97),
            ("/var/lib/container", "1", 0.97),
            ("/srv/models/weights/llama", "2", 0.88),
        ]
        .map(|(at, disk, used)| filesystem(at, &format!("/dev/md{disk}"), 2e12, used)),
    );
    let gpu = [
        ("utilisation_ratio", 0.98),
        ("memory_used_bytes", 7.3e10),
        ("memory_total_bytes", 8.6e10),
        ("temperature_celsius", 84.0),
        ("power_watts", 612.0),
        ("clock_hertz", 1.98e9),
    ];
    parts.push(accelerator("0000:01:00.0", "gpu", "nvidia", "active", &gpu));
    parts.push(accelerator("0000:02:00.0", "gpu", "nvidia", "lost", &[]));
    parts.push(accelerator(
        "0000:00:0b.0",
        "npu",
        "intel",
        "active",
        &[("busy_seconds_total", 0.4), ("clock_hertz", 1.4e9)],
    ));
    parts.push(accelerator("0000:03:00.0", "gpu", "amd", "suspended", &[]));
    let chip = [("chip", "platform_coretemp_0"), ("sensor", "temp1")];
    parts.push(vec![
        made("node_hwmon_chip_names", &[("chip", "platform_coretemp_0"), ("chip_name", "coretemp")], 1.0, 0.0),
        made("node_hwmon_sensor_label", &[chip[0], chip[1], ("label", "package_id_0")], 1.0, 0.0),
        made("node_hwmon_temp_celsius", &chip, 88.0, 0.0),
        made("node_hwmon_temp_crit_celsius", &chip, 100.0, 0.0),
        made("node_thermal_zone_temp", &[("type", "acpitz"), ("zone", "0")], 41.0, 0.0),
        made("node_rapl_package_joules_total", &[("index", "0"), ("path", "p")], 1e6, 214.0),
        made("node_rapl_dram_joules_total", &[("index", "0"), ("path", "d")], 1e6, 31.5),
        made("node_power_supply_online", &[("power_supply", "AC")], 1.0, 0.0),
    ]);
    sorted(parts)
}

/// The model of a host's second tick.
fn model(metrics: &[Made], status: Status) -> Model {
    let mut follower = Follower::default();
    follower.take(feed::told_of(tick(metrics, 0), status.clone()));
    follower.take(feed::told_of(tick(metrics, 1), status))
}

fn troubled() -> Status {
    let mut status = status("server");
    status.sensors[3] = SensorStatus {
        name: "nvml".into(),
        ok: false,
        trouble: Some("the driver does not answer: dsmil-probe hangs in ioctl (D, nvidia_poll)".into()),
        remedy: Some("reset the GPU, or restart the host".into()),
        metrics: 80,
        took_us: None,
    };
    status.link.state = LinkState::Offline { reason: "nobody answers there".into(), next_attempt_in_ms: 4_000 };
    status.gaps = GapSummary { gaps: 1, ticks: 40, by_reason: vec![("evicted".into(), 40)] };
    status
}

fn picture(scene: &Scene<'_>, view: &View, theme: Theme, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    paint(scene, view, theme, area, &mut buf);
    buf
}

const SIGNS: Theme = Theme { has_colours: false, has_signs: true };

/// Compares a picture with the one that is kept; DSMIL_BLESS=1 keeps the new one.
fn compare(name: &str, buf: &Buffer) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host/top/pictures").join(name);
    let drawn = text(buf);
    if std::env::var_os("DSMIL_BLESS").is_some() {
        std::fs::write(&path, &drawn).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, drawn, "{name} is another picture; if it is meant, DSMIL_BLESS=1 keeps it");
}

#[test]
fn pictures_are_those_that_are_kept() {
    let (small, large) = (model(&small(), status("vm")), model(&large(), troubled()));
    let of = |model, page, width, height| {
        let view = View { page, by_load: true, ..View::default() };
        picture(&Scene { model: Some(model), trouble: None, has_keys: true }, &view, SIGNS, width, height)
    };
    compare("small-80x24.txt", &of(&small, Page::Overview, 80, 24));
    compare("small-200x60.txt", &of(&small, Page::Overview, 200, 60));
    compare("large-80x24.txt", &of(&large, Page::Overview, 80, 24));
    compare("large-200x60.txt", &of(&large, Page::Overview, 200, 60));
    for page in [Page::Cpu, Page::Disks, Page::Network, Page::Accelerators, Page::Agent] {
        compare(&format!("large-{}-80x24.txt", page.name()), &of(&large, page, 80, 24));
    }
}

#[test]
fn an_agent_that_does_not_answer_is_said_to_and_its_last_picture_is_old() {
    let model = model(&small(), status("vm"));
    let trouble = Some(("no agent listens on /run/dsmil/agent.sock", 12));
    let scene = Scene { model: Some(&model), trouble, has_keys: true };
    let buf = picture(&scene, &View::default(), SIGNS, 80, 24);
    let drawn = text(&buf);
    let banner = "12 s OLD: no agent listens on /run/dsmil/agent.sock";
    assert!(drawn.lines().nth(2).is_some_and(|line| line.contains(banner)), "{drawn}");
    assert!(drawn.contains("vda"), "the last picture stays");
    assert!(buf[(12, 10)].modifier.contains(ratatui::style::Modifier::DIM), "and is seen to be old");
    let nothing = Scene { model: None, ..scene };
    let drawn = text(&picture(&nothing, &View::default(), SIGNS, 80, 24));
    assert!(drawn.contains("no agent listens") && !drawn.contains("OLD"), "{drawn}");
}

#[test]
fn states_are_coloured_where_there_are_colours_and_told_where_there_are_none() {
    let model = model(&large(), troubled());
    let scene = Scene { model: Some(&model), trouble: None, has_keys: true };
    let colours = |has_colours| {
        let buf = picture(&scene, &View::default(), Theme { has_colours, has_signs: true }, 80, 60);
        let used = buf.content.iter().map(|cell| cell.fg).collect::<std::collections::HashSet<_>>();
        (used.contains(&ratatui::style::Color::Red), used.len())
    };
    assert_eq!((colours(true).0, colours(false)), (true, (false, 1)));
    let plain = text(&picture(&scene, &View::default(), Theme::plain(""), 80, 60));
    let signs: Vec<char> = plain.chars().filter(|c| !c.is_ascii()).collect();
    assert_eq!(signs, Vec::<char>::new(), "a terminal without UTF-8 gets none of its signs");
    assert!(plain.contains("has fallen off the bus") && plain.contains("sleeps, and is left asleep"), "{plain}");
}

#[test]
fn rates_of_the_second_tick_are_the_hosts() {
    let model = model(&large(), status("server"));
    assert_eq!(model.cpu.cores.len(), 64);
    let core = model.cpu.cores[7].modes.expect("both ticks have it");
    assert!((core.busy() - 0.7).abs() < 1e-6 && (core.system - 0.175).abs() < 1e-6, "{core:?}");
    let watts: Vec<_> = model.power.iter().map(|power| (power.domain.as_str(), power.watts)).collect();
    assert_eq!(watts, [("dram 0", Some(31.5)), ("package 0", Some(214.0))]);
    let npu = model.accelerators.iter().find(|one| one.kind == "npu").expect("there is one");
    assert!((npu.utilisation.expect("its busy time grows") - 0.4).abs() < 1e-6);
    let first = Follower::default().take(feed::told_of(tick(&large(), 0), status("server")));
    assert!(
        first.cpu.total.is_none() && first.power.iter().all(|power| power.watts.is_none()),
        "one tick has no rates"
    );
    let json = serde_json::to_value(&model).expect("JSON");
    assert_eq!(json["accelerators"][2]["kind"], "npu");
}

#[test]
fn cards_that_only_nvidias_own_names_tell_of_are_accelerators_too() {
    let card = |gpu: &str, bus: &str| {
        let at = [("UUID", gpu), ("gpu", gpu), ("pci_bus_id", bus), ("modelName", "H200")];
        let of = |name: &str, value: f64| made(&format!("DCGM_FI_DEV_{name}"), &at, value, 0.0);
        vec![
            of("FB_FREE", 1024.0),
            of("FB_USED", 3072.0),
            of("GPU_TEMP", 44.0),
            of("GPU_UTIL", 37.0),
            of("POWER_USAGE", 120.0),
        ]
    };
    let known = accelerator("0000:01:00.0", "gpu", "nvidia", "active", &[("utilisation_ratio", 0.5)]);
    let metrics = sorted(vec![card("0", "00000000:01:00.0"), card("1", "00000000:02:00.0"), known]);
    let all = model(&metrics, status("h")).accelerators;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((all[0].utilisation, all[0].celsius), (Some(0.5), Some(44.0)), "what one does not tell the other does");
    assert_eq!(
        (all[1].utilisation, all[1].memory_total, all[1].model.as_str()),
        (Some(0.37), Some(4_294_967_296.0), "H200")
    );
}

fn any_value() -> impl Strategy<Value = Option<(f64, f64)>> {
    let odd =
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-1.0), Just(0.0), any::<f64>()];
    proptest::option::of((odd.clone(), odd))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_tick_and_no_size_makes_it_panic(
        values in proptest::collection::vec(any_value(), 1..40),
        text in "\\PC{0,40}|[\u{0}-\u{1f}]{0,9}",
        width in 1_u16..220,
        height in 1_u16..70,
        page in 0_usize..6,
        scroll in 0_usize..300,
        accelerator in any::<usize>(),
        explains in any::<bool>(),
        with_trouble in any::<bool>(),
    ) {
        let mut metrics = large();
        for (place, metric) in metrics.iter_mut().enumerate() {
            if place % 3 == 0 {
                metric.2 = values[place % values.len()];
            }
            if place % 7 == 0 {
                for (_, label) in &mut metric.1 {
                    label.clone_from(&text);
                }
            }
        }
        let model = model(&metrics, troubled());
        let view = View { page: Page::ALL[page], scroll, accelerator, explains, ..View::default() };
        let trouble = with_trouble.then_some((text.as_str(), 7));
        for theme in [SIGNS, Theme::plain("")] {
            picture(&Scene { model: Some(&model), trouble, has_keys: true }, &view, theme, width, height);
            picture(&Scene { model: None, trouble, has_keys: false }, &view, theme, width, height);
        }
    }
}

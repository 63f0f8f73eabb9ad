//! Hosts larger than any that we have: the tick goes out on time with what is known, and memory and work stay bounded.

use dsmil_agent::sampler::{DEADLINE, HostSource, Source, Verdict};
use dsmil_protocol::ids::Tick;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::tree::{MACHINES, Tree};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

const CPUS: usize = 256;
const DISKS: usize = 10_000;
const INTERFACES: usize = 1_000;
const PROCESSES: usize = 100_000;
/// Ticks that are looked at: with the sixtieth come the sensors that are read once a minute.
const TICKS: std::ops::RangeInclusive<u64> = 58..=72;
/// Memory that all of it may take: the row of 22,000 metrics, its set, and what sensors keep of it.
const MEMORY: u64 = 64 << 20;

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{}", line(number));
        text
    })
}

fn large() -> Tree {
    let tree = Tree::unpacked(MACHINES[0].tree);
    let cpus = lines(CPUS, |cpu| format!("cpu{cpu} 1 2 3 4 5 6 7 8 9 10"));
    tree.proc(
        "stat",
        &format!(
            "cpu 1 2 3 4 5 6 7 8 9 10\n{cpus}intr 1\nctxt 2\nbtime 3\nprocesses 4\nprocs_running 5\nprocs_blocked 6\n"
        ),
    );
    tree.proc("diskstats", &lines(DISKS, |n| format!("8 {n} disk{n}x 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17")));
    tree.proc("1/mountinfo", &lines(DISKS, |n| format!("{n} 1 254:{n} / /mnt/{n} rw - ext4 /dev/disk{n} rw")));
    let head = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
    let interfaces = lines(INTERFACES, |n| format!("  veth{n}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"));
    tree.proc("net/dev", &format!("{head}{interfaces}"));
    for n in 0..INTERFACES {
        tree.sys(&format!("class/net/veth{n}/mtu"), "1500\n");
        tree.sys(&format!("class/net/veth{n}/operstate"), "up\n");
    }
    for cpu in 0..CPUS {
        for (file, value) in
            [("scaling_cur_freq", "1000000"), ("scaling_min_freq", "1"), ("scaling_governor", "performance")]
        {
            tree.sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/{file}"), value);
        }
    }
    for pid in 2..PROCESSES + 2 {
        let stat = format!(
            "{pid} (worker {pid}) S 1 1 1 0 -1 4194560 1 0 0 0 {pid} 1 0 0 20 0 1 0 100 1000000 {pid} 18446744073709551615\n"
        );
        tree.proc(&format!("{pid}/stat"), &stat);
    }
    tree
}

#[tokio::test]
async fn long_a_host_of_ten_thousand_disks_and_a_hundred_thousand_processes_is_sampled_in_time() {
    let tree = large();
    let (clock, supervisor) = (Clock::real(), Supervisor::new(Clock::real()));
    let before = resident();
    let mut source = HostSource::new(clock.clone(), &supervisor, Arc::new(tree.root()), dsmil_sensors::all());
    let reports = source.reports();
    let mut worst = Duration::ZERO;
    for tick in TICKS {
        let began = clock.mono();
        let row = source.collect(Tick(tick)).await;
        let took = clock.mono().saturating_sub(began);
        worst = worst.max(took);
        assert!(took < DEADLINE + Duration::from_millis(400), "tick {tick} took {took:?}");
        assert!(row.set.metrics().len() > 20_000, "{} metrics", row.set.metrics().len());
        clock.sleep(Duration::from_secs(1).saturating_sub(took)).await;
    }
    let reports = reports.borrow().clone();
    for report in &reports {
        println!("{:>20}  {:?}  {:>6} metrics  {:?}", report.name, report.verdict, report.metrics, report.took);
    }
    let verdict = |name: &str| reports.iter().find(|report| report.name == name).map(|report| report.verdict);
    assert!(matches!(verdict("diskstats"), Some(Verdict::Failed(_))), "it says that it is cut");
    for name in ["meminfo", "netstat", "uptime", "uname", "softnet"] {
        assert!(matches!(verdict(name), Some(Verdict::Ok)), "and {name} does not suffer from it");
    }
    let grown = resident().saturating_sub(before);
    println!("worst tick {worst:?}, memory {} MiB", grown >> 20);
    assert!(grown < MEMORY, "{} MiB", grown >> 20);
    drop(source);
    supervisor.drain(Duration::from_secs(10)).await;
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux host");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

//! The sensors beside node_exporter, the program whose names they took: on every captured machine, and on this host in the same
//! second.
//!
//! What it made of the captured machines is kept beside them, so that the sensors' own tests need no other program; the first
//! test here sees to it that what is kept is what it says. `DSMIL_BLESS=1` writes it anew.

mod program;

use dsmil_agent::sampler::{HostSource, Source};
use dsmil_protocol::ids::Tick;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::comparison::{Comparison, Distance, exposition, sorted};
use dsmil_sensors::root::Root;
use dsmil_sensors::tree::{MACHINES, Machine, Tree, series};
use program::NodeExporter;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Of what it says of a captured machine, what comes from the machine that it runs on.
const OF_THIS_HOST: [&str; 3] = ["node_time_seconds", "node_time_zone", "node_timex_"];
/// What is asked of the kernel by other ways than its files, whatever the tree: it is kept, and not compared.
const ASKED: [&str; 3] = ["node_filesystem_", "node_network_receive_nohandler_total", "node_uname_info"];
/// A tick at which every sensor is due, whatever its interval.
const TICK: Tick = Tick(3600);

#[test]
fn what_is_kept_of_captured_machines_is_what_it_says_of_them() {
    let Some(program) = program::path() else { return };
    for machine in MACHINES {
        let tree = Tree::unpacked(machine.tree);
        let said = NodeExporter::start(&program, Some(tree.path())).metrics();
        let of_the_tree = |line: &&str| !OF_THIS_HOST.iter().any(|prefix| line.starts_with(prefix));
        let lines: Vec<&str> = own_lines(&said).filter(of_the_tree).collect();
        if std::env::var_os("DSMIL_BLESS").is_some() {
            std::fs::write(kept(&machine), lines.join("\n") + "\n").expect("the machine's folder");
            continue;
        }
        let (said, kept) = (exposition(&lines.join("\n")), exposition(machine.node_exporter));
        for (series, value) in &said {
            let before = kept.get(series);
            let same = before == Some(value) || value.is_nan() || is_asked(series);
            assert!(same, "{}: {series} is {value}, and {before:?} in what is kept", machine.name);
        }
        for series in kept.keys() {
            assert!(said.contains_key(series) || is_asked(series), "{}: no {series}", machine.name);
        }
    }
}

#[tokio::test]
async fn on_this_host_in_the_same_second_both_say_the_same() {
    let Some(program) = program::path() else { return };
    let exporter = NodeExporter::start(&program, None);
    // The first scrape pays for what it looks up once.
    exporter.metrics();
    let mut host = Host::new();
    let before = host.read().await;
    let theirs = exposition(&exporter.metrics());
    let after = host.read().await;
    host.end().await;
    let compared = Comparison::of(&after, &theirs, |series, after, theirs| {
        let before = before.get(series).copied().flatten().unwrap_or(after);
        distance(before, after, theirs)
    });
    print(&compared);
    assert!(compared.unexplained.is_empty(), "nobody has explained:\n{}", compared.unexplained.join("\n"));
    assert!(compared.same.len() > 200, "{} series are the same", compared.same.len());
}

/// A number read between two others lies between them, or near: what goes up and down may do so in a moment.
fn distance(before: f64, after: f64, theirs: f64) -> Distance {
    // A twentieth, or some processes, sockets or pages more or less.
    let slack = 0.05 * before.abs().max(after.abs());
    let slack = if theirs.abs() < 1000.0 { slack.max(8.0) } else { slack };
    let (low, high) = (before.min(after), before.max(after));
    if theirs == before || theirs == after {
        Distance::Same
    } else if (low - slack..=high + slack).contains(&theirs) {
        Distance::Near
    } else {
        Distance::Apart
    }
}

/// This host as the agent samples it.
struct Host {
    source: HostSource,
    supervisor: Supervisor,
}

impl Host {
    fn new() -> Self {
        let clock = Clock::real();
        let supervisor = Supervisor::new(clock.clone());
        let root = Arc::new(Root::host().expect("a Linux host"));
        Self { source: HostSource::new(clock, &supervisor, root, dsmil_sensors::all()), supervisor }
    }

    async fn read(&mut self) -> BTreeMap<String, Option<f64>> {
        let row = self.source.collect(TICK).await;
        let values = row.set.metrics().iter().zip(&row.values);
        let of_itself = |name: &str| name.starts_with("node_scrape_collector_");
        values
            .filter(|(metric, _)| !of_itself(&metric.name))
            .map(|(metric, bits)| (sorted(&series(metric)), bits.map(|bits| metric.value(bits))))
            .collect()
    }

    async fn end(self) {
        drop(self.source);
        self.supervisor.drain(Duration::from_secs(5)).await;
    }
}

fn is_asked(series: &str) -> bool {
    ASKED.iter().any(|prefix| series.starts_with(prefix))
}

fn own_lines(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| {
        let of_itself = ["node_scrape_collector_", "node_exporter_build_info", "node_textfile_"];
        line.starts_with("node_") && !of_itself.iter().any(|prefix| line.starts_with(prefix))
    })
}

fn kept(machine: &Machine) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/sensors/fixtures");
    fixtures.join(machine.name).join("node_exporter.prom")
}

fn print(compared: &Comparison) {
    let Comparison { same, near, documented, ours_only, theirs_only, unexplained } = compared;
    println!("this host beside node_exporter, series:");
    let rows: [(&str, &[String]); 6] = [
        ("same", same),
        ("within tolerance", near),
        ("documented difference", documented),
        ("ours only", ours_only),
        ("theirs only, with the reason", theirs_only),
        ("unexplained", unexplained),
    ];
    for (name, series) in rows {
        println!("{:>6}  {name}", series.len());
    }
}

//! Processes that come, go, grow and hide.

use super::*;
use crate::tree::{Seen, Tree};

struct Host {
    tree: Tree,
    sensor: Processes,
}

impl Host {
    fn new() -> Self {
        let host = Self { tree: Tree::new(), sensor: Processes::default() };
        host.process(1, "init", "S", 0, 1);
        host
    }

    fn process(&self, pid: u32, comm: &str, state: &str, ticks: u64, pages: u64) {
        self.started(pid, comm, state, ticks, pages, 7);
    }

    fn started(&self, pid: u32, comm: &str, state: &str, ticks: u64, pages: u64, start: u64) {
        let parent = if comm.starts_with("kworker") { 2 } else { 1 };
        let stat = format!(
            "{pid} ({comm}) {state} {parent} 1 1 0 -1 4194560 1 0 0 0 {ticks} 0 0 0 20 0 3 0 {start} 1000 {pages} 99 1 1\n"
        );
        self.tree.proc(&format!("{pid}/stat"), &stat);
    }

    fn ends(&self, pid: u32) {
        std::fs::remove_dir_all(self.tree.path().join(format!("proc/{pid}"))).expect("it ran");
    }

    fn read(&mut self) -> Seen {
        let seen = Seen::of(&mut self.sensor, &self.tree.root());
        assert_eq!(seen.error, None);
        seen
    }
}

fn cpu(seen: &Seen, comm: &str) -> Option<f64> {
    seen.value(&format!("dsmil_process_cpu_seconds_total{{comm=\"{comm}\"}}"))
}

#[test]
fn processes_are_counted_by_state() {
    let mut host = Host::new();
    host.process(812, "sshd", "S", 10, 20);
    host.process(815, "a) R (b", "D", 10, 20);
    host.tree.proc("sys/kernel/pid_max", "4194304\n");
    host.tree.proc("900/stat", "900 (cut");
    let seen = host.read();
    assert_eq!(seen.value("node_processes_max_processes"), Some(4_194_304.0));
    assert_eq!(seen.value("node_processes_pids"), Some(3.0));
    assert_eq!(seen.value("node_processes_threads"), Some(9.0));
    let state = |state| seen.value(&format!("node_processes_state{{state=\"{state}\"}}"));
    assert_eq!((state("S"), state("D"), state("R")), (Some(2.0), Some(1.0), Some(0.0)));
}

#[test]
fn time_is_that_since_the_reading_before_and_summed_by_name() {
    let mut host = Host::new();
    host.process(10, "python3", "R", 100_000, 50);
    host.process(11, "python3", "R", 500, 50);
    assert_eq!(cpu(&host.read(), "python3"), Some(0.0), "what it used before is not of now");
    host.process(10, "python3", "R", 100_200, 50);
    host.process(11, "python3", "R", 600, 50);
    host.process(12, "python3", "R", 50, 50);
    let seen = host.read();
    assert_eq!(cpu(&seen, "python3"), Some(3.5), "two went on, one is new");
    assert_eq!(seen.value("dsmil_process_top_cpu_pid{rank=\"1\"}"), Some(10.0));
    assert_eq!(seen.value("dsmil_process_top_cpu_seconds{rank=\"1\"}"), Some(2.0));
    assert_eq!(seen.value("dsmil_process_top_cpu_pid{rank=\"4\"}"), None, "nobody else used any");
    let page = f64::from(u32::try_from(rustix::param::page_size()).expect("a page"));
    assert_eq!(seen.value("dsmil_process_memory_bytes{comm=\"python3\"}"), Some(150.0 * page));
    host.ends(10);
    host.ends(12);
    host.started(11, "python3", "R", 40, 1, 8);
    assert_eq!(
        cpu(&host.read(), "python3"),
        Some(3.9),
        "another process with the id of an earlier one; it never falls"
    );
}

#[test]
fn threads_of_the_kernel_are_named_without_what_they_work_at() {
    let mut host = Host::new();
    host.process(5, "kworker/0:1-events", "I", 100, 0);
    host.read();
    host.process(5, "kworker/0:1-kblockd", "I", 350, 0);
    assert_eq!(cpu(&host.read(), "kworker"), Some(2.5));
}

#[test]
fn memory_has_its_own_ranks() {
    let mut host = Host::new();
    (10..30).for_each(|pid| host.process(pid, &format!("p{pid}"), "S", 0, u64::from(pid)));
    let seen = host.read();
    let pids = [1, 2, 3, 4, 5].map(|rank| seen.value(&format!("dsmil_process_top_memory_pid{{rank=\"{rank}\"}}")));
    assert_eq!(pids, [29.0, 28.0, 27.0, 26.0, 25.0].map(Some));
}

#[test]
fn names_that_come_and_go_do_not_change_the_metrics() {
    let mut host = Host::new();
    host.tree.proc("uptime", "1000.00 1.00\n");
    let mut reading = Reading::new();
    let mut changes = 0;
    for step in 0..200u32 {
        host.process(1000 + step, &format!("job{step}"), "R", 1000, 1000);
        host.process(5, &format!("kworker/0:{step}-events"), "I", u64::from(step) * 2000, 0);
        reading.begin();
        host.sensor.read(&host.tree.root(), &mut reading).expect("read");
        reading.complete();
        changes += u32::from(reading.take_changed());
        host.ends(1000 + step);
    }
    let most = u32::try_from(MAX_NAMES).expect("small") + 2;
    assert!(changes <= most, "{changes}: each place once, and then once an hour");
}

#[test]
fn thousands_of_processes_take_several_readings_and_not_a_longer_one() {
    let mut host = Host::new();
    let all = 2 * 1024 + 100;
    (2..=all).for_each(|pid| host.process(pid, "many", "S", 1, 1));
    for _ in 0..2 {
        let seen = host.read();
        assert!(!seen.has("node_processes_pids"), "half of them are no number of processes");
        assert!(host.sensor.pids.len() <= 1024);
    }
    assert_eq!(host.read().value("node_processes_pids"), Some(f64::from(all)));
    host.ends(7);
    assert_eq!(host.read().value("node_processes_pids"), Some(f64::from(all)), "until the next round is over");
    host.read();
    assert_eq!(host.read().value("node_processes_pids"), Some(f64::from(all - 1)));
}

#[test]
fn where_other_users_processes_are_hidden_there_is_nothing_to_count() {
    let mut host = Host::new();
    host.process(812, "sshd", "S", 10, 20);
    host.ends(1);
    assert_eq!(host.read().names().len(), 0);
}

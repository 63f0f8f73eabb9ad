//! Control groups: what each takes of processors and memory, and how long it waits for them.
//!
//! Format: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `Documentation/accounting/psi.rst`. node_exporter has
//! nothing of it. Reported are the two topmost levels: with systemd the slices and the services, with containers their groups.

use crate::attributes::Attributes;
use crate::members::Members;
use crate::reading::{Form, Reading};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use crate::since_boot::SinceBoot;
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

/// Where the groups are: the second where those of version 1 take the first, as they do on older systems.
const MOUNTS: [&str; 2] = ["fs/cgroup", "fs/cgroup/unified"];
/// A file that every directory of groups has, and none of version 1.
const MARK: &str = "cgroup.controllers";
/// Groups that are reported. Five files of each take some 50 µs; a host with systemd has 30 to 50 of them, and these are
/// 3 ms of each ten seconds.
const MAX_GROUPS: usize = 64;

const TIME: Form = Form::counter(Scale::per(1_000_000));
const BYTES: Form = Form::gauge(Scale::ONE);

/// A figure: its file, where in it it stands, and its metric.
struct Figure {
    file: &'static str,
    line: &'static [u8],
    /// The field's beginning; the number follows it.
    field: &'static [u8],
    metric: &'static str,
    form: Form,
}

const FIGURES: [Figure; 8] = [
    pressure("cpu.pressure", b"some", "dsmil_cgroup_pressure_cpu_waiting_seconds_total"),
    pressure("cpu.pressure", b"full", "dsmil_cgroup_pressure_cpu_stalled_seconds_total"),
    pressure("io.pressure", b"some", "dsmil_cgroup_pressure_io_waiting_seconds_total"),
    pressure("io.pressure", b"full", "dsmil_cgroup_pressure_io_stalled_seconds_total"),
    pressure("memory.pressure", b"some", "dsmil_cgroup_pressure_memory_waiting_seconds_total"),
    pressure("memory.pressure", b"full", "dsmil_cgroup_pressure_memory_stalled_seconds_total"),
    Figure { file: "cpu.stat", line: b"usage_usec", field: b"", metric: "dsmil_cgroup_cpu_seconds_total", form: TIME },
    Figure { file: "memory.current", line: b"", field: b"", metric: "dsmil_cgroup_memory_bytes", form: BYTES },
];

const fn pressure(file: &'static str, line: &'static [u8], metric: &'static str) -> Figure {
    Figure { file, line, field: b"total=", metric, form: TIME }
}

/// The controllers whose files lie beside a group's children.
const CONTROLLERS: [&str; 12] =
    ["cgroup", "cpu", "cpuset", "dmem", "hugetlb", "io", "irq", "memory", "misc", "perf_event", "pids", "rdma"];
/// How systemd's groups end, whatever they begin with.
const UNITS: [&str; 6] = [".slice", ".scope", ".service", ".mount", ".socket", ".swap"];

/// Which figures a group ever had. The others have no metric: a controller may be off for it.
type Told = [bool; FIGURES.len()];

/// Reads `/sys/fs/cgroup`.
pub(crate) struct Cgroups {
    groups: Members<Told>,
    group: Attributes,
    text: Vec<u8>,
    since_boot: SinceBoot,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self {
            groups: Members::new(MAX_GROUPS),
            group: Attributes::default(),
            text: Vec::new(),
            since_boot: SinceBoot::default(),
        }
    }
}

impl Sensor for Cgroups {
    fn name(&self) -> &'static str {
        "cgroups"
    }

    fn source(&self) -> &'static str {
        "/sys/fs/cgroup"
    }

    /// The kernel sums over all cores and all groups below for each figure.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let is_there = |mount: &&&str| {
            self.group.enter(&[mount]);
            self.group.bytes(root, MARK).is_some()
        };
        let Some(mount) = MOUNTS.iter().find(is_there) else {
            return Ok(()); // A kernel, or a system, without control groups of version 2.
        };
        let found = two_levels(root, mount);
        let wanted: Vec<&str> = found.iter().map(String::as_str).collect();
        self.groups.admit(self.since_boot.read(root), &wanted);
        for (name, told) in self.groups.iter_mut() {
            self.group.enter(&[mount, name]);
            let mut read = ""; // The file in `text`; one that cannot be read leaves nothing there.
            for (figure, told) in FIGURES.iter().zip(told) {
                if read != figure.file && root.sys(self.group.path(figure.file), &mut self.text).is_err() {
                    self.text.clear();
                }
                read = figure.file;
                let number = figure.find(&self.text);
                *told |= number.is_some();
                if *told {
                    out.push(figure.metric, &[("cgroup", name)], figure.form, number);
                }
            }
        }
        Ok(())
    }
}

impl Figure {
    fn find(&self, text: &[u8]) -> Option<u64> {
        let (_, line) = lines(text).find(|(_, line)| line.starts_with(self.line))?;
        let key = usize::from(!self.line.is_empty());
        fields(line).skip(key).find_map(|field| field.strip_prefix(self.field)).and_then(unsigned)
    }
}

/// The groups of the two topmost levels, the upper level first: `/system.slice`, `/system.slice/ssh.service`.
fn two_levels(root: &Root, mount: &str) -> Vec<String> {
    let below = |parent: &str| {
        let names = root.list_sys(&format!("{mount}{parent}")).unwrap_or_default();
        names.into_iter().filter(|name| is_group(name)).map(|name| format!("{parent}/{name}")).collect::<Vec<_>>()
    };
    let mut found = below("");
    for upper in 0..found.len() {
        if found.len() >= MAX_GROUPS {
            break;
        }
        found.extend(below(&found[upper]));
    }
    found
}

/// Whether a name is a group's, and not that of one of the files (`memory.current`) that lie beside it.
fn is_group(name: &str) -> bool {
    let controller = name.split('.').next().unwrap_or(name);
    UNITS.iter().any(|unit| name.ends_with(unit)) || !(name.contains('.') && CONTROLLERS.contains(&controller))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Seen, Tree};

    const PRESSURE: &str =
        "some avg10=1.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";

    fn group(tree: &Tree, path: &str, memory: u64) {
        tree.sys(&format!("fs/cgroup/{path}/memory.current"), &format!("{memory}\n"));
    }

    #[test]
    fn two_levels_are_reported_and_the_third_is_not() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Cgroups::default()).names().len(), 0, "no control groups");
        tree.sys("fs/cgroup/cgroup.controllers", "cpu memory\n");
        tree.sys("fs/cgroup/memory.pressure", PRESSURE);
        group(&tree, "user.slice", 1);
        group(&tree, "user.slice/user-1000.slice", 2);
        group(&tree, "user.slice/user-1000.slice/session-1.scope", 3);
        group(&tree, "memory.slice", 4);
        tree.sys("fs/cgroup/user.slice/cpu.pressure", PRESSURE);
        tree.sys("fs/cgroup/user.slice/cpu.stat", "usage_usec 1500000\nuser_usec 7\n");
        let seen = tree.read(&mut Cgroups::default());
        assert_eq!((seen.error, seen.names().len()), (None, 3 + 3), "{:?}", seen.names());
        assert_eq!(seen.value("dsmil_cgroup_memory_bytes{cgroup=\"/user.slice/user-1000.slice\"}"), Some(2.0));
        assert_eq!(seen.value("dsmil_cgroup_memory_bytes{cgroup=\"/memory.slice\"}"), Some(4.0));
        assert_eq!(seen.value("dsmil_cgroup_cpu_seconds_total{cgroup=\"/user.slice\"}"), Some(1.5));
        assert_eq!(seen.value("dsmil_cgroup_pressure_cpu_waiting_seconds_total{cgroup=\"/user.slice\"}"), Some(2.5));
        assert_eq!(
            seen.value("dsmil_cgroup_pressure_cpu_stalled_seconds_total{cgroup=\"/user.slice\"}"),
            Some(0.000_005)
        );
    }

    #[test]
    fn beside_groups_of_version_1_those_of_version_2_are_found() {
        let tree = Tree::new();
        tree.sys("fs/cgroup/memory/user/memory.usage_in_bytes", "1\n");
        tree.sys("fs/cgroup/unified/cgroup.controllers", "\n");
        assert_eq!(tree.read(&mut Cgroups::default()).names().len(), 0, "no controller, and no group");
        tree.sys("fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
        tree.sys("fs/cgroup/unified/init.scope/cpu.pressure", PRESSURE);
        assert_eq!(tree.read(&mut Cgroups::default()).names().len(), 2);
    }

    #[test]
    fn a_group_that_comes_and_goes_keeps_its_metrics() {
        let tree = Tree::new();
        tree.sys("fs/cgroup/cgroup.controllers", "memory\n");
        group(&tree, "a.service", 1);
        let (mut sensor, root) = (Cgroups::default(), tree.root());
        Seen::of(&mut sensor, &root);
        std::fs::remove_dir_all(tree.path().join("sys/fs/cgroup/a.service")).expect("there");
        let series = "dsmil_cgroup_memory_bytes{cgroup=\"/a.service\"}";
        let seen = Seen::of(&mut sensor, &root);
        assert!(seen.has(series) && seen.value(series).is_none());
        group(&tree, "a.service", 5);
        assert_eq!(Seen::of(&mut sensor, &root).value(series), Some(5.0));
    }

    #[test]
    fn a_thousand_groups_are_as_dear_as_sixty_four() {
        let tree = Tree::new();
        tree.sys("fs/cgroup/cgroup.controllers", "memory\n");
        (0..1000).for_each(|i| group(&tree, &format!("system.slice/{i:04}.service"), i));
        group(&tree, "user.slice", 7);
        let seen = tree.read(&mut Cgroups::default());
        assert_eq!(seen.names().len(), MAX_GROUPS - 1, "system.slice itself has no file here");
        assert!(seen.has("dsmil_cgroup_memory_bytes{cgroup=\"/user.slice\"}"), "the upper level comes first");
        (0..100).for_each(|i| group(&tree, &format!("{i:02}.slice/below.slice"), i));
        assert_eq!(
            two_levels(&tree.root(), "fs/cgroup").len(),
            102,
            "where those above are too many, nobody looks below"
        );
    }
}

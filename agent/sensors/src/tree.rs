//! A small host for tests: /proc, /sys and /etc as files in a temporary directory.

use crate::root::Root;
use crate::{Reading, Sensor, SensorError};
use dsmil_protocol::metric::{Kind, Metric};
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A machine as it was captured, or as the kernel's documents describe it.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Its folder below `agent/sensors/fixtures`.
    pub name: &'static str,
    /// Its files, as [`entries`] reads them.
    pub tree: &'static str,
    /// What node_exporter 1.5.0 makes of that tree.
    pub node_exporter: &'static str,
}

macro_rules! machine {
    ($name:literal) => {
        Machine {
            name: $name,
            tree: include_str!(concat!("../fixtures/", $name, "/tree.txt")),
            node_exporter: include_str!(concat!("../fixtures/", $name, "/node_exporter.prom")),
        }
    };
}

/// All of them.
pub const MACHINES: [Machine; 5] = [
    machine!("kvm-linux-6.18"),
    machine!("server-linux-6.1"),
    machine!("workstation-amdgpu-6.8"),
    machine!("laptop-intel-6.11"),
    machine!("arm-rk3588-6.1"),
];

/// A file or a link of a machine, with its path below the root: `proc/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A file and what is in it.
    File(&'a str, &'a str),
    /// A symbolic link and where it leads.
    Link(&'a str, &'a str),
}

/// What is in a `tree.txt`: files, each after a line `=== path`, and links, `=== path -> target`.
pub fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.split("=== ").skip(1).map(|entry| {
        let (head, content) = entry.split_once('\n').unwrap_or((entry, ""));
        head.split_once(" -> ").map_or(Entry::File(head, content), |(path, target)| Entry::Link(path, target))
    })
}

/// The directory; gone when dropped.
#[derive(Debug)]
pub struct Tree(tempfile::TempDir);

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::missing_panics_doc, reason = "a test that cannot write its files cannot go on")]
impl Tree {
    /// An empty /proc and /sys.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["proc", "sys"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory in it");
        }
        Self(dir)
    }

    /// A host with all that is in a `tree.txt`.
    pub fn unpacked(text: &str) -> Self {
        let tree = Self::new();
        for entry in entries(text) {
            match entry {
                Entry::File(path, content) => tree.file(path, content.as_bytes()),
                Entry::Link(path, target) => tree.link(path, target),
            }
        }
        tree
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file below /proc.
    pub fn proc(&self, path: &str, text: &str) {
        self.file(&format!("proc/{path}"), text.as_bytes());
    }

    /// Writes a file below /sys.
    pub fn sys(&self, path: &str, text: &str) {
        self.file(&format!("sys/{path}"), text.as_bytes());
    }

    /// Writes a file.
    pub fn file(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.place(path), bytes).expect("a file");
    }

    /// Makes a symbolic link.
    pub fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).expect("a link");
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the tree")).expect("directories");
        path
    }

    /// It as a host's root.
    pub fn root(&self) -> Root {
        let dir = self.0.path();
        Root::at(&dir.join("proc"), &dir.join("sys"), dir).expect("the tree is there")
    }

    /// What a sensor sees of it.
    pub fn read(&self, sensor: &mut dyn Sensor) -> Seen {
        Seen::of(sensor, &self.root())
    }
}

/// What a sensor saw.
#[derive(Debug)]
pub struct Seen {
    /// Why not everything.
    pub error: Option<SensorError>,
    metrics: Vec<(String, Metric, Option<u64>)>,
}

impl Seen {
    /// What `sensor` sees of `root`.
    pub fn of(sensor: &mut dyn Sensor, root: &Root) -> Self {
        let mut reading = Reading::new();
        reading.begin();
        let error = sensor.read(root, &mut reading).err();
        reading.complete();
        let metrics = reading.metrics().cloned().zip(reading.values()).map(|(m, bits)| (series(&m), m, bits)).collect();
        Self { error, metrics }
    }

    /// Every series, as Prometheus writes it.
    pub fn names(&self) -> Vec<&str> {
        self.metrics.iter().map(|(name, ..)| name.as_str()).collect()
    }

    /// Whether there is such a series, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.metrics.iter().any(|(known, ..)| known == name)
    }

    /// The value of a series in its unit; none if it is absent or not there at all.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, ..)| known == name).and_then(|(_, m, bits)| bits.map(|bits| m.value(bits)))
    }

    /// What a series' number does over time.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.metrics.iter().find(|(known, ..)| known == name).map(|(_, m, _)| m.kind)
    }
}

/// `name{label="value"}`
pub fn series(metric: &Metric) -> String {
    let mut text = metric.name.clone();
    for (at, (label, value)) in metric.labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{label}=\"{value}\"");
    }
    if !metric.labels.is_empty() {
        text.push('}');
    }
    text
}

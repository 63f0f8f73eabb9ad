//! A small host for tests: /proc and /sys as files in a temporary directory.

use super::{Reading, Sensor, SensorError};
use crate::root::Root;
use dsmil_protocol::metric::{Kind, Metric};
use std::fmt::Write;
use std::path::Path;

/// The directory; gone when dropped.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// An empty /proc and /sys.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["proc", "sys"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory in it");
        }
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn proc(&self, path: &str, text: &str) {
        self.proc_bytes(path, text.as_bytes());
    }

    pub(crate) fn proc_bytes(&self, path: &str, bytes: &[u8]) {
        self.write("proc", path, bytes);
    }

    pub(crate) fn sys(&self, path: &str, text: &str) {
        self.write("sys", path, text.as_bytes());
    }

    fn write(&self, below: &str, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(below).join(path);
        std::fs::create_dir_all(path.parent().expect("below the tree")).expect("directories");
        std::fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn root(&self) -> Root {
        let dir = self.0.path();
        Root::at(&dir.join("proc"), &dir.join("sys"), dir).expect("the tree is there")
    }

    /// What a sensor sees of it.
    pub(crate) fn read(&self, sensor: &mut dyn Sensor) -> Seen {
        Seen::of(sensor, &self.root())
    }
}

/// What a sensor saw.
pub(crate) struct Seen {
    pub(crate) error: Option<SensorError>,
    metrics: Vec<(String, Metric, Option<u64>)>,
}

impl Seen {
    pub(crate) fn of(sensor: &mut dyn Sensor, root: &Root) -> Self {
        let mut reading = Reading::new();
        reading.begin();
        let error = sensor.read(root, &mut reading).err();
        reading.complete();
        let metrics = reading.metrics().cloned().zip(reading.values()).map(|(m, bits)| (series(&m), m, bits)).collect();
        Self { error, metrics }
    }

    /// Every series, as Prometheus writes it.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.metrics.iter().map(|(name, ..)| name.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.metrics.iter().any(|(known, ..)| known == name)
    }

    /// The value of a series in its unit; none if it is absent or not there at all.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(known, ..)| known == name).and_then(|(_, m, bits)| bits.map(|bits| m.value(bits)))
    }

    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        self.metrics.iter().find(|(known, ..)| known == name).map(|(_, m, _)| m.kind)
    }
}

/// `name{label="value"}`
pub(crate) fn series(metric: &Metric) -> String {
    let mut text = metric.name.clone();
    for (at, (label, value)) in metric.labels.iter().enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        write!(text, "{before}{label}=\"{value}\"").expect("writing to a string");
    }
    if !metric.labels.is_empty() {
        text.push('}');
    }
    text
}

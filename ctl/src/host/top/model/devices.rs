//! Disks, filesystems and network interfaces.

use super::super::readings::{Reading, Readings};
use super::processor::ratio;
use serde::Serialize;
use std::collections::HashSet;

/// A disk; everything a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Disk {
    pub(in super::super) device: String,
    pub(in super::super) read_bytes: Option<f64>,
    pub(in super::super) written_bytes: Option<f64>,
    pub(in super::super) reads: Option<f64>,
    pub(in super::super) writes: Option<f64>,
    /// The share of the time in which it had something to do.
    pub(in super::super) busy: Option<f64>,
    /// Seconds that one request takes, waiting included; absent while there is none.
    pub(in super::super) wait_s: Option<f64>,
}

pub(super) fn disks(readings: &Readings) -> Vec<Disk> {
    let disk = |(place, reading): (usize, &Reading)| {
        let device = reading.label("device");
        let rate = |name: &str| readings.near(&format!("node_disk_{name}"), place, &[("device", device)])?.per_s;
        let (reads, writes) = (rate("reads_completed_total"), rate("writes_completed_total"));
        let time = rate("read_time_seconds_total").zip(rate("write_time_seconds_total")).map(|(r, w)| r + w);
        let requests = reads.zip(writes).map(|(r, w)| r + w).filter(|requests| *requests > 0.0);
        Disk {
            device: device.into(),
            read_bytes: rate("read_bytes_total"),
            written_bytes: rate("written_bytes_total"),
            reads,
            writes,
            busy: rate("io_time_seconds_total").map(|share| share.min(1.0)),
            wait_s: time.zip(requests).map(|(time, requests)| time / requests),
        }
    };
    readings.of("node_disk_io_time_seconds_total").iter().enumerate().map(disk).collect()
}

/// A filesystem, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Filesystem {
    pub(in super::super) mount_point: String,
    pub(in super::super) device: String,
    pub(in super::super) size: Option<f64>,
    /// What an ordinary user may still take.
    pub(in super::super) available: Option<f64>,
    pub(in super::super) is_read_only: bool,
}

impl Filesystem {
    /// The share that is taken.
    pub(in super::super) fn used_ratio(&self) -> Option<f64> {
        ratio(self.size? - self.available?, self.size?)
    }
}

pub(super) fn filesystems(readings: &Readings) -> Vec<Filesystem> {
    let filesystem = |(place, reading): (usize, &Reading)| {
        let (mount_point, device) = (reading.label("mountpoint"), reading.label("device"));
        let at = [("mountpoint", mount_point), ("device", device)];
        let value = |name: &str| readings.near(&format!("node_filesystem_{name}"), place, &at)?.value;
        Filesystem {
            mount_point: mount_point.into(),
            device: device.into(),
            size: reading.value,
            available: value("avail_bytes"),
            is_read_only: value("readonly") == Some(1.0),
        }
    };
    let mut all: Vec<Filesystem> =
        readings.of("node_filesystem_size_bytes").iter().enumerate().map(filesystem).collect();
    // What is mounted a second time, as containers and namespaces do, is the same space once more: its shortest name is enough.
    all.sort_by_key(|filesystem| filesystem.mount_point.len());
    let mut seen = HashSet::new();
    all.retain(|filesystem| !filesystem.device.starts_with("/dev/") || seen.insert(filesystem.device.clone()));
    all
}

/// A network interface; everything a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Network {
    pub(in super::super) device: String,
    pub(in super::super) received_bytes: Option<f64>,
    pub(in super::super) sent_bytes: Option<f64>,
    pub(in super::super) received_packets: Option<f64>,
    pub(in super::super) sent_packets: Option<f64>,
    /// Packets that were not good, either way.
    pub(in super::super) errors: Option<f64>,
    /// Packets that there was no room for, either way.
    pub(in super::super) drops: Option<f64>,
    /// Whether it is up; absent where the kernel does not say.
    pub(in super::super) is_up: Option<bool>,
    /// Bytes a second that it could carry.
    pub(in super::super) speed_bytes: Option<f64>,
}

pub(super) fn networks(readings: &Readings) -> Vec<Network> {
    let network = |(place, reading): (usize, &Reading)| {
        let device = reading.label("device");
        let of = |name: &str| readings.near(&format!("node_network_{name}"), place, &[("device", device)]);
        let rate = |name: &str| of(name)?.per_s;
        let value = |name: &str| of(name)?.value;
        let both = |name: &str| {
            let [receive, send] = ["receive", "transmit"].map(|way| rate(&format!("{way}_{name}_total")));
            receive.zip(send).map(|(receive, send)| receive + send)
        };
        Network {
            device: device.into(),
            received_bytes: reading.per_s,
            sent_bytes: rate("transmit_bytes_total"),
            received_packets: rate("receive_packets_total"),
            sent_packets: rate("transmit_packets_total"),
            errors: both("errs"),
            drops: both("drop"),
            // The loopback interface has no state, and a carrier.
            is_up: value("carrier").or_else(|| value("up")).map(|up| up > 0.0),
            speed_bytes: value("speed_bytes").filter(|speed| *speed > 0.0),
        }
    };
    let known = readings.of("node_network_receive_bytes_total").iter().enumerate();
    let mut all: Vec<Network> = known.map(network).collect();
    // The host's talk with itself is the least interesting.
    all.sort_by_key(|network| network.device == "lo");
    all
}

//! The host itself: processors, memory, disks, filesystems, network and what else /proc and /sys say of it.

pub(crate) mod diskstats;
pub(crate) mod filefd;
pub(crate) mod filesystem;
pub(crate) mod loadavg;
pub(crate) mod meminfo;
pub(crate) mod netdev;
pub(crate) mod netstat;
pub(crate) mod pressure;
pub(crate) mod selinux;
pub(crate) mod sockstat;
pub(crate) mod stat;
pub(crate) mod thermal_zone;
pub(crate) mod uname;
pub(crate) mod uptime;
pub(crate) mod vmstat;

pub use filesystem::FilesystemSensor;

use crate::sensor::Sensor;

/// Every sensor that a host has without further rights, in the order of their columns.
pub fn all() -> Vec<Box<dyn Sensor>> {
    vec![
        Box::new(stat::Stat::default()),
        Box::new(loadavg::Loadavg::default()),
        Box::new(meminfo::Meminfo::default()),
        Box::new(vmstat::Vmstat::default()),
        Box::new(pressure::Pressure::default()),
        Box::new(diskstats::Diskstats::default()),
        Box::new(FilesystemSensor::local()),
        Box::new(FilesystemSensor::remote()),
        Box::new(netdev::Netdev::default()),
        Box::new(netstat::Netstat::default()),
        Box::new(sockstat::Sockstat::default()),
        Box::new(filefd::Filefd::default()),
        Box::new(selinux::Selinux::default()),
        Box::new(thermal_zone::ThermalZone::default()),
        Box::new(uptime::Uptime::default()),
        Box::new(uname::Uname::default()),
    ]
}

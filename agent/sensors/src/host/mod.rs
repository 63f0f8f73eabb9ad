//! The host itself: processors, memory, disks, filesystems, network and what else /proc and /sys say of it.

pub(crate) mod arp;
pub(crate) mod bonding;
pub(crate) mod btrfs;
pub(crate) mod cgroups;
pub(crate) mod conntrack;
pub(crate) mod cpu;
pub(crate) mod cpufreq;
pub(crate) mod diskstats;
pub(crate) mod dmi;
pub(crate) mod edac;
pub(crate) mod filefd;
pub(crate) mod filesystem;
pub(crate) mod hwmon;
pub(crate) mod infiniband;
pub(crate) mod loadavg;
pub(crate) mod mdadm;
pub(crate) mod meminfo;
pub(crate) mod netclass;
pub(crate) mod netdev;
pub(crate) mod netstat;
pub(crate) mod nfs;
pub(crate) mod nvme;
pub(crate) mod os;
pub(crate) mod powersupplyclass;
pub(crate) mod pressure;
pub(crate) mod processes;
pub(crate) mod schedstat;
pub(crate) mod selinux;
pub(crate) mod sockstat;
pub(crate) mod softnet;
pub(crate) mod stat;
pub(crate) mod thermal_zone;
pub(crate) mod time;
pub(crate) mod udp_queues;
pub(crate) mod uname;
pub(crate) mod uptime;
pub(crate) mod vmstat;
pub(crate) mod watchdog;
pub(crate) mod xfs;
pub(crate) mod zfs;

pub use filesystem::FilesystemSensor;
pub(crate) use hwmon::place_label;

use crate::sensor::Sensor;

/// The sensors of the host itself, in the order of their columns.
pub(crate) fn all() -> Vec<Box<dyn Sensor>> {
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
        Box::new(hwmon::Hwmon::default()),
        Box::new(cpu::Cpu::default()),
        Box::new(cpufreq::Cpufreq::default()),
        Box::new(edac::Edac::default()),
        Box::new(powersupplyclass::Powersupplyclass::default()),
        Box::new(watchdog::Watchdog::default()),
        Box::new(netclass::Netclass::default()),
        Box::new(softnet::Softnet::default()),
        Box::new(conntrack::Conntrack::default()),
        Box::new(arp::Arp::default()),
        Box::new(udp_queues::UdpQueues::default()),
        Box::new(schedstat::Schedstat::default()),
        Box::new(time::Time::default()),
        Box::new(os::Os::default()),
        Box::new(dmi::Dmi::default()),
        Box::new(bonding::Bonding::default()),
        Box::new(xfs::Xfs::default()),
        Box::new(btrfs::Btrfs::default()),
        Box::new(zfs::Zfs::default()),
        Box::new(mdadm::Mdadm::default()),
        Box::new(nfs::Nfs::default()),
        Box::new(infiniband::Infiniband::default()),
        Box::new(nvme::Nvme::default()),
        Box::new(cgroups::Cgroups::default()),
        Box::new(processes::Processes::default()),
        Box::new(uptime::Uptime::default()),
        Box::new(uname::Uname::default()),
    ]
}

//! What a simulated host measures: as many metrics as a small virtual machine has, under the same names.

use super::wave::Wave;
use dsmil_protocol::metric::{Metric, Scale};
use dsmil_sensors::Form;

const COUNT: Form = Form::counter(Scale::ONE);
const LEVEL: Form = Form::gauge(Scale::ONE);
const JIFFIES: Form = Form::counter(Scale::per(100));
const MILLIS: Form = Form::counter(Scale::per(1000));
const MICROS: Form = Form::counter(Scale::per(1_000_000));
const SECTORS: Form = Form::counter(Scale::times(512));
const KIB: Form = Form::gauge(Scale::times(1024));
const BLOCKS: Form = Form::gauge(Scale::times(4096));
const HUNDREDTHS: Form = Form::gauge(Scale::per(100));

const CPUS: [&str; 2] = ["0", "1"];
/// Of each CPU: mode, thousandths of a jiffy a second. They add up to a hundred jiffies.
const CPU_MODES: [(&str, u64); 8] = [
    ("user", 14_000),
    ("nice", 0),
    ("system", 5_000),
    ("idle", 79_500),
    ("iowait", 1_000),
    ("irq", 0),
    ("softirq", 400),
    ("steal", 100),
];

/// Metrics without labels.
const PLAIN: [(&str, Form, Wave); 27] = [
    ("node_boot_time_seconds", LEVEL, Wave::Still(1_790_000_000)),
    ("node_context_switches_total", COUNT, Wave::Rises(2_400_000)),
    ("node_forks_total", COUNT, Wave::Rises(9_000)),
    ("node_intr_total", COUNT, Wave::Rises(1_300_000)),
    ("node_procs_running", LEVEL, Wave::Sways { around: 2, by: 2, over: 3 }),
    ("node_procs_blocked", LEVEL, Wave::Still(0)),
    ("node_load1", HUNDREDTHS, Wave::Sways { around: 80, by: 70, over: 40 }),
    ("node_load5", HUNDREDTHS, Wave::Sways { around: 70, by: 40, over: 200 }),
    ("node_load15", HUNDREDTHS, Wave::Sways { around: 60, by: 20, over: 600 }),
    ("dsmil_uptime_seconds", HUNDREDTHS, Wave::Rises(100_000)),
    ("node_filefd_allocated", LEVEL, Wave::Sways { around: 1500, by: 120, over: 20 }),
    ("node_filefd_maximum", LEVEL, Wave::Still(9_223_372_036_854_775_807)),
    ("node_entropy_available_bits", LEVEL, Wave::Still(256)),
    ("node_entropy_pool_size_bits", LEVEL, Wave::Still(256)),
    ("node_vmstat_oom_kill", COUNT, Wave::Still(0)),
    ("node_vmstat_pgfault", COUNT, Wave::Rises(3_100_000)),
    ("node_vmstat_pgmajfault", COUNT, Wave::Rises(40)),
    ("node_vmstat_pgpgin", COUNT, Wave::Rises(12_000)),
    ("node_vmstat_pgpgout", COUNT, Wave::Rises(260_000)),
    ("node_vmstat_pswpin", COUNT, Wave::Still(0)),
    ("node_vmstat_pswpout", COUNT, Wave::Still(0)),
    ("node_pressure_cpu_waiting_seconds_total", MICROS, Wave::Rises(9_000_000)),
    ("node_pressure_io_waiting_seconds_total", MICROS, Wave::Rises(2_000_000)),
    ("node_pressure_io_stalled_seconds_total", MICROS, Wave::Rises(1_500_000)),
    ("node_pressure_memory_waiting_seconds_total", MICROS, Wave::Rises(300)),
    ("node_pressure_memory_stalled_seconds_total", MICROS, Wave::Rises(200)),
    ("node_sockstat_sockets_used", LEVEL, Wave::Sways { around: 180, by: 30, over: 25 }),
];

/// node_memory_…_bytes: KiB, and by how much they sway.
const MEMORY: [(&str, u64, u64); 46] = [
    ("MemTotal", 24_682_416, 0),
    ("MemFree", 19_300_000, 900_000),
    ("MemAvailable", 21_700_000, 600_000),
    ("Buffers", 88_000, 4_000),
    ("Cached", 2_500_000, 90_000),
    ("SwapCached", 0, 0),
    ("Active", 1_300_000, 200_000),
    ("Inactive", 2_800_000, 150_000),
    ("Active_anon", 470_000, 60_000),
    ("Inactive_anon", 0, 0),
    ("Active_file", 830_000, 20_000),
    ("Inactive_file", 2_400_000, 30_000),
    ("Unevictable", 24_800, 0),
    ("Mlocked", 22_400, 0),
    ("SwapTotal", 0, 0),
    ("SwapFree", 0, 0),
    ("Zswap", 0, 0),
    ("Zswapped", 0, 0),
    ("Dirty", 6_000, 6_000),
    ("Writeback", 0, 0),
    ("AnonPages", 640_000, 60_000),
    ("Mapped", 290_000, 12_000),
    ("Shmem", 9_000, 900),
    ("KReclaimable", 87_000, 1_500),
    ("Slab", 115_000, 2_000),
    ("SReclaimable", 87_000, 1_500),
    ("SUnreclaim", 28_200, 600),
    ("KernelStack", 2_000, 90),
    ("PageTables", 3_600, 300),
    ("SecPageTables", 0, 0),
    ("NFS_Unstable", 0, 0),
    ("Bounce", 0, 0),
    ("WritebackTmp", 0, 0),
    ("CommitLimit", 12_341_208, 0),
    ("Committed_AS", 450_000, 70_000),
    ("VmallocTotal", 34_359_738_367, 0),
    ("VmallocUsed", 14_748, 0),
    ("VmallocChunk", 0, 0),
    ("Percpu", 952, 0),
    ("AnonHugePages", 490_000, 40_000),
    ("ShmemHugePages", 0, 0),
    ("Hugepagesize", 2048, 0),
    ("Hugetlb", 0, 0),
    ("DirectMap4k", 28_672, 0),
    ("DirectMap2M", 2_068_480, 0),
    ("DirectMap1G", 25_165_824, 0),
];

/// node_disk_… of one disk.
const DISK: [(&str, Form, Wave); 18] = [
    ("reads_completed_total", COUNT, Wave::Rises(700)),
    ("reads_merged_total", COUNT, Wave::Rises(120)),
    ("read_bytes_total", SECTORS, Wave::Rises(24_000)),
    ("read_time_seconds_total", MILLIS, Wave::Rises(400)),
    ("writes_completed_total", COUNT, Wave::Rises(14_000)),
    ("writes_merged_total", COUNT, Wave::Rises(21_000)),
    ("written_bytes_total", SECTORS, Wave::Rises(520_000)),
    ("write_time_seconds_total", MILLIS, Wave::Rises(13_000)),
    ("io_now", LEVEL, Wave::Still(0)),
    ("io_time_seconds_total", MILLIS, Wave::Rises(6_500)),
    ("io_time_weighted_seconds_total", MILLIS, Wave::Rises(13_500)),
    ("discards_completed_total", COUNT, Wave::Rises(30)),
    ("discards_merged_total", COUNT, Wave::Still(0)),
    ("discarded_sectors_total", COUNT, Wave::Rises(3_000)),
    ("discard_time_seconds_total", MILLIS, Wave::Rises(3)),
    ("flush_requests_total", COUNT, Wave::Rises(1_900)),
    ("flush_requests_time_seconds_total", MILLIS, Wave::Rises(2_100)),
    ("info", LEVEL, Wave::Still(1)),
];

/// node_filesystem_… of a disk; the same of a mount whose server is away at times.
const FILESYSTEM: [(&str, Form, Wave); 7] = [
    ("size_bytes", BLOCKS, Wave::Still(65_800_000)),
    ("free_bytes", BLOCKS, Wave::Sways { around: 21_000_000, by: 60_000, over: 300 }),
    ("avail_bytes", BLOCKS, Wave::Sways { around: 18_000_000, by: 60_000, over: 300 }),
    ("files", LEVEL, Wave::Still(16_777_216)),
    ("files_free", LEVEL, Wave::Sways { around: 15_900_000, by: 2_000, over: 120 }),
    ("readonly", LEVEL, Wave::Still(0)),
    ("device_error", LEVEL, Wave::Still(0)),
];

/// Interfaces, and how many packets a second they carry each way, in thousandths.
const INTERFACES: [(&str, u64); 4] = [("lo", 4_000), ("eth0", 190_000), ("docker0", 0), ("wg0", 1_500)];
/// node_network_…_total of an interface that have been 0 on every host ever seen healthy.
const INTERFACE_TROUBLE: [&str; 13] = [
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "receive_nohandler",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// node_netstat_…: thousandths a second.
const NETSTAT: [(&str, u64); 42] = [
    ("IpExt_InOctets", 90_000_000),
    ("IpExt_OutOctets", 20_000_000),
    ("Ip6_InOctets", 0),
    ("Ip6_OutOctets", 0),
    ("Icmp_InErrors", 0),
    ("Icmp_InMsgs", 30),
    ("Icmp_OutMsgs", 30),
    ("Icmp6_InErrors", 0),
    ("Icmp6_InMsgs", 0),
    ("Icmp6_OutMsgs", 8),
    ("TcpExt_ListenDrops", 0),
    ("TcpExt_ListenOverflows", 0),
    ("TcpExt_SyncookiesFailed", 0),
    ("TcpExt_SyncookiesRecv", 0),
    ("TcpExt_SyncookiesSent", 0),
    ("TcpExt_TCPOFOQueue", 20),
    ("TcpExt_TCPRcvQDrop", 0),
    ("TcpExt_TCPSynRetrans", 10),
    ("TcpExt_TCPTimeouts", 5),
    ("Tcp_ActiveOpens", 900),
    ("Tcp_PassiveOpens", 500),
    ("Tcp_InErrs", 0),
    ("Tcp_InSegs", 160_000),
    ("Tcp_OutSegs", 150_000),
    ("Tcp_OutRsts", 40),
    ("Tcp_RetransSegs", 25),
    ("Udp_InDatagrams", 3_000),
    ("Udp_OutDatagrams", 3_000),
    ("Udp_InErrors", 0),
    ("Udp_NoPorts", 2),
    ("Udp_RcvbufErrors", 0),
    ("Udp_SndbufErrors", 0),
    ("Udp6_InDatagrams", 0),
    ("Udp6_OutDatagrams", 0),
    ("Udp6_InErrors", 0),
    ("Udp6_NoPorts", 0),
    ("Udp6_RcvbufErrors", 0),
    ("Udp6_SndbufErrors", 0),
    ("UdpLite_InErrors", 0),
    ("UdpLite6_InErrors", 0),
    ("Tcp_EstabResets", 3),
    ("Tcp_AttemptFails", 2),
];

/// node_sockstat_…: sockets and pages; they hardly move on a host that is no server.
const SOCKSTAT: [(&str, u64); 17] = [
    ("TCP_inuse", 14),
    ("TCP_orphan", 0),
    ("TCP_tw", 3),
    ("TCP_alloc", 21),
    ("TCP_mem", 2),
    ("UDP_inuse", 5),
    ("UDP_mem", 1),
    ("UDPLITE_inuse", 0),
    ("RAW_inuse", 0),
    ("FRAG_inuse", 0),
    ("FRAG_memory", 0),
    ("TCP6_inuse", 4),
    ("UDP6_inuse", 3),
    ("UDPLITE6_inuse", 0),
    ("RAW6_inuse", 1),
    ("FRAG6_inuse", 0),
    ("FRAG6_memory", 0),
];

/// Every metric of a host, in column order, with the way it moves.
pub(super) fn columns() -> Vec<(Metric, Wave)> {
    let mut columns: Vec<_> = PLAIN.iter().map(|(name, form, wave)| (form.metric(name, &[]), *wave)).collect();
    for cpu in CPUS {
        for (mode, rate) in CPU_MODES {
            let labels = [("cpu", cpu), ("mode", mode)];
            columns.push((JIFFIES.metric("node_cpu_seconds_total", &labels), rises(rate)));
        }
        for mode in ["nice", "user"] {
            let labels = [("cpu", cpu), ("mode", mode)];
            columns.push((JIFFIES.metric("node_cpu_guest_seconds_total", &labels), Wave::Still(0)));
        }
    }
    for (name, around, by) in MEMORY {
        let wave = if by == 0 { Wave::Still(around) } else { Wave::Sways { around, by, over: 15 } };
        columns.push((KIB.metric(&format!("node_memory_{name}_bytes"), &[]), wave));
    }
    for (name, form, wave) in DISK {
        columns.push((form.metric(&format!("node_disk_{name}"), &[("device", "vda")]), wave));
    }
    storage(&mut columns);
    network(&mut columns);
    columns
}

fn storage(columns: &mut Vec<(Metric, Wave)>) {
    for (name, form, wave) in FILESYSTEM {
        let name = format!("node_filesystem_{name}");
        let local = [("device", "/dev/vda1"), ("fstype", "ext4"), ("mountpoint", "/")];
        let remote = [("device", "nas:/data"), ("fstype", "nfs4"), ("mountpoint", "/data")];
        columns.push((form.metric(&name, &local), wave));
        columns.push((form.metric(&name, &remote), Wave::AtTimes(9_000_000)));
    }
}

fn network(columns: &mut Vec<(Metric, Wave)>) {
    for (device, packets) in INTERFACES {
        let labels = [("device", device)];
        let mut add = |name: &str, wave| {
            columns.push((COUNT.metric(&format!("node_network_{name}_total"), &labels), wave));
        };
        for way in ["receive", "transmit"] {
            add(&format!("{way}_packets"), rises(packets));
            add(&format!("{way}_bytes"), rises(packets * 480));
        }
        INTERFACE_TROUBLE.iter().for_each(|name| add(name, Wave::Still(0)));
    }
    for (name, rate) in NETSTAT {
        columns.push((COUNT.metric(&format!("node_netstat_{name}"), &[]), rises(rate)));
    }
    columns.push((LEVEL.metric("node_netstat_Tcp_CurrEstab", &[]), Wave::Sways { around: 12, by: 9, over: 8 }));
    for (name, level) in SOCKSTAT {
        columns.push((LEVEL.metric(&format!("node_sockstat_{name}"), &[]), Wave::Still(level)));
    }
}

fn rises(rate: u64) -> Wave {
    if rate == 0 { Wave::Still(0) } else { Wave::Rises(rate) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::MetricSet;
    use std::collections::HashSet;

    #[test]
    fn a_simulated_host_is_as_wide_as_a_small_virtual_machine() {
        let columns = columns();
        assert!((245..=265).contains(&columns.len()), "{} metrics", columns.len());
        let names: HashSet<_> = columns.iter().map(|(metric, _)| (&metric.name, &metric.labels)).collect();
        assert_eq!(names.len(), columns.len(), "no metric is there twice");
        MetricSet::new(columns.into_iter().map(|(metric, _)| metric).collect()).expect("a valid set");
    }

    #[test]
    fn waves_are_within_their_own_rules() {
        for (metric, wave) in columns() {
            if let Wave::Sways { around, by, over } = wave {
                assert!(by <= around && over > 0, "{}", metric.name);
            }
        }
    }
}

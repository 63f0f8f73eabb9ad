//! What a host's sensors say beside what node_exporter says of the same host: one judgement for the tests of captured
//! machines, for the drill beside the running program, and for the page that tells users about it.

use std::collections::BTreeMap;

/// A difference that is meant, by the beginning of the names that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// A metric's name, or the beginning of several.
    pub prefix: &'static str,
    /// Of what kind.
    pub kind: DifferenceKind,
    /// Why.
    pub reason: &'static str,
}

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The agent has it and node_exporter has not.
    OursOnly,
    /// node_exporter has it and the agent has not.
    TheirsOnly,
    /// Both have it, and the values need not be the same.
    Value,
    /// Both have it, and the agent's has no value at times.
    Absent,
}

/// Every difference from node_exporter 1.5.0 with its default collectors.
pub const DIFFERENCES: &[Difference] = &[
    ours("dsmil_uptime_seconds", "node_exporter has the boot's time only, which moves with the wall clock"),
    ours("node_cpu_scaling_governor", "since a release after 1.5"),
    ours("node_cpu_isolated", "since a release after 1.5"),
    ours("node_watchdog_", "since node_exporter 1.6"),
    ours("node_hwmon_freq_freq_mhz", "since a release after 1.5"),
    ours("dsmil_cpu_energy_performance_preference_info", "node_exporter has nothing of this"),
    ours("dsmil_hwmon_chip_suspended", "node_exporter asks a sleeping device, and so wakes it"),
    ours("dsmil_accelerator_", "node_exporter has nothing of accelerators by default"),
    ours("node_drm_", "of node_exporter's collector drm, which is off by default"),
    theirs("node_hwmon_sensor_label", "words for the sensors of a chip that was not asked since the agent began"),
    absent("node_hwmon_", "a chip in a device or disk that sleeps, or would if it were left alone, is not asked"),
    theirs("node_disk_info", "comes from udev's database, which is neither in /proc nor in /sys"),
    ours("node_softnet_received_rps_total", "since node_exporter 1.6"),
    ours("node_softnet_flow_limit_count_total", "since node_exporter 1.6"),
    ours("node_softnet_backlog_len", "since node_exporter 1.6"),
    theirs("node_network_speed_bytes", "-125000 where the interface does not know its speed: no speed is none"),
    theirs("node_time_zone_offset_seconds", "is about node_exporter's own environment, not about the host"),
    ours("node_btrfs_commit", "since node_exporter 1.10"),
    ours("node_btrfs_last_commit_seconds", "since node_exporter 1.10"),
    ours("node_btrfs_max_commit_seconds", "since node_exporter 1.10"),
    ours("dsmil_btrfs_device_errors_total", "node_exporter asks for them by an ioctl that only root may make"),
    differs(
        "node_btrfs_allocation_ratio{block_group_type=\"metadata\",mode=\"raid1c",
        "0 there, for profiles that release 1.5.0 does not know",
    ),
    ours("node_zfs_dbuf_", "release 1.5.0 looks for the file under its older name"),
    ours("node_zfs_arc_memory_available_bytes", "release 1.5.0 leaves out signed numbers"),
    ours("node_zfs_zpool_state{state=\"suspended\"", "since a release after 1.5"),
    ours("node_processes_", "of a collector that is off by default there"),
    ours("dsmil_process_", "node_exporter has nothing of this"),
    ours("dsmil_cgroup_", "node_exporter has nothing of this"),
    theirs("node_timex_", "of adjtimex(2), which the agent's sandbox refuses, as it could set the clock too"),
    theirs("node_textfile_", "what other programs put down for it; the agent reports what it has read itself"),
    theirs("node_ipvs_", "of a load balancer, which a device host is not"),
    theirs("node_nfsd_", "of an NFS server, which a device host is not; what it asks of servers is `node_nfs_`"),
    theirs("node_tape_", "of tape drives: none was at hand to hold the figures against"),
    theirs("node_fibrechannel_", "of Fibre Channel cards: none was at hand to hold the figures against"),
    theirs("node_bcache_", "of disks that cache others: none was at hand to hold the figures against"),
    theirs(
        "node_systemd_",
        "the probe `systemd` has it: times in whole seconds, and no sixth state of units while one is reloaded",
    ),
    theirs("node_processes_threads_state", "of a file for each thread of each process: too dear"),
];

const fn ours(prefix: &'static str, reason: &'static str) -> Difference {
    Difference { prefix, kind: DifferenceKind::OursOnly, reason }
}

const fn absent(prefix: &'static str, reason: &'static str) -> Difference {
    Difference { prefix, kind: DifferenceKind::Absent, reason }
}

const fn differs(prefix: &'static str, reason: &'static str) -> Difference {
    Difference { prefix, kind: DifferenceKind::Value, reason }
}

const fn theirs(prefix: &'static str, reason: &'static str) -> Difference {
    Difference { prefix, kind: DifferenceKind::TheirsOnly, reason }
}

/// How far two values are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// Not at all.
    Same,
    /// As far as time explains.
    Near,
    /// Further.
    Apart,
}

/// What came of a comparison, series by series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Series with the same value.
    pub same: Vec<String>,
    /// Series whose values differ as far as time explains.
    pub near: Vec<String>,
    /// Series whose values differ for a reason that is written down.
    pub documented: Vec<String>,
    /// Series that only the agent has, and why.
    pub ours_only: Vec<String>,
    /// Series that only node_exporter has, and why.
    pub theirs_only: Vec<String>,
    /// Everything that nobody has explained: a fault, here or in the table.
    pub unexplained: Vec<String>,
}

impl Comparison {
    /// Compares series with their values; `None` is a series without a value at this moment.
    pub fn of(
        ours: &BTreeMap<String, Option<f64>>,
        theirs: &BTreeMap<String, f64>,
        distance: impl Fn(&str, f64, f64) -> Distance,
    ) -> Self {
        let mut all = Self::default();
        for (series, value) in theirs {
            let Some(own) = ours.get(series) else {
                all.one_sided(series, DifferenceKind::TheirsOnly);
                continue;
            };
            // Theirs may be NaN where there is no value.
            let distance = match own {
                Some(own) if own == value => Distance::Same,
                Some(own) => distance(series, *own, *value),
                None if value.is_nan() => Distance::Same,
                None => Distance::Apart,
            };
            let kind = if own.is_some() { DifferenceKind::Value } else { DifferenceKind::Absent };
            match distance {
                Distance::Same => all.same.push(series.clone()),
                Distance::Near => all.near.push(series.clone()),
                Distance::Apart if explained(series, kind) => all.documented.push(series.clone()),
                Distance::Apart => all.unexplained.push(format!("{series}: {own:?}, node_exporter: {value}")),
            }
        }
        for series in ours.keys().filter(|series| !theirs.contains_key(*series)) {
            all.one_sided(series, DifferenceKind::OursOnly);
        }
        all
    }

    fn one_sided(&mut self, series: &str, kind: DifferenceKind) {
        let (list, whose) = match kind {
            DifferenceKind::OursOnly => (&mut self.ours_only, "node_exporter has it not"),
            DifferenceKind::TheirsOnly | DifferenceKind::Value | DifferenceKind::Absent => {
                (&mut self.theirs_only, "only node_exporter has it")
            }
        };
        if explained(series, kind) {
            list.push(series.to_owned());
        } else {
            self.unexplained.push(format!("{series}: {whose}, and DIFFERENCES does not say why"));
        }
    }
}

fn explained(series: &str, kind: DifferenceKind) -> bool {
    DIFFERENCES.iter().any(|known| known.kind == kind && series.starts_with(known.prefix))
}

/// Series of node_exporter's, with sorted labels, out of its text format; what it says of itself is left out.
pub fn exposition(text: &str) -> BTreeMap<String, f64> {
    let of_itself = |line: &str| {
        ["node_scrape_collector_", "node_exporter_build_info", "node_textfile_"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
    };
    text.lines()
        .filter(|line| line.starts_with("node_") && !of_itself(line))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((sorted(series), value.parse().ok()?))
        })
        .collect()
}

/// A series with its labels sorted, as node_exporter prints them.
pub fn sorted(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let mut labels: Vec<&str> = labels.trim_end_matches("\"}").split("\",").collect();
    labels.sort_unstable();
    format!("{name}{{{}\"}}", labels.join("\","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(_: &str, ours: f64, theirs: f64) -> Distance {
        if (ours - theirs).abs() < 1.5 { Distance::Near } else { Distance::Apart }
    }

    #[test]
    fn each_series_is_judged_once_and_what_nobody_explained_stands_out() {
        let theirs = exposition(
            "# HELP node_a x\nnode_a{z=\"1\",b=\"2\"} 3\nnode_near 4\nnode_far 1e+03\nnode_nan NaN\nnode_disk_info{device=\"a\"} 1\n\
             node_missing 1\nnode_scrape_collector_success 1\ngo_info 1\n",
        );
        let ours = [
            ("node_a{b=\"2\",z=\"1\"}", Some(3.0)),
            ("node_near", Some(5.0)),
            ("node_far", Some(1.0)),
            ("node_nan", None),
            ("dsmil_uptime_seconds", Some(1.0)),
            ("dsmil_other", None),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let all = Comparison::of(&ours, &theirs, near);
        assert_eq!(all.same, ["node_a{b=\"2\",z=\"1\"}", "node_nan"]);
        assert_eq!(all.near, ["node_near"]);
        assert_eq!(all.theirs_only, ["node_disk_info{device=\"a\"}"]);
        assert_eq!(all.ours_only, ["dsmil_uptime_seconds"]);
        let unexplained: Vec<&str> = all.unexplained.iter().map(|line| line.split(':').next().unwrap_or("")).collect();
        assert_eq!(unexplained, ["node_far", "node_missing", "dsmil_other"]);
    }
}

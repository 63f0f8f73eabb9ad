//! Signs of what fails on the host itself: disks, arrays, memory, heat, GPUs, services, in what its sensors have read last.
//!
//! Counters count from the boot, or from when their probe began: what they tell happened, and may be over.

use super::super::facts::Facts;
use super::super::finding::Finding;
use dsmil_agent::status::{Latest, Sample};

/// Findings of one kind that are told each; a host with a hundred failed units is told of these, and how many more there are.
const MAX_EACH: usize = 5;
/// Hundredths of a filesystem that are to be free.
const FREE_PERCENT: f64 = 5.0;

/// A value that something fails by.
struct Sign {
    /// Which check it is of.
    check: &'static str,
    /// The metric, and labels that it has.
    metric: &'static str,
    labels: &'static [(&'static str, &'static str)],
    is_bad: fn(f64) -> bool,
    /// Whether it works no more, or may soon not.
    is_trouble: bool,
    /// What there is.
    what: fn(&Sample, f64) -> String,
    remedy: fn(&Sample) -> String,
}

const IS_SET: fn(f64) -> bool = |value| value > 0.0;

const SIGNS: [Sign; 13] = [
    Sign {
        check: "services",
        metric: "node_systemd_unit_state",
        labels: &[("state", "failed")],
        is_bad: IS_SET,
        is_trouble: false,
        what: |sample, _| format!("{} has failed", label(sample, "name")),
        remedy: |sample| {
            let unit = label(sample, "name");
            format!("`systemctl status {unit}` and `journalctl -b -u {unit}` say why; then `systemctl restart {unit}`")
        },
    },
    Sign {
        check: "disks",
        metric: "smartctl_device_smart_status",
        labels: &[],
        is_bad: |value| value == 0.0,
        is_trouble: true,
        what: |sample, _| format!("disk {} says that it is failing", label(sample, "device")),
        remedy: replace_disk,
    },
    Sign {
        check: "disks",
        metric: "smartctl_device_critical_warning",
        labels: &[],
        is_bad: IS_SET,
        is_trouble: true,
        what: |sample, value| format!("disk {} warns: critical warning {value}", label(sample, "device")),
        remedy: replace_disk,
    },
    Sign {
        check: "disks",
        metric: "smartctl_device_percentage_used",
        labels: &[],
        is_bad: |value| value >= 100.0,
        is_trouble: false,
        what: |sample, value| {
            format!("disk {} has had {value} % of the writes it is made for", label(sample, "device"))
        },
        remedy: replace_disk,
    },
    Sign {
        check: "disks",
        metric: "dsmil_kernel_events_total",
        labels: &[("event", "io_error")],
        is_bad: IS_SET,
        is_trouble: false,
        what: |sample, value| {
            let device = label(sample, "device");
            format!(
                "{}: {} in the kernel's log",
                if device.is_empty() { "disks" } else { device },
                times(value, "failed request")
            )
        },
        remedy: |_| {
            "`journalctl -kb | grep -i error` shows them; look at cable and controller, then at the disk".to_owned()
        },
    },
    Sign {
        check: "arrays",
        metric: "node_md_disks",
        labels: &[("state", "failed")],
        is_bad: IS_SET,
        is_trouble: true,
        what: |sample, value| format!("array {} has lost {}", label(sample, "device"), times(value, "disk")),
        remedy: |sample| {
            let array = label(sample, "device");
            format!("`mdadm --detail /dev/{array}` names it; replace it and `mdadm /dev/{array} --add` the new one")
        },
    },
    Sign {
        check: "memory",
        metric: "node_edac_uncorrectable_errors_total",
        labels: &[],
        is_bad: IS_SET,
        is_trouble: true,
        what: |sample, value| {
            format!(
                "{} of memory that could not be corrected, at controller {}",
                times(value, "error"),
                label(sample, "controller")
            )
        },
        remedy: |_| {
            "`journalctl -kb | grep -i EDAC` names the module: replace it, and restart what ran meanwhile".to_owned()
        },
    },
    Sign {
        check: "memory",
        metric: "dsmil_kernel_events_total",
        labels: &[("event", "oom_kill")],
        is_bad: IS_SET,
        is_trouble: false,
        what: |_, value| format!("memory ran out: the kernel ended a process {}", times(value, "time")),
        remedy: |_| {
            "`journalctl -kb | grep -i 'out of memory'` names them; give them less to do, or a limit of their own"
                .to_owned()
        },
    },
    Sign {
        check: "processor",
        metric: "dsmil_kernel_events_total",
        labels: &[("event", "mce")],
        is_bad: IS_SET,
        is_trouble: true,
        what: |_, value| format!("{} in the kernel's log", times(value, "machine check")),
        remedy: |_| {
            "`journalctl -kb | grep -i 'hardware error'` names processor and bank; rasdaemon decodes them".to_owned()
        },
    },
    Sign {
        check: "heat",
        metric: "node_hwmon_temp_crit_alarm_celsius",
        labels: &[],
        is_bad: IS_SET,
        is_trouble: true,
        what: |sample, _| format!("{} {} is too hot", label(sample, "chip"), label(sample, "sensor")),
        remedy: |_| "`dsmilctl host top` shows temperatures and fans: look at fans, filters and the room".to_owned(),
    },
    Sign {
        check: "gpu",
        metric: "dsmil_gpu_xid_bursts_total",
        labels: &[("action", "restart_machine")],
        is_bad: IS_SET,
        is_trouble: true,
        what: xids,
        remedy: |_| "end what runs and restart the machine: so NVIDIA's catalogue of XIDs".to_owned(),
    },
    Sign {
        check: "gpu",
        metric: "dsmil_gpu_xid_bursts_total",
        labels: &[("action", "reset_gpu")],
        is_bad: IS_SET,
        is_trouble: false,
        what: xids,
        remedy: |sample| {
            let gpu = label(sample, "device");
            format!("if it was not reset since: end what uses it and `nvidia-smi --gpu-reset -i {gpu}`")
        },
    },
    Sign {
        check: "gpu",
        metric: "dsmil_gpu_xid_bursts_total",
        labels: &[("action", "run_workflow")],
        is_bad: IS_SET,
        is_trouble: false,
        what: xids,
        remedy: |_| "`journalctl -kb | grep Xid` has the codes: go through NVIDIA's steps for them".to_owned(),
    },
];

/// What the newest tick shows of it.
pub(super) fn signs(facts: &Facts) -> Vec<Finding> {
    let Some(latest) = &facts.latest else { return Vec::new() };
    let mut found: Vec<Finding> = SIGNS.iter().flat_map(|sign| of_one(sign, latest)).collect();
    found.extend(filesystems(latest));
    if found.is_empty() {
        let what = "no sign that a disk, an array, memory, a GPU or a service fails, in what the sensors read";
        found.push(Finding::ok("hardware", what));
    }
    found
}

fn of_one(sign: &Sign, latest: &Latest) -> Vec<Finding> {
    let is_of = |sample: &&Sample| sign.labels.iter().all(|(name, value)| label(sample, name) == *value);
    let samples = samples(latest, sign.metric).filter(is_of);
    let bad = samples.filter_map(|sample| Some((sample, sample.value.filter(|value| (sign.is_bad)(*value))?)));
    let make = if sign.is_trouble { Finding::trouble } else { Finding::warning };
    bounded(bad.map(|(sample, value)| make(sign.check, (sign.what)(sample, value), (sign.remedy)(sample))).collect())
}

/// Filesystems without room, or that cannot be asked. The one of `/` has a check of its own.
fn filesystems(latest: &Latest) -> Vec<Finding> {
    let free = samples(latest, "node_filesystem_avail_bytes").filter(|sample| label(sample, "mountpoint") != "/");
    let full = free.filter_map(|sample| {
        let is_it = |other: &&Sample| other.labels == sample.labels;
        let size = samples(latest, "node_filesystem_size_bytes").find(is_it)?.value.filter(|size| *size > 0.0)?;
        let is_written = samples(latest, "node_filesystem_readonly").find(is_it)?.value == Some(0.0);
        let percent = 100.0 * sample.value? / size;
        let place = label(sample, "mountpoint");
        let remedy = format!("`du -xh --max-depth=2 {place} | sort -h | tail` shows where it went");
        (is_written && percent < FREE_PERCENT)
            .then(|| Finding::warning("filesystems", format!("{place} has {percent:.1} % free"), remedy))
    });
    bounded(full.collect())
}

/// No more than [`MAX_EACH`]; the last one says how many there are beside.
fn bounded(mut found: Vec<Finding>) -> Vec<Finding> {
    let more = found.len().saturating_sub(MAX_EACH);
    found.truncate(MAX_EACH);
    if let Some(last) = found.last_mut().filter(|_| more > 0) {
        last.what.push_str(&format!(", and {more} more like it"));
    }
    found
}

fn samples<'l>(latest: &'l Latest, name: &str) -> impl Iterator<Item = &'l Sample> {
    let families = latest.families.iter().filter(move |family| family.name == name);
    families.flat_map(|family| &family.samples)
}

fn label<'s>(sample: &'s Sample, name: &str) -> &'s str {
    sample.labels.get(name).map_or("", String::as_str)
}

fn times(value: f64, what: &str) -> String {
    format!("{value} {what}{}", if value == 1.0 { "" } else { "s" })
}

fn xids(sample: &Sample, value: f64) -> String {
    format!("GPU {} had {} of XIDs", label(sample, "device"), times(value, "burst"))
}

fn replace_disk(sample: &Sample) -> String {
    let disk = label(sample, "device");
    format!("copy away what is on it and replace it; `smartctl -a /dev/{disk}` says what it counts")
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::State;
    use super::*;
    use dsmil_agent::status::{Family, MetricKind};

    /// A metric's name, labels and value.
    type Said<'s> = (&'s str, &'s [(&'s str, &'s str)], f64);

    fn facts(all: &[Said<'_>]) -> Facts {
        let family = |(name, labels, value): &Said<'_>| {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let samples = vec![Sample { labels, value: Some(*value), read_at: 1 }];
            Family { name: (*name).to_owned(), kind: MetricKind::Gauge, samples }
        };
        let families = all.iter().map(family).collect();
        Facts { latest: Some(Box::new(Latest { families, ..Latest::default() })), ..Facts::default() }
    }

    #[test]
    fn each_sign_is_named_and_what_is_well_is_not() {
        for sign in &SIGNS {
            let labels = [sign.labels, &[("device", "d7"), ("name", "n7.service"), ("chip", "c7")]].concat();
            let (bad, good) = if (sign.is_bad)(0.0) { (0.0, 1.0) } else { (100.0, 0.0) };
            let found = signs(&facts(&[(sign.metric, &labels, bad)]));
            assert_eq!(found.len(), 1, "{}: {found:?}", sign.metric);
            assert_eq!((found[0].check, found[0].state == State::Trouble), (sign.check, sign.is_trouble));
            assert!(found[0].remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "{found:?}");
            let found = signs(&facts(&[(sign.metric, &labels, good)]));
            assert_eq!(found[0].state, State::Ok, "{}: {found:?}", sign.metric);
        }
        let active = facts(&[("node_systemd_unit_state", &[("state", "active"), ("name", "a.service")], 1.0)]);
        assert_eq!(signs(&active)[0].state, State::Ok, "another state than the one that counts");
        assert!(signs(&Facts::default()).is_empty(), "nothing is claimed of what was not read");
    }

    #[test]
    fn a_filesystem_without_room_is_named_unless_nobody_writes_to_it() {
        let place = [("device", "/dev/sdb1"), ("mountpoint", "/data"), ("fstype", "xfs")];
        let of = |available: f64, readonly: f64| {
            let all = [
                ("node_filesystem_size_bytes", &place[..], 1000.0),
                ("node_filesystem_avail_bytes", &place[..], available),
                ("node_filesystem_readonly", &place[..], readonly),
            ];
            signs(&facts(&all)).remove(0)
        };
        assert_eq!(of(49.0, 0.0).what, "/data has 4.9 % free");
        assert_eq!(of(49.0, 1.0).state, State::Ok);
        assert_eq!(of(50.0, 0.0).state, State::Ok);
    }

    #[test]
    fn many_of_one_kind_are_told_in_few_lines() {
        let names: Vec<String> = (0..9).map(|unit| format!("u{unit}.service")).collect();
        let labels: Vec<_> = names.iter().map(|name| [("state", "failed"), ("name", name.as_str())]).collect();
        let all: Vec<_> = labels.iter().map(|labels| ("node_systemd_unit_state", &labels[..], 1.0)).collect();
        let found = signs(&facts(&all));
        assert_eq!(found.len(), MAX_EACH);
        assert_eq!(found[4].what, "u4.service has failed, and 4 more like it");
    }
}

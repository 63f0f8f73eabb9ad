//! The file that settings are written in: TOML, read as a daemon's configuration is, with errors that name line and key.

use dsmil_authority::{SENSORS, SensorSetting, Values};
use dsmil_runtime::config::{ConfigError, Reader};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::Path;

/// A file of settings is some hundred bytes.
const READER: Reader =
    Reader { made_by: "an editor (docs/fleet-settings.md has an example)", max_len: 64 << 10, credentials: &[] };

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    batch_ticks: Option<u8>,
    #[serde(default)]
    sensors: Sensors,
    #[serde(default)]
    limits: Limits,
}

/// `[limits]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    spool_mib: Option<u32>,
    backlog_kib_per_second: Option<u32>,
}

/// `[sensors]`: each sensor is a key, so that a wrong name is refused like any wrong key.
macro_rules! sensors {
    ($($name:ident)+) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Sensors {
            interval_s: Option<u16>,
            $($name: Option<Written>,)+
        }

        impl Sensors {
            fn named(self) -> Vec<(String, SensorSetting)> {
                let all = [$((stringify!($name), self.$name),)+];
                debug_assert!(all.iter().map(|(name, _)| *name).eq(SENSORS), "the same sensors in the same order");
                all.into_iter().filter_map(|(name, written)| Some((name.to_owned(), written?.0))).collect()
            }
        }
    };
}

sensors! {
    stat loadavg meminfo vmstat pressure diskstats filesystem filesystem_remote netdev netstat sockstat filefd
    selinux thermal_zone hwmon cpu cpufreq edac powersupplyclass watchdog netclass softnet conntrack arp
    udp_queues schedstat time os dmi bonding xfs btrfs zfs mdadm nfs infiniband nvme cgroups processes uptime
    uname amd_gpu intel_gpu intel_npu amd_npu coral rockchip accelerator_pci
    nvml rapl kmsg fdinfo smart systemd
}

/// A sensor as it is written: `"off"` or `{ interval_s = 10 }`.
struct Written(SensorSetting);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    interval_s: u16,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"off\" or { interval_s = SECONDS }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Written, E> {
        if text == "off" { Ok(Written(SensorSetting::Off)) } else { Err(E::custom(format!("{text:?} is not \"off\""))) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Written(SensorSetting::EveryS(table.interval_s)))
    }
}

/// Reads the values of a file.
///
/// # Errors
/// What is wrong, where, and with the nearest name where one is unknown.
pub fn read(path: &Path) -> Result<Values, ConfigError> {
    let document = READER.read(path)?;
    let File { batch_ticks, sensors, limits } = document.get()?;
    let (interval_s, Limits { spool_mib, backlog_kib_per_second }) = (sensors.interval_s, limits);
    let values = Values { interval_s, sensors: sensors.named(), spool_mib, backlog_kib_per_second, batch_ticks };
    match values.out_of_range() {
        None => Ok(values),
        Some((key, what)) => Err(document.wrong(&key, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Values, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, text).expect("written");
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_is_to_be_and_nothing_else() {
        assert_eq!(values(""), Ok(Values::default()));
        let text = "batch_ticks = 60\n[sensors]\ninterval_s = 10\nnetdev = \"off\"\nstat = { interval_s = 1 }\n\
                    [limits]\nspool_mib = 32\nbacklog_kib_per_second = 512\n";
        let all = Values {
            interval_s: Some(10),
            sensors: vec![("stat".into(), SensorSetting::EveryS(1)), ("netdev".into(), SensorSetting::Off)],
            spool_mib: Some(32),
            backlog_kib_per_second: Some(512),
            batch_ticks: Some(60),
        };
        assert_eq!(values(text), Ok(all));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_nearest_name() {
        let refused = |text: &str, words: &[&str]| {
            let error = values(text).expect_err("refused");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        refused("[sensors]\nnetdv = \"off\"\n", &["line 2", "`netdv`", "netdev"]);
        refused("[limit]\nspool_mib = 3\n", &["line 1", "`limit`", "limits"]);
        refused("[sensors]\nnetdev = \"of\"\n", &["line 2", "sensors.netdev", "off"]);
        refused("[sensors]\nnetdev = { every = 3 }\n", &["line 2", "every"]);
        refused("[sensors]\ninterval_s = 0\n", &["line 2", "sensors.interval_s", "1 to 3600"]);
        refused("[sensors.stat]\ninterval_s = 4000\n", &["line 2", "sensors.stat.interval_s"]);
        refused("batch_ticks = 5\n", &["line 1", "10 to 60"]);
        refused("aggregators = [\"evil:1\"]\n", &["line 1", "aggregators"]);
    }
}

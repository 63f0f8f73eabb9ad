//! Properties, as `systemctl show` prints them: `Name=value` a line, an empty line between two units.

use std::collections::HashMap;

/// What there is to know of the manager itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manager<'a> {
    /// Its version as it says it, and the thousandths of the number in it.
    pub(super) version: Option<(&'a str, u64)>,
    /// Whether all is up and nothing has failed.
    pub(super) is_running: Option<bool>,
}

impl<'a> Manager<'a> {
    pub(super) fn of(said: &'a str) -> Self {
        let property = |name| said.lines().filter_map(|line| line.split_once('=')).find(|(known, _)| *known == name);
        let version = property("Version").and_then(|(_, version)| Some((version, thousandths(version)?)));
        Self { version, is_running: property("SystemState").map(|(_, state)| state == "running") }
    }
}

/// The first number of three digits or more, with what is behind its point: 252390 of `252.39-1~deb12u2`.
fn thousandths(version: &str) -> Option<u64> {
    let is_long = |run: &&str| run.len() >= 3;
    let whole = version.split(|c: char| !c.is_ascii_digit()).find(is_long)?;
    let behind = &version[version.find(whole)? + whole.len()..];
    let fraction = behind.strip_prefix('.').unwrap_or_default();
    let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let fraction = format!("{:0<3}", &fraction[..digits.min(3)]);
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction.parse().ok()?)
}

/// What there is to know of a unit beyond the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Details<'a> {
    /// Of a service: what starting it means (systemd.service(5), `Type=`).
    pub(super) service_type: Option<&'a str>,
    /// Of a timer: when it triggered last, Unix seconds; 0 if it never has.
    pub(super) last_trigger_s: Option<u64>,
    /// Of a socket: connections taken, since it was started.
    pub(super) accepted: Option<u64>,
    /// Of a socket: connections at the moment.
    pub(super) connections: Option<u64>,
    /// Of a socket: connections turned away.
    pub(super) refused: Option<u64>,
}

/// Of each unit by its name.
pub(super) fn of_units(said: &str) -> HashMap<&str, Details<'_>> {
    let of_one = |block| {
        let (mut name, mut details) = (None, Details::default());
        for (property, value) in str::lines(block).filter_map(|line| line.split_once('=')) {
            let number = value.parse().ok();
            match property {
                "Id" => name = Some(value),
                "Type" => details.service_type = Some(value).filter(|value| !value.is_empty()),
                "LastTriggerUSec" => details.last_trigger_s = unix_s(value),
                "NAccepted" => details.accepted = number,
                "NConnections" => details.connections = number,
                "NRefused" => details.refused = number,
                _ => {}
            }
        }
        Some((name?, details))
    };
    said.split("\n\n").filter_map(of_one).collect()
}

/// Of a time as systemctl prints it in UTC: `Sun 2026-11-22 10:13:31 UTC`. What never was has no time or `n/a`: 0, as node_exporter has
/// it.
fn unix_s(time: &str) -> Option<u64> {
    let [_, date, clock, "UTC"] = time.split(' ').collect::<Vec<_>>()[..] else {
        return matches!(time, "" | "n/a" | "0").then_some(0);
    };
    let numbers = |text: &str, separator| -> Option<[i64; 3]> {
        let all: Result<Vec<i64>, _> = text.split(separator).map(str::parse).collect();
        all.ok()?.try_into().ok()
    };
    let ([year, month, day], [hours, minutes, seconds]) = (numbers(date, '-')?, numbers(clock, ':')?);
    let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let in_day = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..=60).contains(&seconds);
    let s = days(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds;
    if in_range && in_day { u64::try_from(s).ok() } else { None }
}

/// From a date to days since 1970: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_managers_words_are_read_as_node_exporter_reads_them() {
        let version = |text: &str| Manager::of(&format!("Version={text}\n")).version.map(|(_, number)| number);
        assert_eq!(version("252.39-1~deb12u2"), Some(252_390));
        assert_eq!(version("v255.4-1ubuntu8.4"), Some(255_400));
        assert_eq!(version("239 (239-82.el8)"), Some(239_000));
        assert_eq!(version("257.12345"), Some(257_123));
        assert_eq!([version("7"), version(""), version("999999999999999999999")], [None; 3]);
        assert_eq!(Manager::of("SystemState=running\n").is_running, Some(true));
        assert_eq!(Manager::of("SystemState=degraded\nVersion=252\n").is_running, Some(false));
        assert_eq!(Manager::of("nonsense"), Manager { version: None, is_running: None });
    }

    #[test]
    fn times_are_seconds_in_utc_and_what_never_was_is_0() {
        assert_eq!(unix_s("Sun 2026-11-22 10:13:31 UTC"), Some(1_795_342_411));
        assert_eq!(unix_s("Thu 1970-01-01 00:00:00 UTC"), Some(0));
        assert_eq!(unix_s("Tue 2024-02-29 23:59:60 UTC"), Some(1_709_251_200));
        assert_eq!(["", "n/a", "0"].map(unix_s), [Some(0); 3]);
        for wrong in
            ["Sun 2026-11-22 10:13:31 CET", "Sun 2026-13-22 10:13:31 UTC", "5min", "Sun 2026-11 10:13 UTC", "UTC"]
        {
            assert_eq!(unix_s(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_harms(text in "[A-Za-z=\n .0-9:-]{0,200}|\\PC*") {
            let _ = (Manager::of(&text), of_units(&text), unix_s(&text));
        }
    }
}

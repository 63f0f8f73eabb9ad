//! A systemd captured beside node_exporter, and others that change, hang, flood and are not there: played by a shell script.

use super::*;
use dsmil_protocol::probe::Text;
use dsmil_sensors::tree::{Tree, series};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/systemd");
/// For scripts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers from the files beside it, of no unit but those it is asked about, and writes down what it was asked.
const PLAYED: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
echo "$*" >>asked
case "$*" in
list-units*) cat units.txt ;;
*Version*) cat manager.txt ;;
*)
    names="$*" awk 'BEGIN { RS = ""; ORS = "\n\n"; n = split(ENVIRON["names"], names); while (n) asked["Id=" names[n--]] }
        { for (i = 1; i <= NF; i++) if ($i in asked) print }' properties.txt
    ;;
esac
"#;

/// A systemd that is played.
struct Stage {
    folder: TempDir,
    systemd: Systemd,
    reading: Reading,
}

impl Stage {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("systemctl");
        std::fs::write(&program, script).expect("a script");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        for file in ["manager.txt", "units.txt", "properties.txt"] {
            std::fs::copy(format!("{FIXTURES}/{file}"), folder.path().join(file)).expect("a fixture");
        }
        let mut systemd = Systemd::new(Some(program), Clock::real());
        systemd.budget = PATIENCE;
        Self { folder, systemd, reading: Reading::new() }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// The units and what is known of them, from now on.
    fn units(&self, units: &[(&str, &str)]) {
        let list: String = units.iter().map(|(name, state)| format!("{name} loaded {state} x A unit\n")).collect();
        let properties: String = units.iter().map(|(name, _)| format!("Type=simple\nId={name}\n\n")).collect();
        self.file("units.txt", &list);
        self.file("properties.txt", &properties);
    }

    fn asked(&self) -> Vec<String> {
        let path = self.folder.path().join("asked");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        self.file("asked", "");
        text.lines().map(str::to_owned).collect()
    }

    fn read(&mut self) -> (BTreeMap<String, Option<f64>>, Option<Fault>) {
        self.reading.begin();
        let fault = self.systemd.read(&Tree::new().root(), &mut self.reading).err();
        if fault.as_ref().is_none_or(crate::source::is_partial) {
            self.reading.complete();
        } else {
            self.reading.abandon();
        }
        let pairs = self.reading.metrics().zip(self.reading.values());
        (pairs.map(|(metric, bits)| (series(metric), bits.map(|bits| metric.value(bits)))).collect(), fault)
    }
}

fn state(name: &str, state: &str) -> String {
    format!("node_systemd_unit_state{{name=\"{name}\",state=\"{state}\",type=\"simple\"}}")
}

#[test]
fn names_labels_and_values_are_node_exporters_of_the_same_moment() {
    let (ours, fault) = Stage::new(PLAYED).read();
    assert_eq!(fault, None);
    let text = std::fs::read_to_string(format!("{FIXTURES}/node_exporter.prom")).expect("a fixture");
    let pair = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        // systemctl tells times in whole seconds.
        let value: f64 = value.parse().ok()?;
        let is_time = series.starts_with("node_systemd_timer_last_trigger_seconds");
        Some((series.to_owned(), Some(if is_time { value.floor() } else { value })))
    };
    let theirs: BTreeMap<String, Option<f64>> = text.lines().filter_map(pair).collect();
    assert!(theirs.len() > 400 && theirs.values().any(|value| *value == Some(3.0)), "a whole machine");
    assert_eq!(ours, theirs);
}

#[test]
fn a_service_is_asked_for_its_type_once_and_timers_and_sockets_each_time() {
    let mut stage = Stage::new(PLAYED);
    stage.read();
    let first = stage.asked();
    assert_eq!(first.len(), 3, "three questions");
    assert!(["dbus.service", "dbus.socket", "t.timer"].iter().all(|name| first[2].contains(name)), "{}", first[2]);
    assert!(!first[2].contains(".target") && !first[2].contains(".slice") && !first[2].contains(".mount"));
    stage.read();
    let second = stage.asked();
    assert!(
        !second[2].contains(".service") && second[2].contains("dbus.socket") && second[2].contains("t.timer"),
        "{}",
        second[2]
    );
    stage.units(&[("a.service", "active")]);
    stage.read();
    stage.read();
    assert_eq!(stage.asked().len(), 3 + 2, "of what is known nobody is asked");
}

#[test]
fn a_unit_that_is_gone_keeps_its_columns_for_a_while_and_has_no_values() {
    let mut stage = Stage::new(PLAYED);
    let both = [("a.service", "active"), ("user@1000.service", "active")];
    stage.units(&both);
    stage.read();
    assert!(stage.reading.take_changed());
    for _ in 0..3 {
        stage.units(&both[..1]);
        for _ in 0..20 {
            let (series, _) = stage.read();
            assert_eq!(series[&state("user@1000.service", "active")], None);
            assert_eq!(series[&state("a.service", "active")], Some(1.0));
        }
        stage.units(&both);
        assert_eq!(stage.read().0[&state("user@1000.service", "active")], Some(1.0), "it is back");
        assert!(!stage.reading.take_changed(), "and nothing has changed");
    }
    stage.units(&both[..1]);
    for _ in 0..21 {
        stage.read();
    }
    assert!(!stage.read().0.contains_key(&state("user@1000.service", "active")));
}

#[test]
fn of_too_many_units_those_that_failed_are_told_and_the_rest_is_said() {
    let mut stage = Stage::new(PLAYED);
    let names: Vec<String> = (0..3000).map(|number| format!("u{number:04}.service")).collect();
    let units: Vec<_> =
        names.iter().map(|name| (name.as_str(), if name == "u2999.service" { "failed" } else { "active" })).collect();
    stage.units(&units);
    let mut told = Vec::new();
    for _ in 0..5 {
        let (series, fault) = stage.read();
        assert_eq!(fault, Some(Fault::TooMany { reported: 1000 }));
        assert_eq!(series["node_systemd_units{state=\"failed\"}"], Some(1.0), "all are counted");
        assert_eq!(series["node_systemd_units{state=\"active\"}"], Some(2999.0));
        assert_eq!(series[&state("u2999.service", "failed")], Some(1.0));
        told.push((series.len() - 7) / 5);
        let longest = stage.asked().iter().map(|line| line.split(' ').count()).max();
        assert!(longest <= Some(260), "{longest:?} names in one question");
    }
    assert_eq!(told, [250, 500, 750, 1000, 1000], "each has its turn");
}

#[test]
fn what_is_wrong_is_said_and_what_was_told_is_absent() {
    let mut stage = Stage::new(PLAYED);
    let all = stage.read().0.len();
    let no_bus = "#!/bin/sh\necho 'Failed to connect to bus: No such file or directory' >&2\nexit 1\n";
    stage.file("systemctl", no_bus);
    let said =
        Fault::ProgramFailed { what: Text::of("systemctl: Failed to connect to bus: No such file or directory") };
    let (series, fault) = stage.read();
    assert_eq!(fault, Some(said));
    assert_eq!((series.len(), series.values().flatten().count()), (all, 0));
    stage.file("systemctl", "#!/bin/sh\nexec sleep 1000\n");
    stage.systemd.budget = Duration::from_millis(300);
    assert!(matches!(stage.read().1, Some(Fault::Hung { .. })));
    stage.systemd.budget = PATIENCE;
    stage.file("systemctl", "#!/bin/sh\nexec cat /dev/zero\n");
    let flood = Fault::ProgramFailed { what: Text::of("systemctl: it prints more than 4194304 bytes") };
    assert_eq!(stage.read().1, Some(flood));
    std::fs::remove_file(stage.folder.path().join("systemctl")).expect("it was there");
    assert!(matches!(stage.read().1, Some(Fault::ProgramMissing { .. })));
    stage.file("systemctl", PLAYED);
    std::fs::set_permissions(stage.folder.path().join("systemctl"), PermissionsExt::from_mode(0o755))
        .expect("its mode");
    let (series, fault) = stage.read();
    assert_eq!((series.len(), series.values().flatten().count(), fault), (all, all, None), "and all is well again");
}

#[test]
fn lists_of_old_releases_have_marks_and_odd_lines_are_no_units() {
    let list = "  UNIT LOAD\n* broken.service loaded failed failed It broke\n\u{25cf} x.timer not-found inactive dead x.timer\n\n";
    let units = units::listed(list);
    let states: Vec<_> = units.iter().map(|unit| unit.state).collect();
    assert_eq!(states, [Some(State::Failed), Some(State::Inactive)]);
    let mut reported =
        units::listed("a.service loaded reloading reload A\nb.device loaded active plugged B\nplain loaded active x\n");
    assert!(!units::keep_reported(&mut reported));
    assert_eq!(
        reported.iter().map(|unit| unit.state).collect::<Vec<_>>(),
        [None],
        "one that is reloaded is in no state"
    );
}

proptest! {
    #[test]
    fn no_list_harms(list in "([a-z.@-]{0,8}[ \n]{0,2}){0,40}|\\PC*", said in "([A-Za-z=.0-9]{0,9}\n{0,2}){0,40}") {
        let mut listed = units::listed(&list);
        units::keep_reported(&mut listed);
        let (mut units, mut out) = (Units::default(), Reading::new());
        units.take(&listed, &properties::of_units(&said));
        out.begin();
        units.push(&mut out);
        out.complete();
        prop_assert!(out.metrics().count() <= 8 * listed.len());
    }
}

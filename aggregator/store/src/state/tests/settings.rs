//! Settings of the fleet: which are kept, and that a program from before goes on with the file.

use super::{NOW, Place};
use crate::sqlite::{self, Mode};
use crate::state::{EventKind, LogQuery, SETTINGS_KEPT, SettingsReport, SettingsRow, State, schema};
use crate::testing::host;

fn row(version: u64, target: &str) -> SettingsRow {
    SettingsRow { version, target: target.into(), bytes: vec![1; 10], by: "ada".into(), pushed_ms: NOW }
}

async fn push(state: &State, version: u64, target: &str) -> bool {
    state.push_settings(row(version, target), "less").await.expect("asked")
}

#[tokio::test]
async fn versions_rise_over_all_targets_and_the_log_has_each() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    assert_eq!(state.newest_settings().await.expect("read"), 0);
    assert!(push(state, 3, "all").await && push(state, 4, "group g").await);
    assert!(!push(state, 4, "all").await && !push(state, 2, "host h1").await, "not newer");
    assert_eq!(state.newest_settings().await.expect("read"), 4);
    assert_eq!(state.settings().await.expect("read").rows, [row(3, "all"), row(4, "group g")]);
    let query = LogQuery { kind: Some(EventKind::TrustChange), limit: 9, ..LogQuery::default() };
    let log = state.security_log(query).await.expect("read");
    let said: Vec<_> = log.iter().map(|(_, event)| (event.subject.as_str(), event.detail.as_str())).collect();
    assert_eq!(said, [("settings 3", "by ada: all: less"), ("settings 4", "by ada: group g: less")]);
    program.close().await;
}

#[tokio::test]
async fn of_each_target_the_newest_are_kept() {
    let place = Place::new();
    let program = place.open();
    assert!(push(&program.state, 1, "all").await);
    for version in 2..u64::from(SETTINGS_KEPT) + 5 {
        assert!(push(&program.state, version, "host h1").await);
    }
    let kept = program.state.settings().await.expect("read").rows;
    assert_eq!(kept.len(), 1 + SETTINGS_KEPT as usize);
    assert_eq!((kept[0].version, kept[1].version), (1, 5), "another target's stay");
    program.close().await;
}

#[tokio::test]
async fn a_program_from_before_reads_the_file_and_one_of_now_goes_on_with_what_it_left() {
    let place = Place::new();
    // Made by a program that knows no settings.
    drop(sqlite::open(&place.path(), &schema::FORMAT, Mode::Durable { max_pages: None }).expect("opens"));
    let program = place.open();
    assert!(push(&program.state, 1, "all").await);
    let report = SettingsReport { protocol: 2, in_force: 1, ..SettingsReport::default() };
    program.state.report_settings(&host(1), report.clone(), NOW).await.expect("kept");
    program.close().await;
    drop(sqlite::open(&place.path(), &schema::FORMAT, Mode::Durable { max_pages: None }).expect("opens"));
    let program = place.open();
    assert_eq!(program.state.newest_settings().await.expect("read"), 1);
    assert_eq!(program.state.settings_reports().await.expect("read").rows[0].report, report);
    program.close().await;
}

#[tokio::test]
async fn a_damaged_row_counts_for_nothing_and_its_version_is_not_used_again() {
    let place = Place::new();
    let program = place.open();
    assert!(push(&program.state, 1, "all").await && push(&program.state, 2, "all").await);
    place.raw().execute("UPDATE fleet_settings SET bytes = x'00' WHERE version = 2", []).expect("damaged");
    let listed = program.state.settings().await.expect("read");
    assert_eq!((listed.rows.len(), listed.damaged.len()), (1, 1));
    assert!(!push(&program.state, 2, "all").await && push(&program.state, 3, "all").await);
    program.close().await;
}

//! Several programs at one file, one after the other and at the same time.

use super::{LEAF_END, NOW, Place, enrol, joining, key_hash, renewing, token};
use crate::sqlite::beside;
use crate::state::{JoinOutcome, LogQuery, State, StateError, open_alone};
use crate::testing::{host, tenant};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::sync::Barrier;
use std::time::Duration;

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let place = Place::new();
    let program = place.open();
    let state = program.state.clone();
    for n in [1, 2] {
        state.create_token(token(n)).await.expect("kept");
    }
    state.join(joining(1, 1)).await.expect("judged");
    state.renew(renewing(1, 1, 2)).await.expect("judged");
    state.revoke(&host(3), "stolen", "ada", NOW).await.expect("revoked");
    state.publish_bundle(4, vec![4; 10], "the fourth".into(), "ada", NOW).await.expect("published");
    let all = async |state: &State| {
        let log = state.security_log(LogQuery { limit: 99, ..LogQuery::default() }).await.expect("read");
        let (hosts, tokens) = (state.hosts().await.expect("read"), state.tokens().await.expect("read"));
        (hosts, tokens, state.bundle().await.expect("read"), log)
    };
    let before = all(&state).await;
    assert_eq!((before.0.rows.len(), before.1.rows.len(), before.3.len()), (2, 2, 6));
    program.close().await;
    assert!(matches!(state.host(&host(1)).await, Err(StateError::Stopped)));
    assert!(!beside(&place.path(), "-wal").exists(), "a clean end leaves one file");

    let program = place.open();
    assert_eq!(all(&program.state).await, before);
    program.close().await;
}

#[tokio::test]
async fn of_two_joins_with_one_token_one_is_let_in() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    for n in 0..100 {
        one.state.create_token(token(n)).await.expect("kept");
        let (a, b) = tokio::join!(one.state.join(joining(n, 1)), two.state.join(joining(n, 2)));
        let (a, b) = (a.expect("judged"), b.expect("judged"));
        let winner = match (a, b) {
            (JoinOutcome::Enrolled, JoinOutcome::TokenUsed) => key_hash(1),
            (JoinOutcome::TokenUsed, JoinOutcome::Enrolled) => key_hash(2),
            other => panic!("{other:?}"),
        };
        for state in [&one.state, &two.state] {
            let row = state.host(&host(n.into())).await.expect("read").expect("known");
            assert_eq!(row.key, Some(winner));
        }
    }
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn a_commit_of_any_program_changes_the_revision_and_nothing_else_does() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    let start = one.state.revision().await.expect("asked");
    assert_eq!(one.state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::TokenUnknown);
    assert_eq!(two.state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::TokenUnknown);
    one.state.hosts().await.expect("read");
    assert_eq!(one.state.revision().await.expect("asked"), start, "reading and refusing commit nothing");
    enrol(&one.state, 1).await;
    let own = one.state.revision().await.expect("asked");
    assert_ne!(own, start);
    assert_eq!(one.state.revision().await.expect("asked"), own);
    two.state.revoke(&host(1), "stolen", "ada", NOW).await.expect("revoked");
    let other = one.state.revision().await.expect("asked");
    assert_ne!(other, own);
    assert!(one.state.host(&host(1)).await.expect("read").expect("known").revoked.is_some());
    one.close().await;
    two.close().await;
    // The last one to close tidies the log away.
    let three = place.open();
    assert_eq!(three.state.hosts().await.expect("read").rows.len(), 1);
    three.close().await;
}

/// Another process revokes a host while this one has the state open: the test starts itself anew.
#[tokio::test]
async fn another_process_is_noticed() {
    if let Some(path) = std::env::var_os("OTHER_PROCESS_STATE") {
        let supervisor = Supervisor::new(Clock::real());
        let state = State::open(path.as_ref(), tenant(), &supervisor).expect("opens");
        assert!(state.revoke(&host(1), "stolen", "the other", NOW).await.expect("revoked"));
        supervisor.drain(Duration::from_secs(10)).await;
        return;
    }
    let place = Place::new();
    let program = place.open();
    enrol(&program.state, 1).await;
    let before = program.state.revision().await.expect("asked");
    let mut other = std::process::Command::new(std::env::current_exe().expect("this test"));
    other.args(["--exact", "state::tests::programs::another_process_is_noticed"]);
    let output = other.env("OTHER_PROCESS_STATE", place.path()).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    assert_ne!(program.state.revision().await.expect("asked"), before);
    let row = program.state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!(row.revoked.map(|revoked| revoked.by).as_deref(), Some("the other"));
    program.close().await;
}

#[tokio::test]
async fn who_writes_waits_for_another_program_that_is_writing() {
    let place = Place::new();
    let program = place.open();
    let db = place.raw();
    db.execute_batch("BEGIN IMMEDIATE").expect("begun");
    enrol_while(&program.state, || db.execute_batch("COMMIT").expect("committed")).await;
    program.close().await;
}

/// Asks for an enrolment, then lets the other one go on.
async fn enrol_while(state: &State, go_on: impl FnOnce()) {
    let name = host(1);
    let mut enrolling = Box::pin(state.enrol(&name, key_hash(1), LEAF_END, NOW, "ada"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut enrolling).await;
    assert!(early.is_err(), "the other one has the lock: {early:?}");
    go_on();
    assert!(enrolling.await.expect("enrolled"));
}

#[test]
fn programs_that_open_a_new_file_at_once_make_it_once() {
    for _ in 0..20 {
        let place = Place::new();
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let db = open_alone(&place.path()).expect("opens");
                    let tables = db.query_row("SELECT count(*) FROM host", [], |row| row.get::<_, i64>(0));
                    assert_eq!(tables, Ok(0));
                });
            }
        });
    }
}

#[test]
fn a_file_of_another_version_or_program_is_refused_and_left_alone() {
    for (id, version) in [(0x4453_4D69, 2), (0x4453_4D69, 0), (0x4453_4D73, 1), (0, 1)] {
        let place = Place::new();
        let db = place.raw();
        db.execute_batch("CREATE TABLE entry(space, key, crc32c, value)").expect("made");
        db.pragma_update(None, "application_id", id).expect("set");
        db.pragma_update(None, "user_version", version).expect("set");
        drop(db);
        assert!(matches!(open_alone(&place.path()), Err(StateError::Unknown { .. })), "{id:#x} {version}");
        let tables = place.raw().query_row("SELECT group_concat(name) FROM sqlite_schema", [], |row| row.get(0));
        assert_eq!(tables, Ok("entry".to_string()));
    }
    let nowhere = open_alone("no/such/folder/state.sqlite".as_ref());
    assert!(matches!(nowhere, Err(StateError::Folder { .. })));
}

#[test]
fn a_new_file_is_ours_and_of_version_1() {
    let place = Place::new();
    let db = open_alone(&place.path()).expect("opens");
    let number = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).expect("a pragma");
    assert_eq!((number("application_id"), number("user_version"), number("synchronous")), (0x4453_4D69, 1, 2));
}

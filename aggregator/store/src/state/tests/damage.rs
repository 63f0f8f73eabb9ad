//! What a flipped bit, or somebody with SQLite, makes of the rows that decide something: nothing.

use super::{LEAF_END, NOW, Place, Program, enrol, joining, key_hash, renewing, token};
use crate::state::hosts::row_of;
use crate::state::{DamagedRow, EventKind, JoinOutcome, LogQuery, StateError, open_alone};
use crate::testing::{host, tenant};
use rusqlite::Connection;

/// Host 1 with a next key and a used token, host 2 revoked, a bundle.
async fn fill(program: &Program) {
    let state = &program.state;
    for n in [1, 2] {
        state.create_token(token(n)).await.expect("kept");
        state.join(joining(n, n)).await.expect("judged");
    }
    state.renew(renewing(1, 1, 3)).await.expect("judged");
    state.revoke(&host(2), "stolen", "ada", NOW).await.expect("revoked");
    state.publish_bundle(1, vec![1; 100], "the first".into(), "ada", NOW).await.expect("published");
}

fn columns(db: &Connection, table: &str) -> Vec<String> {
    let mut select = db.prepare("SELECT name FROM pragma_table_info(?1)").expect("prepares");
    let names = select.query_map([table], |row| row.get(0)).expect("runs");
    names.collect::<Result<_, _>>().expect("names")
}

#[tokio::test]
async fn a_change_to_any_value_of_a_row_is_seen_and_takes_no_other_row_away() {
    let place = Place::new();
    let program = place.open();
    fill(&program).await;
    let db = place.raw();
    for (table, row) in [("host", "name = 'host-2'"), ("token", "host = 'host-2'"), ("bundle", "version = 1")] {
        db.execute_batch(&format!("CREATE TEMP TABLE {table}_saved AS SELECT * FROM {table}")).expect("saved");
        let restore = format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM {table}_saved");
        for column in columns(&db, table).iter().filter(|column| *column != "tenant") {
            for new in ["7", "'host-3'", "x'07'", "-1"] {
                db.execute(&format!("UPDATE {table} SET {column} = {new} WHERE {row}"), []).expect("changed");
                assert!(is_seen(&program, table).await, "{table}.{column} = {new}");
                db.execute_batch(&restore).expect("restored");
            }
        }
    }
    let state = &program.state;
    assert!(state.hosts().await.expect("read").damaged.is_empty() && state.bundle().await.is_ok());
    assert!(state.tokens().await.expect("read").damaged.is_empty());
    program.close().await;
}

/// Whether one of the rows of `table` is damaged, and the others are not.
async fn is_seen(program: &Program, table: &str) -> bool {
    let state = &program.state;
    match table {
        "host" => {
            let hosts = state.hosts().await.expect("read");
            (hosts.rows.len(), hosts.damaged.len()) == (1, 1)
        }
        "token" => {
            let tokens = state.tokens().await.expect("read");
            (tokens.rows.len(), tokens.damaged.len()) == (1, 1)
        }
        _ => matches!(state.bundle().await, Err(StateError::Damaged(DamagedRow { table: "bundle", .. }))),
    }
}

#[tokio::test]
async fn every_flipped_bit_of_a_key_or_a_hash_is_no_key_and_no_token() {
    let place = Place::new();
    let program = place.open();
    fill(&program).await;
    let db = place.raw();
    for bit in 0..48 * 8 {
        let (mut key, mut hash) = ([1u8; 48], [1u8; 48]);
        key[bit / 8] ^= 1 << (bit % 8);
        hash[bit / 8] ^= 1 << (bit % 8);
        db.execute("UPDATE host SET key = ?1 WHERE name = 'host-1'", [key]).expect("flipped");
        db.execute("UPDATE token SET hash = ?1 WHERE host = 'host-1'", [hash]).expect("flipped");
        let read = program.state.host(&host(1)).await;
        let Err(StateError::Damaged(row)) = read else { panic!("bit {bit}: {read:?}") };
        assert_eq!(row, DamagedRow { table: "host", name: "host-1".into() });
        assert!(row.to_string().contains("the host host-1 of the state database is damaged"));
        assert!(matches!(program.state.token(hash).await, Err(StateError::Damaged(DamagedRow { table: "token", .. }))));
    }
    program.close().await;
}

#[tokio::test]
async fn a_sound_row_copied_over_another_is_damage() {
    let place = Place::new();
    let program = place.open();
    enrol(&program.state, 1).await;
    enrol(&program.state, 2).await;
    let columns = columns(&place.raw(), "host").split_off(2).join(", ");
    let copy = format!(
        "UPDATE host SET ({columns}) = (SELECT {columns} FROM host WHERE name = 'host-1') WHERE name = 'host-2'"
    );
    place.raw().execute(&copy, []).expect("copied");
    assert!(matches!(program.state.host(&host(2)).await, Err(StateError::Damaged(_))), "its name is part of the row");
    assert!(program.state.host(&host(1)).await.is_ok());
    program.close().await;
}

#[tokio::test]
async fn a_damaged_row_stands_for_nobody_until_it_is_written_again() {
    let place = Place::new();
    let program = place.open();
    fill(&program).await;
    let state = &program.state;
    let damage = || place.raw().execute("UPDATE host SET joined_ms = 5 WHERE name = 'host-1'", []).expect("changed");
    damage();
    let refused = |outcome| matches!(outcome, Err(StateError::Damaged(_)));
    assert!(refused(state.join(joining(1, 1)).await.map(drop)));
    assert!(refused(state.renew(renewing(1, 1, 2)).await.map(drop)));
    assert!(refused(state.key_seen(&host(1), key_hash(3), NOW).await.map(drop)));
    assert!(refused(state.enrol(&host(1), key_hash(1), LEAF_END, NOW, "ada").await.map(drop)), "it may be revoked");
    assert!(state.revoke(&host(1), "to be safe", "ada", NOW).await.expect("revoked"));
    assert_eq!(state.host(&host(1)).await.expect("sound").expect("known").key, None);
    damage();
    assert!(state.reinstate(&host(1), "ada", NOW).await.expect("reinstated"));
    place.raw().execute("UPDATE token SET by = 'eve' WHERE host = 'host-1'", []).expect("changed");
    assert!(refused(state.join(joining(1, 1)).await.map(drop)));
    assert!(state.remove_token([1; 48], "ada", NOW).await.expect("removed"));
    state.create_token(token(1)).await.expect("kept");
    assert_eq!(state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::Enrolled);
    program.close().await;
}

#[tokio::test]
async fn a_damaged_bundle_is_not_followed_by_an_older_one() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    for version in [1, 2] {
        state.publish_bundle(version, vec![1], String::new(), "ada", NOW).await.expect("published");
    }
    place.raw().execute("UPDATE bundle SET version = 1 << 62 WHERE version = 2", []).expect("changed");
    assert!(matches!(state.bundle().await, Err(StateError::Damaged(_))), "the first may trust what is trusted no more");
    assert!(!state.publish_bundle(1, vec![1], String::new(), "ada", NOW).await.expect("answered"));
    assert!(state.publish_bundle(3, vec![3], String::new(), "ada", NOW).await.expect("answered"));
    assert_eq!(state.bundle().await.expect("read").map(|row| row.version), Some(3), "its version blocks nobody");
    program.close().await;
}

#[tokio::test]
async fn what_fails_half_way_leaves_nothing_behind() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    state.create_token(token(1)).await.expect("kept");
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON security_log BEGIN SELECT RAISE(ABORT, 'no room'); END";
    place.raw().execute_batch(trigger).expect("made");
    assert!(matches!(state.join(joining(1, 1)).await, Err(StateError::Db { .. })));
    place.raw().execute_batch("DROP TRIGGER full").expect("gone");
    assert!(state.host(&host(1)).await.expect("read").is_none(), "no enrolment without its line in the log");
    assert_eq!(state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::Enrolled, "and the token is good");
    let query = LogQuery { kind: Some(EventKind::Join), limit: 9, ..LogQuery::default() };
    assert_eq!(state.security_log(query).await.expect("read").len(), 1);
    program.close().await;
}

#[tokio::test]
async fn a_flipped_bit_of_the_file_makes_no_other_row() {
    let place = Place::new();
    let program = place.open();
    enrol(&program.state, 0xA5).await;
    let row = program.state.host(&host(0xA5)).await.expect("read");
    program.close().await;
    let file = std::fs::read(place.path()).expect("the file");
    let key = file.windows(48).position(|bytes| bytes == [0xA5; 48]).expect("the key is in it");
    let mut damaged = 0;
    for at in key - 40..key + 80 {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(place.path(), flipped).expect("written");
        let Ok(db) = open_alone(&place.path()) else { continue };
        match row_of(&db, &tenant(), &host(0xA5)) {
            Ok(found) => assert!(found.is_none() || found == row, "byte {at}: {found:?}"),
            Err(_) => damaged += 1,
        }
    }
    assert!(damaged >= 48, "{damaged}");
}

//! The journal through real files: what is stored, what damage does, what a full disk does.

mod retention;

use crate::ledger::{LossReason, Totals};
use crate::record::{Appended, Classification, Refusal, StreamKey};
use crate::sqlite::{PAGE, beside};
use crate::testing::{
    Place, Rig, batch, batch_of, crash_copy, expected, key, on_a_small_tmpfs, range, small_tmpfs, tenant, until, value,
};
use crate::warm::{WarmError, WarmReport};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const BATCHES: u64 = 200;
const TICKS: u64 = BATCHES * 10;

/// A journal with [`BATCHES`] batches of host 1 and a gap before them, one commit a few batches.
async fn fill(rig: &Rig) {
    let key = key(1);
    rig.store.warm().record_gaps(&key, vec![(range(0, 99), LossReason::AgentDown)]).await.expect("recorded");
    for chunk in (0..BATCHES).collect::<Vec<_>>().chunks(7) {
        let batches: Vec<_> = chunk.iter().map(|n| batch(&key, 100 + n * 10, 0)).collect();
        let stored = rig.store.append(batches).await.expect("stored");
        assert!(stored.iter().all(|a| *a == Appended::Stored));
    }
}

fn totals(rig: &Rig) -> Totals {
    rig.store.warm().ledger(&key(1)).expect("a ledger").totals()
}

/// What can be read agrees with the ledger, tick by tick; returns how many ticks that are.
async fn readable_is_stored(rig: &Rig) -> u64 {
    let (values, _) = rig.values(1, 0, i64::MAX).await;
    let stored = rig.store.warm().ledger(&key(1)).expect("a ledger").stored();
    assert_eq!(values, expected(stored.iter().flat_map(|r| r.first.0..=r.last.0)));
    values.len() as u64
}

/// After damage the missing ticks wait again; sent again, everything is there.
async fn asked_for_again(rig: &Rig) {
    let t = totals(rig);
    assert_eq!((t.expected, t.stored + t.waiting, t.lost), (100 + TICKS, TICKS, 100));
    assert_eq!(readable_is_stored(rig).await, t.stored);
    let again: Vec<_> = (0..BATCHES).map(|n| batch(&key(1), 100 + n * 10, 0)).collect();
    rig.store.append(again).await.expect("stored");
    let t = totals(rig);
    assert_eq!((t.stored, t.waiting, t.lost), (TICKS, 0, 100));
    assert_eq!(readable_is_stored(rig).await, TICKS);
}

#[tokio::test]
async fn what_is_appended_is_there_once_after_a_restart() {
    let place = Place::new();
    let rig = place.open().await;
    assert_eq!(rig.report, WarmReport { created: true, ..WarmReport::default() });
    fill(&rig).await;
    assert_eq!(readable_is_stored(&rig).await, TICKS);
    let again = rig.store.append(vec![batch(&key(1), 100, 0)]).await.expect("answered");
    assert_eq!(again, [Appended::Duplicate]);
    let before = rig.store.warm().ledger(&key(1));
    assert_eq!(before.as_ref().map(|l| (l.resent(), l.overlapped())), Some((10, 0)));
    rig.close().await;
    assert!(place.beside_journal().is_empty(), "a clean end leaves one file: {:?}", place.beside_journal());

    let rig = place.open().await;
    assert_eq!(rig.report, WarmReport::default(), "a clean end, nothing to say");
    assert_eq!(rig.store.warm().ledger(&key(1)), before);
    assert_eq!(readable_is_stored(&rig).await, TICKS);
    rig.close().await;
}

#[tokio::test]
async fn the_same_ticks_under_another_identity_are_stored_once_and_counted() {
    let place = Place::new();
    let rig = place.open().await;
    let key = key(1);
    let ten: Vec<u64> = (10..20).collect();
    let append = async |ticks: &[u64]| {
        let start = i64::try_from(ticks[0]).expect("small") * 1000;
        rig.store.append(vec![batch_of(&key, ticks, start)]).await.expect("answered")[0]
    };
    assert_eq!(append(&ten[..4]).await, Appended::Stored);
    assert_eq!(append(&ten).await, Appended::Stored, "a longer batch takes the place of a short one");
    assert_eq!(append(&ten[..4]).await, Appended::Duplicate, "the short one is all in it");
    assert_eq!(append(&ten[5..]).await, Appended::Duplicate, "nothing new");
    assert_eq!(append(&[18, 19, 20, 22]).await, Appended::Stored, "two new ticks, and 21 is missing");
    assert_eq!(append(&[18, 21]).await, Appended::Refused(Refusal::Conflict));
    let ledger = rig.store.warm().ledger(&key).expect("a ledger");
    assert_eq!(ledger.stored().iter().collect::<Vec<_>>(), [range(10, 20), range(22, 22)]);
    assert_eq!((ledger.resent(), ledger.overlapped()), (4, 4 + 5 + 2));
    let (values, _) = rig.values(1, 0, i64::MAX).await;
    assert_eq!(values, expected((10..=20).chain([22])), "no tick twice");
    rig.close().await;
}

#[tokio::test]
async fn a_batch_of_an_unknown_set_or_tick_is_refused() {
    let place = Place::new();
    let rig = place.open().await;
    let mut stranger = (*batch(&key(1), 0, 0)).clone();
    stranger.set.0[0] ^= 1;
    let known = batch(&key(1), 10, 0);
    let answers = rig.store.append(vec![Arc::new(stranger), known]).await.expect("answered");
    assert_eq!(answers, [Appended::Refused(Refusal::SetUnknown), Appended::Stored], "one does not block the other");
    let huge = vec![(range(0, u64::MAX), LossReason::Unknown)];
    assert!(matches!(rig.store.warm().record_gaps(&key(1), huge).await, Err(WarmError::Tick)));
    rig.close().await;
}

#[tokio::test]
async fn many_appends_share_few_commits() {
    let place = Place::new();
    let rig = place.open().await;
    let before = rig.store.warm().stats().commits;
    let store = &rig.store;
    let batches: Vec<_> = (0..500u32).map(|n| batch(&key(n % 50), u64::from(n / 50) * 10, 0)).collect();
    let appends = batches.into_iter().map(|batch| async move {
        let answer = store.append(vec![batch]).await;
        assert_eq!(answer.expect("stored"), [Appended::Stored]);
    });
    join_all(appends).await;
    let stats = rig.store.warm().stats();
    assert_eq!(stats.stored, 500);
    assert!(stats.commits - before <= 20, "{} commits for 500 appends that came at once", stats.commits - before);
    rig.close().await;
}

/// Polls all to their end, as so many connections would.
async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut pending: Vec<_> = futures.map(|f| Some(Box::pin(f))).collect();
    std::future::poll_fn(|context| {
        for slot in &mut pending {
            if slot.as_mut().is_some_and(|f| f.as_mut().poll(context).is_ready()) {
                *slot = None;
            }
        }
        if pending.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_crash_in_the_middle_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let rig = place.open().await;
    let crashed = Place::new();
    let mut acknowledged = 0;
    for n in 0..40 {
        rig.store.append(vec![batch(&key(1), n * 10, 0)]).await.expect("stored");
        acknowledged += 10;
        if n % 13 == 12 {
            crash_copy(&place.journal(), &crashed.journal());
            let survivor = crashed.open().await;
            assert!(survivor.report.unclean && survivor.report.set_aside.is_none(), "{:?}", survivor.report);
            let (values, _) = survivor.values(1, 0, i64::MAX).await;
            assert_eq!(values, expected(0..acknowledged));
            survivor.close().await;
        }
    }
    rig.close().await;
}

#[tokio::test]
async fn expectations_count_at_once_and_are_written() {
    let place = Place::new();
    let rig = place.open().await;
    let (warm, key) = (rig.store.warm(), key(7));
    warm.expect(&key, range(5, 5)).expect("taken");
    warm.expect(&key, range(5, 64)).expect("taken");
    until(|| warm.ledger(&key).is_some_and(|l| l.totals().waiting == 60)).await;
    rig.close().await;
    let rig = place.open().await;
    assert_eq!(rig.store.warm().ledger(&key).map(|l| l.totals().waiting), Some(60));
    rig.close().await;
}

#[tokio::test]
async fn classifications_are_apart_and_a_reader_sees_what_it_dominates() {
    let place = Place::new();
    let rig = place.open().await;
    let secret = Arc::new(StreamKey { classification: Classification::new(3).expect("a level"), ..(*key(1)).clone() });
    rig.store.append(vec![batch(&key(1), 0, 0), batch(&secret, 100, 0)]).await.expect("stored");
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(0..10));
    assert_eq!(rig.store.warm().ledger(&secret).map(|l| l.totals().stored), Some(10));
    assert_eq!(rig.store.warm().streams_of(&tenant(), &secret.host).len(), 2);
    rig.close().await;
}

#[tokio::test]
async fn what_is_too_old_goes_and_stays_accounted_for() {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    let pruned = rig.store.warm().prune(1_100_000).await.expect("pruned");
    assert_eq!((pruned.batches, pruned.ledgers), (100, 0));
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(1100..2100));
    assert_eq!((totals(&rig).stored, totals(&rig).waiting), (TICKS, 0), "it was stored, and is not asked for again");
    let late = rig.store.append(vec![batch(&key(1), 100, 0)]).await.expect("answered");
    assert_eq!(late, [Appended::Duplicate], "nor kept again");
    let other = rusqlite::Connection::open(place.journal()).expect("opens");
    other.execute("UPDATE batch SET blob = x'00' WHERE first_tick = 1500", []).expect("damaged");
    drop(other);
    assert_eq!(rig.parts(1, 0, i64::MAX).await.expect("an answer").1, 1);
    until(|| totals(&rig).waiting > 0).await;
    assert_eq!(totals(&rig).waiting, 10, "a damaged batch is asked for again, what expired is not");
    let all = rig.store.warm().prune(i64::MAX).await.expect("pruned");
    assert_eq!((all.batches, all.ledgers), (99, 0));
    assert_eq!((totals(&rig).stored, totals(&rig).waiting), (TICKS - 10, 10), "the host may come back and ask");
    rig.close().await;
}

#[tokio::test]
async fn a_full_journal_acknowledges_nothing_that_is_not_stored_and_resumes_by_itself() {
    let mut place = Place::new();
    place.warm.max_bytes = Some(400 << 10);
    let rig = place.open().await;
    let mut stored = 0;
    let full = loop {
        match rig.store.append(vec![batch(&key(1), stored, 0)]).await {
            Ok(answer) => assert_eq!(answer, [Appended::Stored]),
            Err(error) => break error,
        }
        stored += 10;
    };
    assert!(matches!(full, WarmError::Full), "{full}");
    assert!(stored > 100);
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(0..stored), "what was acknowledged, and no more");
    assert_eq!(rig.store.warm().ledger(&key(1)).map(|l| l.totals().stored), Some(stored));
    let cut = i64::try_from(stored).expect("small") * 500;
    assert!(rig.store.warm().prune(cut).await.expect("room is made").batches > 0);
    assert_eq!(rig.store.append(vec![batch(&key(1), stored, 0)]).await.expect("stored"), [Appended::Stored]);
    rig.close().await;
}

/// The same on a disk that is really full.
#[test]
fn a_full_disk_acknowledges_nothing_that_is_not_stored_and_resumes_by_itself() {
    on_a_small_tmpfs("warm::tests::on_a_small_disk");
}

#[tokio::test]
async fn on_a_small_disk() {
    let Some(small) = small_tmpfs() else { return };
    let mut place = Place::new();
    place.disk = tempfile::tempdir_in(&small).expect("a folder");
    let other = small.join("somebody else's");
    std::fs::write(&other, vec![1; 2 << 20]).expect("written");
    let rig = place.open().await;
    let mut stored = 0;
    let full = loop {
        match rig.store.append(vec![batch(&key(1), stored, 0)]).await {
            Ok(answer) => assert_eq!(answer, [Appended::Stored]),
            Err(error) => break error,
        }
        stored += 10;
    };
    assert!(matches!(full, WarmError::Full), "{full}");
    let append = async |first: u64| rig.store.append(vec![batch(&key(1), first, 0)]).await;
    for _ in 0..20 {
        assert!(matches!(append(stored).await, Err(WarmError::Full)));
    }
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(0..stored), "what was acknowledged, and no more");
    // Retention makes room, though even that needs some.
    let pruned = rig.store.warm().prune(500_000).await.expect("the ballast is released");
    assert_eq!(pruned.batches, 50);
    for first in [stored, stored + 10] {
        assert_eq!(append(first).await.expect("stored"), [Appended::Stored]);
    }
    stored += 20;
    // Somebody else makes room: it goes on by itself.
    while append(stored).await.is_ok() {
        stored += 10;
    }
    std::fs::remove_file(other).expect("removed");
    assert_eq!(append(stored).await.expect("stored"), [Appended::Stored]);
    stored += 10;
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(500..stored));
    rig.close().await;
    let rig = place.open().await;
    assert_eq!(rig.report, WarmReport::default());
    assert_eq!(rig.store.warm().ledger(&key(1)).map(|l| l.totals().stored), Some(stored));
    rig.close().await;
}

#[tokio::test]
async fn a_queue_that_is_full_says_busy() {
    let mut place = Place::new();
    place.warm.queue_bytes = 1;
    let rig = place.open().await;
    let store = &rig.store;
    let outcomes = std::cell::RefCell::new((0, 0));
    join_all((0..100u32).map(|n| {
        let outcomes = &outcomes;
        async move {
            match store.append(vec![batch(&key(n), 0, 0)]).await {
                Ok(_) => outcomes.borrow_mut().0 += 1,
                Err(WarmError::Busy) => outcomes.borrow_mut().1 += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }))
    .await;
    let (stored, busy) = *outcomes.borrow();
    assert!(stored > 0 && busy > 0, "{stored} stored, {busy} busy");
    assert_eq!(rig.store.warm().stats().stored, stored);
    rig.close().await;
}

#[tokio::test]
async fn a_second_program_a_newer_version_and_a_strangers_file_are_refused() {
    use crate::warm::{Warm, WarmConfig};
    use dsmil_runtime::supervise::Supervisor;
    let place = Place::new();
    let supervisor = Supervisor::new(place.clock.clone());
    let open = |path: &Path| Warm::open(path, &place.clock, &supervisor, WarmConfig::default()).map(drop);
    let rig = place.open().await;
    assert!(matches!(open(&place.journal()), Err(WarmError::InUse { .. })));
    rig.close().await;
    let db = rusqlite::Connection::open(place.journal()).expect("opens");
    db.pragma_update(None, "user_version", 99).expect("set");
    drop(db);
    let newer = open(&place.journal());
    assert!(matches!(newer, Err(WarmError::Version { found: 99, known: 2, .. })), "{newer:?}");
    let other = place.disk.path().join("other.sqlite");
    rusqlite::Connection::open(&other).expect("opens").execute_batch("CREATE TABLE t(x)").expect("made");
    assert!(matches!(open(&other), Err(WarmError::Foreign { .. })));
    assert!(place.beside_journal().iter().all(|name| !name.contains("damaged")), "none of them was touched");
}

/// Fills a journal, ends it (cleanly or not), lets `damage` at its file, and opens it again.
async fn damaged(clean: bool, damage: impl FnOnce(&Path)) -> (Place, Rig) {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    let place = if clean {
        rig.close().await;
        place
    } else {
        let crashed = Place::new();
        crash_copy(&place.journal(), &crashed.journal());
        rig.close().await;
        crashed
    };
    damage(&place.journal());
    let rig = place.open().await;
    (place, rig)
}

fn edit(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("opens")
}

/// The page numbers (from 0) whose first byte is `kind`.
fn pages_of(file: &File, kind: u8) -> Vec<u64> {
    let pages = file.metadata().expect("there").len() / PAGE;
    let mut first = [0];
    (1..pages)
        .filter(|page| {
            file.read_exact_at(&mut first, page * PAGE).expect("reads");
            first[0] == kind
        })
        .collect()
}

/// Where the bytes of `what` are in the file.
fn find(path: &Path, what: &[u8]) -> u64 {
    let bytes = std::fs::read(path).expect("reads");
    bytes.windows(what.len()).position(|w| w == what).expect("it is there") as u64
}

#[tokio::test]
async fn a_flipped_payload_byte_costs_its_batch_and_no_more() {
    for clean in [true, false] {
        let (place, rig) = damaged(clean, |path| {
            if !clean {
                // So that the flip is in the file and not only in its log.
                let db = rusqlite::Connection::open(path).expect("opens");
                crate::sqlite::checkpoint(&db).expect("checkpoints");
            }
            let blob = batch(&key(1), 550, 0).blob().clone();
            let at = find(path, &blob[60..100]);
            edit(path).write_all_at(&[blob[60] ^ 0x10], at).expect("writes");
        })
        .await;
        assert_eq!((rig.report.damaged, rig.report.lost_ticks), (1, Some(10)), "{:?}", rig.report);
        assert_eq!(rig.report.set_aside, None, "the file is sound but for one row");
        assert_eq!(totals(&rig).waiting, 10);
        assert_eq!(rig.store.warm().ledger(&key(1)).expect("a ledger").waiting(), [range(550, 559)]);
        asked_for_again(&rig).await;
        rig.close().await;
        drop(place);
    }
}

#[tokio::test]
async fn a_batch_that_turns_bad_while_running_is_found_by_its_reader_and_waits_again() {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    let writer = rusqlite::Connection::open(place.journal()).expect("opens");
    writer.execute("UPDATE batch SET blob = zeroblob(length(blob)) WHERE first_tick = 550", []).expect("damaged");
    let (parts, damaged) = rig.parts(1, 0, i64::MAX).await.expect("an answer without it");
    assert_eq!((damaged, parts.iter().map(|p| p.ticks.len()).sum::<usize>()), (1, 1990));
    until(|| totals(&rig).waiting == 10).await;
    assert_eq!(rig.store.warm().stats().damaged, 1);
    asked_for_again(&rig).await;
    drop(writer);
    rig.close().await;
}

#[tokio::test]
async fn a_zeroed_page_costs_the_rows_on_it_and_no_more() {
    // A leaf of the batch table: the rows that begin on it are gone, and exactly those wait again.
    let (place, rig) = damaged(true, |path| {
        let file = edit(path);
        let leaves = pages_of(&file, 0x0D);
        file.write_all_at(&[0; 4096], leaves[leaves.len() / 2] * PAGE).expect("writes");
    })
    .await;
    let report = rig.report.clone();
    assert!(report.set_aside.as_ref().is_some_and(|path| path.exists()), "{report:?}");
    let lost = report.lost_ticks.expect("the ledger was whole");
    assert!((10..=60).contains(&lost), "one leaf holds a few batches: {report:?}");
    assert_eq!(report.salvaged * 10 + lost, TICKS, "every batch is salvaged or lost: {report:?}");
    assert_eq!(totals(&rig).waiting, lost);
    asked_for_again(&rig).await;
    rig.close().await;
    let rig = place.open().await;
    assert_eq!(rig.report, WarmReport::default(), "and that was that");
    rig.close().await;
}

#[tokio::test]
async fn lost_inner_pages_and_indexes_cost_nothing() {
    for kind in [0x05, 0x0A] {
        let (_place, rig) = damaged(true, |path| {
            let file = edit(path);
            let pages = pages_of(&file, kind);
            // Roots come in the order of the schema: the two indexes on batches stand before the two ledger tables.
            let gone = if kind == 0x0A { &pages[pages.len() - 4..pages.len() - 2] } else { &pages[..] };
            for page in gone {
                file.write_all_at(&[0; 4096], page * PAGE).expect("writes");
            }
        })
        .await;
        let report = rig.report.clone();
        assert!(report.set_aside.is_some(), "{kind:#x}: {report:?}");
        assert_eq!((report.salvaged, totals(&rig).stored), (BATCHES, TICKS), "{kind:#x}: {report:?}");
        asked_for_again(&rig).await;
        rig.close().await;
    }
}

#[tokio::test]
async fn a_lost_ledger_is_made_again_from_the_batches() {
    let (_place, rig) = damaged(true, |path| {
        let file = edit(path);
        for page in pages_of(&file, 0x0A).iter().rev().take(2) {
            file.write_all_at(&[0; 4096], page * PAGE).expect("writes");
        }
    })
    .await;
    assert_eq!((rig.report.salvaged, rig.report.lost_ticks), (BATCHES, None), "{:?}", rig.report);
    let t = totals(&rig);
    assert_eq!((t.expected, t.stored, t.lost), (TICKS, TICKS, 0), "the gap has to be told again");
    assert_eq!(readable_is_stored(&rig).await, TICKS);
    rig.close().await;
}

#[tokio::test]
async fn a_lost_header_costs_nothing() {
    for clean in [true, false] {
        let (_place, rig) = damaged(clean, |path| edit(path).write_all_at(&[0xA5; 4096], 0).expect("writes")).await;
        let report = rig.report.clone();
        if clean {
            assert!(report.set_aside.is_some(), "{report:?}");
            assert_eq!((report.salvaged, report.lost_ticks), (BATCHES, Some(0)));
        }
        assert_eq!((totals(&rig).stored, totals(&rig).lost), (TICKS, 100), "{report:?}");
        asked_for_again(&rig).await;
        rig.close().await;
    }
}

#[tokio::test]
async fn names_of_hosts_are_found_in_the_index_when_their_table_is_gone() {
    let (_place, rig) = damaged(true, |path| {
        let at = find(path, b"acmehost-1");
        let file = edit(path);
        let page = at / PAGE;
        let mut kind = [0];
        file.read_exact_at(&mut kind, page * PAGE).expect("reads");
        assert!([0x0D, 0x0A].contains(&kind[0]));
        file.write_all_at(&[0; 4096], page * PAGE).expect("writes");
    })
    .await;
    assert_eq!((rig.report.salvaged, totals(&rig).stored), (BATCHES, TICKS), "{:?}", rig.report);
    rig.close().await;
}

#[tokio::test]
async fn a_truncated_file_keeps_what_is_left_of_it() {
    let (_place, rig) = damaged(true, |path| {
        let file = edit(path);
        let pages = file.metadata().expect("there").len() / PAGE;
        file.set_len(pages * 2 / 3 * PAGE + 100).expect("truncates");
    })
    .await;
    let report = rig.report.clone();
    assert!(report.set_aside.is_some(), "{report:?}");
    assert!((BATCHES / 3..BATCHES).contains(&report.salvaged), "{report:?}");
    let known = rig.store.warm().ledger(&key(1)).expect("a ledger").totals().stored;
    assert_eq!(known, report.salvaged * 10);
    if let Some(lost) = report.lost_ticks {
        assert_eq!(report.salvaged * 10 + lost, TICKS);
    }
    assert_eq!(readable_is_stored(&rig).await, known);
    rig.close().await;
}

#[tokio::test]
async fn what_is_no_database_is_set_aside_and_an_empty_or_missing_file_too() {
    let (place, rig) =
        damaged(true, |path| std::fs::write(path, b"not a database, sorry\n".repeat(500)).expect("writes")).await;
    assert!(rig.report.set_aside.is_some() && rig.report.salvaged == 0, "{:?}", rig.report);
    assert!(place.beside_journal().iter().any(|name| name.contains(".damaged-")));
    rig.close().await;

    // After a crash, what was not checkpointed is in the log, even if the file is cut to nothing or gone.
    for remove in [false, true] {
        let (_place, rig) = damaged(false, |path| {
            if remove { std::fs::remove_file(path).expect("removed") } else { edit(path).set_len(0).expect("cut") }
        })
        .await;
        assert!(rig.report.set_aside.is_some() && rig.report.salvaged > 0, "{:?}", rig.report);
        assert_eq!(readable_is_stored(&rig).await, rig.report.salvaged * 10);
        rig.close().await;
    }
}

#[tokio::test]
async fn a_missing_log_is_named_and_its_batches_wait_again() {
    let (_place, rig) = damaged(false, |path| std::fs::remove_file(beside(path, "-wal")).expect("removed")).await;
    assert!(rig.report.unclean && rig.report.wal_missing, "{:?}", rig.report);
    let stored = rig.store.warm().ledger(&key(1)).map_or(0, |l| l.totals().stored);
    assert!(stored < TICKS);
    // HELLO and HEARTBEAT name the ticks again; then the missing ones are asked for.
    rig.store.warm().expect(&key(1), range(0, 99 + TICKS)).expect("taken");
    rig.store.warm().record_gaps(&key(1), vec![(range(0, 99), LossReason::AgentDown)]).await.expect("recorded");
    until(|| totals(&rig).expected == 100 + TICKS).await;
    asked_for_again(&rig).await;
    rig.close().await;
}

#[tokio::test]
async fn a_truncated_log_or_wal_index_keeps_the_commits_before_the_cut() {
    let (_place, rig) = damaged(false, |path| {
        let log = edit(&beside(path, "-wal"));
        let length = log.metadata().expect("there").len();
        log.set_len(length * 3 / 4).expect("cut");
        std::fs::write(beside(path, "-shm"), b"short").expect("writes");
    })
    .await;
    let stored = totals(&rig).stored;
    assert!((10..TICKS).contains(&stored), "{stored}");
    assert_eq!(readable_is_stored(&rig).await, stored);
    rig.store.warm().expect(&key(1), range(0, 99 + TICKS)).expect("taken");
    until(|| totals(&rig).expected == 100 + TICKS).await;
    asked_for_again(&rig).await;
    rig.close().await;
}

#[tokio::test]
async fn a_salvage_that_was_cut_short_is_finished_or_done_again() {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    rig.close().await;
    edit(&place.journal()).write_all_at(&[0; 4096], 0).expect("writes");
    // Cut short while copying: a half-filled file lies there.
    std::fs::write(beside(&place.journal(), ".salvage"), b"half").expect("writes");
    let rig = place.open().await;
    assert_eq!(rig.report.salvaged, BATCHES);
    rig.close().await;
    // Cut short between the renames: the fresh file is whole and has no name yet.
    std::fs::rename(place.journal(), beside(&place.journal(), ".salvage")).expect("renamed");
    let rig = place.open().await;
    assert_eq!((totals(&rig).stored, rig.report.created), (TICKS, false));
    rig.close().await;
}

#[tokio::test]
async fn structure_damaged_while_running_is_salvaged_while_running() {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    rig.close().await;
    let rig = place.open().await;
    // Straight into the file, behind the back of everybody; nothing of it is in a page cache of SQLite's yet.
    let script = format!("dd if=/dev/zero of={} bs=4096 seek=$0 count=1 conv=notrunc", place.journal().display());
    let leaves = pages_of(&edit_copy(&place), 0x0D);
    let page = leaves[leaves.len() / 2].to_string();
    assert!(std::process::Command::new("sh").args(["-c", &script, &page]).status().expect("runs").success());
    let failed = rig.parts(1, 0, i64::MAX).await;
    assert!(failed.is_err(), "the query that meets it fails");
    until(|| place.beside_journal().iter().any(|name| name.contains(".damaged-")) && totals(&rig).waiting > 0).await;
    asked_for_again(&rig).await;
    rig.close().await;
}

/// Whatever happens to the file: it opens, it shows nothing that was not stored, and what is missing waits and can come
/// again.
#[tokio::test]
async fn any_damage_is_survived() {
    let place = Place::new();
    let rig = place.open().await;
    fill(&rig).await;
    let (open, closed) = (Place::new(), Place::new());
    crash_copy(&place.journal(), &open.journal());
    rig.close().await;
    std::fs::copy(place.journal(), closed.journal()).expect("copied");
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..40 {
        let from = if round % 2 == 0 { &closed } else { &open };
        let place = Place::new();
        for suffix in ["", "-wal"] {
            let (from, to) = (beside(&from.journal(), suffix), beside(&place.journal(), suffix));
            if std::fs::copy(&from, &to).is_err() {
                continue;
            }
            let (file, length) = (edit(&to), from.metadata().expect("there").len());
            for _ in 0..next(4) {
                let at = next(length);
                match next(4) {
                    0 => file.write_all_at(&[u8::try_from(next(256)).expect("a byte")], at).expect("writes"),
                    1 => file.write_all_at(&[0; 4096], at / PAGE * PAGE).expect("writes"),
                    2 => file.write_all_at(&at.to_le_bytes().repeat(64), at).expect("writes"),
                    _ => file.set_len(at).expect("cut"),
                }
            }
        }
        let rig = place.open().await;
        let stored = rig.store.warm().ledger(&key(1)).map_or(0, |l| l.totals().stored);
        let report = format!("round {round}: {:?}", rig.report);
        let (values, _) = rig.values(1, 0, i64::MAX).await;
        assert_eq!(values.len() as u64, stored, "{report}");
        assert!(values.iter().all(|(tick, bits)| (100..100 + TICKS).contains(tick) && *bits == value(3, *tick)));
        let again: Vec<_> = (0..BATCHES).map(|n| batch(&key(1), 100 + n * 10, 0)).collect();
        rig.store.append(again).await.expect("stored");
        assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(100..100 + TICKS), "{report}");
        assert_eq!(totals(&rig).stored, TICKS, "{report}");
        rig.close().await;
    }
}

/// A copy of the journal that can be opened without dropping SQLite's locks on it.
fn edit_copy(place: &Place) -> File {
    let copy = place.disk.path().join("copy");
    assert!(std::process::Command::new("cp").arg(place.journal()).arg(&copy).status().expect("runs").success());
    edit(&copy)
}

#[test]
fn the_test_values_differ() {
    assert_ne!(value(3, 1), value(3, 2));
}

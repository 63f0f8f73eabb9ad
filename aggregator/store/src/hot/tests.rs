//! The cache through real files on tmpfs: what it holds, and what happens when it loses them.

use crate::read::Tier;
use crate::record::Appended;
use crate::testing::{Place, Rig, batch, batch_of, expected, key, on_a_small_tmpfs, small_tmpfs, until};
use dsmil_runtime::clock::Clock;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// Appends `count` batches of ten ticks to host 1, the first tick at `origin_ms` and `first` seconds.
async fn append(rig: &Rig, first: u64, count: u64, origin_ms: i64) {
    let batches = (0..count).map(|n| batch(&key(1), first + n * 10, origin_ms)).collect();
    let stored = rig.store.append(batches).await.expect("stored");
    assert!(stored.iter().all(|a| *a == Appended::Stored));
}

fn stats(rig: &Rig) -> crate::hot::HotStats {
    rig.store.hot_stats().expect("there is a hot cache")
}

/// A time in the near future of hot's floor, so that what starts there is hot's.
fn soon(rig: &Rig) -> i64 {
    stats(rig).floor_ms + 1_000
}

#[tokio::test]
async fn one_answer_across_the_tiers_says_which_part_is_whose() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig) - 300_000;
    append(&rig, 0, 30, origin).await;
    append(&rig, 300, 3, origin).await;
    assert_eq!(stats(&rig).stored, 3, "what is older than the floor is not hot's");
    let (values, tiers) = rig.values(1, origin, i64::MAX).await;
    assert_eq!((values, tiers), (expected(0..330), vec![Tier::Warm, Tier::Hot]));
    let (values, tiers) = rig.values(1, origin + 302_000, origin + 309_500).await;
    assert_eq!((values, tiers), (expected(302..310), vec![Tier::Hot]), "from the middle of a batch to another's");
    rig.close().await;
}

#[tokio::test]
async fn a_batch_across_the_floor_and_one_across_hours_are_found() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let floor = stats(&rig).floor_ms;
    // A host that slept for an hour in the middle of a batch.
    let ticks = [0, 1, 3600, 3601];
    let long = batch_of(&key(1), &ticks, floor - 3_600_000);
    rig.store.append(vec![long]).await.expect("stored");
    let (values, tiers) = rig.values(1, floor - 500, i64::MAX).await;
    assert_eq!((values, tiers), (expected([3600, 3601]), vec![Tier::Warm]));
    rig.close().await;
}

#[tokio::test]
async fn a_restart_starts_hot_anew_and_loses_nothing() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig);
    append(&rig, 0, 3, origin).await;
    rig.close().await;
    let rig = place.open().await;
    assert!(stats(&rig).floor_ms > origin + 20_000, "hot does not have them, and its floor says so");
    assert_eq!(rig.values(1, 0, i64::MAX).await, (expected(0..30), vec![Tier::Warm]));
    rig.close().await;
}

/// Lets `harm` at the open file, and sees that every query is answered in full all the same.
async fn harmed(name: &str, harm: impl Fn(&Place)) {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig);
    append(&rig, 0, 60, origin - 600_000).await;
    append(&rig, 600, 3, origin - 600_000).await;
    assert_eq!(rig.values(1, origin, i64::MAX).await.1, [Tier::Hot]);
    harm(&place);
    let (values, tiers) = rig.values(1, 0, i64::MAX).await;
    assert_eq!(values, expected(0..630), "{name}");
    assert_eq!(tiers, [Tier::Warm], "{name}");
    assert_eq!(stats(&rig).reopened, 1, "{name}");
    assert!(place.hot_path().exists(), "{name}: a fresh file is there");
    // And it works again.
    let next = stats(&rig).floor_ms + 15_000;
    append(&rig, 2_000, 1, next - 2_000_000).await;
    let (values, tiers) = rig.values(1, next, i64::MAX).await;
    assert_eq!((values, tiers), (expected(2_000..2_010), vec![Tier::Hot]), "{name}");
    rig.close().await;
}

#[tokio::test]
async fn a_removed_file_is_made_anew_and_warm_answers() {
    harmed("removed", |place| std::fs::remove_file(place.hot_path()).expect("removed")).await;
}

#[tokio::test]
async fn a_replaced_file_is_made_anew_and_warm_answers() {
    harmed("replaced", |place| {
        let other = place.tmpfs.path().join("other");
        std::fs::write(&other, vec![0; 1 << 20]).expect("written");
        std::fs::rename(&other, place.hot_path()).expect("renamed");
    })
    .await;
}

#[tokio::test]
async fn a_truncated_file_is_made_anew_and_warm_answers() {
    harmed("truncated", |place| {
        File::options().write(true).open(place.hot_path()).expect("opens").set_len(4096).expect("cut");
    })
    .await;
}

#[tokio::test]
async fn a_lost_file_is_noticed_within_a_second_without_a_query() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    std::fs::remove_file(place.hot_path()).expect("removed");
    until(|| stats(&rig).reopened == 1 && place.hot_path().exists()).await;
    rig.close().await;
}

#[tokio::test]
async fn a_flipped_byte_in_hot_is_seen_and_read_from_warm() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig);
    append(&rig, 0, 60, origin - 600_000).await;
    append(&rig, 600, 3, origin - 600_000).await;
    // Others' rows settle the pages around ours, and later push them out of SQLite's cache of 2 MiB.
    let others = async |host: u32, count: u64| {
        let at = |n: u64| origin - i64::try_from(n).expect("small") * 10_000;
        let batches: Vec<_> = (0..count).map(|n| batch(&key(host), 10_000 + n * 10, at(n) - 10_000_000)).collect();
        rig.store.append(batches).await.expect("stored");
    };
    others(2, 500).await;
    // Closing our own descriptors of the files drops SQLite's locks on them; nobody else asks for these.
    let wanted = batch(&key(1), 610, origin - 600_000);
    let needle = &wanted.blob()[60..100];
    let mut hits = 0;
    for suffix in ["", "-wal"] {
        let path = crate::sqlite::beside(&place.hot_path(), suffix);
        let file = File::options().write(true).open(&path).expect("opens");
        for (at, window) in std::fs::read(&path).expect("reads").windows(needle.len()).enumerate() {
            if window == needle {
                file.write_all_at(&[needle[0] ^ 1], at as u64).expect("writes");
                hits += 1;
            }
        }
    }
    assert!(hits > 0, "the batch is in the file or its log");
    others(3, 2_000).await;
    let (values, tiers) = rig.values(1, 0, i64::MAX).await;
    assert_eq!(stats(&rig).reopened, 1, "{hits} places, {:?}", stats(&rig));
    assert_eq!((values, tiers), (expected(0..630), vec![Tier::Warm]), "in order, though hot had the rest");
    rig.close().await;
}

#[tokio::test]
async fn a_batch_that_warm_refuses_is_not_shown_for_long() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig);
    let append =
        async |ticks: &[u64]| rig.store.append(vec![batch_of(&key(1), ticks, origin)]).await.expect("answered")[0];
    assert_eq!(append(&[0, 1, 2]).await, Appended::Stored);
    assert_eq!(append(&[0, 2, 3, 4]).await, Appended::Refused(crate::Refusal::Conflict));
    assert_eq!(rig.values(1, 0, i64::MAX).await, (expected(0..3), vec![Tier::Warm]));
    rig.close().await;
}

#[tokio::test]
async fn it_keeps_within_its_age_and_its_size() {
    let (clock, hand) = Clock::manual();
    hand.set_wall_ns(1_000_000_000_000_000_000);
    let mut place = Place::new().with_hot();
    place.clock = clock.clone();
    let hot = place.hot.as_mut().expect("with hot");
    (hot.max_bytes, hot.keep) = (1 << 20, Duration::from_secs(600));
    let rig = place.open().await;
    let origin = stats(&rig).floor_ms;
    for n in 0..300u64 {
        let at = origin + i64::try_from(n).expect("small") * 10_000;
        hand.set_wall_ns(at * 1_000_000);
        hand.advance(Duration::from_secs(10));
        append(&rig, n * 10, 1, origin).await;
    }
    until(|| stats(&rig).evicted >= 230).await;
    let after_age = stats(&rig);
    assert_eq!((after_age.stored, after_age.left_out, after_age.reopened), (300, 0, 0));
    assert!(after_age.floor_ms > origin + 2_300_000, "{after_age:?}");
    let (values, tiers) = rig.values(1, 0, i64::MAX).await;
    assert_eq!((values, tiers), (expected(0..3_000), vec![Tier::Warm, Tier::Hot]));

    // Many hosts at once, far more than a megabyte.
    let now = origin + 3_000_000;
    for chunk in 0..10u64 {
        let batches: Vec<Arc<_>> = (0..60).map(|n| batch(&key(3), (chunk * 60 + n) * 10, now)).collect();
        rig.store.append(batches).await.expect("stored");
    }
    let bytes = place.hot_path().metadata().expect("there").len();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert_eq!(stats(&rig).reopened, 0);
    assert_eq!(rig.values(3, 0, i64::MAX).await.0, expected(0..6_000));
    rig.close().await;
}

#[tokio::test]
async fn a_host_whose_clock_is_far_ahead_does_not_take_hot_from_the_others() {
    let place = Place::new().with_hot();
    let rig = place.open().await;
    let origin = soon(&rig);
    let year = 366 * 86_400_000;
    rig.store.append(vec![batch(&key(2), 0, origin), batch(&key(2), 10, origin + year)]).await.expect("stored");
    append(&rig, 0, 2, origin).await;
    assert_eq!(rig.values(1, 0, i64::MAX).await, (expected(0..20), vec![Tier::Hot]));
    assert_eq!(rig.values(2, 0, i64::MAX).await, (expected(0..20), vec![Tier::Hot, Tier::Warm]));
    rig.close().await;
    let rig = place.open().await;
    assert!(stats(&rig).floor_ms < origin + year);
    assert_eq!(rig.values(2, 0, i64::MAX).await, (expected(0..20), vec![Tier::Warm]));
    rig.close().await;
}

#[tokio::test]
async fn without_a_place_for_hot_warm_answers() {
    let mut place = Place::new().with_hot();
    place.hot.as_mut().expect("with hot").path = "/proc/no/such/place".into();
    let hot = place.hot.take();
    let rig = place.open().await;
    rig.close().await;
    place.hot = hot;
    let supervisor = dsmil_runtime::supervise::Supervisor::new(place.clock.clone());
    let config = crate::StoreConfig { journal: place.journal(), warm: place.warm.clone(), hot: place.hot.clone() };
    let (store, report) = crate::Store::open(config, &place.clock, &supervisor).expect("opens");
    let rig = Rig { store, report, supervisor };
    append(&rig, 0, 3, 0).await;
    assert_eq!(rig.values(1, 0, i64::MAX).await, (expected(0..30), vec![Tier::Warm]));
    rig.close().await;
}

#[test]
fn a_full_tmpfs_is_outlived() {
    on_a_small_tmpfs("hot::tests::on_a_full_tmpfs");
}

#[tokio::test]
async fn on_a_full_tmpfs() {
    let Some(small) = small_tmpfs() else { return };
    let mut place = Place::new().with_hot();
    let hot = place.hot.as_mut().expect("with hot");
    (hot.path, hot.max_bytes) = (small.join("hot.sqlite"), 4 << 20);
    let rig = place.open().await;
    let origin = soon(&rig);
    append(&rig, 0, 3, origin).await;
    let filler = small.join("somebody else's");
    let mut bytes = 16 << 20;
    while std::fs::write(&filler, vec![1; bytes]).is_err() {
        bytes -= 4096;
    }
    // Until the room that hot already has is used up.
    let (mut first, clock) = (30, Clock::real());
    while stats(&rig).left_out == 0 {
        append(&rig, first, 100, origin - i64::try_from(first).expect("small") * 1000).await;
        first += 1000;
        assert!(first < 100_000, "12 MiB are full by now");
    }
    let next = clock.wall_ms() + 50_000;
    append(&rig, first, 1, next - i64::try_from(first).expect("small") * 1000).await;
    let (values, _) = rig.values(1, 0, i64::MAX).await;
    assert_eq!(values.len() as u64, first + 10, "every tick once, from wherever it is");
    std::fs::remove_file(filler).expect("removed");
    until(|| stats(&rig).floor_ms != i64::MAX).await;
    let written = stats(&rig).stored;
    let at = stats(&rig).floor_ms.max(next) + 1;
    rig.store.append(vec![batch(&key(2), 0, at)]).await.expect("stored");
    assert_eq!(stats(&rig).stored, written + 1, "{:?}", stats(&rig));
    assert_eq!(rig.values(2, 0, i64::MAX).await, (expected(0..10), vec![Tier::Hot]));
    rig.close().await;
}

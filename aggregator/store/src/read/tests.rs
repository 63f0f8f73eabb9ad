//! Reading across the tiers.

use super::{Coverage, ReadError, Step, Tier, plan};
use crate::read::{MAX_QUERY_BATCHES, Query};
use crate::record::Classification;
use crate::testing::{METRICS, Place, batch, expected, host, key, set, tenant};

#[test]
fn a_query_is_cut_where_hot_begins_and_ends() {
    let step = |tier, to_ms| Step { tier, to_ms };
    let hot = |floor_ms, ceiling_ms| Some(Coverage { floor_ms, ceiling_ms });
    assert_eq!(plan(i64::MIN, None, 50), step(Tier::Warm, 50));
    assert_eq!(plan(i64::MIN, hot(20, i64::MAX), 50), step(Tier::Warm, 19));
    assert_eq!(plan(i64::MIN, hot(20, i64::MAX), 10), step(Tier::Warm, 10));
    assert_eq!(plan(20, hot(20, i64::MAX), 50), step(Tier::Hot, 50));
    assert_eq!(plan(20, hot(20, 40), 50), step(Tier::Hot, 39));
    assert_eq!(plan(40, hot(20, 40), 50), step(Tier::Warm, 50));
    assert_eq!(plan(10, hot(i64::MAX, i64::MAX), 50), step(Tier::Warm, 50), "hot is out of reach");
    assert_eq!(plan(10, hot(20, i64::MIN), 50), step(Tier::Warm, 50), "hot has nothing of this host");
}

#[tokio::test]
async fn a_long_answer_comes_in_pages_in_the_order_of_time() {
    let place = Place::new();
    let rig = place.open().await;
    // Newest first, as after an outage.
    for chunk in (0..900u64).rev().collect::<Vec<_>>().chunks(100) {
        let batches = chunk.iter().map(|n| batch(&key(1), n * 10, 0)).collect();
        rig.store.append(batches).await.expect("stored");
    }
    let (parts, damaged) = rig.parts(1, 5_000, 8_995_000).await.expect("an answer");
    assert!(parts.len() > 1 && damaged == 0, "{} parts", parts.len());
    assert_eq!(rig.values(1, 5_000, 8_995_000).await.0, expected(5..=8_995));
    assert_eq!(rig.values(1, 5_500, 5_900).await.0, []);
    assert_eq!(rig.values(1, 7_000, 6_000).await.0, []);
    assert_eq!(rig.values(2, 0, i64::MAX).await.0, []);
    rig.close().await;
}

#[tokio::test]
async fn the_chosen_columns_come_and_unknown_ones_do_not() {
    let place = Place::new();
    let rig = place.open().await;
    rig.store.append(vec![batch(&key(1), 0, 0)]).await.expect("stored");
    let query = || Query {
        tenant: tenant(),
        host: host(1),
        clearance: Classification::new(9).expect("a level"),
        from_ms: 0,
        to_ms: i64::MAX,
    };
    let mut reading = rig.store.read(query(), |set| vec![set.metrics().len() - 1, 0, 9_999]);
    let part = reading.next().await.expect("an answer").expect("a part");
    assert_eq!(part.columns.iter().map(|c| c.metric).collect::<Vec<_>>(), [METRICS - 1, 0]);
    assert_eq!(part.set, set());
    assert_eq!(reading.next().await.expect("the end"), None);
    assert_eq!(rig.store.read(query(), |_| Vec::new()).next().await.expect("the end"), None);

    let sets = rig
        .store
        .sets(&tenant(), &host(1), Classification::new(0).expect("a level"), 5_000, 6_000)
        .await
        .expect("read");
    assert_eq!(sets, [set()]);
    assert!(
        rig.store
            .sets(&tenant(), &host(1), Classification::new(0).expect("a level"), 10_000, 60_000)
            .await
            .expect("read")
            .is_empty()
    );
    assert_eq!(rig.store.metric_set(&tenant(), set().id()).await.expect("read"), Some(set()));
    let mut other = set().id();
    other.0[3] ^= 1;
    assert_eq!(rig.store.metric_set(&tenant(), other).await.expect("read"), None);
    rig.close().await;
}

#[tokio::test]
async fn a_query_that_reaches_too_far_is_refused() {
    let place = Place::new();
    let rig = place.open().await;
    rig.store.append(vec![batch(&key(1), 0, 0)]).await.expect("stored");
    let query = Query {
        tenant: tenant(),
        host: host(1),
        clearance: Classification::new(0).expect("a level"),
        from_ms: 0,
        to_ms: i64::MAX,
    };
    let mut reading = rig.store.read(query, |_| vec![0]);
    reading.batches = MAX_QUERY_BATCHES;
    assert!(matches!(reading.next().await, Err(ReadError::TooMuch)));
    assert_eq!(reading.next().await.expect("it has ended"), None);
    rig.close().await;
}

#[tokio::test]
async fn a_damaged_metric_set_is_forgotten_and_can_be_stored_again() {
    let place = Place::new();
    let rig = place.open().await;
    rig.store.append(vec![batch(&key(1), 0, 0)]).await.expect("stored");
    let other = rusqlite::Connection::open(place.journal()).expect("opens");
    other.execute("UPDATE metric_set SET content = x'00'", []).expect("damaged");
    assert_eq!(rig.store.metric_set(&tenant(), set().id()).await.expect("read"), None);
    assert_eq!(rig.parts(1, 0, i64::MAX).await.expect("an answer").1, 1, "the batch cannot be understood now");
    rig.store.warm().put_metric_set(&tenant(), set()).await.expect("stored again");
    assert_eq!(rig.values(1, 0, i64::MAX).await.0, expected(0..10));
    drop(other);
    rig.close().await;
}

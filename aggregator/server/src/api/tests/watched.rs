//! Ticks for whoever watches a host.

use super::rig::{NOW, Rig, SECOND_BOOT, host};
use crate::live::Latest;
use dsmil_protocol::ids::Tick;
use dsmil_protocol::tlv::Classification;
use std::time::Duration;

const HERE: &str = "/api/v1/hosts/h1/watch";

fn after(tick: u64) -> String {
    format!("{HERE}?after={SECOND_BOOT}:{tick}")
}

/// A newer tick of h1 comes in.
fn show(rig: &Rig, tick: u64) {
    rig.context.live.show(&host("h1"), (SECOND_BOOT, Tick(tick)), |known| {
        let known = known.expect("one before it");
        Latest {
            set: known.set.clone(),
            boot: SECOND_BOOT,
            classification: known.classification,
            tick: Tick(tick),
            time_ms: NOW,
            values: known.values.clone(),
            resting: vec![],
        }
    });
}

#[tokio::test]
async fn the_next_tick_is_told_as_soon_as_it_is_there() {
    let rig = Rig::open().await;
    let newest = rig.get(HERE).await;
    assert_eq!((newest.status, newest.json()["tick"].as_u64()), (200, Some(20)));
    assert!(rig.context.live.watching().is_watched(&host("h1")), "and the host is asked for more");
    let told = newest.json();
    let families = told["families"].as_array().expect("families");
    let samples = families.iter().map(|family| family["samples"].as_array().expect("samples").len()).sum::<usize>();
    assert_eq!(samples, 3, "each series, those of one name together: {told}");
    assert_eq!(rig.get(&after(19)).await.json()["tick"], 20, "one that was there already");
    let next = after(20);
    let (answer, ()) = tokio::join!(rig.get(&next), async {
        // An older one wakes nobody for long.
        show(&rig, 20);
        tokio::task::yield_now().await;
        show(&rig, 21);
    });
    assert_eq!(answer.json()["tick"], 21);
    let another_boot = format!("{HERE}?after=00000000-0000-0000-0000-000000000001:9000");
    assert_eq!(rig.get(&another_boot).await.json()["tick"], 21, "ticks of another boot are no later ones");
    rig.close().await;
}

#[tokio::test]
async fn when_nothing_comes_the_answer_is_empty_and_comes_in_time() {
    let rig = Rig::open().await;
    let next = after(20);
    let passing = async {
        loop {
            rig.hand.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = rig.get(&next) => answer,
        () = passing => unreachable!("time does not end"),
    };
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    rig.close().await;
}

#[tokio::test]
async fn nonsense_is_refused_and_what_is_above_the_reader_is_not_told() {
    let rig = Rig::open().await;
    assert_eq!(rig.get("/api/v1/hosts/h9/watch").await.status, 404);
    for bad in ["?after=1", "?after=x:1", "?after=", "?boot=x", "?more=1"] {
        assert_eq!(rig.get(&format!("{HERE}{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(rig.get(&format!("{HERE}?after={SECOND_BOOT}:-1")).await.status, 400);
    rig.change_latest(|latest| latest.classification = Classification::new(3).expect("a level"));
    let passing = async {
        loop {
            rig.hand.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = rig.get(HERE) => answer,
        () = passing => unreachable!("time does not end"),
    };
    assert_eq!(answer.status, 204);
    rig.close().await;
}

//! Renewal, revocation and bundles.

use super::{HOUR, LEAF_END, NOW, Place, enrol, key_hash, renewing};
use crate::state::{EventKind, LogQuery, MAX_BUNDLE_LEN, Renew, RenewOutcome, Revocation, State, StateError};
use crate::testing::host;
use dsmil_authority::Fingerprint;

async fn keys(state: &State) -> (Option<Fingerprint>, Option<Fingerprint>) {
    let row = state.host(&host(1)).await.expect("read").expect("known");
    (row.key, row.next)
}

#[tokio::test]
async fn both_keys_are_good_until_the_next_one_is_seen() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    enrol(state, 1).await;
    assert_eq!(state.renew(renewing(1, 1, 2)).await.expect("judged"), RenewOutcome::Granted);
    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert!(row.knows(key_hash(1)) && row.knows(key_hash(2)));
    assert_eq!((row.renewed_ms, row.leaf_not_after_s), (Some(NOW + 60_000), Some(LEAF_END + 60)));

    assert!(!state.key_seen(&host(1), key_hash(1), NOW + HOUR).await.expect("noted"), "the old one changes nothing");
    assert!(!state.key_seen(&host(1), key_hash(9), NOW + HOUR).await.expect("noted"), "nor does a stranger's");
    assert!(!state.key_seen(&host(5), key_hash(2), NOW + HOUR).await.expect("noted"), "nor an unknown host");
    assert_eq!(keys(state).await, (Some(key_hash(1)), Some(key_hash(2))));
    assert!(state.key_seen(&host(1), key_hash(2), NOW + HOUR).await.expect("noted"));
    assert!(!state.key_seen(&host(1), key_hash(2), NOW + HOUR).await.expect("noted"), "once");
    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!((row.key, row.next, row.key_since_ms), (Some(key_hash(2)), None, Some(NOW + HOUR)));
    assert_eq!(state.renew(renewing(1, 1, 3)).await.expect("judged"), RenewOutcome::WrongKey, "the old one is over");
    program.close().await;
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_can_be_repeated_with_either_key() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    enrol(state, 1).await;
    for next in [2, 3] {
        assert_eq!(state.renew(renewing(1, 1, next)).await.expect("judged"), RenewOutcome::Granted);
    }
    assert_eq!(keys(state).await, (Some(key_hash(1)), Some(key_hash(3))), "the unused key is replaced");
    assert_eq!(state.renew(renewing(1, 2, 4)).await.expect("judged"), RenewOutcome::WrongKey, "and no good");
    assert_eq!(state.renew(renewing(1, 3, 4)).await.expect("judged"), RenewOutcome::Granted);
    assert_eq!(keys(state).await, (Some(key_hash(3)), Some(key_hash(4))), "who has the pending key keeps it");
    assert_eq!(state.renew(renewing(1, 3, 3)).await.expect("judged"), RenewOutcome::Granted);
    assert_eq!(keys(state).await, (Some(key_hash(3)), None), "the same key again waits for nothing");
    let query = LogQuery { kind: Some(EventKind::Renewal), limit: 9, ..LogQuery::default() };
    let log = state.security_log(query).await.expect("read");
    assert_eq!(log.len(), 4, "refusals are not logged");
    assert_eq!(log[0].1.detail, format!("next key {}", key_hash(2)));
    assert_eq!(log[0].1.from.as_deref(), Some("192.0.2.1:5000"));
    program.close().await;
}

#[tokio::test]
async fn a_renewal_that_is_not_due_to_this_host_is_refused_by_name() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    assert_eq!(state.renew(renewing(1, 1, 2)).await.expect("judged"), RenewOutcome::NotEnrolled);
    enrol(state, 1).await;
    enrol(state, 2).await;
    assert_eq!(state.renew(renewing(1, 2, 3)).await.expect("judged"), RenewOutcome::WrongKey, "another host's key");
    let end_ms = (LEAF_END + 90 * 86_400) * 1000;
    let at = |now_ms: i64| Renew { now_ms, leaf_not_after_s: now_ms / 1000, ..renewing(1, 1, 2) };
    assert_eq!(state.renew(at(end_ms + 1)).await.expect("judged"), RenewOutcome::TooOld);
    assert_eq!(keys(state).await, (Some(key_hash(1)), None), "nothing changed");
    assert_eq!(state.renew(at(end_ms)).await.expect("judged"), RenewOutcome::Granted);
    assert_eq!(state.renew(at(end_ms + 1)).await.expect("judged"), RenewOutcome::Granted, "the newest leaf counts");

    assert!(state.revoke(&host(1), "stolen", "ada", NOW).await.expect("revoked"));
    assert_eq!(state.renew(at(end_ms)).await.expect("judged"), RenewOutcome::Revoked);
    assert!(!state.key_seen(&host(1), key_hash(2), NOW).await.expect("noted"));
    assert!(state.reinstate(&host(1), "ada", NOW).await.expect("reinstated"));
    assert_eq!(state.renew(at(end_ms)).await.expect("judged"), RenewOutcome::NotEnrolled, "it has to join again");
    program.close().await;
}

#[tokio::test]
async fn a_revoked_host_is_out_until_it_is_reinstated_and_joins_again() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    enrol(state, 1).await;
    assert!(!state.reinstate(&host(1), "ada", NOW).await.expect("answered"), "it was never shut out");
    assert!(!state.reinstate(&host(2), "ada", NOW).await.expect("answered"), "nobody knows it");
    assert!(state.host(&host(1)).await.expect("read").expect("known").knows(key_hash(1)));
    assert!(state.revoke(&host(1), "stolen", "ada", NOW).await.expect("revoked"));
    assert!(!state.revoke(&host(1), "again", "bob", NOW + 1).await.expect("answered"), "the first reason stays");
    assert!(state.revoke(&host(2), "never came", "ada", NOW).await.expect("one that never joined"));
    assert!(!state.enrol(&host(1), key_hash(7), LEAF_END, NOW, "ada").await.expect("answered"));

    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!(row.revoked, Some(Revocation { at_ms: NOW, reason: "stolen".into(), by: "ada".into() }));
    assert!(row.key.is_some() && !row.knows(key_hash(1)), "its key can be shown, and is no good");
    assert!(state.reinstate(&host(1), "ada", NOW + 2).await.expect("reinstated"));
    assert_eq!(keys(state).await, (None, None));
    enrol(state, 1).await;
    let names: Vec<_> = state.hosts().await.expect("read").rows.into_iter().map(|row| row.name).collect();
    assert_eq!(names, [host(1), host(2)]);

    let log = state.security_log(LogQuery { subject: Some("host-1".into()), limit: 9, ..LogQuery::default() }).await;
    let kinds: Vec<_> = log.expect("read").iter().map(|(_, event)| (event.kind, event.reason.clone())).collect();
    let stolen = (EventKind::Revocation, Some("stolen".to_string()));
    let (join, reinstated) = ((EventKind::Join, None), (EventKind::Reinstatement, None));
    assert_eq!(kinds, [join.clone(), stolen, reinstated, join]);
    program.close().await;
}

#[tokio::test]
async fn only_a_newer_bundle_takes_the_place_of_the_newest() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    let publish = async |version: u64, byte: u8| {
        state.publish_bundle(version, vec![byte; 9], "an issuer more".into(), "ada", NOW).await.expect("answered")
    };
    assert!(state.bundle().await.expect("read").is_none());
    assert!(publish(2, 2).await);
    assert!(!publish(2, 3).await && !publish(1, 1).await);
    assert!(publish(10, 10).await, "versions are numbers, not texts");
    let bundle = state.bundle().await.expect("read").expect("published");
    assert_eq!((bundle.version, bundle.bytes, bundle.published_ms), (10, vec![10; 9], NOW));
    let kept = place.raw().query_row("SELECT count(*) FROM bundle", [], |row| row.get::<_, i64>(0));
    assert_eq!(kept, Ok(2), "the older one is history");
    let log = state.security_log(LogQuery { kind: Some(EventKind::TrustChange), limit: 9, ..LogQuery::default() });
    let subjects: Vec<_> = log.await.expect("read").into_iter().map(|(_, event)| event.subject).collect();
    assert_eq!(subjects, ["bundle 2", "bundle 10"]);
    for (version, len) in [(11, MAX_BUNDLE_LEN + 1), (u64::MAX, 1)] {
        let refused = state.publish_bundle(version, vec![0; len], String::new(), "ada", NOW).await;
        assert!(matches!(refused, Err(StateError::TooLarge { .. })));
    }
    let largest = state.publish_bundle(11, vec![0; MAX_BUNDLE_LEN], String::new(), "ada", NOW).await;
    assert!(largest.expect("answered"));
    program.close().await;
}

//! Tokens and what joining with them comes to.

use super::{HOUR, LEAF_END, NOW, Place, enrol, joining, key_hash, token};
use crate::state::{
    EventKind, Join, JoinOutcome, LogQuery, MAX_TOKEN_DEVICES, REPEAT_WITHIN, SPENT_TOKENS_KEPT, State, StateError,
    TokenUse,
};
use crate::testing::{host, tenant};
use dsmil_protocol::ids::{DeviceId, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;

async fn joins(state: &State) -> Vec<(String, String)> {
    let query = LogQuery { kind: Some(EventKind::Join), limit: 100, ..LogQuery::default() };
    let log = state.security_log(query).await.expect("read");
    log.into_iter().map(|(_, event)| (event.subject, event.detail)).collect()
}

#[tokio::test]
async fn a_token_lets_its_host_in_once() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    state.create_token(token(1)).await.expect("kept");
    assert_eq!(state.token([1; 48]).await.expect("read").expect("kept").used, None);
    assert_eq!(state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::Enrolled);

    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!((row.key, row.next, row.joined_ms), (Some(key_hash(1)), None, Some(NOW)));
    assert_eq!((row.key_since_ms, row.leaf_not_after_s, row.revoked.clone()), (Some(NOW), Some(LEAF_END), None));
    assert!(row.knows(key_hash(1)) && !row.knows(key_hash(2)));
    let kept = state.token([1; 48]).await.expect("read").expect("kept");
    assert_eq!(kept.devices, [DeviceId(3), DeviceId(0x1234)]);
    let used = TokenUse { at_ms: NOW, from: "192.0.2.1:5000".into(), key: key_hash(1) };
    assert_eq!((kept.used, kept.by.as_str()), (Some(used), "ada"));

    assert_eq!(state.join(joining(1, 2)).await.expect("judged"), JoinOutcome::TokenUsed, "with another key");
    assert_eq!(state.host(&host(1)).await.expect("read"), Some(row), "and nothing changed");
    assert_eq!(joins(state).await, [("host-1".to_string(), format!("key {}", key_hash(1)))], "refusals are not logged");
    program.close().await;
}

#[tokio::test]
async fn a_lost_answer_is_given_again_for_ten_minutes_to_the_same_key_alone() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    state.create_token(token(1)).await.expect("kept");
    assert_eq!(state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::Enrolled);
    let ten = i64::try_from(REPEAT_WITHIN.as_millis()).expect("small");
    let at = |ms: i64, key: u8| Join { now_ms: NOW + ms, leaf_not_after_s: LEAF_END + 7, ..joining(1, key) };
    assert_eq!(state.join(at(ten, 1)).await.expect("judged"), JoinOutcome::Again);
    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!((row.leaf_not_after_s, row.joined_ms), (Some(LEAF_END + 7), Some(NOW)), "a leaf more, no joining more");
    assert_eq!(joins(state).await.len(), 2);
    assert_eq!(state.join(at(ten, 2)).await.expect("judged"), JoinOutcome::TokenUsed);
    assert_eq!(state.join(at(ten + 1, 1)).await.expect("judged"), JoinOutcome::TokenUsed);
    assert_eq!(state.join(at(-ten, 1)).await.expect("judged"), JoinOutcome::Again, "the clock was set back");

    enrol(state, 1).await;
    assert_eq!(state.join(at(1, 1)).await.expect("judged"), JoinOutcome::Again, "it is the enrolled key all the same");
    state.enrol(&host(1), key_hash(9), LEAF_END, NOW, "ada").await.expect("enrolled");
    assert_eq!(state.join(at(1, 1)).await.expect("judged"), JoinOutcome::TokenUsed, "the key is no good any more");
    program.close().await;
}

#[tokio::test]
async fn a_token_unknown_expired_or_of_another_host_lets_nobody_in() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    state.create_token(token(1)).await.expect("kept");
    let of_two = Join { host: host(2), ..joining(1, 2) };
    assert_eq!(state.join(joining(7, 1)).await.expect("judged"), JoinOutcome::TokenUnknown);
    assert_eq!(state.join(of_two.clone()).await.expect("judged"), JoinOutcome::TokenOfAnotherHost);
    let late = Join { now_ms: NOW + HOUR, ..joining(1, 1) };
    assert_eq!(state.join(late.clone()).await.expect("judged"), JoinOutcome::TokenExpired);

    assert!(state.revoke(&host(1), "stolen", "ada", NOW).await.expect("revoked"));
    assert_eq!(state.join(joining(1, 1)).await.expect("judged"), JoinOutcome::Revoked);
    assert_eq!(state.join(of_two).await.expect("judged"), JoinOutcome::TokenOfAnotherHost, "it learns nothing more");
    assert!(state.reinstate(&host(1), "ada", NOW).await.expect("reinstated"));
    assert!(state.host(&host(2)).await.expect("read").is_none());
    assert!(joins(state).await.is_empty());

    let just = Join { now_ms: NOW + HOUR - 1, ..joining(1, 1) };
    assert_eq!(state.join(just).await.expect("judged"), JoinOutcome::Enrolled, "until its last millisecond");
    assert_eq!(
        state.join(Join { key: key_hash(2), ..late }).await.expect("judged"),
        JoinOutcome::TokenUsed,
        "that it was used says more than that it is over"
    );
    program.close().await;
}

#[tokio::test]
async fn a_host_that_joins_anew_loses_the_keys_it_had() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    enrol(state, 1).await;
    state.renew(super::renewing(1, 1, 2)).await.expect("judged");
    state.create_token(token(1)).await.expect("kept");
    assert_eq!(state.join(joining(1, 3)).await.expect("judged"), JoinOutcome::Enrolled);
    let row = state.host(&host(1)).await.expect("read").expect("known");
    assert_eq!((row.key, row.next, row.renewed_ms), (Some(key_hash(3)), None, None));
    assert!(!row.knows(key_hash(1)) && !row.knows(key_hash(2)));
    program.close().await;
}

#[tokio::test]
async fn tokens_are_listed_removed_and_never_made_good_again() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    for n in [2, 1] {
        state.create_token(token(n)).await.expect("kept");
    }
    let hashes = async || state.tokens().await.expect("read").rows.iter().map(|row| row.hash[0]).collect::<Vec<_>>();
    assert_eq!(hashes().await, [1, 2]);
    state.join(joining(1, 1)).await.expect("judged");
    assert!(matches!(state.create_token(token(1)).await, Err(StateError::Db { .. })));
    assert!(state.token([1; 48]).await.expect("read").expect("kept").used.is_some(), "it is still used");
    let devices = vec![DeviceId(1); MAX_TOKEN_DEVICES + 1];
    let huge = state.create_token(crate::state::NewToken { devices, ..token(3) }).await;
    assert!(matches!(huge, Err(StateError::TooLarge { .. })));

    assert!(state.remove_token([2; 48], "bob", NOW).await.expect("removed"));
    assert!(!state.remove_token([2; 48], "bob", NOW).await.expect("gone"));
    assert_eq!(state.join(joining(2, 2)).await.expect("judged"), JoinOutcome::TokenUnknown);
    let removed = LogQuery { kind: Some(EventKind::TokenRemoved), limit: 9, ..LogQuery::default() };
    let log = state.security_log(removed).await.expect("read");
    assert_eq!((log.len(), log[0].1.subject.as_str(), &log[0].1.detail[..6]), (1, "host-2", "by bob"));

    let later = NOW + HOUR + i64::try_from(SPENT_TOKENS_KEPT.as_millis()).expect("a month");
    state.create_token(crate::state::NewToken { created_ms: later, ..token(4) }).await.expect("kept");
    assert_eq!(hashes().await, [1, 4], "an hour and a month is not over a month after its end");
    state.create_token(crate::state::NewToken { created_ms: later + 1, ..token(5) }).await.expect("kept");
    assert!(!hashes().await.contains(&1), "spent tokens do not stay for ever");
    program.close().await;
}

#[tokio::test]
async fn a_token_of_one_tenant_is_none_of_another() {
    let place = Place::new();
    let program = place.open();
    let supervisor = Supervisor::new(Clock::real());
    let other = TenantId::new("other").expect("a tenant");
    let other = State::open(&place.path(), other, &supervisor).expect("opens");
    program.state.create_token(token(1)).await.expect("kept");
    assert_eq!(program.state.tenant(), &tenant());
    assert_eq!(other.join(joining(1, 1)).await.expect("judged"), JoinOutcome::TokenUnknown);
    enrol(&other, 1).await;
    assert!(program.state.host(&host(1)).await.expect("read").is_none());
    assert!(joins(&program.state).await.is_empty());
    supervisor.drain(std::time::Duration::from_secs(10)).await;
    program.close().await;
}

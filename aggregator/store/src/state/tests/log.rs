//! The security log: what it keeps, and that it keeps it.

use super::{NOW, Place, enrol};
use crate::state::log::clip;
use crate::state::{EventKind, LogQuery, MAX_DETAIL_LEN, MAX_TEXT_LEN, SecurityEvent, UnknownKind};

fn refusal(n: i64) -> SecurityEvent {
    SecurityEvent {
        from: Some(format!("192.0.2.{n}")),
        reason: Some("expired".into()),
        count: 40,
        detail: "in a minute".into(),
        ..SecurityEvent::new(NOW + n, EventKind::Refusal, "peers")
    }
}

#[tokio::test]
async fn it_answers_the_newest_that_match_in_the_order_they_were_written() {
    let place = Place::new();
    let program = place.open();
    let state = &program.state;
    // The clock was set back in between: the order is that of writing.
    state.log(vec![refusal(5), refusal(1), refusal(2)]).await.expect("written");
    enrol(state, 1).await;
    state.log(vec![refusal(9)]).await.expect("written");
    let asked = async |query: LogQuery| {
        let log = state.security_log(query).await.expect("read");
        assert!(log.is_sorted_by_key(|(id, _)| *id));
        log.into_iter().map(|(_, event)| event.at_ms - NOW).collect::<Vec<_>>()
    };
    let all = LogQuery { limit: usize::MAX, ..LogQuery::default() };
    assert_eq!(asked(all.clone()).await, [5, 1, 2, 0, 9]);
    assert_eq!(asked(LogQuery { limit: 2, ..all.clone() }).await, [0, 9]);
    assert!(asked(LogQuery::default()).await.is_empty(), "none were asked for");
    assert_eq!(asked(LogQuery { since_ms: Some(NOW + 2), ..all.clone() }).await, [5, 2, 9]);
    assert_eq!(asked(LogQuery { kind: Some(EventKind::Join), ..all.clone() }).await, [0]);
    assert_eq!(asked(LogQuery { subject: Some("peers".into()), limit: 1, ..all.clone() }).await, [9]);
    assert_eq!(state.security_log(all).await.expect("read")[1].1, refusal(1), "as it was written");
    program.close().await;
}

#[tokio::test]
async fn nobody_changes_or_removes_what_is_in_it() {
    let place = Place::new();
    let program = place.open();
    program.state.log(vec![refusal(1)]).await.expect("written");
    let db = place.raw();
    for change in [
        "UPDATE security_log SET detail = ''",
        "DELETE FROM security_log",
        "INSERT OR REPLACE INTO security_log SELECT id, tenant, 0, kind, '', '', '', 1, '' FROM security_log",
    ] {
        let refused = db.execute(change, []).expect_err("is refused");
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    let log = program.state.security_log(LogQuery { limit: 9, ..LogQuery::default() }).await.expect("read");
    assert_eq!(log.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), [refusal(1)]);
    program.close().await;
}

#[tokio::test]
async fn texts_of_strangers_are_short_and_do_not_steer_a_terminal() {
    let place = Place::new();
    let program = place.open();
    let long = "é".repeat(5000);
    let event = SecurityEvent {
        from: Some(long.clone()),
        reason: Some("\u{1b}[2Jgone\r\n".into()),
        count: u64::MAX,
        detail: long.clone(),
        ..SecurityEvent::new(NOW, EventKind::Refusal, &long)
    };
    program.state.log(vec![event]).await.expect("written");
    let log = program.state.security_log(LogQuery { limit: 1, ..LogQuery::default() }).await.expect("read");
    let event = &log[0].1;
    assert_eq!((event.subject.len(), event.from.as_ref().map(String::len)), (MAX_TEXT_LEN, Some(MAX_TEXT_LEN)));
    assert_eq!(event.detail.len(), MAX_DETAIL_LEN);
    assert_eq!(event.reason.as_deref(), Some("\u{fffd}[2Jgone\u{fffd}\u{fffd}"));
    assert_eq!(event.count, i64::MAX.cast_unsigned());
    program.close().await;
}

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!(clip("aéé", 4), "aé");
    assert_eq!(clip("aéé", 5), "aéé");
    assert_eq!(clip("", 0), "");
}

#[test]
fn kinds_read_what_they_print() {
    for kind in EventKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert!(UnknownKind.to_string().contains(kind.as_str()), "{kind} is not offered");
    }
    assert_eq!("session".parse::<EventKind>(), Err(UnknownKind));
}

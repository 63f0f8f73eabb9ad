//! Refusals become rows of the security log, one for each kind and minute.
//!
//! What cannot be written stays counted and is tried again, so being late makes sums of more than a minute and loses
//! nothing. There is one sum for each kind at most, so a log that cannot be written for days costs no more memory.

use crate::refusals::{MOST_ADDRESSES, MinuteSum, Refused, Side};
use crate::telemetry::Telemetry;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Stop, Supervisor};
use dsmil_store::state::{EventKind, SecurityEvent, State, StateError};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A minute that is over is in the log this soon.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// The last rows are on disk within this, or not at all: half of what a stopping aggregator gives its tasks.
const LAST_ROWS_WITHIN: Duration = Duration::from_secs(5);

/// Writes refusals into the security log until `supervisor` stops, and what is left then.
///
/// The program's own state closes at the stop. So the log has a handle of its own, whose thread runs under `last`: it
/// ends when the last rows are written.
pub fn start(state: State, last: Supervisor, telemetry: Telemetry, clock: Clock, supervisor: &Supervisor) {
    let stop = supervisor.stop();
    supervisor.spawn("security-log", OnFailure::Note, async move {
        Writer::new(state, telemetry).run(&clock, &stop).await;
        last.drain(LAST_ROWS_WITHIN).await;
        Ok::<(), Infallible>(())
    });
}

#[derive(Debug)]
struct Writer {
    state: State,
    telemetry: Telemetry,
    /// Taken from the counters, and not in the log yet.
    pending: BTreeMap<Refused, MinuteSum>,
    /// Whether it was said that the log cannot be written; once is enough.
    is_failing: bool,
}

impl Writer {
    fn new(state: State, telemetry: Telemetry) -> Self {
        Self { state, telemetry, pending: BTreeMap::new(), is_failing: false }
    }

    async fn run(mut self, clock: &Clock, stop: &Stop) {
        while !stop.is_requested() {
            let over = self.telemetry.refused.take_minute(clock.wall_ms());
            self.add(over);
            self.write().await;
            tokio::select! {
                () = clock.sleep(WRITE_EVERY) => {}
                () = stop.requested() => {}
            }
        }
        let rest = self.telemetry.refused.take_rest();
        self.add(rest);
        self.write().await;
    }

    fn add(&mut self, sums: Vec<MinuteSum>) {
        for sum in sums {
            self.pending.entry(sum.refused).and_modify(|waiting| merge(waiting, &sum)).or_insert(sum);
        }
    }

    async fn write(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match self.state.log(self.pending.values().map(event).collect()).await {
            Ok(()) => {
                self.pending.clear();
                self.is_failing = false;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &StateError) {
        if !self.is_failing {
            tracing::warn!(%error, "refusals cannot be written into the security log; they stay counted and are tried again");
        }
        self.is_failing = true;
    }
}

/// Adds a later sum of the same kind. How many addresses the two have in common is not known, so their number is that of
/// the larger one.
fn merge(sum: &mut MinuteSum, later: &MinuteSum) {
    sum.count = sum.count.saturating_add(later.count);
    sum.addresses = sum.addresses.max(later.addresses);
    sum.from_ms = sum.from_ms.min(later.from_ms);
    sum.to_ms = sum.to_ms.max(later.to_ms);
}

fn event(sum: &MinuteSum) -> SecurityEvent {
    let Refused { port, side, reason } = sum.refused;
    SecurityEvent {
        from: Some(sum.example.to_string()),
        reason: Some(reason.as_str().into()),
        count: sum.count,
        detail: detail(side, sum),
        ..SecurityEvent::new(sum.to_ms, EventKind::Refusal, port.as_str())
    }
}

fn detail(side: Side, sum: &MinuteSum) -> String {
    let who = match side {
        Side::Us => "refused by us",
        Side::Peer => "refused or left by the peer",
    };
    let when = if sum.from_ms == sum.to_ms {
        format!("at {}", moment(sum.from_ms))
    } else {
        format!("from {} to {}", moment(sum.from_ms), moment(sum.to_ms))
    };
    let least = if sum.addresses as usize >= MOST_ADDRESSES { "at least " } else { "" };
    match sum.addresses.saturating_sub(1) {
        0 => format!("{who} {when}"),
        1 => format!("{who} {when}, and 1 more address"),
        more => format!("{who} {when}, and {least}{more} more addresses"),
    }
}

/// Milliseconds since 1970 for people, to the second.
fn moment(ms: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok();
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    // Beyond the calendar: a clock that is decades off is not that far off.
    text.unwrap_or_else(|| format!("{ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals::Port;
    use dsmil_crypto::refusal::Refusal;
    use dsmil_protocol::error::ErrorCode;
    use dsmil_protocol::ids::TenantId;
    use dsmil_runtime::clock::ManualClock;
    use dsmil_runtime::supervise::Drained;
    use dsmil_store::state::LogQuery;
    use std::net::IpAddr;
    use std::path::PathBuf;

    /// 2023-11-14T22:13:00Z: a minute begins.
    const MINUTE: i64 = 1_699_999_980_000;

    struct Rig {
        folder: tempfile::TempDir,
        telemetry: Telemetry,
        clock: Clock,
        hand: ManualClock,
        supervisor: Supervisor,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, hand) = Clock::manual();
            hand.set_wall_ns(MINUTE * 1_000_000);
            let folder = tempfile::tempdir().expect("a folder");
            let supervisor = Supervisor::new(clock.clone());
            Self { folder, telemetry: Telemetry::default(), clock, hand, supervisor }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("state.sqlite")
        }

        fn state(&self) -> (State, Supervisor) {
            let supervisor = Supervisor::new(Clock::real());
            let tenant = TenantId::new("acme").expect("a tenant");
            (State::open(&self.path(), tenant, &supervisor).expect("opens"), supervisor)
        }

        fn start(&self) {
            let (state, last) = self.state();
            start(state, last, self.telemetry.clone(), self.clock.clone(), &self.supervisor);
        }

        fn refuse(&self, refused: Refused, n: u32) {
            self.telemetry.refused.note(refused, IpAddr::from((0x0a00_0000 + n).to_be_bytes()), self.clock.wall_ms());
        }
    }

    fn foreign() -> Refused {
        Refused::by_us(Port::Fleet, Refusal::UnknownRoot)
    }

    async fn logged(state: &State) -> Vec<SecurityEvent> {
        let query = LogQuery { limit: 100, ..LogQuery::default() };
        let rows = state.security_log(query).await.expect("reads");
        rows.into_iter().map(|(_, event)| event).collect()
    }

    /// Moves the clock until something is in the log. The sleeper may not have begun when the clock is moved, and a row is
    /// there when it is on the disk: the disk has ten seconds.
    async fn first_rows(rig: &Rig, reader: &State) -> Vec<SecurityEvent> {
        let real = Clock::real();
        for _ in 0..2_000 {
            rig.hand.advance(WRITE_EVERY);
            let rows = logged(reader).await;
            if !rows.is_empty() {
                return rows;
            }
            real.sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing was written within ten seconds");
    }

    #[tokio::test]
    async fn a_minute_that_is_over_is_one_row_a_kind_and_the_rest_is_written_at_the_stop() {
        let rig = Rig::new();
        let (reader, reading) = rig.state();
        rig.start();
        for n in 0..5_000 {
            rig.refuse(foreign(), n);
        }
        rig.hand.advance(Duration::from_secs(2));
        rig.refuse(foreign(), 1);
        let used = Refused { port: Port::Join, side: Side::Peer, reason: ErrorCode::TokenUsed.into() };
        rig.refuse(used, 7);
        assert_eq!(logged(&reader).await, [], "the minute is not over");
        let rows = first_rows(&rig, &reader).await;
        let flood = SecurityEvent {
            from: Some("10.0.0.0".into()),
            reason: Some("unknown_root".into()),
            count: 5_001,
            detail: "refused by us from 2023-11-14T22:13:00Z to 2023-11-14T22:13:02Z, and at least 999 more addresses"
                .into(),
            ..SecurityEvent::new(MINUTE + 2_000, EventKind::Refusal, "fleet")
        };
        let one = SecurityEvent {
            from: Some("10.0.0.7".into()),
            reason: Some("token_used".into()),
            detail: "refused or left by the peer at 2023-11-14T22:13:02Z".into(),
            ..SecurityEvent::new(MINUTE + 2_000, EventKind::Refusal, "join")
        };
        assert_eq!(rows, [flood, one]);
        rig.refuse(foreign(), 3);
        rig.refuse(foreign(), 4);
        assert_eq!(rig.supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
        let rows = logged(&reader).await;
        assert_eq!((rows.len(), rows[2].count), (3, 2), "what was counted last is not lost");
        assert!(rows[2].detail.ends_with("Z, and 1 more address"), "{}", rows[2].detail);
        assert_eq!(reading.drain(Duration::from_secs(10)).await, Drained::Clean);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_summed_and_written_later() {
        let rig = Rig::new();
        let (state, closed) = rig.state();
        assert_eq!(closed.drain(Duration::from_secs(10)).await, Drained::Clean);
        let mut writer = Writer::new(state, rig.telemetry.clone());
        for minute in 0..3 {
            for n in 0..=minute {
                rig.refuse(foreign(), n);
            }
            rig.hand.advance(Duration::from_secs(60));
            let over = rig.telemetry.refused.take_minute(rig.clock.wall_ms());
            writer.add(over);
            writer.write().await;
            assert_eq!(writer.pending.len(), 1, "bounded by the number of kinds");
        }
        let (state, supervisor) = rig.state();
        writer.state = state.clone();
        writer.write().await;
        assert!(writer.pending.is_empty());
        writer.write().await;
        let rows = logged(&state).await;
        assert_eq!((rows.len(), rows[0].count, rows[0].at_ms), (1, 6, MINUTE + 120_000));
        let expected = "refused by us from 2023-11-14T22:13:00Z to 2023-11-14T22:15:00Z, and 2 more addresses";
        assert_eq!(rows[0].detail, expected);
        assert_eq!(supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
    }
}

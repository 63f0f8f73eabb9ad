//! What is removed by age stays accounted for, as long as its host may come back in the same boot.

use crate::ledger::{BootLedger, LossReason};
use crate::record::{Appended, Refusal, StreamKey};
use crate::testing::{Place, Rig, batch, key, range, set, tenant};
use crate::warm::{Pruned, ReaderContext};
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_runtime::clock::{Clock, WallShift};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
const KEEP_MS: i64 = 7 * DAY_MS;

/// A store whose wall clock a test moves by days.
struct Days {
    place: Place,
    shift: WallShift,
    day: i64,
}

impl Days {
    fn new() -> Self {
        let (clock, shift) = Clock::shifted();
        Self { place: Place { clock, ..Place::new() }, shift, day: 0 }
    }

    fn later(&mut self, days: i64) {
        self.day += days;
        self.shift.set(self.day * DAY_MS * 1_000_000);
    }

    async fn prune(&self, rig: &Rig) -> Pruned {
        rig.store.warm().prune(self.place.clock.wall_ms() - KEEP_MS).await.expect("pruned")
    }

    /// Stores ten ticks that are sampled now.
    async fn store(&self, rig: &Rig, key: &Arc<StreamKey>, first: u64) -> Appended {
        let origin_ms = self.place.clock.wall_ms() - i64::try_from(first).expect("small") * 1000;
        rig.store.append(vec![batch(key, first, origin_ms)]).await.expect("answered").remove(0)
    }
}

fn boot(n: u8) -> Arc<StreamKey> {
    Arc::new(StreamKey { boot: BootId([n; 16]), ..(*key(1)).clone() })
}

fn ledger(rig: &Rig, key: &StreamKey) -> Option<Arc<BootLedger>> {
    rig.store.warm().ledger(key)
}

#[tokio::test]
async fn a_month_of_silence_takes_no_tick_from_the_account_of_the_last_boot() {
    let mut days = Days::new();
    let mut rig = days.place.open().await;
    let away = boot(1);
    days.store(&rig, &away, 0).await;
    rig.store.warm().record_gaps(&away, vec![(range(10, 19), LossReason::AgentDown)]).await.expect("recorded");
    let before = ledger(&rig, &away).expect("a ledger").totals();
    for restarted in [false, true] {
        days.later(30);
        days.prune(&rig).await;
        if restarted {
            rig.close().await;
            rig = days.place.open().await;
        }
        let after = ledger(&rig, &away).expect("it is still there");
        assert_eq!((after.totals(), after.accounted().bounds()), (before.clone(), Some(range(0, 19))));
    }
    assert_eq!(days.store(&rig, &away, 0).await, Appended::Duplicate, "and nothing of it is stored again");
    rig.close().await;
}

#[tokio::test]
async fn a_boot_is_forgotten_when_its_host_has_gone_on_to_another_and_nothing_of_it_is_left() {
    let mut days = Days::new();
    let rig = days.place.open().await;
    let (first, second) = (boot(1), boot(2));
    days.store(&rig, &first, 0).await;
    days.later(5);
    days.store(&rig, &second, 0).await;
    assert_eq!(days.prune(&rig).await.ledgers, 0, "its batches are still kept");
    days.later(3);
    assert_eq!(days.prune(&rig).await, Pruned { batches: 1, ledgers: 1, sets: 0 });
    assert!(ledger(&rig, &first).is_none() && ledger(&rig, &second).is_some());
    days.later(30);
    assert_eq!(days.prune(&rig).await, Pruned { batches: 1, ledgers: 0, sets: 1 });
    assert!(ledger(&rig, &second).is_some());
    rig.close().await;
}

/// The fleet file classified the host anew while it ran: both streams are of the running boot.
#[tokio::test]
async fn a_boot_is_kept_whole_whatever_it_was_classified_as() {
    let mut days = Days::new();
    let rig = days.place.open().await;
    let (old, before) = (boot(1), boot(2));
    let level = dsmil_protocol::tlv::Classification::new(3).expect("a level");
    let now = Arc::new(StreamKey { classification: level, ..(*before).clone() });
    for (key, first) in [(&old, 0), (&before, 0), (&now, 10)] {
        days.store(&rig, key, first).await;
        days.later(1);
    }
    days.later(30);
    assert_eq!(days.prune(&rig).await.ledgers, 1);
    assert_eq!([&old, &before, &now].map(|key| ledger(&rig, key).is_some()), [false, true, true]);
    rig.close().await;
}

#[tokio::test]
async fn a_metric_set_is_forgotten_when_no_batch_names_it_any_more_and_asked_for_again() {
    let mut days = Days::new();
    let rig = days.place.open().await;
    let known = async || rig.store.warm().readers().run(set_is_stored).await.expect("an answer");
    days.store(&rig, &boot(1), 0).await;
    for day in 1..=7 {
        days.later(1);
        assert_eq!(days.prune(&rig).await.sets, 0, "a batch of {day} days ago is kept");
    }
    days.store(&rig, &boot(1), 10).await;
    days.later(5);
    assert_eq!((days.prune(&rig).await, known().await), (Pruned { batches: 1, ..Pruned::default() }, true));
    days.later(4);
    assert_eq!((days.prune(&rig).await.sets, known().await), (1, false));
    assert_eq!(days.store(&rig, &boot(1), 20).await, Appended::Refused(Refusal::SetUnknown));
    rig.store.warm().put_metric_set(&tenant(), set()).await.expect("stored");
    assert_eq!(days.store(&rig, &boot(1), 20).await, Appended::Stored);
    rig.close().await;
}

/// Its host's clock was decades ahead, and so its batch is kept for decades.
#[tokio::test]
async fn a_metric_set_stays_as_long_as_any_batch_that_names_it() {
    let mut days = Days::new();
    let rig = days.place.open().await;
    let ahead_ms = days.place.clock.wall_ms() + 10_000 * DAY_MS;
    rig.store.append(vec![batch(&boot(1), 0, ahead_ms)]).await.expect("stored");
    for age in [1, 100] {
        days.later(age);
        assert_eq!(days.prune(&rig).await, Pruned::default());
        assert_eq!(rig.values(1, 0, i64::MAX).await.0.len(), 10, "and it can be read");
    }
    rig.close().await;
}

fn set_is_stored(context: ReaderContext<'_>) -> Result<bool, rusqlite::Error> {
    context.db.query_row("SELECT content IS NOT NULL FROM metric_set", [], |row| row.get(0))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reboot,
    Store(u64),
    Lose(u64),
    Days(i64),
    Prune,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Reboot),
        4 => (0u64..6).prop_map(|n| Step::Store(n * 10)),
        2 => (0u64..60).prop_map(Step::Lose),
        3 => prop_oneof![1i64..3, 20i64..40].prop_map(Step::Days),
        3 => Just(Step::Prune),
    ];
    proptest::collection::vec(step, 1..30)
}

/// What a host knows to be accounted for, by boot; and when it was heard of in that boot.
#[derive(Default)]
struct Host {
    accounted: BTreeMap<u8, BTreeSet<u64>>,
    heard_day: BTreeMap<u8, i64>,
}

async fn live(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut days = Days::new();
    let rig = days.place.open().await;
    let (mut running, mut host) = (1, Host::default());
    for step in steps {
        let ticks = match *step {
            Step::Reboot => {
                running += 1;
                continue;
            }
            Step::Days(more) => {
                days.later(more);
                continue;
            }
            Step::Store(first) => {
                if days.store(&rig, &boot(running), first).await == Appended::Refused(Refusal::SetUnknown) {
                    rig.store.warm().put_metric_set(&tenant(), set()).await.expect("stored");
                    days.store(&rig, &boot(running), first).await;
                }
                first..first + 10
            }
            Step::Lose(tick) => {
                let gap = vec![(range(tick, tick), LossReason::Evicted)];
                rig.store.warm().record_gaps(&boot(running), gap).await.expect("recorded");
                tick..tick + 1
            }
            Step::Prune => {
                days.prune(&rig).await;
                0..0
            }
        };
        if !ticks.is_empty() {
            host.accounted.entry(running).or_default().extend(ticks);
            host.heard_day.insert(running, days.day);
        }
        let last = host.accounted.keys().next_back().copied();
        for (n, accounted) in &host.accounted {
            let Some(ledger) = ledger(&rig, &boot(*n)) else {
                prop_assert!(Some(*n) != last, "the last boot is forgotten");
                prop_assert!(days.day - host.heard_day[n] >= 7, "boot {} is forgotten too soon", n);
                continue;
            };
            let known: BTreeSet<u64> = ledger.accounted().iter().flat_map(|r| r.first.0..=r.last.0).collect();
            prop_assert_eq!(&known, accounted, "boot {}", n);
            let totals = ledger.totals();
            prop_assert_eq!(totals.expected, totals.stored + totals.waiting + totals.lost);
            prop_assert!(ledger.named().is_some_and(|named| named.last <= Tick(60)));
        }
    }
    rig.close().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens, and whenever it is pruned: what a host was told is accounted for stays so in its last boot, and
    /// every tick has one fate.
    #[test]
    fn what_was_accounted_for_is_accounted_for(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(live(&steps))?;
    }
}

//! Any order of pushes, acknowledgements, rejections, evictions and kills: every tick sampled is in exactly one place.

use super::*;
use dsmil_protocol::tick_set::TickSet;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Act {
    /// Push some ticks after a hole of so many.
    Push {
        hole: u64,
        ticks: u64,
        other_set: bool,
    },
    Acknowledge {
        from: u64,
        len: u64,
    },
    Reject {
        nth: usize,
    },
    Evict {
        count: usize,
    },
    Seal,
    /// Kill the agent: what it did not commit is gone.
    Kill,
    /// Somebody removes the file; the next look finds out.
    Unlink,
    /// The file cannot be opened any more; its rows are read from its pages, where stale ones are.
    BreakHeader,
    /// The next push finds no file that it could write.
    Refuse,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0u64..3, 1u64..9, any::<bool>()).prop_map(|(hole, ticks, other)| Act::Push { hole, ticks, other_set: other }),
        3 => (0u64..80, 0u64..40).prop_map(|(from, len)| Act::Acknowledge { from, len }),
        1 => (0usize..6).prop_map(|nth| Act::Reject { nth }),
        1 => (1usize..3).prop_map(|count| Act::Evict { count }),
        1 => Just(Act::Seal),
        2 => Just(Act::Kill),
        1 => Just(Act::Unlink),
        1 => Just(Act::BreakHeader),
        1 => Just(Act::Refuse),
    ]
}

/// Where each tick should be.
#[derive(Default)]
struct Model {
    now: u64,
    first: Option<u64>,
    sampled: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
    evicted: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

fn check(spool: &mut Spool, model: &Model, sets: &[Arc<MetricSet>]) -> Result<(), TestCaseError> {
    check_content(spool, sets);
    let mut places: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for batch in all(spool) {
        (batch.ticks.first.0..=batch.ticks.last.0).for_each(|t| places.entry(t).or_default().push("batch".into()));
    }
    let in_batches: TickSet = all(spool).iter().map(|batch| batch.ticks).collect();
    let waiting: u64 = spool.vitals().waiting_ticks;
    prop_assert_eq!(waiting, in_batches.len() + spool.index.pending, "what is not in a batch is pending");
    let pending: Vec<TickRange> = spool.index.boots.values().flat_map(|boot| boot.waiting.iter()).collect();
    for range in pending {
        for t in range.first.0..=range.last.0 {
            if !in_batches.covers(TickRange { first: Tick(t), last: Tick(t) }) {
                places.entry(t).or_default().push("pending".into());
            }
        }
    }
    for (first, last, reason) in gaps_of(spool) {
        (first..=last).for_each(|t| places.entry(t).or_default().push(format!("{reason:?}")));
    }
    let Some(first) = model.first else { return Ok(()) };
    let account = spool.accounts()[0].ticks;
    prop_assert_eq!((account.first.0, account.last.0), (first, model.now));
    for t in first..=model.now {
        let found = places.remove(&t).unwrap_or_default();
        let place = found.first().map(String::as_str);
        let expected = if model.acknowledged.contains(&t) {
            prop_assert_eq!(place, None, "tick {} was acknowledged", t);
            continue;
        } else if model.rejected.contains(&t) {
            "Rejected(9)"
        } else if model.evicted.contains(&t) {
            "Evicted"
        } else if model.refused.contains(&t) {
            "SpoolFull"
        } else if model.sampled.contains(&t) {
            prop_assert!(matches!(place, Some("batch" | "pending")), "tick {} is in {:?}", t, found);
            prop_assert_eq!(found.len(), 1);
            continue;
        } else {
            prop_assert!(matches!(place, Some("AgentDown" | "SamplerLate")), "tick {} is in {:?}", t, found);
            prop_assert_eq!(found.len(), 1);
            continue;
        };
        prop_assert_eq!(found, vec![expected.to_string()], "tick {}", t);
    }
    prop_assert!(places.is_empty(), "ticks that were never expected: {:?}", places);
    Ok(())
}

/// Does one thing to the spool and the model.
fn run(bench: &Bench, spool: &mut Option<Spool>, model: &mut Model, act: &Act) {
    let open = spool.as_mut().expect("open between acts");
    match act {
        Act::Push { hole, ticks, other_set } => {
            if model.first.is_some() {
                model.now += hole;
            }
            for _ in 0..*ticks {
                model.now += 1;
                open.push(&row(&bench.sets[usize::from(*other_set)], model.now), None).expect("room");
                model.sampled.insert(model.now);
                model.first.get_or_insert(model.now);
            }
        }
        Act::Acknowledge { from, len } => {
            let acked = range(*from, from + len);
            let before = all(open);
            acknowledge(open, &[acked]);
            let deleted = before.iter().filter(|batch| acked.covers(batch.ticks)).map(|batch| batch.ticks);
            model.acknowledged.extend(deleted.flat_map(|ticks| ticks.first.0..=ticks.last.0));
            // Gaps go tick by tick.
            let first = model.first.unwrap_or(u64::MAX);
            let gap = |t: &u64| {
                *t >= first
                    && (!model.sampled.contains(t)
                        || model.rejected.contains(t)
                        || model.evicted.contains(t)
                        || model.refused.contains(t))
            };
            let gone: Vec<u64> = (*from..=(from + len).min(model.now)).filter(gap).collect();
            model.acknowledged.extend(gone);
        }
        Act::Reject { nth } => {
            if let Some(batch) = all(open).get(*nth) {
                assert!(open.set_aside(BOOT, Rejected { first: batch.ticks.first, code: 9 }).expect("moves"));
                model.rejected.extend(batch.ticks.first.0..=batch.ticks.last.0);
            }
        }
        Act::Evict { count } => {
            if open.index.rejected == 0 {
                let batches = all(open);
                for batch in batches.iter().rev().take(*count) {
                    model.evicted.extend(batch.ticks.first.0..=batch.ticks.last.0);
                }
            }
            open.write(|step| Ok(step.evict(*count)?)).expect("evicts");
        }
        Act::Seal => drop(open.seal().expect("seals")),
        Act::Kill => kill(bench, spool),
        Act::Unlink => {
            std::fs::remove_file(bench.path()).expect("is there");
            let aside = open.check_file().expect("heals").expect("finds out");
            assert_eq!((aside.damage, aside.lost_ticks), (Damage::Removed, 0));
        }
        Act::BreakHeader => {
            open.db = None;
            let file = std::fs::OpenOptions::new().write(true).open(bench.path()).expect("opens");
            std::os::unix::fs::FileExt::write_all_at(&file, &[0x5A; 100], 0).expect("writes");
            let mut report = OpenReport::default();
            open.reopen(&mut report).expect("heals");
            // Before the first tick, nobody knew anything.
            assert_eq!(report.set_aside.expect("finds out").lost_ticks, 0);
        }
        Act::Refuse => refuse(open, model),
    }
}

/// A tick is sampled and not taken in, as on a full tmpfs.
fn refuse(open: &mut Spool, model: &mut Model) {
    let Some(_) = model.first else { return };
    model.now += 1;
    let tick = Tick(model.now);
    assert!(open.last < Some(tick));
    open.note_hole(tick, None);
    open.last = Some(tick);
    open.note_unrecorded(TickRange { first: tick, last: tick }, GapReason::SpoolFull);
    model.sampled.insert(model.now);
    model.refused.insert(model.now);
}

/// Takes the spool away as a kill does: copies the files as they are, so that nothing closes them.
fn kill(bench: &Bench, spool: &mut Option<Spool>) {
    let copy = bench.dir.path().join("killed");
    std::fs::create_dir(&copy).expect("a folder");
    let (db, log) = (copy.join("d"), copy.join("w"));
    std::fs::copy(bench.path(), &db).expect("copies");
    let wal = database::beside(&bench.path(), "-wal");
    std::fs::copy(&wal, &log).expect("copies");
    let (last, refused) = spool.take().map(|open| (open.last, open.unrecorded.clone())).unwrap_or_default();
    std::fs::rename(db, bench.path()).expect("puts back");
    std::fs::rename(log, wal).expect("puts back");
    std::fs::remove_dir(copy).expect("is empty");
    *spool = Some(bench.open());
    // A killed agent does not remember what it refused; the hole says the same in other words.
    if let Some(open) = spool.as_mut() {
        (open.last, open.unrecorded) = (last, refused);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_tick_sampled_is_in_exactly_one_place(acts in proptest::collection::vec(act(), 1..30)) {
        let bench = Bench::new();
        let (mut spool, mut model) = (Some(bench.open()), Model::default());
        for act in &acts {
            run(&bench, &mut spool, &mut model, act);
            check(spool.as_mut().expect("open between acts"), &model, &bench.sets)?;
        }
    }
}

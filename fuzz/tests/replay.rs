//! Every input that the fuzzer kept, and every one that once showed a fault, through its target again.

use dsmil_fuzz::{TARGETS, Target, kept, target};
use std::fs;
use std::sync::Mutex;

/// Memory is counted for the whole process: where tests share one, they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes of one packed corpus that the repository carries.
const MAX_CORPUS_LEN: u64 = 200_000;

macro_rules! replays {
    ($($name:ident)+) => {
        const REPLAYED: &[&str] = &[$(stringify!($name)),+];

        mod nothing_that_was_found_comes_back_in {
            $(#[test] fn $name() { super::replay(stringify!($name)); })+
        }
    };
}

replays! {
    frames messages metric_sets batches columns session hostile probe_messages join_messages join_tokens
    trust_bundles fleet_settings requests certificates queries salvage signatures
}

fn replay(name: &str) {
    let target = target(name).expect("a target of this name");
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let corpus = kept::corpus(target).expect("its corpus can be read");
    assert!(!corpus.is_empty(), "an empty corpus tests nothing");
    for (i, input) in corpus.iter().enumerate() {
        run(target, &format!("input {i} of the corpus"), input);
    }
    for (fault, input) in kept::regressions(target).expect("its regressions can be read") {
        run(target, &fault, &input);
    }
    for (i, input) in (target.seeds)().iter().enumerate() {
        run(target, &format!("seed {i}"), input);
    }
}

fn run(target: &Target, name: &str, input: &[u8]) {
    /// Names the input if the target panics.
    struct Named<'a>(&'a str, &'a str);

    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("it was {} in {}", self.1, self.0);
            }
        }
    }

    let _named = Named(target.name, name);
    (target.run)(input);
}

#[test]
fn every_target_is_replayed_and_its_corpus_is_small() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, REPLAYED);
    for target in TARGETS {
        let len = fs::metadata(kept::corpus_path(target)).expect("its corpus is there").len();
        assert!(len <= MAX_CORPUS_LEN, "{} has {len} bytes: minimise it", target.name);
    }
}

#[test]
fn regressions_are_of_targets_that_exist() {
    for entry in fs::read_dir(kept::root().join("regressions")).into_iter().flatten() {
        let name = entry.expect("a folder").file_name();
        assert!(target(&name.to_string_lossy()).is_some(), "{name:?} is no target");
    }
}

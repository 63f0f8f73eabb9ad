//! What is held, what replaces it, and what a restart finds.

mod renewal;

use super::*;
use crate::test_fleet::{BUNDLE_LIFE, DAY, Fleet, NOW, clock};
use dsmil_crypto::policy::KeyExchange;
use std::time::Duration;

/// Credentials of h1 in files.
fn stored(fleet: &Fleet, dir: &std::path::Path, clock: &Clock) -> Credentials {
    let files = CredentialFiles { identity: dir.join("agent.pem"), trust: dir.join("trust.bundle") };
    fleet.enrol("h1", NOW).save(&files.identity).expect("writes");
    fleet.trust(1).save(&files.trust).expect("writes");
    load(dir, clock)
}

fn load(dir: &std::path::Path, clock: &Clock) -> Credentials {
    let files = CredentialFiles { identity: dir.join("agent.pem"), trust: dir.join("trust.bundle") };
    Credentials::load(files, KeyExchange::default(), clock.clone()).expect("loads")
}

fn version(credentials: &Credentials) -> u64 {
    credentials.current().trust().version()
}

#[test]
fn a_newer_bundle_of_our_root_is_kept_over_a_restart_and_no_other() {
    let (fleet, stranger, dir) = (Fleet::new(), Fleet::new(), tempfile::tempdir().expect("a folder"));
    let clock = clock().0;
    let credentials = stored(&fleet, dir.path(), &clock);
    let changes = credentials.changes();
    assert!(credentials.accept_bundle(&fleet.bundle(3)).expect("taken"));
    assert!(changes.has_changed().expect("the sender lives"));
    assert!(!credentials.accept_bundle(&fleet.bundle(3)).expect("the same"));
    assert!(!credentials.accept_bundle(&fleet.bundle(2)).expect("older"));
    assert_eq!((version(&credentials), version(&load(dir.path(), &clock))), (3, 3));
    assert_eq!(credentials.renewal().bundle_refused, None);

    let mut altered = fleet.bundle(9);
    let at = altered.len() / 2;
    altered[at] ^= 1;
    for (bytes, name) in [(stranger.bundle(9), "bundle_other_root"), (altered, ""), (vec![7; 99], "bundle_")] {
        let error = credentials.accept_bundle(&bytes).expect_err("refused");
        assert!(error.name().starts_with(name), "{error}");
        assert_eq!(credentials.renewal().bundle_refused, Some(error.to_string()));
    }
    assert_eq!((version(&credentials), version(&load(dir.path(), &clock))), (3, 3));
    assert!(credentials.accept_bundle(&fleet.bundle(10)).expect("taken"));
    assert_eq!(credentials.renewal().bundle_refused, None, "a good one ends the matter");
}

#[test]
fn a_bundle_that_cannot_be_kept_is_not_used() {
    let (fleet, dir) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
    let credentials = stored(&fleet, dir.path(), &clock().0);
    std::fs::remove_dir_all(dir.path()).expect("removes");
    let error = credentials.accept_bundle(&fleet.bundle(3)).expect_err("no folder");
    assert_eq!((error.name(), version(&credentials)), ("bundle_file", 1));
}

#[test]
fn our_own_clock_says_what_is_over_unless_it_is_before_what_certificates_prove() {
    let (clock, hand) = clock();
    let fleet = Fleet::new();
    let of = |identity, trust| Credentials::new(identity, trust, KeyExchange::default(), None, clock.clone());
    let credentials = of(fleet.enrol("h1", NOW), fleet.trust(1));
    let stale = |s: i64| {
        hand.set_wall_ns((NOW + s) * 1_000_000_000);
        credentials.current().stale()
    };
    assert_eq!((stale(0), stale(DAY)), (None, None));
    assert_eq!(stale(DAY + 1), Some(Want::Identity));
    assert_eq!(stale(BUNDLE_LIFE + 1), Some(Want::Identity), "an identity brings a bundle along");
    assert_eq!(stale(-NOW), None, "1970");
    assert!(credentials.current().now_s() >= NOW - DAY);
    let credentials = of(fleet.enrol("h1", NOW + BUNDLE_LIFE), fleet.trust(1));
    hand.set_wall_ns((NOW + BUNDLE_LIFE + 1) * 1_000_000_000);
    assert_eq!(credentials.current().stale(), Some(Want::Bundle));
    assert_eq!(credentials.awaits_renewal(), None, "nobody renews here");
    hand.advance(Duration::from_secs(1));
}

//! Settings with real keys: which are taken, which are refused, and under what name.

use dsmil_authority::{FleetSettings, OrderKey, Target, Values};

use super::{Fleet, fleet};
use crate::key::SigningKey;
use crate::settings::{accept, sign};
use crate::trust::Trust;

fn settings() -> FleetSettings {
    FleetSettings {
        version: 7,
        trust_domain: "fleet.example".into(),
        target: Target::Group("edge".into()),
        issued_s: super::NOW,
        note: String::new(),
        values: Values { interval_s: Some(10), ..Values::default() },
    }
}

/// The fleet's trust with this order key in it.
fn listing(fleet: &Fleet, key: &SigningKey) -> Trust {
    fleet.next_bundle(|bundle| {
        bundle.order_keys = vec![OrderKey { name: "kim".into(), public_key: key.public_key().to_vec() }];
    })
}

fn verdict(bytes: &[u8], trust: &Trust) -> Result<u64, &'static str> {
    accept(bytes, trust, Some("h1"), 6).map(|settings| settings.version).map_err(|error| error.name())
}

#[test]
fn settings_of_a_listed_order_key_are_taken_and_those_of_any_other_are_not() {
    let fleet = fleet();
    let (key, other) = (SigningKey::generate().expect("a key"), SigningKey::generate().expect("a key"));
    let trust = listing(&fleet, &key);
    let ours = FleetSettings { trust_domain: trust.trust_domain().to_string(), ..settings() };
    let bytes = sign(&ours, &key).expect("signed");
    assert_eq!(verdict(&bytes, &trust), Ok(7));
    assert_eq!(verdict(&sign(&ours, &other).expect("signed"), &trust), Err("settings_other_key"));
    assert_eq!(verdict(&bytes, &fleet.trust), Err("settings_other_key"), "which the bundle before does not list");
    let elsewhere = FleetSettings { trust_domain: "elsewhere.example".into(), ..ours };
    assert_eq!(verdict(&sign(&elsewhere, &key).expect("signed"), &trust), Err("settings_trust_domain"));
    for at in (10..bytes.len()).step_by(61) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(verdict(&changed, &trust).is_err(), "byte {at}");
    }
}

#[test]
fn an_order_key_that_is_shut_out_signs_nothing_any_more() {
    let fleet = fleet();
    let key = SigningKey::generate().expect("a key");
    let trust = fleet.next_bundle(|bundle| {
        bundle.order_keys = vec![OrderKey { name: "kim".into(), public_key: key.public_key().to_vec() }];
        bundle.revoked = vec![key.fingerprint()];
    });
    let ours = FleetSettings { trust_domain: trust.trust_domain().to_string(), ..settings() };
    assert_eq!(verdict(&sign(&ours, &key).expect("signed"), &trust), Err("settings_other_key"));
}

#[test]
fn a_signature_under_something_else_is_none_under_settings() {
    let fleet = fleet();
    let key = SigningKey::generate().expect("a key");
    let trust = listing(&fleet, &key);
    let ours = FleetSettings { trust_domain: trust.trust_domain().to_string(), ..settings() };
    let mut signed = dsmil_authority::SignedSettings::new(&ours, key.fingerprint()).expect("within limits");
    let unlabelled = signed.statement()[b"dsmil fleet settings v1\0".len()..].to_vec();
    for other in [&unlabelled[..], &[&b"dsmil trust bundle v1\0"[..], &unlabelled].concat()] {
        signed.sign(key.sign(other).expect("signed"));
        assert_eq!(verdict(&signed.encode().expect("small"), &trust), Err("settings_altered"));
    }
}

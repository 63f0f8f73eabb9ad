//! Settings of the fleet: what hosts sample, as an order key has signed it.

use super::{Target, choose};
use crate::memory;
use dsmil_authority::{Fingerprint, FleetSettings, SensorSetting, SignedSettings, Taker, Values};

pub(super) const TARGET: Target = Target {
    name: "fleet_settings",
    what: "signed settings of the fleet, and who takes them",
    run,
    seeds,
    dictionary: &[b"DSFS\x01", b"\x0dfleet.example", b"\x06netdev", b"\x30", b"\xff\xff\xff\xff\x0f", b"\x80\x00"],
    max_len: 2048,
};

/// How often its own length settings may be in memory: a sensor of two bytes is an entry of 32, and lists grow by doubling.
const SWELL: usize = 96;
const KEY: Fingerprint = Fingerprint([1; 48]);
const TAKER: Taker<'_> = Taker { trust_domain: "fleet.example", host: Some("h1"), seen: 4 };

/// The first byte says whether the rest is an envelope or the body that our key has signed.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 2);
    let bytes = if choice == 0 { rest.to_vec() } else { enveloped(rest) };
    let warranted = SWELL * bytes.len() + 4096;
    let Ok(signed) = memory::within(warranted, || SignedSettings::decode(&bytes)) else { return };
    let again = signed.encode().expect("what was read is within its limit");
    assert!(again.len() <= bytes.len(), "the form that is sent is the shortest");
    assert_eq!(SignedSettings::decode(&again).as_ref(), Ok(&signed), "it reads back");

    let opened = memory::within(warranted, || signed.open());
    if let Ok(settings) = &opened {
        let made = SignedSettings::new(settings, KEY).expect("what keeps its limits can be made");
        assert_eq!(made.open().as_ref(), Ok(settings), "it reads back");
        assert!(settings.values.out_of_range().is_none());
        for (name, _) in &settings.values.sensors {
            assert!(settings.values.interval_of(name, 60).is_none_or(|seconds| (1..=3600).contains(&seconds)));
        }
    }
    match signed.accept(&TAKER, &[(KEY, 1)], verify) {
        Ok(taken) => {
            assert!(signed.key() == KEY && opened.as_ref() == Ok(&taken));
            assert!(taken.version > TAKER.seen && taken.trust_domain == TAKER.trust_domain);
            assert!(!matches!(&taken.target, dsmil_authority::Target::Host(host) if host != "h1"));
        }
        Err(why) => assert!(!why.name().is_empty()),
    }
    assert!(signed.accept(&TAKER, &[(KEY, 1)], |_, _, _| false).is_err(), "nobody vouches");
    assert!(signed.accept(&TAKER, &[(Fingerprint([2; 48]), 1)], |_, _, _| true).is_err() || signed.key() != KEY);
}

/// A stand-in for a signature: the statement's sum under a key's number.
fn stamp(key: u8, statement: &[u8]) -> Vec<u8> {
    let sum = statement.iter().fold(u64::from(key), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    sum.to_be_bytes().to_vec()
}

fn verify(key: &u8, statement: &[u8], signature: &[u8]) -> bool {
    stamp(*key, statement) == signature
}

/// The envelope of a body, signed by our key.
fn enveloped(body: &[u8]) -> Vec<u8> {
    let statement = [&b"dsmil fleet settings v1\0"[..], body].concat();
    let mut bytes = b"DSFS\x01".to_vec();
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    bytes.push(len.to_le_bytes()[0]);
    bytes.extend(body);
    bytes.push(48);
    bytes.extend(KEY.0);
    bytes.push(8);
    bytes.extend(stamp(1, &statement));
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    use dsmil_authority::Target::{All, Group, Host};
    let sensors = vec![("netdev".into(), SensorSetting::Off), ("stat".into(), SensorSetting::EveryS(300))];
    let all = [
        Values { interval_s: Some(10), sensors, ..Values::default() },
        Values { spool_mib: Some(32), backlog_kib_per_second: Some(512), batch_ticks: Some(60), ..Values::default() },
        Values::default(),
    ];
    let mut seeds = Vec::new();
    for (values, target) in all.into_iter().zip([Group("edge".into()), Host("h1".into()), All]) {
        let (trust_domain, note) = ("fleet.example".into(), "less of it".into());
        let settings = FleetSettings { version: 5, trust_domain, target, issued_s: 1_000, note, values };
        let mut signed = SignedSettings::new(&settings, KEY).expect("within limits");
        let statement = signed.statement();
        signed.sign(stamp(1, &statement));
        let label = b"dsmil fleet settings v1\0".len();
        seeds.push([&[1], &statement[label..]].concat());
        seeds.push([&[0], &signed.encode().expect("within limits")[..]].concat());
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_made_here_is_that_of_the_crate() {
        let signed = SignedSettings::decode(&enveloped(&seeds()[0][1..])).expect("an envelope");
        assert_eq!(signed.accept(&TAKER, &[(KEY, 1)], verify).expect("signed, for us and newer").version, 5);
    }
}

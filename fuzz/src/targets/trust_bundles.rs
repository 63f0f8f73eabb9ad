//! Trust bundles: who says whom to trust.

use super::{Target, choose};
use crate::memory;
use dsmil_authority::{Fingerprint, Issuer, OrderKey, SignedBundle, TrustBundle, accept};

pub(super) const TARGET: Target = Target {
    name: "trust_bundles",
    what: "trust bundles, their envelopes and which is taken after which",
    run,
    seeds,
    dictionary: &[b"DSTB\x01", b"\x0dfleet.example", b"\x30", b"\xff\xff\xff\xff\x0f", b"\x80\x00"],
    max_len: 4096,
};

/// How often its own length a bundle may be in memory: a certificate of one byte is a list of 24, and lists grow by
/// doubling.
const SWELL: usize = 96;
const ROOT: Fingerprint = Fingerprint([1; 48]);
const NOW_S: i64 = 1_500;

/// The first byte says whether the rest is an envelope or the body that our root has signed.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 2);
    let bytes = if choice == 0 { rest.to_vec() } else { enveloped(rest) };
    let warranted = SWELL * bytes.len() + 4096;
    let Ok(signed) = memory::within(warranted, || SignedBundle::decode(&bytes)) else { return };
    let again = signed.encode().expect("what was read is within its limit");
    assert!(again.len() <= bytes.len(), "the form that is sent is the shortest");
    assert_eq!(SignedBundle::decode(&again).as_ref(), Ok(&signed), "it reads back");
    assert!(SignedBundle::decode(&again[..again.len() - 1]).is_err(), "a byte less");

    let opened = memory::within(warranted, || signed.open());
    if let Ok(bundle) = &opened {
        let made = SignedBundle::new(bundle).expect("what keeps its limits can be made");
        assert_eq!(made.open().as_ref(), Ok(bundle), "it reads back");
    }
    let held = held();
    let is_signed = signed.verify(&[(ROOT, 1)], verify).is_ok();
    assert!(!is_signed || signed.signers().any(|signer| signer == ROOT));
    match accept(&held, &[(ROOT, 1)], &signed, NOW_S, verify) {
        Ok(taken) => {
            assert!(is_signed && opened.as_ref() == Ok(&taken));
            assert!(
                taken.version > held.version && taken.expires_s >= NOW_S && taken.trust_domain == held.trust_domain
            );
        }
        Err(why) => assert!(!is_signed || opened.is_err() || !why.name().is_empty()),
    }
    assert!(accept(&held, &[(Fingerprint([2; 48]), 1)], &signed, NOW_S, |_, _, _| false).is_err(), "nobody vouches");
}

fn held() -> TrustBundle {
    TrustBundle {
        version: 5,
        trust_domain: "fleet.example".into(),
        issued_s: 1_000,
        expires_s: 2_000,
        roots: vec![vec![1; 10]],
        issuers: vec![Issuer { name: "a1".into(), certificates: vec![vec![3; 10]] }],
        order_keys: vec![OrderKey { name: "kim".into(), public_key: vec![4; 10] }],
        revoked: vec![Fingerprint([8; 48])],
        retired: vec![Fingerprint([9; 48])],
    }
}

/// A stand-in for a signature: the statement's sum under a root's number.
fn stamp(root: u8, statement: &[u8]) -> Vec<u8> {
    let sum = statement.iter().fold(u64::from(root), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    sum.to_be_bytes().to_vec()
}

fn verify(root: &u8, statement: &[u8], signature: &[u8]) -> bool {
    stamp(*root, statement) == signature
}

/// The envelope of a body, signed by our root.
fn enveloped(body: &[u8]) -> Vec<u8> {
    let statement = [&b"dsmil trust bundle v1\0"[..], body].concat();
    let mut bytes = b"DSTB\x01".to_vec();
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    bytes.push(len.to_le_bytes()[0]);
    bytes.extend(body);
    bytes.extend([1, 48]);
    bytes.extend(ROOT.0);
    bytes.push(8);
    bytes.extend(stamp(1, &statement));
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for version in [4, 6] {
        let mut signed = SignedBundle::new(&TrustBundle { version, ..held() }).expect("within limits");
        let statement = signed.statement();
        signed.sign(ROOT, stamp(1, &statement));
        let label = b"dsmil trust bundle v1\0".len();
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
        let body = &seeds()[2][1..];
        let signed = SignedBundle::decode(&enveloped(body)).expect("an envelope");
        let taken = accept(&held(), &[(ROOT, 1)], &signed, NOW_S, verify).expect("signed, newer and in its time");
        assert_eq!(taken.version, 6);
    }
}

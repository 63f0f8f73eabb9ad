//! Certificates, as whoever is at the other end shows them.

use super::Target;
use crate::memory;
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
use dsmil_crypto::spiffe::{SpiffeId, TrustDomain};

pub(super) const TARGET: Target = Target {
    name: "certificates",
    what: "certificates (X.509) and the names in them",
    run,
    seeds,
    dictionary: &[
        b"\x30\x82",
        b"\x03\x82",
        b"\x02\x01\x00",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x60\x86\x48\x01\x65\x03\x04\x03\x13",
        b"\x55\x04\x03",
        b"\x55\x1d\x11",
        b"spiffe://",
        b"/agent/",
        b"\x17\x0d991231235959Z",
        b"\x18\x0f99991231235959Z",
    ],
    max_len: 12 << 10,
};

fn run(input: &[u8]) {
    let facts = memory::within(8 * input.len() + (256 << 10), || Facts::read(input));
    assert!(!is_signed_by(input, &input[..input.len() / 2]), "half a certificate vouches for nothing");
    if let Ok(facts) = facts {
        assert_eq!(Facts::read(input).as_ref(), Ok(&facts));
        let _ = is_signed_by(input, input);
    }
    if let Ok(id) = String::from_utf8_lossy(input).parse::<SpiffeId>() {
        assert_eq!(id.to_string().as_bytes(), input, "a name has one form");
    }
}

/// A root, an issuer and an aggregator's leaf.
fn seeds() -> Vec<Vec<u8>> {
    let now = 1_750_000_000;
    let domain = TrustDomain::new("fleet.example").expect("a trust domain");
    let root = FleetRoot::create(&domain, now).expect("a root");
    let key = IssuerKey::generate().expect("a key");
    let request = CheckedCsr::check(&key.request().expect("a request")).expect("a sound one");
    let issuer = root.certify_issuer("a1", &request, now).expect("an issuer").to_vec();
    let by = FleetIssuer::new(std::slice::from_ref(&issuer), domain, key).expect("of its key");
    let leaf = by.issue_aggregator("a1", now, LEAF_LIFETIME).expect("a leaf");
    let leaf = leaf.credential().leaf().to_vec();
    // The frame without the key is quicker to change, and gets as far in the first parser.
    vec![
        b"spiffe://fleet.example/agent/rack-3.node-7".to_vec(),
        root.certificate().to_vec(),
        issuer,
        leaf[..400].to_vec(),
        leaf,
    ]
}

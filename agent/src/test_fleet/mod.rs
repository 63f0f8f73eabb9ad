//! A fleet for tests: its root, its issuer, and a small join port on loopback.
//!
//! It keeps the rules of the join port that the agent's side rests on (proofs, keys, versions of bundles) and nothing else;
//! the real one is the aggregator's, which this crate does not know.

mod link;
mod server;

pub(crate) use link::{LinkServer, Reaction, Said};
pub(crate) use server::{Asked, JoinServer};

use dsmil_authority::{Fingerprint, Issuer, OrderKey, TrustBundle};
use dsmil_crypto::csr::{self, CheckedCsr};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
use dsmil_crypto::join_token::JoinToken;
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::trust::{Trust, sign};
use dsmil_protocol::ids::{DeviceId, HostName, TenantId};
use dsmil_protocol::join::{HostSettings, LinkPolicy};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::{Clock, ManualClock};
use std::time::Duration;

/// Some second in 2025, when the fleet was made.
pub(crate) const NOW: i64 = 1_750_000_000;
pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 24 * HOUR;
/// How long the fleet's bundles count.
pub(crate) const BUNDLE_LIFE: i64 = 20 * DAY;

/// A root and the issuer below it.
pub(crate) struct Fleet {
    pub(crate) root: FleetRoot,
    pub(crate) issuer: FleetIssuer,
    listed: Issuer,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let root = FleetRoot::create(&domain(), NOW).expect("a root");
        let key = IssuerKey::generate().expect("a key");
        let request = CheckedCsr::check(&key.request().expect("a request")).expect("a sound one");
        let certificates = vec![root.certify_issuer("main", &request, NOW).expect("certified").to_vec()];
        let issuer = FleetIssuer::new(&certificates, domain(), key).expect("an issuer");
        Self { root, issuer, listed: Issuer { name: "main".into(), certificates } }
    }

    /// A host that joined at `now_s`.
    pub(crate) fn enrol(&self, host: &str, now_s: i64) -> Identity {
        let key = SigningKey::generate().expect("a key");
        Identity::of_key(self.leaf(host, &csr::request(&key).expect("a request"), now_s), &key).expect("an identity")
    }

    /// The leaf for a request.
    pub(crate) fn leaf(&self, host: &str, request: &[u8], now_s: i64) -> Vec<u8> {
        let request = CheckedCsr::check(request).expect("a sound request");
        self.issuer.issue_agent(host, &request, now_s, LEAF_LIFETIME).expect("issued").to_vec()
    }

    /// The aggregator's own identity.
    pub(crate) fn aggregator(&self, now_s: i64) -> Identity {
        self.issuer.issue_aggregator("main", now_s, LEAF_LIFETIME).expect("an aggregator")
    }

    /// A bundle that was signed at `issued_s`.
    pub(crate) fn bundle_of(&self, version: u64, issued_s: i64) -> Vec<u8> {
        self.bundle_without(version, issued_s, vec![])
    }

    /// The same, with keys that are shut out.
    pub(crate) fn bundle_without(&self, version: u64, issued_s: i64, revoked: Vec<Fingerprint>) -> Vec<u8> {
        self.signed(TrustBundle { revoked, ..self.plain(version, issued_s) })
    }

    /// What a host trusts whose bundle lists an order key.
    pub(crate) fn trust_listing(&self, version: u64, key: &SigningKey) -> Trust {
        let order_keys = vec![OrderKey { name: "orders-1".into(), public_key: key.public_key().to_vec() }];
        let bundle = self.signed(TrustBundle { order_keys, ..self.plain(version, NOW) });
        Trust::own(&bundle).expect("a bundle")
    }

    fn plain(&self, version: u64, issued_s: i64) -> TrustBundle {
        TrustBundle {
            version,
            trust_domain: domain().to_string(),
            issued_s,
            expires_s: issued_s + BUNDLE_LIFE,
            roots: vec![self.root.certificate().to_vec()],
            issuers: vec![self.listed.clone()],
            order_keys: vec![],
            revoked: vec![],
            retired: vec![],
        }
    }

    fn signed(&self, bundle: TrustBundle) -> Vec<u8> {
        sign(&bundle, &[&self.root]).expect("signed")
    }

    pub(crate) fn bundle(&self, version: u64) -> Vec<u8> {
        self.bundle_of(version, NOW)
    }

    pub(crate) fn trust(&self, version: u64) -> Trust {
        Trust::own(&self.bundle(version)).expect("a bundle")
    }

    pub(crate) fn token(&self, address: String, host: &str) -> JoinToken {
        JoinToken::generate(vec![address], domain().to_string(), self.root.fingerprint(), host.into(), NOW)
    }
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::new("fleet.example").expect("a trust domain")
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name")
}

/// What the centre says of a host.
pub(crate) fn settings(name: &str, join: Vec<String>) -> HostSettings {
    HostSettings {
        tenant: TenantId::new("t1").expect("a name"),
        host: host(name),
        classification: Classification::new(3).expect("a level"),
        compartments: Compartments(5),
        devices: vec![DeviceId(47), DeviceId(3)],
        aggregators: vec!["127.0.0.1:8100".into()],
        join_addresses: join,
        key_exchange: LinkPolicy::Pure,
    }
}

/// A clock that stands at [`NOW`] until it is moved.
pub(crate) fn clock() -> (Clock, ManualClock) {
    let (clock, hand) = Clock::manual();
    hand.set_wall_ns(NOW * 1_000_000_000);
    (clock, hand)
}

/// Waits for `done` without moving any clock: the network of loopback needs no time of ours, only turns.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Clock::real();
    let end = patience.mono() + Duration::from_secs(20);
    while !done() {
        assert!(patience.mono() < end, "waited in vain: {what}");
        patience.sleep(Duration::from_millis(2)).await;
    }
}

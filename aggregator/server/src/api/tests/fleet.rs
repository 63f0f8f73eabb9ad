//! The identity of the small fleet: a trust bundle, an issuer, and who is enrolled.

use super::rig::{NOW, T0, host, tenant};
use crate::config::Config;
use crate::credentials::Credentials;
use dsmil_authority::{Fingerprint, Issuer, TrustBundle};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::Validity;
use dsmil_crypto::issue::{FleetRoot, IssuerKey};
use dsmil_crypto::policy::Peer;
use dsmil_crypto::spiffe::{Role, SpiffeId, TrustDomain};
use dsmil_crypto::trust::sign;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::state::State;
use std::path::Path;

/// The trust bundle in force, and until when.
pub(super) const BUNDLE_VERSION: u64 = 7;
pub(super) const BUNDLE_END: i64 = NOW / 1000 + 100 * 86_400;
/// Until when every host's leaf is good.
pub(super) const LEAF_END: i64 = T0 / 1000 + 86_400;

fn domain() -> TrustDomain {
    TrustDomain::new("fleet.example").expect("a domain")
}

/// The key of a host.
pub(super) fn key(host: &str) -> Fingerprint {
    Fingerprint([host.as_bytes()[1]; Fingerprint::LEN])
}

/// A host's end of a session.
pub(super) fn peer(host: &str) -> Peer {
    let id = SpiffeId::new(domain(), Role::Agent, host).expect("a name");
    Peer { id, key: Fingerprint(key(host).0), validity: Validity { not_before: T0 / 1000, not_after: LEAF_END } }
}

/// An issuer `main` and a leaf of it.
pub(super) fn credentials(folder: &Path, clock: &Clock) -> Credentials {
    let issued = T0 / 1000;
    let root = FleetRoot::create(&domain(), issued).expect("a root");
    let key = IssuerKey::generate().expect("a key");
    let request = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
    let certificates = vec![root.certify_issuer("main", &request, issued).expect("certified").to_vec()];
    let bundle = TrustBundle {
        version: BUNDLE_VERSION,
        trust_domain: domain().to_string(),
        issued_s: issued,
        expires_s: BUNDLE_END,
        roots: vec![root.certificate().to_vec()],
        issuers: vec![Issuer { name: "main".into(), certificates }],
        order_keys: vec![],
        revoked: vec![Fingerprint([9; Fingerprint::LEN])],
        retired: vec![],
    };
    let mut config: Config = toml::from_str("name = \"a1\"\ntenant = \"acme\"").expect("the least there can be");
    config.resolve(folder);
    std::fs::create_dir_all(&config.identity.issuers).expect("a folder");
    key.save(&config.identity.issuers.join("main.key")).expect("saved");
    Credentials::new(&config, &sign(&bundle, &[&root]).expect("signed"), clock).expect("an issuer whose key is there")
}

/// h1 and h3 are enrolled, h2 was and is shut out, h4 never joined.
pub(super) async fn state(folder: &Path, supervisor: &Supervisor) -> State {
    let state = State::open(&folder.join("state.sqlite"), tenant(), supervisor).expect("opens");
    for name in ["h1", "h2", "h3"] {
        let enrolled = state.enrol(&host(name), key(name), LEAF_END, T0, "init").await.expect("written");
        assert!(enrolled);
    }
    assert!(state.revoke(&host("h2"), "stolen", "alice", T0 + 110_000).await.expect("written"));
    state
}

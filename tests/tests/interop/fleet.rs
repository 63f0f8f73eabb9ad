//! A fleet as it is made offline: a root, an issuer, an aggregator and a host that has joined.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsmil_authority::{Issuer, TrustBundle};
use dsmil_crypto::csr::{self, CheckedCsr};
use dsmil_crypto::identity::{Credential, Identity};
use dsmil_crypto::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::trust::{Trust, sign};
use dsmil_runtime::clock::Clock;
use serde_json::Value;

pub(crate) const DOMAIN: &str = "fleet.example";
pub(crate) const TENANT: &str = "demo";
pub(crate) const HOST: &str = "h1";
/// What agents ask for.
pub(crate) const AGGREGATOR_NAME: &str = "aggregator.fleet.example";
const DAY: i64 = 24 * 60 * 60;

pub(crate) struct Fleet {
    pub(crate) root: FleetRoot,
    pub(crate) issuer: FleetIssuer,
    pub(crate) trust: Trust,
    pub(crate) aggregator: Identity,
    pub(crate) agent: Identity,
}

/// Foreign peers have clocks of their own, so the time here is the real one.
pub(crate) fn now_s() -> i64 {
    Clock::real().wall_ns().div_euclid(1_000_000_000)
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let now = now_s();
        let root = FleetRoot::create(&TrustDomain::new(DOMAIN).expect("a name"), now).expect("a root");
        let key = IssuerKey::generate().expect("a key");
        let request = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
        let certificates = vec![root.certify_issuer("main", &request, now).expect("certified").to_vec()];
        let issuer = FleetIssuer::new(&certificates, root.trust_domain().clone(), key).expect("an issuer");
        let bundle = TrustBundle {
            version: 1,
            trust_domain: DOMAIN.to_owned(),
            issued_s: now,
            expires_s: now + 400 * DAY,
            roots: vec![root.certificate().to_vec()],
            issuers: vec![Issuer { name: "main".to_owned(), certificates }],
            order_keys: vec![],
            revoked: vec![],
            retired: vec![],
        };
        let trust = Trust::own(&sign(&bundle, &[&root]).expect("signed")).expect("a bundle of our own");
        let aggregator = issuer.issue_aggregator("main", now, LEAF_LIFETIME).expect("a leaf");
        let key = SigningKey::generate().expect("a key");
        let request = csr::request(&key).expect("a request");
        let agent = certified(&issuer, &request, &key);
        Self { root, issuer, trust, aggregator, agent }
    }

    pub(crate) fn link(&self, identity: &Identity, key_exchange: KeyExchange) -> Link {
        let (identity, trust) = (identity.clone(), self.trust.clone());
        Link { identity, trust, key_exchange, time: TimeSource::new(now_s) }
    }

    pub(crate) fn issuer_pem(&self) -> String {
        certificate_pem(&self.trust.bundle().issuers[0].certificates[0])
    }

    pub(crate) fn root_pem(&self) -> String {
        certificate_pem(self.root.certificate())
    }
}

fn certified(issuer: &FleetIssuer, request: &[u8], key: &SigningKey) -> Identity {
    let request = CheckedCsr::check(request).expect("sound");
    let leaf = issuer.issue_agent(HOST, &request, now_s(), LEAF_LIFETIME).expect("a leaf");
    Identity::of_key(leaf.to_vec(), key).expect("the key's own leaf")
}

/// Certificate and key of an identity as everybody else wants them: apart.
pub(crate) struct Pem {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pem {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self::of_credential(identity.credential())
    }

    pub(crate) fn of_credential(credential: &Credential) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
        credential.save(&certificate, &key).expect("saved");
        let read = |path| std::fs::read_to_string(path).expect("just written");
        Self { certificate: read(certificate), key: read(key) }
    }
}

pub(crate) fn certificate_pem(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

/// Text encoding of RFC 7468.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn unbase64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("text")).expect("base64")
}

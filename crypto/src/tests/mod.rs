//! Both ends of a handshake over loopback, and every way in which one is refused; certificates, bundles and their files.

mod bundles;
mod csr;
mod endpoint;
mod handshake;
mod https;
mod hybrid;
mod issued;
mod join_port;
mod peers;
mod pem_files;
mod refused_clients;
mod refused_servers;
mod resumption;
mod settings;
mod upstream;

use dsmil_authority::{Issuer, TrustBundle};

use crate::csr::CheckedCsr;
use crate::identity::Identity;
use crate::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
use crate::key::SigningKey;
use crate::policy::{KeyExchange, Link, SessionCache};
use crate::spiffe::TrustDomain;
use crate::time::TimeSource;
use crate::transport::EndpointKeys;
use crate::trust::{Trust, sign};
use crate::x509::subject_hash;

/// Some second in 2025.
const NOW: i64 = 1_750_000_000;
const DAY: i64 = 24 * 3600;
/// The last second of the bundles made here.
const BUNDLE_EXPIRES: i64 = NOW + 400 * DAY;

fn at(unix_seconds: i64) -> TimeSource {
    TimeSource::new(move || unix_seconds)
}

fn domain(text: &str) -> TrustDomain {
    TrustDomain::new(text).expect("a trust domain")
}

/// A fleet as `init` makes it, and one host that has joined.
struct Fleet {
    root: FleetRoot,
    issuer: Certified,
    trust: Trust,
    aggregator: Identity,
    agent: Identity,
}

/// An issuer and what belongs to it.
struct Certified {
    issuer: FleetIssuer,
    /// As roots see it, to certify it again.
    request: CheckedCsr,
    /// As bundles list it.
    listed: Issuer,
}

impl Certified {
    /// A new issuer, certified by each of the roots.
    fn by(roots: &[&FleetRoot], now: i64) -> Self {
        let key = IssuerKey::generate().expect("a key");
        let request = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
        let certify = |root: &&FleetRoot| root.certify_issuer("main", &request, now).expect("certified").to_vec();
        let certificates: Vec<_> = roots.iter().map(certify).collect();
        let issuer = FleetIssuer::new(&certificates, roots[0].trust_domain().clone(), key).expect("an issuer");
        Self { issuer, request, listed: Issuer { name: "main".to_owned(), certificates } }
    }

    fn aggregator(&self, name: &str, now: i64) -> Identity {
        self.issuer.issue_aggregator(name, now, LEAF_LIFETIME).expect("an aggregator's leaf")
    }

    /// What happens when a host joins.
    fn agent(&self, host: &str, now: i64) -> Identity {
        let key = SigningKey::generate().expect("a key");
        let request = CheckedCsr::check(&crate::csr::request(&key).expect("a request")).expect("sound");
        let leaf = self.issuer.issue_agent(host, &request, now, LEAF_LIFETIME).expect("a leaf");
        Identity::of_key(leaf.to_vec(), &key).expect("the key's own leaf")
    }
}

fn bundle(version: u64, roots: &[&FleetRoot], issuers: &[&Certified]) -> TrustBundle {
    TrustBundle {
        version,
        trust_domain: roots[0].trust_domain().to_string(),
        issued_s: NOW,
        expires_s: BUNDLE_EXPIRES,
        roots: roots.iter().map(|root| root.certificate().to_vec()).collect(),
        issuers: issuers.iter().map(|issuer| issuer.listed.clone()).collect(),
        order_keys: vec![],
        revoked: vec![],
        retired: vec![],
    }
}

fn trust(bundle: &TrustBundle, roots: &[&FleetRoot]) -> Trust {
    Trust::own(&sign(bundle, roots).expect("signed")).expect("a bundle of our own")
}

fn fleet() -> Fleet {
    fleet_of("fleet.example")
}

fn fleet_of(name: &str) -> Fleet {
    let root = FleetRoot::create(&domain(name), NOW).expect("a root");
    let issuer = Certified::by(&[&root], NOW);
    let trust = trust(&bundle(1, &[&root], &[&issuer]), &[&root]);
    Fleet { aggregator: issuer.aggregator("main", NOW), agent: issuer.agent("h1", NOW), root, issuer, trust }
}

impl Fleet {
    /// The next bundle.
    fn next_bundle(&self, change: impl FnOnce(&mut TrustBundle)) -> Trust {
        let mut next = bundle(self.trust.version() + 1, &[&self.root], &[&self.issuer]);
        change(&mut next);
        trust(&next, &[&self.root])
    }

    /// The next bundle, after our issuer has made room for a new one.
    fn bundle_without_our_issuer(&self) -> Trust {
        let new = Certified::by(&[&self.root], NOW);
        self.next_bundle(|bundle| {
            let old = std::mem::replace(&mut bundle.issuers, vec![new.listed]);
            bundle.retired = vec![subject_hash(&old[0].certificates[0]).expect("a subject")];
        })
    }

    fn bundle_that_revokes(&self, identity: &Identity) -> Trust {
        let key = identity.key_fingerprint().expect("a key");
        self.next_bundle(|bundle| bundle.revoked = vec![key])
    }

    fn aggregator_link(&self) -> Link {
        link(&self.aggregator, &self.trust)
    }

    fn agent_link(&self) -> Link {
        link(&self.agent, &self.trust)
    }

    fn server(&self) -> quinn::ServerConfig {
        server(&self.aggregator_link())
    }

    fn client(&self) -> quinn::ClientConfig {
        self.agent_link().client().expect("a client")
    }
}

fn link(identity: &Identity, trust: &Trust) -> Link {
    let (identity, trust) = (identity.clone(), trust.clone());
    Link { identity, trust, key_exchange: KeyExchange::default(), time: at(NOW) }
}

fn server(link: &Link) -> quinn::ServerConfig {
    link.server(&EndpointKeys::random(), &SessionCache::none()).expect("a server")
}

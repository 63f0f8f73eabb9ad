//! What one bundle changes against another, in words: what is shown before it is signed, and logged when it is published.

use dsmil_authority::{Fingerprint, Issuer, TrustBundle};
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::key::{key_fingerprint, sha384};

/// What `new` changes against `old`, one line each; nothing where only its time is another.
pub fn difference(old: &TrustBundle, new: &TrustBundle) -> Vec<String> {
    let mut lines = Vec::new();
    both_ways(&old.roots, &new.roots, |way, root| {
        lines.push(format!("{} root {} ({})", way.word(), name_of(root), sha384(root).short()));
    });
    both_ways(&keys_of(old), &keys_of(new), |way, (name, key)| {
        let key = key.map_or_else(|| "unreadable".to_string(), |key| key.short());
        lines.push(format!("{} issuer {name} (key {key})", way.word()));
    });
    for issuer in &new.issuers {
        let before = old.issuers.iter().find(|before| key_of(before) == key_of(issuer));
        let certificates = before.map_or(&[][..], |before| before.certificates.as_slice());
        both_ways(certificates, &issuer.certificates, |way, der| {
            let root = new.roots.iter().chain(&old.roots).find(|root| is_signed_by(der, root));
            let root = root.map_or_else(|| "a root that is in neither".to_string(), |root| name_of(root));
            let verb = if matches!(way, Way::Comes) { "has" } else { "loses" };
            lines.push(format!("issuer {} {verb} a certificate of {root}", issuer.name));
        });
    }
    both_ways(&old.order_keys, &new.order_keys, |way, key| {
        lines.push(format!("{} order key {} ({})", way.word(), key.name, key_fingerprint(&key.public_key).short()));
    });
    both_ways(&old.revoked, &new.revoked, |way, key| {
        lines.push(format!("{} key {key}", if matches!(way, Way::Comes) { "shuts out" } else { "lets in again" }));
    });
    lines
}

#[derive(Clone, Copy)]
enum Way {
    Comes,
    Goes,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Comes => "adds",
            Self::Goes => "retires",
        }
    }
}

fn both_ways<T: PartialEq>(old: &[T], new: &[T], mut say: impl FnMut(Way, &T)) {
    new.iter().filter(|one| !old.contains(one)).for_each(|one| say(Way::Comes, one));
    old.iter().filter(|one| !new.contains(one)).for_each(|one| say(Way::Goes, one));
}

fn keys_of(bundle: &TrustBundle) -> Vec<(&str, Option<Fingerprint>)> {
    bundle.issuers.iter().map(|issuer| (issuer.name.as_str(), key_of(issuer))).collect()
}

fn key_of(issuer: &Issuer) -> Option<Fingerprint> {
    Some(Facts::read(issuer.certificates.first()?).ok()?.key)
}

fn name_of(der: &[u8]) -> String {
    Facts::read(der).map_or_else(|error| error.to_string(), |facts| facts.name)
}

//! A draft becomes a bundle: issuers are certified, and roots sign. Runs where the roots are, without a network.

use super::draft::TrustDraft;
use super::error::DraftError;
use super::plan::{Plan, PlannedIssuer};
use dsmil_authority::{BundleError, Issuer, TrustBundle};
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::issue::FleetRoot;
use dsmil_crypto::key::sha384;
use dsmil_crypto::trust::{Trust, TrustError, sign};
use std::time::Duration;

/// The clock of a machine without a network may be so far off, seconds.
const CLOCK_SLACK: i64 = 86_400;
/// Certificates that an issuer keeps: as many as a bundle may have roots.
const MAX_CERTIFICATES: usize = 3;

impl TrustDraft {
    /// Certifies what has to be certified by each of `roots`, and has each of them sign. `now_s` is in Unix seconds; the
    /// bundle counts for `lifetime` from then.
    ///
    /// Each root of the new bundle has to be among them. One that is not in it any more may be too: hosts that have slept
    /// since it was retired follow only what it has signed.
    ///
    /// # Errors
    /// No root given has signed the bundle that the draft came from, a root is missing, or the result would be refused by
    /// whoever holds that bundle.
    pub fn sign(&self, roots: &[FleetRoot], now_s: i64, lifetime: Duration) -> Result<Trust, DraftError> {
        let base = self.base()?;
        vouched(&base, roots)?;
        let issued_s = now_s.max(base.bundle().issued_s);
        if now_s < base.bundle().issued_s.saturating_sub(CLOCK_SLACK) {
            return Err(DraftError::Clock);
        }
        let plan = self.plan()?;
        complete(&plan, &base, roots)?;
        let certify = |issuer| certified(issuer, &plan.roots, roots, now_s);
        let issuers = plan.issuers.iter().map(certify).collect::<Result<_, _>>()?;
        let bundle = TrustBundle {
            version: base.version().saturating_add(1),
            trust_domain: base.bundle().trust_domain.clone(),
            issued_s,
            expires_s: issued_s.saturating_add_unsigned(lifetime.as_secs()),
            roots: plan.roots,
            issuers,
            order_keys: plan.order_keys,
            revoked: plan.revoked,
            retired: plan.retired,
        };
        let bytes = sign(&bundle, &roots.iter().collect::<Vec<_>>()).map_err(DraftError::Result)?;
        base.accept(&bytes, now_s).map_err(DraftError::Result)
    }
}

/// Takes a bundle that somebody has signed elsewhere in the place of the one in force, as every host does; and beyond that
/// only if it is not of the future: a host with a dead clock believes that the day on which its bundle was signed has come.
///
/// # Errors
/// As [`Trust::accept`], or it is of the future.
pub fn publishable(held: &Trust, bytes: &[u8], now_s: i64) -> Result<Trust, DraftError> {
    let trust = held.accept(bytes, now_s).map_err(DraftError::Refused)?;
    if trust.bundle().issued_s > now_s.saturating_add(CLOCK_SLACK) { Err(DraftError::Future) } else { Ok(trust) }
}

/// Whether one of the roots has signed what the draft came from: whoever brings a draft is not believed.
fn vouched(base: &Trust, roots: &[FleetRoot]) -> Result<(), DraftError> {
    let mut refused = DraftError::OtherRoot;
    for root in roots {
        // An expired bundle is one to be followed by another: it is judged by the day on which it was signed.
        match Trust::pinned(base.bytes(), &root.fingerprint(), base.trust_domain(), base.bundle().issued_s) {
            Ok(_) => return Ok(()),
            Err(TrustError::Bundle(BundleError::OtherRoot)) => {}
            Err(error) => refused = DraftError::Base(error),
        }
    }
    Err(refused)
}

/// Whether all that have to sign are here.
fn complete(plan: &Plan, base: &Trust, roots: &[FleetRoot]) -> Result<(), DraftError> {
    for der in &plan.roots {
        let fingerprint = sha384(der);
        if !roots.iter().any(|root| root.fingerprint() == fingerprint) {
            return Err(DraftError::RootMissing { name: Facts::read(der)?.name, fingerprint });
        }
    }
    match roots.iter().find(|root| root.trust_domain() != base.trust_domain()) {
        Some(root) => Err(DraftError::OtherFleet(root.fingerprint())),
        None => Ok(()),
    }
}

/// The issuer with a certificate of each root that is here, beside those that it has and that still count.
fn certified(
    issuer: &PlannedIssuer,
    in_bundle: &[Vec<u8>],
    roots: &[FleetRoot],
    now_s: i64,
) -> Result<Issuer, DraftError> {
    let mut certificates = Vec::new();
    for der in &issuer.certificates {
        if Facts::read(der)?.validity.not_after >= now_s {
            certificates.push(der.clone());
        }
    }
    for root in roots {
        if !certificates.iter().any(|der| is_signed_by(der, root.certificate())) {
            certificates.push(root.certify_issuer(&issuer.name, &issuer.key, now_s)?.to_vec());
        }
    }
    let mut ranked = Vec::new();
    for der in certificates {
        let by_root_of_bundle = in_bundle.iter().any(|root| is_signed_by(&der, root));
        ranked.push((by_root_of_bundle, Facts::read(&der)?.validity.not_after, der));
    }
    // Leaves end with the first certificate, so that is the one which lasts. The sort keeps the order of equals.
    ranked.sort_by_key(|(by_root_of_bundle, not_after, _)| std::cmp::Reverse((*by_root_of_bundle, *not_after)));
    ranked.truncate(MAX_CERTIFICATES);
    Ok(Issuer { name: issuer.name.clone(), certificates: ranked.into_iter().map(|(_, _, der)| der).collect() })
}

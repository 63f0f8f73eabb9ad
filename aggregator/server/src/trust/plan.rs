//! What changes make of a bundle, before a root has certified anything.

use super::draft::Change;
use super::error::DraftError;
use dsmil_authority::{Fingerprint, Issuer, OrderKey, SignedBundle, TrustBundle};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::Facts;
use dsmil_crypto::key::{PUBLIC_KEY_LEN, key_fingerprint, sha384};
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;

/// Retired issuers that are kept by name, so that refusals can tell; a bundle holds twice as many.
const RETIRED_KEPT: usize = 32;
/// Digits of a fingerprint that name something: fewer would be guesses.
const MIN_PREFIX_LEN: usize = 8;

/// A bundle in the making.
pub(super) struct Plan {
    pub(super) roots: Vec<Vec<u8>>,
    pub(super) issuers: Vec<PlannedIssuer>,
    pub(super) order_keys: Vec<OrderKey>,
    pub(super) revoked: Vec<Fingerprint>,
    pub(super) retired: Vec<Fingerprint>,
}

/// An issuer that has a key, and maybe no certificate yet.
pub(super) struct PlannedIssuer {
    pub(super) name: String,
    pub(super) key: CheckedCsr,
    pub(super) certificates: Vec<Vec<u8>>,
}

impl Plan {
    /// The bundle as it is.
    pub(super) fn of(bundle: &TrustBundle) -> Result<Self, DraftError> {
        let planned = |issuer: &Issuer| {
            let certificates = issuer.certificates.clone();
            // A bundle lists no issuer without a certificate.
            let first = certificates.first().map_or(&[][..], Vec::as_slice);
            Ok(PlannedIssuer { name: issuer.name.clone(), key: CheckedCsr::of_certificate(first)?, certificates })
        };
        Ok(Self {
            roots: bundle.roots.clone(),
            issuers: bundle.issuers.iter().map(planned).collect::<Result<_, DraftError>>()?,
            order_keys: bundle.order_keys.clone(),
            revoked: bundle.revoked.clone(),
            retired: bundle.retired.clone(),
        })
    }

    /// Makes one change.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), DraftError> {
        match change {
            Change::AddIssuer { name, request } => self.add_issuer(name, request),
            Change::AddRoot { certificate } => self.add_root(certificate),
            Change::RetireIssuer { name, key } => self.retire_issuer(name, *key),
            Change::RetireRoot { name, root } => self.retire_root(name, *root),
            Change::AddOrderKey { name, public_key } => self.add_order_key(name, public_key),
            Change::RetireOrderKey { name, key } => self.retire_order_key(name, *key),
            Change::RevokeKey { key } if self.revoked.contains(key) => Err(DraftError::There(*key)),
            Change::RevokeKey { key } => {
                self.revoked.push(*key);
                Ok(())
            }
        }
    }

    /// Whether an issuer has a name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.issuers.iter().any(|issuer| issuer.name == name)
    }

    /// The change that retires what is called `which`.
    pub(super) fn find(&self, which: &str) -> Result<Change, DraftError> {
        let digits = which.to_ascii_lowercase();
        let fits = |name: &str, fingerprint: &Fingerprint| {
            name == which || (digits.len() >= MIN_PREFIX_LEN && fingerprint.to_string().starts_with(&digits))
        };
        let mut found = Vec::new();
        for issuer in &self.issuers {
            let key = issuer.key.fingerprint();
            if fits(&issuer.name, &key) {
                found.push(Change::RetireIssuer { name: issuer.name.clone(), key });
            }
        }
        for der in &self.roots {
            let (name, root) = (Facts::read(der)?.name, sha384(der));
            if fits(&name, &root) {
                found.push(Change::RetireRoot { name, root });
            }
        }
        for order in &self.order_keys {
            let key = key_fingerprint(&order.public_key);
            if fits(&order.name, &key) {
                found.push(Change::RetireOrderKey { name: order.name.clone(), key });
            }
        }
        let first = found.pop().ok_or_else(|| DraftError::Unknown(which.into()))?;
        if found.is_empty() { Ok(first) } else { Err(DraftError::Ambiguous(which.into())) }
    }

    /// Whether a bundle could hold it: said now, and not when the root has been fetched.
    pub(super) fn check_limits(&self, base: &Trust) -> Result<(), DraftError> {
        let issuer = |issuer: &PlannedIssuer| {
            let mut certificates = issuer.certificates.clone();
            if certificates.is_empty() {
                // Stands for the one that it will have.
                certificates.push(vec![0]);
            }
            Issuer { name: issuer.name.clone(), certificates }
        };
        let bundle = TrustBundle {
            roots: self.roots.clone(),
            issuers: self.issuers.iter().map(issuer).collect(),
            order_keys: self.order_keys.clone(),
            revoked: self.revoked.clone(),
            retired: self.retired.clone(),
            ..base.bundle().clone()
        };
        SignedBundle::new(&bundle).map(drop).map_err(DraftError::Limits)
    }

    fn add_issuer(&mut self, name: &str, request: &[u8]) -> Result<(), DraftError> {
        // It becomes the name of a file and of a certificate.
        if HostName::new(name).is_err() {
            return Err(DraftError::Name(name.into()));
        }
        if self.names(name) {
            return Err(DraftError::NameTaken(name.into()));
        }
        let key = CheckedCsr::check(request).map_err(|source| DraftError::Altered { name: name.into(), source })?;
        let fingerprint = key.fingerprint();
        if self.issuers.iter().any(|issuer| issuer.key.fingerprint() == fingerprint) {
            return Err(DraftError::There(fingerprint));
        }
        self.issuers.push(PlannedIssuer { name: name.into(), key, certificates: Vec::new() });
        Ok(())
    }

    fn add_root(&mut self, certificate: &[u8]) -> Result<(), DraftError> {
        Facts::read(certificate)?;
        if self.roots.iter().any(|root| root == certificate) {
            return Err(DraftError::There(sha384(certificate)));
        }
        self.roots.push(certificate.to_vec());
        Ok(())
    }

    fn add_order_key(&mut self, name: &str, public_key: &[u8]) -> Result<(), DraftError> {
        if HostName::new(name).is_err() {
            return Err(DraftError::Name(name.into()));
        }
        if public_key.len() != PUBLIC_KEY_LEN {
            return Err(DraftError::OrderKey(name.into()));
        }
        if self.order_keys.iter().any(|key| key.name == name) {
            return Err(DraftError::NameTaken(name.into()));
        }
        if self.order_keys.iter().any(|key| key.public_key == public_key) {
            return Err(DraftError::There(key_fingerprint(public_key)));
        }
        self.order_keys.push(OrderKey { name: name.into(), public_key: public_key.to_vec() });
        Ok(())
    }

    /// The last one may go too: then nobody changes settings, and all stay as they are.
    fn retire_order_key(&mut self, name: &str, key: Fingerprint) -> Result<(), DraftError> {
        let at = self.order_keys.iter().position(|order| key_fingerprint(&order.public_key) == key);
        self.order_keys.remove(at.ok_or_else(|| DraftError::Unknown(name.into()))?);
        Ok(())
    }

    fn retire_issuer(&mut self, name: &str, key: Fingerprint) -> Result<(), DraftError> {
        let at = self.issuers.iter().position(|issuer| issuer.key.fingerprint() == key);
        let at = at.ok_or_else(|| DraftError::Unknown(name.into()))?;
        if self.issuers.len() == 1 {
            return Err(DraftError::LastIssuer(name.into()));
        }
        let issuer = self.issuers.remove(at);
        if let Some(certificate) = issuer.certificates.first() {
            self.retired.push(Facts::read(certificate)?.subject);
        }
        // What was retired first is unknown again, and refused all the same.
        self.retired.drain(..self.retired.len().saturating_sub(RETIRED_KEPT));
        Ok(())
    }

    fn retire_root(&mut self, name: &str, root: Fingerprint) -> Result<(), DraftError> {
        let at = self.roots.iter().position(|der| sha384(der) == root);
        let at = at.ok_or_else(|| DraftError::Unknown(name.into()))?;
        if self.roots.len() == 1 {
            return Err(DraftError::LastRoot(name.into()));
        }
        self.roots.remove(at);
        Ok(())
    }
}

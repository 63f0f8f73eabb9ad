//! A draft: the bundle that it came from, and what is to become of it. JSON, so that whoever is about to sign it can read it.

use super::error::DraftError;
use super::plan::Plan;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dsmil_authority::Fingerprint;
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::Facts;
use dsmil_crypto::trust::Trust;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What the next trust bundle is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDraft {
    format: u8,
    /// The signed bundle that was in force: whoever signs sees what changes, and that it comes from the fleet.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    base: Vec<u8>,
    /// In the order in which they were asked for.
    changes: Vec<Change>,
}

/// One thing that is to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A new issuer.
    AddIssuer {
        /// Its name.
        name: String,
        /// Its certificate request (DER).
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        request: Vec<u8>,
    },
    /// A new root.
    AddRoot {
        /// Its certificate (DER).
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        certificate: Vec<u8>,
    },
    /// An issuer goes; its leaves are refused as those of a retired one.
    RetireIssuer {
        /// Its name.
        name: String,
        /// Its key.
        key: Fingerprint,
    },
    /// A root goes.
    RetireRoot {
        /// Its name.
        name: String,
        /// Its fingerprint.
        root: Fingerprint,
    },
    /// A new key that settings may be signed with.
    AddOrderKey {
        /// Its name.
        name: String,
        /// The raw public key.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        public_key: Vec<u8>,
    },
    /// An order key goes; what it has signed is not taken any more.
    RetireOrderKey {
        /// Its name.
        name: String,
        /// Its fingerprint.
        key: Fingerprint,
    },
    /// A key is shut out.
    RevokeKey {
        /// The key.
        key: Fingerprint,
    },
}

impl TrustDraft {
    /// A draft that changes nothing yet; signed like this it makes the bundle last longer.
    pub fn new(base: &Trust) -> Self {
        Self { format: FORMAT, base: base.bytes().to_vec(), changes: Vec::new() }
    }

    /// Reads what [`TrustDraft::text`] wrote. Nothing of it is verified.
    pub fn parse(text: &[u8]) -> Result<Self, DraftError> {
        let draft: Self = serde_json::from_slice(text).map_err(DraftError::Malformed)?;
        if draft.format == FORMAT { Ok(draft) } else { Err(DraftError::Format(draft.format)) }
    }

    /// The draft as a file.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers can be written as JSON") + "\n"
    }

    /// The bundle that it came from; one of its own roots has signed it, and [`TrustDraft::sign`] asks for more than that.
    pub fn base(&self) -> Result<Trust, DraftError> {
        Trust::own(&self.base).map_err(DraftError::Base)
    }

    /// What is to change.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether it came from the bundle that is in force.
    pub fn check_base(&self, held: &Trust) -> Result<(), DraftError> {
        if self.base == held.bytes() {
            return Ok(());
        }
        Err(DraftError::Stale { draft: self.base()?.version(), held: held.version() })
    }

    /// The names of the issuers that the bundle would have.
    pub fn issuer_names(&self) -> Result<Vec<String>, DraftError> {
        Ok(self.plan()?.issuers.into_iter().map(|issuer| issuer.name).collect())
    }

    /// The names of the order keys that the bundle would have.
    pub fn order_key_names(&self) -> Result<Vec<String>, DraftError> {
        Ok(self.plan()?.order_keys.into_iter().map(|key| key.name).collect())
    }

    /// Asks for a new issuer.
    pub fn add_issuer(&mut self, name: &str, request: Vec<u8>) -> Result<(), DraftError> {
        self.add(Change::AddIssuer { name: name.into(), request })
    }

    /// Asks for a new root.
    pub fn add_root(&mut self, certificate: Vec<u8>) -> Result<(), DraftError> {
        self.add(Change::AddRoot { certificate })
    }

    /// Asks for a new order key.
    pub fn add_order_key(&mut self, name: &str, public_key: Vec<u8>) -> Result<(), DraftError> {
        self.add(Change::AddOrderKey { name: name.into(), public_key })
    }

    /// Asks for an issuer, a root or an order key to go, by its name or the first digits of its fingerprint; says which it is.
    pub fn retire(&mut self, which: &str) -> Result<&Change, DraftError> {
        let change = self.plan()?.find(which)?;
        self.add(change)?;
        Ok(self.changes.last().expect("the one that was added"))
    }

    /// Asks for a key to be shut out.
    pub fn revoke_key(&mut self, key: Fingerprint) -> Result<(), DraftError> {
        self.add(Change::RevokeKey { key })
    }

    /// What the changes make of the bundle.
    pub(super) fn plan(&self) -> Result<Plan, DraftError> {
        let mut plan = Plan::of(self.base()?.bundle())?;
        self.changes.iter().try_for_each(|change| plan.apply(change))?;
        Ok(plan)
    }

    /// A change that cannot be is not kept.
    fn add(&mut self, change: Change) -> Result<(), DraftError> {
        let mut plan = self.plan()?;
        plan.apply(&change)?;
        plan.check_limits(&self.base()?)?;
        self.changes.push(change);
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddIssuer { name, request } => match CheckedCsr::check(request) {
                Ok(request) => write!(f, "adds issuer {name} (key {})", request.fingerprint().short()),
                Err(error) => write!(f, "adds issuer {name} ({error})"),
            },
            Self::AddRoot { certificate } => {
                let root = dsmil_crypto::key::sha384(certificate);
                match Facts::read(certificate) {
                    Ok(facts) => write!(f, "adds root {} ({})", facts.name, root.short()),
                    Err(error) => write!(f, "adds root {} ({error})", root.short()),
                }
            }
            Self::RetireIssuer { name, key } => write!(f, "retires issuer {name} (key {})", key.short()),
            Self::RetireRoot { name, root } => write!(f, "retires root {name} ({})", root.short()),
            Self::AddOrderKey { name, public_key } => {
                write!(f, "adds order key {name} ({})", dsmil_crypto::key::key_fingerprint(public_key).short())
            }
            Self::RetireOrderKey { name, key } => write!(f, "retires order key {name} ({})", key.short()),
            Self::RevokeKey { key } => write!(f, "shuts out key {key}"),
        }
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

const FORMAT: u8 = 1;

//! The trust bundles that were published: the newest is the one in force, those before it are history.
//!
//! Nothing here looks into a bundle: that it is signed, and newer, is proved by whoever publishes it.

use super::log::{self, EventKind, MAX_DETAIL_LEN, MAX_TEXT_LEN, SecurityEvent, clip};
use super::table::{self, Record};
use super::{Fault, State, StateError};
use dsmil_protocol::ids::TenantId;
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

/// Bytes of a bundle: two ML-DSA-87 roots and their signatures, a few dozen issuers and keys, and some thousand revoked
/// keys fit; it is sent to every agent.
pub const MAX_BUNDLE_LEN: usize = 256 << 10;

/// A published bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRow {
    /// Its version; a bundle is only followed by one of a greater.
    pub version: u64,
    /// The bundle as it was signed.
    pub bytes: Vec<u8>,
    /// What it changed, in words.
    pub detail: String,
    /// Who published it.
    pub by: String,
    /// When, Unix milliseconds.
    pub published_ms: i64,
}

impl State {
    /// Publishes a bundle; false unless it is newer than the newest.
    ///
    /// A damaged newest one is removed for it: what its version was is not known.
    pub async fn publish_bundle(
        &self,
        version: u64,
        bytes: Vec<u8>,
        detail: String,
        by: &str,
        now_ms: i64,
    ) -> Result<bool, StateError> {
        if bytes.len() > MAX_BUNDLE_LEN {
            return Err(StateError::TooLarge { what: "a bundle's number of bytes", max: MAX_BUNDLE_LEN as u64 });
        }
        if i64::try_from(version).is_err() {
            return Err(StateError::TooLarge { what: "a bundle's version", max: i64::MAX.cast_unsigned() });
        }
        let detail = clip(&detail, MAX_DETAIL_LEN);
        let row = BundleRow { version, bytes, detail, by: clip(by, MAX_TEXT_LEN), published_ms: now_ms };
        self.write(move |tx, tenant| {
            if newest_sound(tx, tenant)?.is_some_and(|newest| newest.version >= row.version) {
                return Ok(false);
            }
            table::insert(tx, tenant, &row)?;
            let event = SecurityEvent {
                detail: format!("by {}: {}", row.by, row.detail),
                ..SecurityEvent::new(now_ms, EventKind::TrustChange, &format!("bundle {version}"))
            };
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }

    /// The bundle in force. A damaged one is an error: the one before it may trust what is trusted no more.
    pub async fn bundle(&self) -> Result<Option<BundleRow>, StateError> {
        self.read(table::newest).await
    }
}

fn newest_sound(db: &Connection, tenant: &TenantId) -> Result<Option<BundleRow>, Fault> {
    loop {
        match table::newest::<BundleRow>(db, tenant) {
            // Each turn removes a row; where none can be removed, the damage is the answer.
            Err(Fault::Damaged(_)) if table::remove_newest::<BundleRow>(db, tenant)? => {}
            outcome => return outcome,
        }
    }
}

impl Record for BundleRow {
    const TABLE: &'static str = "bundle";
    const COLUMNS: &'static [&'static str] = &["version", "bytes", "detail", "by", "published_ms"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.version.cast_signed().into(),
            self.bytes.clone().into(),
            self.detail.clone().into(),
            self.by.clone().into(),
            self.published_ms.into(),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            version: row.get(1)?,
            bytes: row.get(2)?,
            detail: row.get(3)?,
            by: row.get(4)?,
            published_ms: row.get(5)?,
        })
    }
}

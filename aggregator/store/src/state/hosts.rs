//! The registry: which host speaks with which key, and who may speak no more.

use super::log::{self, EventKind, MAX_TEXT_LEN, SecurityEvent, clip};
use super::table::{self, Listed, Record};
use super::{Fault, State, StateError};
use crate::batch_table::name_at;
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::{HostName, TenantId};
use rusqlite::types::Value;
use rusqlite::{Connection, Row};

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRow {
    /// Its name.
    pub name: HostName,
    /// The enrolled key; none if the host has to join (again).
    pub key: Option<Fingerprint>,
    /// The key of the newest renewal, until the host first uses it: the answer that carried its leaf may be lost.
    pub next: Option<Fingerprint>,
    /// When it joined, Unix milliseconds.
    pub joined_ms: Option<i64>,
    /// Since when `key` is the enrolled one, Unix milliseconds.
    pub key_since_ms: Option<i64>,
    /// When it last renewed, Unix milliseconds.
    pub renewed_ms: Option<i64>,
    /// Until when the leaf is good that was issued last, Unix seconds.
    pub leaf_not_after_s: Option<i64>,
    /// Set while it is shut out.
    pub revoked: Option<Revocation>,
}

/// Why a host is shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Since when, Unix milliseconds.
    pub at_ms: i64,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
}

impl HostRow {
    /// A host that is enrolled with nothing.
    pub(super) fn new(name: HostName) -> Self {
        Self {
            name,
            key: None,
            next: None,
            joined_ms: None,
            key_since_ms: None,
            renewed_ms: None,
            leaf_not_after_s: None,
            revoked: None,
        }
    }

    /// The same host after it joined: whatever it had before is no good any more.
    pub(super) fn joined(name: HostName, key: Fingerprint, leaf_not_after_s: i64, now_ms: i64) -> Self {
        Self {
            key: Some(key),
            joined_ms: Some(now_ms),
            key_since_ms: Some(now_ms),
            leaf_not_after_s: Some(leaf_not_after_s),
            ..Self::new(name)
        }
    }

    /// Makes `key` the enrolled one.
    pub(super) fn promote(&mut self, key: Fingerprint, now_ms: i64) {
        self.key = Some(key);
        self.key_since_ms = Some(now_ms);
        self.next = None;
    }

    /// Whether a host may speak with `key`.
    pub fn knows(&self, key: Fingerprint) -> bool {
        self.revoked.is_none() && (self.key == Some(key) || self.next == Some(key))
    }
}

impl State {
    /// Every host that is known, by name. A damaged one is not enrolled.
    pub async fn hosts(&self) -> Result<Listed<HostRow>, StateError> {
        self.read(table::list).await
    }

    /// What is known of a host.
    pub async fn host(&self, name: &HostName) -> Result<Option<HostRow>, StateError> {
        let name = name.clone();
        self.read(move |db, tenant| row_of(db, tenant, &name)).await
    }

    /// Notes that a host spoke with `key`: if it is the next one, it is the enrolled one from now on, and the one before
    /// it is no good any more. Says whether it was so.
    pub async fn key_seen(&self, host: &HostName, key: Fingerprint, now_ms: i64) -> Result<bool, StateError> {
        let pending = move |row: &HostRow| row.revoked.is_none() && row.next == Some(key);
        // Every HELLO asks; only the first one with a new key has something to write.
        if !self.host(host).await?.as_ref().is_some_and(pending) {
            return Ok(false);
        }
        let host = host.clone();
        self.write(move |tx, tenant| match row_of(tx, tenant, &host)? {
            Some(mut row) if pending(&row) => {
                row.promote(key, now_ms);
                table::replace(tx, tenant, &row)?;
                Ok(true)
            }
            _ => Ok(false),
        })
        .await
    }

    /// Shuts a host out, one that never joined or whose row is damaged too; false if it was shut out before.
    pub async fn revoke(&self, host: &HostName, reason: &str, by: &str, now_ms: i64) -> Result<bool, StateError> {
        let host = host.clone();
        let revocation = Revocation { at_ms: now_ms, reason: clip(reason, MAX_TEXT_LEN), by: clip(by, MAX_TEXT_LEN) };
        self.write(move |tx, tenant| {
            let row = table::if_sound(row_of(tx, tenant, &host))?.unwrap_or_else(|| HostRow::new(host));
            if row.revoked.is_some() {
                return Ok(false);
            }
            let event = SecurityEvent {
                reason: Some(revocation.reason.clone()),
                detail: format!("by {}", revocation.by),
                ..SecurityEvent::new(now_ms, EventKind::Revocation, row.name.as_str())
            };
            table::replace(tx, tenant, &HostRow { revoked: Some(revocation), ..row })?;
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }

    /// Lets a host that was shut out, or whose row is damaged, join again; its old keys stay no good. False if there was
    /// nothing to lift.
    pub async fn reinstate(&self, host: &HostName, by: &str, now_ms: i64) -> Result<bool, StateError> {
        let (host, by) = (host.clone(), clip(by, MAX_TEXT_LEN));
        self.write(move |tx, tenant| {
            match row_of(tx, tenant, &host) {
                Ok(Some(HostRow { revoked: Some(_), .. })) | Err(Fault::Damaged(_)) => {}
                Ok(_) => return Ok(false),
                Err(e) => return Err(e),
            }
            let event = SecurityEvent {
                detail: format!("by {by}; it has to join again"),
                ..SecurityEvent::new(now_ms, EventKind::Reinstatement, host.as_str())
            };
            table::replace(tx, tenant, &HostRow::new(host))?;
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }

    /// Enrols a host without a token, for whoever has its key at hand; the log says so. False if it is revoked.
    pub async fn enrol(
        &self,
        host: &HostName,
        key: Fingerprint,
        leaf_not_after_s: i64,
        now_ms: i64,
        by: &str,
    ) -> Result<bool, StateError> {
        let (host, by) = (host.clone(), clip(by, MAX_TEXT_LEN));
        self.write(move |tx, tenant| {
            if row_of(tx, tenant, &host)?.is_some_and(|row| row.revoked.is_some()) {
                return Ok(false);
            }
            let event = SecurityEvent {
                detail: format!("by {by}, without a token, key {key}"),
                ..SecurityEvent::new(now_ms, EventKind::Join, host.as_str())
            };
            table::replace(tx, tenant, &HostRow::joined(host, key, leaf_not_after_s, now_ms))?;
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }
}

/// What is known of a host; a damaged row is an error.
pub(super) fn row_of(db: &Connection, tenant: &TenantId, name: &HostName) -> Result<Option<HostRow>, Fault> {
    table::get(db, tenant, name.to_string().into())
}

impl Record for HostRow {
    const TABLE: &'static str = "host";
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "key",
        "next",
        "joined_ms",
        "key_since_ms",
        "renewed_ms",
        "leaf_not_after_s",
        "revoked_ms",
        "revoked_reason",
        "revoked_by",
    ];

    fn values(&self) -> Vec<Value> {
        let revoked = self.revoked.as_ref();
        vec![
            self.name.to_string().into(),
            self.key.map(|key| key.0.to_vec()).into(),
            self.next.map(|key| key.0.to_vec()).into(),
            self.joined_ms.into(),
            self.key_since_ms.into(),
            self.renewed_ms.into(),
            self.leaf_not_after_s.into(),
            revoked.map(|revoked| revoked.at_ms).into(),
            revoked.map(|revoked| revoked.reason.clone()).into(),
            revoked.map(|revoked| revoked.by.clone()).into(),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let revoked = match row.get::<_, Option<i64>>(8)? {
            None => None,
            Some(at_ms) => Some(Revocation { at_ms, reason: row.get(9)?, by: row.get(10)? }),
        };
        Ok(Self {
            name: name_at(row, 1, HostName::new)?,
            key: row.get::<_, Option<_>>(2)?.map(Fingerprint),
            next: row.get::<_, Option<_>>(3)?.map(Fingerprint),
            joined_ms: row.get(4)?,
            key_since_ms: row.get(5)?,
            renewed_ms: row.get(6)?,
            leaf_not_after_s: row.get(7)?,
            revoked,
        })
    }
}

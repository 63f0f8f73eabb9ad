//! Settings of the fleet that were pushed, and what each host says has become of them.
//!
//! Their tables came later than the file's format and are added to whatever file is opened, without another version: a program
//! from before does not look at them, and goes on with the file as if they were not there.
//!
//! As with trust bundles, nothing here looks into what was signed.

use super::log::{self, EventKind, MAX_DETAIL_LEN, MAX_TEXT_LEN, SecurityEvent, clip};
use super::table::{self, Listed, Record};
use super::{Fault, State, StateError};
use crate::batch_table::name_at;
use dsmil_protocol::ids::{HostName, TenantId};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

/// Bytes of signed settings, as they are sent.
pub const MAX_SETTINGS_LEN: usize = 16 << 10;
/// Pushed settings of one target that are kept: the newest is in force, the others are what rolling back and people look at.
pub const SETTINGS_KEPT: u32 = 16;

/// What makes the tables.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS fleet_settings(
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  target TEXT NOT NULL,
  bytes BLOB NOT NULL,
  by TEXT NOT NULL,
  pushed_ms INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  PRIMARY KEY(tenant, version));
CREATE TABLE IF NOT EXISTS settings_report(
  tenant TEXT NOT NULL,
  host TEXT NOT NULL,
  protocol INTEGER NOT NULL,
  in_force INTEGER NOT NULL,
  on_trial INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  unknown TEXT NOT NULL,
  reported_ms INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  PRIMARY KEY(tenant, host)) WITHOUT ROWID;
";

/// Pushed settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRow {
    /// Their version; it grows with all settings of the fleet.
    pub version: u64,
    /// For whom, as text.
    pub target: String,
    /// The settings as they were signed.
    pub bytes: Vec<u8>,
    /// Who pushed them.
    pub by: String,
    /// When, Unix milliseconds.
    pub pushed_ms: i64,
}

/// What a host has said of its settings last. Versions of 0 are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsReport {
    /// The protocol version of its session; settings are sent in those of 2.
    pub protocol: u8,
    /// What is in force there.
    pub in_force: u64,
    /// What is on trial there.
    pub on_trial: u64,
    /// What it has refused last.
    pub refused: u64,
    /// Why, in a word.
    pub reason: String,
    /// The same, for people.
    pub detail: String,
    /// Sensors in its settings that it does not know, with commas between.
    pub unknown: String,
}

/// A report, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsReportRow {
    /// Of which host.
    pub host: HostName,
    /// What it said.
    pub report: SettingsReport,
    /// When, Unix milliseconds.
    pub reported_ms: i64,
}

impl State {
    /// Pushes settings; false unless their version is greater than all before. Of `detail` the security log keeps as much as an
    /// event may have.
    pub async fn push_settings(&self, row: SettingsRow, detail: &str) -> Result<bool, StateError> {
        if row.bytes.len() > MAX_SETTINGS_LEN {
            return Err(StateError::TooLarge { what: "settings' number of bytes", max: MAX_SETTINGS_LEN as u64 });
        }
        if i64::try_from(row.version).is_err() {
            return Err(StateError::TooLarge { what: "settings' version", max: i64::MAX.cast_unsigned() });
        }
        let row = SettingsRow { by: clip(&row.by, MAX_TEXT_LEN), target: clip(&row.target, MAX_TEXT_LEN), ..row };
        let detail = clip(detail, MAX_DETAIL_LEN);
        self.write(move |tx, tenant| {
            if newest_version(tx, tenant)? >= row.version {
                return Ok(false);
            }
            table::insert(tx, tenant, &row)?;
            tx.prepare_cached(
                "DELETE FROM fleet_settings WHERE tenant = ?1 AND target = ?2 AND version NOT IN
                 (SELECT version FROM fleet_settings WHERE tenant = ?1 AND target = ?2 ORDER BY version DESC LIMIT ?3)",
            )?
            .execute(params![tenant.as_str(), row.target, SETTINGS_KEPT])?;
            let event = SecurityEvent {
                detail: format!("by {}: {}: {detail}", row.by, row.target),
                ..SecurityEvent::new(row.pushed_ms, EventKind::TrustChange, &format!("settings {}", row.version))
            };
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }

    /// All settings that are kept, by version.
    pub async fn settings(&self) -> Result<Listed<SettingsRow>, StateError> {
        self.read(table::list).await
    }

    /// The greatest version that was pushed; 0 if there was none.
    pub async fn newest_settings(&self) -> Result<u64, StateError> {
        self.read(newest_version).await
    }

    /// Notes what a host says of its settings.
    pub async fn report_settings(
        &self,
        host: &HostName,
        report: SettingsReport,
        now_ms: i64,
    ) -> Result<(), StateError> {
        let report = SettingsReport {
            reason: clip(&report.reason, MAX_TEXT_LEN),
            detail: clip(&report.detail, MAX_TEXT_LEN),
            unknown: clip(&report.unknown, MAX_DETAIL_LEN),
            ..report
        };
        let row = SettingsReportRow { host: host.clone(), report, reported_ms: now_ms };
        self.write(move |tx, tenant| table::replace(tx, tenant, &row)).await
    }

    /// What every host has said of its settings, by name.
    pub async fn settings_reports(&self) -> Result<Listed<SettingsReportRow>, StateError> {
        self.read(table::list).await
    }
}

/// Damaged rows count too: a version that was there before would be refused by every host. What hosts say does not: one that
/// lies would use up all versions.
fn newest_version(db: &Connection, tenant: &TenantId) -> Result<u64, Fault> {
    let mut select = db.prepare_cached("SELECT ifnull(max(version), 0) FROM fleet_settings WHERE tenant = ?1")?;
    let newest: i64 = select.query_row([tenant.as_str()], |row| row.get(0))?;
    Ok(u64::try_from(newest).unwrap_or(0))
}

impl Record for SettingsRow {
    const TABLE: &'static str = "fleet_settings";
    const COLUMNS: &'static [&'static str] = &["version", "target", "bytes", "by", "pushed_ms"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.version.cast_signed().into(),
            self.target.clone().into(),
            self.bytes.clone().into(),
            self.by.clone().into(),
            self.pushed_ms.into(),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            version: row.get(1)?,
            target: row.get(2)?,
            bytes: row.get(3)?,
            by: row.get(4)?,
            pushed_ms: row.get(5)?,
        })
    }
}

impl Record for SettingsReportRow {
    const TABLE: &'static str = "settings_report";
    const COLUMNS: &'static [&'static str] =
        &["host", "protocol", "in_force", "on_trial", "refused", "reason", "detail", "unknown", "reported_ms"];

    fn values(&self) -> Vec<Value> {
        let SettingsReport { protocol, in_force, on_trial, refused, reason, detail, unknown } = &self.report;
        vec![
            self.host.to_string().into(),
            i64::from(*protocol).into(),
            stored(*in_force),
            stored(*on_trial),
            stored(*refused),
            reason.clone().into(),
            detail.clone().into(),
            unknown.clone().into(),
            self.reported_ms.into(),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let report = SettingsReport {
            protocol: row.get(2)?,
            in_force: row.get(3)?,
            on_trial: row.get(4)?,
            refused: row.get(5)?,
            reason: row.get(6)?,
            detail: row.get(7)?,
            unknown: row.get(8)?,
        };
        Ok(Self { host: name_at(row, 1, HostName::new)?, report, reported_ms: row.get(9)? })
    }
}

/// A host may say any number; one that no settings can have is none.
fn stored(version: u64) -> Value {
    i64::try_from(version).unwrap_or(0).into()
}

//! The tables of the state.

use crate::sqlite::Format;

/// "DSMi" (identity); "DSMs" was a table of keys and values that no release had.
///
/// The security log only ever grows. `INSERT OR REPLACE` removes a row without its DELETE trigger, hence the third one.
pub(super) const FORMAT: Format = Format {
    application_id: 0x4453_4D69,
    migrations: &[&["
CREATE TABLE token(
  tenant TEXT NOT NULL,
  hash BLOB NOT NULL,
  host TEXT NOT NULL,
  devices BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  by TEXT NOT NULL,
  used_ms INTEGER,
  used_from TEXT,
  used_key BLOB,
  crc32c INTEGER NOT NULL,
  PRIMARY KEY(tenant, hash)) WITHOUT ROWID;
CREATE TABLE host(
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  key BLOB,
  next BLOB,
  joined_ms INTEGER,
  key_since_ms INTEGER,
  renewed_ms INTEGER,
  leaf_not_after_s INTEGER,
  revoked_ms INTEGER,
  revoked_reason TEXT,
  revoked_by TEXT,
  crc32c INTEGER NOT NULL,
  PRIMARY KEY(tenant, name)) WITHOUT ROWID;
CREATE TABLE bundle(
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  detail TEXT NOT NULL,
  by TEXT NOT NULL,
  published_ms INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  PRIMARY KEY(tenant, version));
CREATE TABLE security_log(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  source TEXT,
  reason TEXT,
  count INTEGER NOT NULL,
  detail TEXT NOT NULL);
CREATE INDEX security_log_tenant ON security_log(tenant);
CREATE INDEX security_log_subject ON security_log(tenant, subject);
CREATE TRIGGER security_log_update BEFORE UPDATE ON security_log
  BEGIN SELECT RAISE(ABORT, 'the security log is append-only'); END;
CREATE TRIGGER security_log_delete BEFORE DELETE ON security_log
  BEGIN SELECT RAISE(ABORT, 'the security log is append-only'); END;
CREATE TRIGGER security_log_replace BEFORE INSERT ON security_log
  WHEN EXISTS(SELECT 1 FROM security_log WHERE id = NEW.id)
  BEGIN SELECT RAISE(ABORT, 'the security log is append-only'); END;
"]],
};

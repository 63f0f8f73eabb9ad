//! The numbers that stand for names of hosts, boots and metric sets in the tables of hot and warm.

use crate::batch_table::StreamRow;
use crate::record::StreamKey;
use crate::set_use;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_protocol::metric::SetId;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// The numbers of names, remembered; a miss asks the database. Forgotten when a transaction fails, because it may have
/// made some.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    hosts: HashMap<(TenantId, HostName), (i64, i64)>,
    boots: HashMap<(i64, BootId), i64>,
    sets: HashMap<(TenantId, SetId), i64>,
    /// Until when sets are known to be in use.
    used: HashMap<i64, i64>,
}

/// Names kept in memory at most, of each kind; beyond it the memory starts over and the database is asked again.
const CATALOG_ENTRIES: usize = 200_000;

impl Catalog {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The rows of a stream's host and boot, made if need be.
    pub(crate) fn stream(&mut self, db: &Connection, key: &StreamKey) -> Result<StreamRow, rusqlite::Error> {
        let (host, _) = self.host(db, key)?;
        let boot = match self.boots.get(&(host, key.boot)) {
            Some(id) => *id,
            None => {
                let id = intern(
                    db,
                    "SELECT id FROM boot WHERE host = ?1 AND boot = ?2",
                    "INSERT INTO boot(host, boot) VALUES (?1, ?2)",
                    params![host, key.boot.0],
                )?;
                remember(&mut self.boots, (host, key.boot), id);
                id
            }
        };
        Ok(StreamRow { host, boot, classification: key.classification })
    }

    fn host(&mut self, db: &Connection, key: &StreamKey) -> Result<(i64, i64), rusqlite::Error> {
        let name = (key.tenant.clone(), key.host.clone());
        if let Some(known) = self.hosts.get(&name) {
            return Ok(*known);
        }
        let id = intern(
            db,
            "SELECT id FROM host WHERE tenant = ?1 AND name = ?2",
            "INSERT INTO host(tenant, name, max_span_ms) VALUES (?1, ?2, 0)",
            params![key.tenant.as_str(), key.host.as_str()],
        )?;
        let span: i64 = db.query_row("SELECT max_span_ms FROM host WHERE id = ?1", [id], |row| row.get(0))?;
        remember(&mut self.hosts, name, (id, span));
        Ok((id, span))
    }

    /// Widens a host's longest batch: a reader looks so far back for batches that reach into its time.
    pub(crate) fn widen(&mut self, db: &Connection, key: &StreamKey, span_ms: i64) -> Result<(), rusqlite::Error> {
        let (id, known) = self.host(db, key)?;
        if span_ms > known {
            db.prepare_cached("UPDATE host SET max_span_ms = ?2 WHERE id = ?1")?.execute(params![id, span_ms])?;
            self.hosts.insert((key.tenant.clone(), key.host.clone()), (id, span_ms));
        }
        Ok(())
    }

    /// The row of a metric set whose content is stored.
    pub(crate) fn described_set(
        &mut self,
        db: &Connection,
        tenant: &TenantId,
        set: SetId,
    ) -> Result<Option<i64>, rusqlite::Error> {
        let name = (tenant.clone(), set);
        if let Some(id) = self.sets.get(&name) {
            return Ok(Some(*id));
        }
        let mut select =
            db.prepare_cached("SELECT id FROM metric_set WHERE tenant = ?1 AND hash = ?2 AND content IS NOT NULL")?;
        let id = select.query_row(params![tenant.as_str(), set.0], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            remember(&mut self.sets, name, id);
        }
        Ok(id)
    }

    /// Notes until when a set is in use, if that is later than what is noted.
    pub(crate) fn use_set(&mut self, db: &Connection, set: i64, until_ms: i64) -> Result<(), rusqlite::Error> {
        if self.used.get(&set).is_none_or(|known| *known < until_ms) {
            set_use::extend(db, set, until_ms)?;
            remember(&mut self.used, set, until_ms);
        }
        Ok(())
    }

    /// The row of a metric set by name only, remembered: for a database that keeps no contents.
    pub(crate) fn cached_set(
        &mut self,
        db: &Connection,
        tenant: &TenantId,
        set: SetId,
    ) -> Result<i64, rusqlite::Error> {
        let name = (tenant.clone(), set);
        if let Some(id) = self.sets.get(&name) {
            return Ok(*id);
        }
        let id = self.named_set(db, tenant, set)?;
        remember(&mut self.sets, name, id);
        Ok(id)
    }

    /// The row of a metric set, made without content if need be: hot keeps none, and a salvaged batch may have lost its.
    pub(crate) fn named_set(&mut self, db: &Connection, tenant: &TenantId, set: SetId) -> Result<i64, rusqlite::Error> {
        intern(
            db,
            "SELECT id FROM metric_set WHERE tenant = ?1 AND hash = ?2",
            "INSERT INTO metric_set(tenant, hash) VALUES (?1, ?2)",
            params![tenant.as_str(), set.0],
        )
    }
}

fn remember<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= CATALOG_ENTRIES {
        map.clear();
    }
    map.insert(key, value);
}

fn intern(db: &Connection, select: &str, insert: &str, name: &[&dyn rusqlite::ToSql]) -> Result<i64, rusqlite::Error> {
    if let Some(id) = db.prepare_cached(select)?.query_row(name, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.prepare_cached(insert)?.execute(name)?;
    Ok(db.last_insert_rowid())
}

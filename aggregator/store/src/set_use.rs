//! Until when a metric set is needed: as long as a batch that names it may be in the journal.
//!
//! To look through all batches for the sets that they name would take as long as to read the journal. Instead each set has
//! a day beside it, which is moved on at most once a day: on that day every batch that names the set so far has ended and
//! has arrived. What is kept for a week is gone a week after that day, and then nobody reads by the set any more.

use rusqlite::{Connection, params};

/// The table, version 2 of the journal. The salvager leaves it out: a set without a day is one that is used today.
pub(crate) const SCHEMA: &str = "
CREATE TABLE set_use(id INTEGER PRIMARY KEY, until_ms INTEGER NOT NULL);
";

/// How exactly it is known: each step is a row written for each set in use.
const STEP_MS: i64 = 86_400_000;

/// The step's end after which nothing is known to use a set that is named, at `now_ms`, by a batch that ended at `end_ms`.
pub(crate) fn until(now_ms: i64, end_ms: i64) -> i64 {
    now_ms.max(end_ms).div_euclid(STEP_MS).saturating_add(1).saturating_mul(STEP_MS)
}

/// Notes that a set is in use until then.
pub(crate) fn extend(db: &Connection, set: i64, until_ms: i64) -> Result<(), rusqlite::Error> {
    db.prepare_cached(
        "INSERT INTO set_use(id, until_ms) VALUES (?1, ?2)
         ON CONFLICT(id) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
    )?
    .execute(params![set, until_ms])
    .map(drop)
}

/// Forgets what the sets mean that were not in use since `older_than_ms`, when every batch before then has been removed.
/// Their names stay, so that their numbers are never another set's; who sends batches of one again is asked for it again.
pub(crate) fn prune(db: &mut Connection, now_ms: i64, older_than_ms: i64) -> Result<u64, rusqlite::Error> {
    const UNUSED: &str = "SELECT id FROM set_use WHERE until_ms < ?1";
    let tx = db.transaction()?;
    let today = "INSERT OR IGNORE INTO set_use(id, until_ms) SELECT id, ?1 FROM metric_set WHERE content IS NOT NULL";
    tx.execute(today, [until(now_ms, now_ms)])?;
    let forget = format!("UPDATE metric_set SET content = NULL WHERE content IS NOT NULL AND id IN ({UNUSED})");
    let forgotten = tx.execute(&forget, [older_than_ms])?;
    tx.execute(&format!("DELETE FROM set_use WHERE id IN ({UNUSED})"), [older_than_ms])?;
    tx.commit()?;
    Ok(forgotten as u64)
}

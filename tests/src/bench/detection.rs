//! How soon a dead host is known to be dead, and whether a live one is ever taken for dead.

use super::Row;

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    Ok(Vec::new())
}

//! Other agents and backends, measured beside ours on the same machine in the same run.

use super::{Row, codec::Capture};

pub(super) fn figures(_capture: &Capture, _programs: &std::path::Path) -> anyhow::Result<Vec<Row>> {
    Ok(Vec::new())
}

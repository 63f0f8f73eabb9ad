//! The agent's program file.

use super::{Better, Row, Target};
use anyhow::Context;
use std::path::Path;

pub(super) fn figures(programs: &Path) -> anyhow::Result<Vec<Row>> {
    let path = programs.join("dsmil-agent");
    let len = std::fs::metadata(&path).with_context(|| format!("{} is not built", path.display()))?.len();
    Ok(vec![Row::aimed("agent, static program", len as f64 / 1e6, "MB", Target::AtMost(12.0)).kept(Better::Less)])
}

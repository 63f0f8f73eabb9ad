//! What a thread or process that does not come back waits for.
//!
//! Format: proc(5), `stat` and `wchan` of a process or of one of its threads.

use dsmil_protocol::probe::Text;
use dsmil_sensors::root::Root;

/// The state, as in proc(5), of what is at `place` below /proc (`self/task/12`, `34`).
pub(crate) fn state(root: &Root, place: &str) -> Option<char> {
    let mut buffer = Vec::new();
    let stat = root.proc(&format!("{place}/stat"), &mut buffer).ok()?;
    // The name, in brackets, may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(after + 2).map(|state| char::from(*state))
}

/// The kernel function in which it waits, where the kernel tells.
pub(crate) fn channel(root: &Root, place: &str) -> Option<Text> {
    let mut buffer = Vec::new();
    let name = root.proc(&format!("{place}/wchan"), &mut buffer).ok()?;
    let name = String::from_utf8_lossy(name);
    // It says 0 of one that waits nowhere, and where it is built to tell nobody.
    (!name.is_empty() && name != "0").then(|| Text::of(&name))
}

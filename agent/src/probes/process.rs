//! What the kernel says of a process that does not answer.
//!
//! Format: proc(5), `/proc/pid/stat` and `/proc/pid/wchan`. The state may be read by everybody; where it waits, by the same user
//! alone, so a probe that still can says that itself.

use dsmil_sensors::root::Root;
use std::fmt;

/// The longest name of a kernel function that is shown.
const MAX_PLACE_LEN: usize = 24;

/// A process that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    state: char,
    place: Option<String>,
}

impl Process {
    /// The process of that number, if it is a probe and still there.
    pub(super) fn look(root: &Root, pid: u32) -> Option<Self> {
        let mut buffer = Vec::new();
        let stat = String::from_utf8_lossy(root.proc(&format!("{pid}/stat"), &mut buffer).ok()?).into_owned();
        // `12 (name) S …`, and a name may hold brackets. One that is not a probe's is systemd's, which holds the socket of one
        // that was not started yet, or somebody's who has got the number since.
        let (name, after) = (stat.split_once('(')?.1, stat.rsplit_once(')')?.1);
        if !name.starts_with("dsmil-probe)") {
            return None;
        }
        let state = after.trim_start().chars().next()?;
        let place = root.proc(&format!("{pid}/wchan"), &mut buffer).ok();
        let place = place.map(|place| String::from_utf8_lossy(place).trim().to_owned());
        let is_name = |place: &String| {
            place != "0"
                && (1..=MAX_PLACE_LEN).contains(&place.len())
                && place.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Some(Self { pid, state, place: place.filter(is_name) })
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} in state {}", self.pid, self.state)?;
        if self.state == 'D' {
            f.write_str(", cannot be killed")?;
        }
        self.place.as_ref().map_or(Ok(()), |place| write!(f, ", in {place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_sensors::tree::Tree;

    #[test]
    fn a_process_is_told_from_others_and_its_state_read() {
        let tree = Tree::new();
        let root = tree.root();
        assert_eq!(Process::look(&root, 7), None, "it is gone");
        tree.proc("7/stat", "7 (dsmil-probe) D 1 7 7 0 -1 4194560 1 0 0 0\n");
        let said = |root: &Root| Process::look(root, 7).map(|process| process.to_string());
        assert_eq!(said(&root).as_deref(), Some("process 7 in state D, cannot be killed"));
        tree.proc("7/wchan", "nv_ioctl_wait");
        assert_eq!(said(&root).as_deref(), Some("process 7 in state D, cannot be killed, in nv_ioctl_wait"));
        tree.proc("7/wchan", "0");
        assert_eq!(said(&root).as_deref(), Some("process 7 in state D, cannot be killed"));
        for other in ["7 (systemd) S 0", "7 (dsmil-probe", "", "7 (dsmil-probe) ", "7 (a) (dsmil-probe) S 1"] {
            tree.proc("7/stat", other);
            assert_eq!(Process::look(&root, 7), None, "{other}");
        }
    }
}

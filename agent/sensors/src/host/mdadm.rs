//! `/proc/mdstat`: software RAID: disks, state, and how far a rebuild has come; node_exporter's collector `mdadm`.
//!
//! Format: the kernel's `Documentation/admin-guide/md.rst` and `drivers/md/md.c`: a line that names the array, its state and its disks, a line
//! with its size and which disks work, and then a line for each of progress and bitmap; a block is 1 KiB.

use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "mdstat";
const GAUGE: Form = Form::gauge(Scale::ONE);

/// What an array does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
    Recovering,
    Resync,
    Check,
}

impl State {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Active, "active"),
        (Self::Inactive, "inactive"),
        (Self::Recovering, "recovering"),
        (Self::Resync, "resync"),
        (Self::Check, "check"),
    ];
}

/// One array.
struct Array<'a> {
    name: &'a [u8],
    /// None of a state that node_exporter has no name for: `broken`, of an array without redundancy that lost a disk.
    state: Option<State>,
    active: u64,
    failed: u64,
    spare: u64,
    required: u64,
    blocks: Option<u64>,
    /// Of its blocks, those that are in step.
    synced: Option<u64>,
}

/// Reads `/proc/mdstat`.
#[derive(Default)]
pub(crate) struct Mdadm {
    buffer: Vec<u8>,
}

impl Sensor for Mdadm {
    fn name(&self) -> &'static str {
        "mdadm"
    }

    fn source(&self) -> &'static str {
        "/proc/mdstat"
    }

    /// Reading it takes locks that an array's own work takes too.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = match root.proc(FILE, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // No software RAID.
            text => text.map_err(SensorError::at(FILE))?,
        };
        let mut lines = lines(text).peekable();
        while let Some((line, head)) = lines.next() {
            if head.starts_with(b"Personalities") || head.starts_with(b"unused") {
                continue;
            }
            // What stands further to the right is about the array before it.
            let size = lines.next_if(|(_, next)| is_indented(next)).map(|(_, size)| size);
            let mut array = Array::read(head, size).ok_or(SensorError::Malformed { file: FILE, line })?;
            while let Some((_, progress)) = lines.next_if(|(_, next)| is_indented(next)) {
                array.progress(progress);
            }
            array.push(out);
        }
        Ok(())
    }
}

impl<'a> Array<'a> {
    /// `md0 : active raid1 sdb1[1] sda1[0](F)` and `1048512 blocks super 1.2 [2/1] [_U]`
    fn read(head: &'a [u8], size: Option<&[u8]>) -> Option<Self> {
        let (mut words, size) = (fields(head), size?);
        let name = words.next()?;
        let (colon, state) = (words.next()?, words.next()?);
        let state = match state {
            b"active" => Some(State::Active),
            b"inactive" => Some(State::Inactive),
            b"broken" => None,
            _ => return None,
        };
        if colon != b":" || is_indented(head) {
            return None;
        }
        let disks: Vec<&[u8]> = fields(head).filter(|word| word.contains(&b'[')).collect();
        let marked =
            |mark: &[u8]| disks.iter().filter(|disk| disk.windows(mark.len()).any(|part| part == mark)).count() as u64;
        let without_spares = words.any(|word| matches!(word, b"raid0" | b"linear"));
        let (required, working) = if without_spares {
            (disks.len() as u64, disks.len() as u64)
        } else {
            // `[4/3]`; an array that is not started has none.
            fields(size).find_map(required_and_working).unwrap_or((0, 0))
        };
        let blocks = fields(size).next().and_then(unsigned);
        Some(Self {
            name,
            state,
            active: working,
            failed: marked(b"(F)"),
            spare: marked(b"(S)"),
            required,
            blocks,
            synced: blocks,
        })
    }

    /// `[==>...]  recovery = 12.6% (123456789/976630272) finish=72.1min speed=197150K/sec`, or `resync=PENDING`.
    fn progress(&mut self, line: &[u8]) {
        let of = |what: &[u8]| line.windows(what.len()).any(|part| part == what);
        let state = if of(b"recovery") {
            State::Recovering
        } else if of(b"resync") {
            State::Resync
        } else if of(b"check") {
            State::Check
        } else if of(b"reshape") {
            State::Active
        } else {
            return; // The bitmap, or where it is.
        };
        self.state = Some(state);
        let waiting = of(b"PENDING") || of(b"DELAYED") || of(b"REMOTE");
        let done = fields(line).find_map(|field| {
            let inner = field.strip_prefix(b"(")?.strip_suffix(b")")?;
            unsigned(inner.split(|byte| *byte == b'/').next()?)
        });
        self.synced = if waiting { Some(0) } else { done };
    }

    fn push(&self, out: &mut Reading) {
        let name = label(self.name);
        let device = ("device", &*name);
        for (state, count) in [("active", self.active), ("failed", self.failed), ("spare", self.spare)] {
            out.push("node_md_disks", &[device, ("state", state)], GAUGE, Some(count));
        }
        out.push("node_md_disks_required", &[device], GAUGE, Some(self.required));
        for (state, name) in State::ALL {
            let is = u64::from(Some(state) == self.state);
            out.push("node_md_state", &[device, ("state", name)], GAUGE, Some(is));
        }
        out.push("node_md_blocks", &[device], GAUGE, self.blocks);
        out.push("node_md_blocks_synced", &[device], GAUGE, self.synced);
    }
}

fn is_indented(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_whitespace)
}

/// 4 and 3 of `[4/3]`
fn required_and_working(field: &[u8]) -> Option<(u64, u64)> {
    let inner = field.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let slash = inner.iter().position(|byte| *byte == b'/')?;
    Some((unsigned(&inner[..slash])?, unsigned(&inner[slash + 1..])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Seen, Tree};

    fn seen(text: &str) -> Seen {
        let tree = Tree::new();
        tree.proc(FILE, &format!("Personalities : [raid1] [raid0] \n{text}unused devices: <none>\n"));
        tree.read(&mut Mdadm::default())
    }

    #[test]
    fn a_degraded_array_that_recovers() {
        let seen = seen(
            "md127 : active (auto-read-only) raid5 sdd[4](S) sdc[2](F) sdb[1] sda[0]\n      300 blocks super 1.2 level 5, 512k chunk, algorithm 2 [3/2] [UU_]\n      [==>....]  recovery = 12.6% (37/100) finish=72.1min speed=1K/sec\n      bitmap: 3/8 pages [12KB], 65536KB chunk\n\n",
        );
        let value = |metric: &str| seen.value(&format!("node_md_{metric}}}").replace("[", "{device=\"md127\""));
        assert_eq!((seen.error, seen.names().len()), (None, 11));
        assert_eq!(value("disks[,state=\"active\""), Some(2.0));
        assert_eq!(value("disks[,state=\"failed\""), Some(1.0));
        assert_eq!(value("disks[,state=\"spare\""), Some(1.0));
        assert_eq!(
            (value("disks_required["), value("blocks["), value("blocks_synced[")),
            (Some(3.0), Some(300.0), Some(37.0))
        );
        assert_eq!(value("state[,state=\"recovering\""), Some(1.0));
        assert_eq!(value("state[,state=\"active\""), Some(0.0));
    }

    #[test]
    fn states_and_what_is_in_step() {
        let state = |head: &str, progress: &str| {
            let seen = seen(&format!("md0 : {head} sdb[1] sda[0]\n      300 blocks [2/2] [UU]\n      {progress}\n\n"));
            assert_eq!(seen.error, None, "{head}");
            let is =
                |state: &str| seen.value(&format!("node_md_state{{device=\"md0\",state=\"{state}\"}}")) == Some(1.0);
            let states: Vec<_> = State::ALL.iter().filter(|(_, name)| is(name)).map(|(state, _)| *state).collect();
            assert_eq!(states.len(), 1);
            (states[0], seen.value("node_md_blocks_synced{device=\"md0\"}"))
        };
        assert_eq!(state("active raid1", "bitmap: 0/1 pages [0KB]"), (State::Active, Some(300.0)));
        assert_eq!(state("active raid1", "\tresync=PENDING"), (State::Resync, Some(0.0)));
        assert_eq!(
            state("active raid1", "[>..]  check =  0.5% (5/300) finish=1min speed=1K/sec"),
            (State::Check, Some(5.0))
        );
        assert_eq!(state("active raid1", "[>..]  reshape =  0.5% (6/300) finish=1min"), (State::Active, Some(6.0)));
        assert_eq!(state("active raid1", "[>..]  resync = nonsense"), (State::Resync, None), "absent, not in step");
        assert_eq!(state("inactive", ""), (State::Inactive, Some(300.0)));
    }

    #[test]
    fn a_broken_array_is_in_none_of_the_states() {
        let seen = seen("md0 : broken raid0 sdb[1] sda[0]\n      300 blocks super 1.2 512k chunks\n      \n");
        assert_eq!(seen.error, None);
        let sum: f64 = State::ALL
            .iter()
            .filter_map(|(_, name)| seen.value(&format!("node_md_state{{device=\"md0\",state=\"{name}\"}}")))
            .sum();
        assert_eq!((sum, seen.value("node_md_blocks{device=\"md0\"}")), (0.0, Some(300.0)));
    }

    #[test]
    fn a_file_that_is_cut_is_a_verdict() {
        let malformed = |line| Some(SensorError::Malformed { file: FILE, line });
        assert_eq!(seen("md0 : active raid1 sda[0]\n").error, malformed(2));
        assert_eq!(seen("md0 : strange raid1 sda[0]\n      1 blocks\n").error, malformed(2));
        assert_eq!(seen("      1 blocks\n").error, malformed(2));
        assert_eq!(seen("").error, None, "no array");
    }
}

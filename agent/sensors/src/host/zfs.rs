//! ZFS: caches, intent log, pools and datasets; node_exporter's collector `zfs`.
//!
//! Format: OpenZFS's `module/os/linux/spl/spl-kstat.c`: a line about the file, a header, and then lines of a name, the
//! number of a type and a value; in a pool's `io` one line of names over one of values, in its `state` one word. Nothing says which
//! numbers only grow, so all are gauges.

use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{Name, fields, lines, signed, unsigned};
use dsmil_protocol::metric::Scale;

const DIRECTORY: &str = "spl/kstat/zfs";
const UNSIGNED: Form = Form::gauge(Scale::ONE);
const SIGNED: Form = Form::signed_gauge(Scale::ONE);
/// Datasets that are read, over all pools: each costs some 15 µs, and a pool may have thousands.
const MAX_DATASETS: usize = 256;

/// Files about all pools, and the beginnings of their metrics' names. Which there are depends on the release of ZFS.
const FILES: [(&str, &str); 12] = [
    ("abdstats", "node_zfs_abd_"),
    ("arcstats", "node_zfs_arc_"),
    ("dbuf_stats", "node_zfs_dbuf_"),
    ("dbufstats", "node_zfs_dbuf_"),
    ("dmu_tx", "node_zfs_dmu_tx_"),
    ("dnodestats", "node_zfs_dnode_"),
    ("fm", "node_zfs_fm_"),
    ("vdev_cache_stats", "node_zfs_vdev_cache_"),
    ("vdev_mirror_stats", "node_zfs_vdev_mirror_"),
    ("xuio_stats", "node_zfs_xuio_"),
    ("zfetchstats", "node_zfs_zfetch_"),
    ("zil", "node_zfs_zil_"),
];
/// States of a pool; each has a metric, which is 1 for the one the pool is in.
const STATES: [&str; 7] = ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

/// Reads `/proc/spl/kstat/zfs`.
#[derive(Default)]
pub(crate) struct Zfs {
    buffer: Vec<u8>,
    name: Name,
}

impl Sensor for Zfs {
    fn name(&self) -> &'static str {
        "zfs"
    }

    fn source(&self) -> &'static str {
        "/proc/spl/kstat/zfs"
    }

    /// Two hundred figures of caches, and seven of each dataset.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_proc(DIRECTORY) {
            Err(RootError::Missing) => return Ok(()), // ZFS is not loaded.
            listed => listed.map_err(SensorError::at(DIRECTORY))?,
        };
        let mut room = MAX_DATASETS;
        for name in &names {
            let place = format!("{DIRECTORY}/{name}");
            match FILES.iter().find(|(file, _)| file == name) {
                Some((_, prefix)) => {
                    if let Ok(text) = root.proc(&place, &mut self.buffer) {
                        push_all(text, prefix, &[], &mut self.name, out);
                    }
                }
                // A pool's directory, or a file of a release to come.
                None => self.read_pool(root, &place, name, &mut room, out),
            }
        }
        Ok(())
    }
}

impl Zfs {
    fn read_pool(&mut self, root: &Root, place: &str, pool: &str, room: &mut usize, out: &mut Reading) {
        if let Ok(state) = root.proc(&format!("{place}/state"), &mut self.buffer) {
            let state = state.trim_ascii().to_ascii_lowercase();
            for known in STATES {
                let is = u64::from(known.as_bytes() == state);
                out.push("node_zfs_zpool_state", &[("zpool", pool), ("state", known)], UNSIGNED, Some(is));
            }
        }
        if let Ok(text) = root.proc(&format!("{place}/io"), &mut self.buffer) {
            let mut lines = lines(text).map(|(_, line)| line).skip_while(|line| !line.starts_with(b"nread"));
            let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            for (key, value) in fields(names).zip(fields(values)) {
                out.push(self.name.of("node_zfs_zpool_", &[key]), &[("zpool", pool)], UNSIGNED, unsigned(value));
            }
        }
        let Ok(files) = root.list_proc(place) else { return };
        for file in files.iter().filter(|file| file.starts_with("objset-")).take(*room) {
            let Ok(text) = root.proc(&format!("{place}/{file}"), &mut self.buffer) else { continue };
            // A dataset's name may have spaces in it.
            let dataset = statistics(text).find(|(key, ..)| *key == b"dataset_name").map(|(.., name)| label(name));
            if let Some(dataset) = dataset {
                let labels = [("zpool", pool), ("dataset", &*dataset)];
                push_all(text, "node_zfs_zpool_dataset_", &labels, &mut self.name, out);
            }
            *room -= 1;
        }
    }
}

/// Pushes the numbers of a file.
fn push_all(text: &[u8], prefix: &str, labels: &[(&str, &str)], name: &mut Name, out: &mut Reading) {
    for (key, kind, value) in statistics(text) {
        match kind {
            b"3" => out.push(name.of(prefix, &[key]), labels, SIGNED, signed(value)),
            b"4" => out.push(name.of(prefix, &[key]), labels, UNSIGNED, unsigned(value)),
            _ => {} // A text.
        }
    }
}

/// Name, type and value of each line after the header.
fn statistics(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let is_header = |line: &[u8]| fields(line).eq([b"name".as_slice(), b"type", b"data"]);
    lines(text).map(|(_, line)| line).skip_while(move |line| !is_header(line)).skip(1).filter_map(|line| {
        let (key, rest) = first_field(line);
        let (kind, value) = first_field(rest);
        (!value.is_empty()).then_some((key, kind, value))
    })
}

/// The first field of a text, and what follows it without the white space around it.
fn first_field(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const HEAD: &str = "9 1 0x01 3 816 5139234293 61234\nname                            type data\n";

    #[test]
    fn caches_pools_and_datasets() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Zfs::default()).error, None, "ZFS is not loaded");
        tree.proc(
            "spl/kstat/zfs/arcstats",
            &format!("{HEAD}hits 4    12\nmemory_available_bytes 3    -5\nerpt-dropped 4 x\nwhat 7 text\n"),
        );
        tree.proc("spl/kstat/zfs/import_progress", "pool_guid\n");
        tree.proc("spl/kstat/zfs/tank/state", "SUSPENDED\n");
        tree.proc("spl/kstat/zfs/tank/io", "12 3 0x00\nnread nwritten\n7 8\n");
        tree.proc(
            "spl/kstat/zfs/tank/objset-0x36",
            &format!(
                "{HEAD}dataset_name                    7    tank/my images \nreads                           4    9\n"
            ),
        );
        let seen = tree.read(&mut Zfs::default());
        assert_eq!((seen.error, seen.names().len()), (None, 3 + 7 + 2 + 1), "{:?}", seen.names());
        assert_eq!(seen.value("node_zfs_arc_hits"), Some(12.0));
        assert_eq!(seen.value("node_zfs_arc_memory_available_bytes"), Some(-5.0));
        assert!(seen.has("node_zfs_arc_erpt_dropped"));
        assert_eq!(seen.value("node_zfs_zpool_state{zpool=\"tank\",state=\"suspended\"}"), Some(1.0));
        assert_eq!(seen.value("node_zfs_zpool_state{zpool=\"tank\",state=\"online\"}"), Some(0.0));
        assert_eq!(seen.value("node_zfs_zpool_nwritten{zpool=\"tank\"}"), Some(8.0));
        assert_eq!(seen.value("node_zfs_zpool_dataset_reads{zpool=\"tank\",dataset=\"tank/my images\"}"), Some(9.0));
    }

    #[test]
    fn thousands_of_datasets_cost_no_more_than_some_hundred() {
        let tree = Tree::new();
        for i in 0..MAX_DATASETS + 50 {
            tree.proc(
                &format!("spl/kstat/zfs/tank/objset-{i:#x}"),
                &format!("{HEAD}dataset_name 7 tank/{i}\nreads 4 1\n"),
            );
        }
        assert_eq!(tree.read(&mut Zfs::default()).names().len(), MAX_DATASETS);
    }
}

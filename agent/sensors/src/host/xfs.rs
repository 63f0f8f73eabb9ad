//! What each XFS filesystem did; node_exporter's collector `xfs`.
//!
//! Format: the kernel's `fs/xfs/xfs_stats.c` and its `Documentation/ABI/testing/sysfs-fs-xfs`: a line a group of counters,
//! each of which wraps at 32 bits.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const DIRECTORY: &str = "fs/xfs";
const COUNT: Form = Form::counter(Scale::ONE);
/// Filesystems that are read: for each the kernel sums 200 counters over all cores.
const MAX_FILESYSTEMS: usize = 64;

/// A line by its first word, and the metrics of its columns, from the first on.
const LINES: [(&[u8], &[&str]); 8] = [
    (
        b"extent_alloc",
        &[
            "node_xfs_extent_allocation_extents_allocated_total",
            "node_xfs_extent_allocation_blocks_allocated_total",
            "node_xfs_extent_allocation_extents_freed_total",
            "node_xfs_extent_allocation_blocks_freed_total",
        ],
    ),
    (
        b"abt",
        &[
            "node_xfs_allocation_btree_lookups_total",
            "node_xfs_allocation_btree_compares_total",
            "node_xfs_allocation_btree_records_inserted_total",
            "node_xfs_allocation_btree_records_deleted_total",
        ],
    ),
    (
        b"blk_map",
        &[
            "node_xfs_block_mapping_reads_total",
            "node_xfs_block_mapping_writes_total",
            "node_xfs_block_mapping_unmaps_total",
            "node_xfs_block_mapping_extent_list_insertions_total",
            "node_xfs_block_mapping_extent_list_deletions_total",
            "node_xfs_block_mapping_extent_list_lookups_total",
            "node_xfs_block_mapping_extent_list_compares_total",
        ],
    ),
    (
        b"bmbt",
        &[
            "node_xfs_block_map_btree_lookups_total",
            "node_xfs_block_map_btree_compares_total",
            "node_xfs_block_map_btree_records_inserted_total",
            "node_xfs_block_map_btree_records_deleted_total",
        ],
    ),
    (
        b"dir",
        &[
            "node_xfs_directory_operation_lookup_total",
            "node_xfs_directory_operation_create_total",
            "node_xfs_directory_operation_remove_total",
            "node_xfs_directory_operation_getdents_total",
        ],
    ),
    (
        b"ig",
        &[
            "node_xfs_inode_operation_attempts_total",
            "node_xfs_inode_operation_found_total",
            "node_xfs_inode_operation_recycled_total",
            "node_xfs_inode_operation_missed_total",
            "node_xfs_inode_operation_duplicates_total",
            "node_xfs_inode_operation_reclaims_total",
            "node_xfs_inode_operation_attribute_changes_total",
        ],
    ),
    (b"rw", &["node_xfs_write_calls_total", "node_xfs_read_calls_total"]),
    (
        b"vnodes",
        &[
            "node_xfs_vnode_active_total",
            "node_xfs_vnode_allocate_total",
            "node_xfs_vnode_get_total",
            "node_xfs_vnode_hold_total",
            "node_xfs_vnode_release_total",
            "node_xfs_vnode_reclaim_total",
            "node_xfs_vnode_remove_total",
        ],
    ),
];

/// Reads `/sys/fs/xfs`.
#[derive(Default)]
pub(crate) struct Xfs {
    filesystem: Attributes,
}

impl Sensor for Xfs {
    fn name(&self) -> &'static str {
        "xfs"
    }

    fn source(&self) -> &'static str {
        "/sys/fs/xfs"
    }

    /// Sums over all cores; what a disk does each second is in `diskstats`.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(DIRECTORY) {
            Err(RootError::Missing) => return Ok(()), // A kernel without XFS.
            listed => listed.map_err(SensorError::at(DIRECTORY))?,
        };
        for name in names.iter().take(MAX_FILESYSTEMS) {
            self.filesystem.enter(&[DIRECTORY, "/", name]);
            // Beside the filesystems is the sum of all, in a file at another place.
            let Some(text) = self.filesystem.bytes(root, "stats/stats") else { continue };
            for (_, line) in lines(text) {
                let mut columns = fields(line);
                let group = columns.next().and_then(|key| LINES.iter().find(|(known, _)| *known == key));
                for (metric, column) in group.into_iter().flat_map(|(_, metrics)| *metrics).zip(columns) {
                    out.push(metric, &[("device", name)], COUNT, unsigned(column));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn filesystems_are_read_and_their_sum_is_not() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Xfs::default()).error, None, "a kernel without XFS");
        tree.sys("fs/xfs/stats/stats", "rw 9 9\n");
        tree.sys("fs/xfs/sda1/stats/stats", "extent_alloc 1 2 3 4\nrw 5 x\nvnodes 1\nnew 1 2\n");
        let seen = tree.read(&mut Xfs::default());
        assert_eq!((seen.error, seen.names().len()), (None, 4 + 2 + 1));
        assert_eq!(seen.value("node_xfs_extent_allocation_blocks_freed_total{device=\"sda1\"}"), Some(4.0));
        assert_eq!(seen.value("node_xfs_write_calls_total{device=\"sda1\"}"), Some(5.0));
        assert_eq!(seen.value("node_xfs_read_calls_total{device=\"sda1\"}"), None, "not a number");
    }
}

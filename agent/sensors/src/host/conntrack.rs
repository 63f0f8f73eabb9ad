//! Connections that the firewall keeps track of; node_exporter's collector `conntrack`.
//!
//! Format: the kernel's `Documentation/networking/nf_conntrack-sysctl.rst` for the two limits, and
//! `net/netfilter/nf_conntrack_standalone.c` for the statistics: a header, then a line a core of hexadecimal numbers.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, hexadecimal, lines, unsigned};
use dsmil_protocol::metric::Scale;

const GAUGE: Form = Form::gauge(Scale::ONE);
const COUNT: &str = "sys/net/netfilter/nf_conntrack_count";
const LIMIT: &str = "sys/net/netfilter/nf_conntrack_max";
const STATISTICS: &str = "net/stat/nf_conntrack";

/// A column by its name in the header, and the metric of its sum over all cores. They only grow, but each core's wraps at
/// 32 bits, so that the sum may fall: gauges, as in node_exporter.
const COLUMNS: [(&[u8], &str); 8] = [
    (b"found", "node_nf_conntrack_stat_found"),
    (b"invalid", "node_nf_conntrack_stat_invalid"),
    (b"ignore", "node_nf_conntrack_stat_ignore"),
    (b"insert", "node_nf_conntrack_stat_insert"),
    (b"insert_failed", "node_nf_conntrack_stat_insert_failed"),
    (b"drop", "node_nf_conntrack_stat_drop"),
    (b"early_drop", "node_nf_conntrack_stat_early_drop"),
    (b"search_restart", "node_nf_conntrack_stat_search_restart"),
];

/// Reads `/proc/sys/net/netfilter` and `/proc/net/stat/nf_conntrack`.
#[derive(Default)]
pub(crate) struct Conntrack {
    buffer: Vec<u8>,
}

impl Sensor for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn source(&self) -> &'static str {
        "/proc/sys/net/netfilter, /proc/net/stat/nf_conntrack"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for (file, name) in [(COUNT, "node_nf_conntrack_entries"), (LIMIT, "node_nf_conntrack_entries_limit")] {
            match root.proc(file, &mut self.buffer) {
                Err(RootError::Missing) => return Ok(()), // No firewall that keeps track.
                text => out.push(name, &[], GAUGE, unsigned(text.map_err(SensorError::at(file))?.trim_ascii())),
            }
        }
        let text = match root.proc(STATISTICS, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // A kernel without these statistics.
            text => text.map_err(SensorError::at(STATISTICS))?,
        };
        let mut all = lines(text);
        let (_, header) = all.next().ok_or(SensorError::Malformed { file: STATISTICS, line: 1 })?;
        let mut sums = [None; COLUMNS.len()];
        for (line, core) in all {
            if fields(core).count() < fields(header).count() {
                return Err(SensorError::Malformed { file: STATISTICS, line });
            }
            for (column, number) in fields(header).zip(fields(core)) {
                if let Some(at) = COLUMNS.iter().position(|(name, _)| *name == column) {
                    // The 32 bits of each of the kernel's 8,192 cores at most fit.
                    let number = hexadecimal(number).ok_or(SensorError::Malformed { file: STATISTICS, line })?;
                    sums[at] = Some(number.saturating_add(sums[at].unwrap_or(0)));
                }
            }
        }
        for ((_, name), sum) in COLUMNS.iter().zip(sums) {
            out.push(name, &[], GAUGE, sum);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn cores_are_summed_by_the_columns_names() {
        let tree = Tree::new();
        let seen = tree.read(&mut Conntrack::default());
        assert_eq!((seen.error, seen.names().len()), (None, 0), "no firewall is no trouble");
        tree.proc(COUNT, "17\n");
        tree.proc(LIMIT, "262144\n");
        assert_eq!(tree.read(&mut Conntrack::default()).names().len(), 2);
        tree.proc(
            STATISTICS,
            "entries  drop found another\n00000011  00000001 0000000a 1\n00000011  ffffffff 00000001 1\n",
        );
        let seen = tree.read(&mut Conntrack::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_nf_conntrack_entries"), Some(17.0));
        assert_eq!(seen.value("node_nf_conntrack_stat_found"), Some(11.0));
        assert_eq!(seen.value("node_nf_conntrack_stat_drop"), Some(4_294_967_296.0));
        assert_eq!(seen.value("node_nf_conntrack_stat_insert"), None, "not in this kernel's header");
    }

    #[test]
    fn a_cut_line_is_a_verdict_and_no_half_sum() {
        let tree = Tree::new();
        tree.proc(COUNT, "17\n");
        tree.proc(LIMIT, "262144\n");
        tree.proc(STATISTICS, "entries  drop found\n00000011  00000001 0000000a\n00000011  0000");
        let seen = tree.read(&mut Conntrack::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: STATISTICS, line: 3 }));
        assert!(!seen.has("node_nf_conntrack_stat_found"));
    }
}

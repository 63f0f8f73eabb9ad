//! `/proc/net/rpc/nfs`: what the host asked of NFS servers; node_exporter's collector `nfs`.
//!
//! Format: the kernel's `net/sunrpc/stats.c`: a line of a key and numbers each; in a line of procedures the first number says
//! how many follow. Their names are node_exporter's, in the kernel's order (`fs/nfs/nfs{2,3,4}xdr.c`); those of NFS 4.2 that
//! it has no name for are left out.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const FILE: &str = "net/rpc/nfs";
const COUNT: Form = Form::counter(Scale::ONE);

/// Procedures of NFS 2.
const PROCEDURES_2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink", "Read", "WrCache", "Write", "Create", "Remove",
    "Rename", "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];
/// Procedures of NFS 3.
const PROCEDURES_3: [&str; 22] = [
    "Null",
    "GetAttr",
    "SetAttr",
    "Lookup",
    "Access",
    "ReadLink",
    "Read",
    "Write",
    "Create",
    "MkDir",
    "SymLink",
    "MkNod",
    "Remove",
    "RmDir",
    "Rename",
    "Link",
    "ReadDir",
    "ReadDirPlus",
    "FsStat",
    "FsInfo",
    "PathConf",
    "Commit",
];
/// Procedures of NFS 4.
const PROCEDURES_4: [&str; 59] = [
    "Null",
    "Read",
    "Write",
    "Commit",
    "Open",
    "OpenConfirm",
    "OpenNoattr",
    "OpenDowngrade",
    "Close",
    "Setattr",
    "FsInfo",
    "Renew",
    "SetClientID",
    "SetClientIDConfirm",
    "Lock",
    "Lockt",
    "Locku",
    "Access",
    "Getattr",
    "Lookup",
    "LookupRoot",
    "Remove",
    "Rename",
    "Link",
    "Symlink",
    "Create",
    "Pathconf",
    "StatFs",
    "ReadLink",
    "ReadDir",
    "ServerCaps",
    "DelegReturn",
    "GetACL",
    "SetACL",
    "FsLocations",
    "ReleaseLockowner",
    "Secinfo",
    "FsidPresent",
    "ExchangeID",
    "CreateSession",
    "DestroySession",
    "Sequence",
    "GetLeaseTime",
    "ReclaimComplete",
    "LayoutGet",
    "GetDeviceInfo",
    "LayoutCommit",
    "LayoutReturn",
    "SecinfoNoName",
    "TestStateID",
    "FreeStateID",
    "GetDeviceList",
    "BindConnToSession",
    "DestroyClientID",
    "Seek",
    "Allocate",
    "DeAllocate",
    "LayoutStats",
    "Clone",
];

/// Reads `/proc/net/rpc/nfs`.
#[derive(Default)]
pub(crate) struct Nfs {
    buffer: Vec<u8>,
}

impl Sensor for Nfs {
    fn name(&self) -> &'static str {
        "nfs"
    }

    fn source(&self) -> &'static str {
        "/proc/net/rpc/nfs"
    }

    /// A hundred procedures, most of which nobody calls.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let text = match root.proc(FILE, &mut self.buffer) {
            Err(RootError::Missing) => return Ok(()), // No NFS.
            text => text.map_err(SensorError::at(FILE))?,
        };
        for (line, text) in lines(text) {
            let mut rest = fields(text);
            let key = rest.next().unwrap_or_default();
            let mut next = || rest.next().map(unsigned).ok_or(SensorError::Malformed { file: FILE, line });
            match key {
                b"net" => {
                    next()?; // The sum of the next two.
                    for protocol in ["udp", "tcp"] {
                        out.push("node_nfs_packets_total", &[("protocol", protocol)], COUNT, next()?);
                    }
                    out.push("node_nfs_connections_total", &[], COUNT, next()?);
                }
                b"rpc" => {
                    for metric in [
                        "node_nfs_rpcs_total",
                        "node_nfs_rpc_retransmissions_total",
                        "node_nfs_rpc_authentication_refreshes_total",
                    ] {
                        out.push(metric, &[], COUNT, next()?);
                    }
                }
                b"proc2" => push_procedures("2", &PROCEDURES_2, rest, out),
                b"proc3" => push_procedures("3", &PROCEDURES_3, rest, out),
                b"proc4" => push_procedures("4", &PROCEDURES_4, rest, out),
                _ => {} // Of a kernel to come.
            }
        }
        Ok(())
    }
}

/// Pushes the counts of procedures; an older kernel has fewer.
fn push_procedures<'a>(version: &str, names: &[&str], numbers: impl Iterator<Item = &'a [u8]>, out: &mut Reading) {
    for (name, count) in names.iter().zip(numbers.skip(1)) {
        out.push("node_nfs_requests_total", &[("proto", version), ("method", name)], COUNT, unsigned(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn calls_are_counted_by_version_and_procedure() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Nfs::default()).error, None, "no NFS is no trouble");
        tree.proc(FILE, "net 30 10 20 5\nrpc 7 8 9\nproc3 3 1 2 x\nproc4 69 4 5\nproc5 1 1\n");
        let seen = tree.read(&mut Nfs::default());
        assert_eq!((seen.error, seen.names().len()), (None, 3 + 3 + 3 + 2));
        assert_eq!(seen.value("node_nfs_packets_total{protocol=\"tcp\"}"), Some(20.0));
        assert_eq!(seen.value("node_nfs_connections_total"), Some(5.0));
        assert_eq!(seen.value("node_nfs_rpc_retransmissions_total"), Some(8.0));
        assert_eq!(seen.value("node_nfs_requests_total{proto=\"3\",method=\"GetAttr\"}"), Some(2.0));
        assert_eq!(seen.value("node_nfs_requests_total{proto=\"3\",method=\"SetAttr\"}"), None);
        assert_eq!(seen.value("node_nfs_requests_total{proto=\"4\",method=\"Read\"}"), Some(5.0));
        tree.proc(FILE, "net 30 10 20 5\nrpc 7");
        assert_eq!(tree.read(&mut Nfs::default()).error, Some(SensorError::Malformed { file: FILE, line: 2 }));
    }
}

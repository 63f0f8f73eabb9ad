//! `/proc/net/{sockstat,sockstat6}`: sockets by protocol; node_exporter's collector `sockstat`.
//!
//! `mem` is in pages; it is reported as it is and, times the page size, as `mem_bytes`.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{Name, fields, lines, signed};
use dsmil_protocol::metric::Scale;

const PREFIX: &str = "node_sockstat_";
/// Signed: the kernel's sums over cores may pass below zero for a moment.
const COUNT: Form = Form::signed_gauge(Scale::ONE);

/// Reads both files.
#[derive(Default)]
pub(crate) struct Sockstat {
    buffer: Vec<u8>,
    name: Name,
}

impl Sensor for Sockstat {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn source(&self) -> &'static str {
        "/proc/net/sockstat, sockstat6"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let pages = Form::signed_gauge(Scale::times(u32::try_from(rustix::param::page_size()).unwrap_or(4096)));
        for file in ["net/sockstat", "net/sockstat6"] {
            let text = match root.proc(file, &mut self.buffer) {
                Ok(text) => text,
                Err(RootError::Missing) => continue, // A kernel without that IP version.
                Err(error) => return Err(SensorError::at(file)(error)),
            };
            for (number, line) in lines(text) {
                let mut rest = fields(line);
                let protocol = rest.next().and_then(|first| first.strip_suffix(b":"));
                let protocol = protocol.ok_or(SensorError::Malformed { file, line: number })?;
                while let Some(key) = rest.next() {
                    let value = signed(rest.next().ok_or(SensorError::Malformed { file, line: number })?);
                    if !matches!(key, b"used" | b"inuse" | b"orphan" | b"tw" | b"alloc" | b"mem" | b"memory") {
                        continue;
                    }
                    out.push(self.name.of(PREFIX, &[protocol, b"_", key]), &[], COUNT, value);
                    if key == b"mem" {
                        out.push(self.name.of(PREFIX, &[protocol, b"_mem_bytes"]), &[], pages, value);
                    }
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
    fn sockets_and_their_memory() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Sockstat::default()).error, None, "a kernel without IP");
        tree.proc(
            "net/sockstat",
            "sockets: used 13\nTCP: inuse 1 orphan 0 tw 2 alloc 1 mem 102\nUDP: inuse 0 mem -1\n",
        );
        tree.proc("net/sockstat6", "FRAG6: inuse 0 memory 7 new 5\n");
        let seen = tree.read(&mut Sockstat::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_sockstat_sockets_used"), Some(13.0));
        assert_eq!(seen.value("node_sockstat_TCP_mem"), Some(102.0));
        let page = f64::from(u32::try_from(rustix::param::page_size()).expect("a page"));
        assert_eq!(seen.value("node_sockstat_TCP_mem_bytes"), Some(102.0 * page));
        assert_eq!(seen.value("node_sockstat_UDP_mem"), Some(-1.0));
        assert_eq!(seen.value("node_sockstat_FRAG6_memory"), Some(7.0));
        assert!(!seen.has("node_sockstat_FRAG6_new"));
        tree.proc("net/sockstat", "sockets: used\n");
        let seen = tree.read(&mut Sockstat::default());
        assert_eq!(seen.error, Some(SensorError::Malformed { file: "net/sockstat", line: 1 }));
    }
}

//! `/proc/net/{udp,udp6}`: bytes that wait in the queues of UDP sockets; node_exporter's collector `udp_queues`.
//!
//! Format: the kernel's `Documentation/networking/proc_net_tcp.rst`, whose columns those of UDP are: the fifth is
//! `tx_queue:rx_queue`, in hexadecimal.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{fields, hexadecimal, lines};
use dsmil_protocol::metric::Scale;

const FILES: [(&str, &str); 2] = [("net/udp", "v4"), ("net/udp6", "v6")];
/// The column with both queues, from 0.
const QUEUES: usize = 4;

/// Reads both files.
#[derive(Default)]
pub(crate) struct UdpQueues {
    buffer: Vec<u8>,
}

impl Sensor for UdpQueues {
    fn name(&self) -> &'static str {
        "udp_queues"
    }

    fn source(&self) -> &'static str {
        "/proc/net/udp, udp6"
    }

    /// The kernel walks its whole table of sockets for each file, 65,536 slots where there is much memory.
    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for (file, ip) in FILES {
            let text = match root.proc(file, &mut self.buffer) {
                Err(RootError::Missing) => continue, // A kernel without that IP version.
                text => text.map_err(SensorError::at(file))?,
            };
            let (mut sent, mut received) = (0u64, 0u64);
            for (line, text) in lines(text).skip(1) {
                let (tx, rx) = queues(text).ok_or(SensorError::Malformed { file, line })?;
                (sent, received) = (sent.saturating_add(tx), received.saturating_add(rx));
            }
            for (queue, bytes) in [("tx", sent), ("rx", received)] {
                out.push("node_udp_queues", &[("queue", queue), ("ip", ip)], Form::gauge(Scale::ONE), Some(bytes));
            }
        }
        Ok(())
    }
}

fn queues(line: &[u8]) -> Option<(u64, u64)> {
    let field = fields(line).nth(QUEUES)?;
    let colon = field.iter().position(|byte| *byte == b':')?;
    Some((hexadecimal(&field[..colon])?, hexadecimal(&field[colon + 1..])?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";

    #[test]
    fn queues_are_summed_by_ip_version() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut UdpQueues::default()).error, None, "a kernel without IP");
        let line = |queues: &str| {
            format!("  412: 00000000:006F 00000000:0000 07 {queues} 00:00000000 00000000     0        0 21001 2 0 0\n")
        };
        tree.proc("net/udp", &[HEAD, &line("00000001:0000000A"), &line("00000002:00000B00")].concat());
        tree.proc("net/udp6", HEAD);
        let seen = tree.read(&mut UdpQueues::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_udp_queues{queue=\"tx\",ip=\"v4\"}"), Some(3.0));
        assert_eq!(seen.value("node_udp_queues{queue=\"rx\",ip=\"v4\"}"), Some(2826.0));
        assert_eq!(seen.value("node_udp_queues{queue=\"rx\",ip=\"v6\"}"), Some(0.0), "no socket, no byte");
        tree.proc("net/udp6", &[HEAD, &line("0000000100000002")].concat());
        let malformed = Some(SensorError::Malformed { file: "net/udp6", line: 2 });
        assert_eq!(tree.read(&mut UdpQueues::default()).error, malformed);
    }
}

//! `/proc/net/{netstat,snmp,snmp6}`: what IP, ICMP, TCP and UDP count; node_exporter's collector `netstat` with its
//! default fields. It calls them untyped; here they are counters, but for the two that are not.
//!
//! Format: the kernel's `Documentation/networking/snmp_counter.rst` and RFC 1213, whose names they are.

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{Name, fields, lines, unsigned};
use dsmil_protocol::metric::Scale;

const PREFIX: &str = "node_netstat_";

/// Reads the three files.
#[derive(Default)]
pub(crate) struct Netstat {
    buffer: Vec<u8>,
    name: Name,
}

impl Sensor for Netstat {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn source(&self) -> &'static str {
        "/proc/net/netstat, snmp, snmp6"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        for file in ["net/snmp", "net/netstat"] {
            let text = root.proc(file, &mut self.buffer).map_err(SensorError::at(file))?;
            push_pairs(file, text, &mut self.name, out)?;
        }
        match root.proc("net/snmp6", &mut self.buffer) {
            Ok(text) => push_snmp6(text, &mut self.name, out),
            Err(RootError::Missing) => {} // A kernel without IPv6.
            Err(error) => return Err(SensorError::at("net/snmp6")(error)),
        }
        Ok(())
    }
}

/// Lines in pairs: `Tcp: ActiveOpens …` over `Tcp: 60 …`.
fn push_pairs(file: &'static str, text: &[u8], name: &mut Name, out: &mut Reading) -> Result<(), SensorError> {
    let mut all = lines(text);
    while let Some((_, heads)) = all.next() {
        let (number, values) = all.next().ok_or(SensorError::Malformed { file, line: 1 })?;
        let malformed = SensorError::Malformed { file, line: number };
        let (mut heads, mut values) = (fields(heads), fields(values));
        let protocol = heads.next().and_then(|first| first.strip_suffix(b":")).ok_or(malformed)?;
        if values.next().and_then(|first| first.strip_suffix(b":")) != Some(protocol) {
            return Err(malformed);
        }
        for head in heads {
            let value = values.next().ok_or(malformed)?;
            if is_default_field(protocol, head) {
                push(protocol, head, value, name, out);
            }
        }
    }
    Ok(())
}

/// Lines of a name and a number: `Ip6InOctets 128`; the protocol ends at the `6`.
fn push_snmp6(text: &[u8], name: &mut Name, out: &mut Reading) {
    for (_, line) in lines(text) {
        let mut rest = fields(line);
        let (Some(key), Some(value)) = (rest.next(), rest.next()) else { continue };
        let Some(six) = key.iter().position(|byte| *byte == b'6') else { continue };
        let (protocol, head) = key.split_at(six + 1);
        if is_default_field(protocol, head) {
            push(protocol, head, value, name, out);
        }
    }
}

fn push(protocol: &[u8], head: &[u8], value: &[u8], name: &mut Name, out: &mut Reading) {
    let form = match (protocol, head) {
        (b"Tcp", b"CurrEstab") | (b"Ip", b"Forwarding") => Form::gauge(Scale::ONE),
        _ => Form::counter(Scale::ONE),
    };
    out.push(name.of(PREFIX, &[protocol, b"_", head]), &[], form, unsigned(value));
}

/// `^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|
/// Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|
/// RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$`
fn is_default_field(protocol: &[u8], head: &[u8]) -> bool {
    if matches!(head, b"InErrors" | b"InErrs") {
        return true;
    }
    match protocol {
        b"Ip" => head == b"Forwarding",
        b"Ip6" | b"IpExt" => matches!(head, b"InOctets" | b"OutOctets"),
        b"Icmp" | b"Icmp6" => matches!(head, b"InMsgs" | b"OutMsgs"),
        b"TcpExt" => {
            head.starts_with(b"Listen")
                || head.starts_with(b"Syncookies")
                || matches!(head, b"TCPSynRetrans" | b"TCPTimeouts" | b"TCPOFOQueue" | b"TCPRcvQDrop")
        }
        b"Tcp" => matches!(
            head,
            b"ActiveOpens" | b"InSegs" | b"OutSegs" | b"OutRsts" | b"PassiveOpens" | b"RetransSegs" | b"CurrEstab"
        ),
        b"Udp" | b"Udp6" => {
            matches!(head, b"InDatagrams" | b"OutDatagrams" | b"NoPorts" | b"RcvbufErrors" | b"SndbufErrors")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;
    use dsmil_protocol::metric::Kind;

    #[test]
    fn pairs_of_lines_and_the_sixes_are_read() {
        let tree = Tree::new();
        tree.proc("net/snmp", "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: MaxConn CurrEstab InErrs\nTcp: -1 3 4\n");
        tree.proc("net/netstat", "TcpExt: SyncookiesSent TCPTimeouts TW\nTcpExt: 5 6 7\n");
        let without_six = tree.read(&mut Netstat::default());
        assert_eq!(without_six.error, None);
        tree.proc("net/snmp6", "Ip6InOctets                     \t128\nIcmp6InMsgs 1\nUdpLite6InErrors 2\nodd\n");
        let seen = tree.read(&mut Netstat::default());
        assert_eq!(seen.value("node_netstat_Tcp_CurrEstab"), Some(3.0));
        assert_eq!(seen.kind("node_netstat_Tcp_CurrEstab"), Some(Kind::Gauge));
        assert_eq!(seen.value("node_netstat_TcpExt_TCPTimeouts"), Some(6.0));
        assert_eq!(seen.kind("node_netstat_TcpExt_TCPTimeouts"), Some(Kind::Counter));
        assert_eq!(seen.value("node_netstat_Ip6_InOctets"), Some(128.0));
        assert_eq!(seen.value("node_netstat_UdpLite6_InErrors"), Some(2.0));
        assert_eq!(seen.names().len(), 8);
    }

    #[test]
    fn lines_that_do_not_pair_are_a_verdict() {
        let tree = Tree::new();
        tree.proc("net/netstat", "");
        for (bad, line) in [("Tcp: A InErrs\nTcp: 1\n", 2), ("Tcp: A\nUdp: 1\n", 2), ("Tcp\nTcp\n", 2), ("Tcp: A\n", 1)]
        {
            tree.proc("net/snmp", bad);
            let seen = tree.read(&mut Netstat::default());
            assert_eq!(seen.error, Some(SensorError::Malformed { file: "net/snmp", line }), "{bad:?}");
        }
    }
}

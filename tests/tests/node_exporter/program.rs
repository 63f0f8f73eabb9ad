//! Debian's node_exporter, with the default filters of its release 1.9, whatever the package's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// Says where the program is; `cargo xtask test` unpacks it and sets this.
const PROGRAM: &str = "DSMIL_NODE_EXPORTER";
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// A collector that is off by default, and that the agent has.
const MORE: &str = "--collector.processes";
/// The defaults of release 1.9, of which some sensors' filters are; Debian's package has others.
const FILTERS: [&str; 4] = [
    "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
    r"--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    "--collector.netdev.device-exclude=^$",
    "--collector.netstat.fields=^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$",
];

/// Where it is; without it, a word and no test.
pub(super) fn path() -> Option<PathBuf> {
    let path = std::env::var_os(PROGRAM).map(PathBuf::from);
    if path.is_none() {
        eprintln!("not run: {PROGRAM} does not say where node_exporter is; `cargo xtask test` does");
    }
    path
}

/// It runs until this is dropped.
pub(super) struct NodeExporter {
    child: Child,
    address: SocketAddr,
    /// Kept open: it would die of a closed pipe. The few lines that it still writes have room in it.
    _log: BufReader<ChildStderr>,
}

impl NodeExporter {
    /// Starts it on this host, or on a captured one.
    pub(super) fn start(program: &Path, tree: Option<&Path>) -> Self {
        let mut command = Command::new(program);
        command.args(["--web.listen-address=127.0.0.1:0", MORE]).args(FILTERS);
        if let Some(tree) = tree {
            for (option, folder) in [("procfs", "proc"), ("sysfs", "sys"), ("rootfs", "")] {
                command.arg(format!("--path.{option}={}", tree.join(folder).display()));
            }
            // By netlink it would be told of this host's interfaces.
            command.args(["--path.udev.data=/nonexistent", "--no-collector.netdev.netlink"]);
        }
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("node_exporter starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let address = listening(&mut log);
        Self { child, address, _log: log }
    }

    /// What it says now, in Prometheus's text format.
    pub(super) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a time-out");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        body.to_owned()
    }
}

/// Where it says that it listens: `msg="Listening on" address=127.0.0.1:40123`.
fn listening(log: &mut impl BufRead) -> SocketAddr {
    let mut seen = String::new();
    while log.read_line(&mut seen).expect("its log") > 0 {
        let line = seen.lines().last().unwrap_or_default();
        if let Some((_, address)) = line.split_once("\"Listening on\" address=") {
            return address.trim().parse().expect("an address");
        }
    }
    panic!("node_exporter ended:\n{seen}")
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        // It may have ended by itself, and the test failed of that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Two machines on one cable, as far as the kernel can tell: two network namespaces, and between them our own hands.
//!
//! Each namespace has one end of a virtual Ethernet cable. On the other end sits a macvtap device, which hands out every
//! frame that arrives and sends every frame that is written to it; `delay` carries them over. So what is delayed are packets,
//! of TCP and of QUIC alike, and the kernel's own congestion control sees the round trip as on any network. The devices need
//! no ioctl, and so no unsafe code.

use super::delay::{self, Carried, Delay};
use anyhow::{Context, bail, ensure};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use rustix::fs::OFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Addresses for benchmarks of networks (RFC 2544), and of devices that somebody has named himself. Each machine is told
/// the other's: the question on the cable would reach this machine as well, and if it had that address it would answer.
const ENDS: [(Ipv4Addr, &str); 2] =
    [(Ipv4Addr::new(198, 18, 0, 1), "02:00:00:00:00:01"), (Ipv4Addr::new(198, 18, 0, 2), "02:00:00:00:00:02")];
/// Where `ip netns` keeps what it has made.
const NAMESPACES: &str = "/run/netns";
/// Names begin so; the process that made them follows, at most seven digits, and two letters: an interface's has 15 bytes.
const PREFIX: &str = "dsmilw";
/// Frames that may wait for us: a megabyte of TCP in full frames many times over.
const QUEUE_LEN: &str = "20000";

/// Where an end of a connection is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On this machine as it is.
    Loopback,
    /// In a namespace, under this address.
    Namespace { path: PathBuf, address: Ipv4Addr },
}

impl Place {
    /// Takes this thread there; its sockets are there from now on. There is no way back.
    pub(super) fn enter(&self) -> anyhow::Result<()> {
        let Self::Namespace { path, .. } = self else { return Ok(()) };
        let namespace = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .context("the thread cannot be moved into a network namespace")
    }

    /// The address to listen on.
    pub(super) fn address(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Namespace { address, .. } => (*address).into(),
        }
    }
}

/// The cable. Dropped, both machines are gone.
#[derive(Debug)]
pub(super) struct Wire {
    names: [String; 2],
    delay: Delay,
}

impl Wire {
    /// Lays it, where that is allowed: root may, unless a container keeps it from doing so.
    pub(super) fn lay(clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "only root may make network namespaces");
        sweep();
        let name = |end: &str| format!("{PREFIX}{}{end}", std::process::id());
        let wire = Self { names: [name("a"), name("b")], delay: Delay::default() };
        let taps = [wire.machine(0)?, wire.machine(1)?];
        let (delay, clock, stop) = (wire.delay.clone(), clock.clone(), supervisor.stop());
        supervisor.thread("bench-wire", OnFailure::Note, move || delay::carry(&taps, &delay, &clock, &stop));
        Ok(wire)
    }

    /// One machine: its namespace, its cable, and the device at the cable's other end.
    fn machine(&self, end: usize) -> anyhow::Result<File> {
        let (name, (address, device), (other, others)) = (self.names[end].as_str(), ENDS[end], ENDS[1 - end]);
        let tap = format!("{name}t");
        ip(&["netns", "add", name])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["link", "add", "link", name, "name", &tap, "type", "macvtap", "mode", "passthru"])?;
        ip(&["link", "set", &tap, "txqueuelen", QUEUE_LEN])?;
        for device in [name, &tap] {
            ip(&["link", "set", device, "up"])?;
        }
        let there = |args: &[&str]| ip(&[&["-netns", name], args].concat());
        there(&["link", "set", "eth0", "address", device])?;
        there(&["address", "add", &format!("{address}/30"), "dev", "eth0"])?;
        there(&["link", "set", "eth0", "up"])?;
        there(&["neighbour", "add", &other.to_string(), "lladdr", others, "dev", "eth0", "nud", "permanent"])?;
        let index = format!("/sys/class/net/{tap}/ifindex");
        let index = std::fs::read_to_string(&index).with_context(|| format!("{index} cannot be read"))?;
        let device = format!("/dev/tap{}", index.trim());
        let flags = i32::try_from(OFlags::NONBLOCK.bits())?;
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&device);
        opened.with_context(|| format!("{device} cannot be opened"))
    }

    /// Both machines.
    pub(super) fn places(&self) -> [Place; 2] {
        let place = |name: &String, address| Place::Namespace { path: Path::new(NAMESPACES).join(name), address };
        [place(&self.names[0], ENDS[0].0), place(&self.names[1], ENDS[1].0)]
    }

    /// How long each frame is held from now on.
    pub(super) fn delay(&self) -> &Delay {
        &self.delay
    }

    /// What was carried since this was asked last.
    pub(super) fn carried(&self) -> Carried {
        self.delay.take_carried()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| remove(name));
    }
}

/// Removes what processes left behind that were killed.
fn sweep() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let owner = name[PREFIX.len()..].trim_end_matches(['a', 'b']);
        if !Path::new("/proc").join(owner).exists() {
            remove(name);
        }
    }
}

fn remove(name: &str) {
    // The namespace takes its end of the cable along, and that the other; at once only if ours is removed first.
    for (made, args) in [("/sys/class/net", ["link", "del", name]), (NAMESPACES, ["netns", "del", name])] {
        if Path::new(made).join(name).exists()
            && let Err(error) = ip(&args)
        {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().context("`ip` does not start: apt-get install iproute2")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

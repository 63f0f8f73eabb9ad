//! Where a pipeline runs: in a network namespace of its own, so that the counters of its interfaces count it alone.
//!
//! A namespace has a name only while it is furnished; after that a descriptor keeps it, so that nothing is left behind
//! however this program ends. Our thread enters a namespace for as long as it makes sockets or starts programs there.

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::process::Command;
use std::rc::Rc;

/// Where `ip netns` keeps namespaces that have a name.
const NAMED: &str = "/run/netns";
/// The namespace that the calling thread is in.
const CURRENT: &str = "/proc/thread-self/ns/net";
/// Counters of the interfaces of the calling thread's namespace (proc_pid_net(5)).
const COUNTERS: &str = "/proc/thread-self/net/dev";
/// The interface of traffic that stays within a place.
const LOOPBACK: &str = "lo";
/// Either end of the cable between two places.
const CABLE: &str = "cable";
/// Addresses for documentation (RFC 5737): no machine of anybody's has them.
const ENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];

/// A network. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// None: where everybody is.
    own: Option<Rc<Own>>,
    /// The address that programs in it listen on and are reached at by each other, or over the cable.
    pub(super) address: IpAddr,
}

#[derive(Debug)]
struct Own {
    namespace: File,
    home: File,
}

/// What makes places.
#[derive(Debug)]
pub(super) enum Places {
    /// Each is a network of its own.
    Own,
    /// There is one only, and its counters count everybody, for this reason.
    Shared(String),
}

impl Places {
    /// Whether places of their own can be made here is seen by making one.
    pub(super) fn new() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Shared("only root may make network namespaces".to_owned());
        }
        match Furnished::new("probe").and_then(|furnished| furnished.open()) {
            Ok(_) => Self::Own,
            Err(error) => Self::Shared(format!("no network namespace can be made here: {error:#}")),
        }
    }

    /// A place.
    pub(super) fn one(&self, name: &str) -> anyhow::Result<Place> {
        match self {
            Self::Shared(_) => Ok(Place { own: None, address: Ipv4Addr::LOCALHOST.into() }),
            Self::Own => Ok(Place { own: Some(Furnished::new(name)?.open()?), address: Ipv4Addr::LOCALHOST.into() }),
        }
    }

    /// A place, and another one behind a cable.
    pub(super) fn two(&self, name: &str) -> anyhow::Result<[Place; 2]> {
        if let Self::Shared(_) = self {
            return Ok([self.one(name)?, self.one(name)?]);
        }
        let [near, far] = [Furnished::new(&format!("{name}-a"))?, Furnished::new(&format!("{name}-b"))?];
        ip(&["-n", &near.0, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", &far.0])?;
        for (end, address) in [&near, &far].into_iter().zip(ENDS) {
            ip(&["-n", &end.0, "address", "add", &format!("{address}/30"), "dev", CABLE])?;
            ip(&["-n", &end.0, "link", "set", CABLE, "up"])?;
        }
        let near = Place { own: Some(near.open()?), address: Ipv4Addr::LOCALHOST.into() };
        Ok([near, Place { own: Some(far.open()?), address: ENDS[1].into() }])
    }
}

impl Place {
    /// Does something there: sockets made and programs started meanwhile belong to it.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(own) = &self.own else { return work() };
        enter(&own.namespace)?;
        let outcome = work();
        enter(&own.home)?;
        outcome
    }

    /// A TCP port that was free there a moment ago.
    pub(super) fn free_port(&self) -> anyhow::Result<u16> {
        self.within(|| Ok(TcpListener::bind((self.address, 0))?.local_addr()?.port()))
    }

    /// Bytes that its loopback interface has carried, with their IP headers; none where it is everybody's.
    pub(super) fn carried_within(&self) -> anyhow::Result<Option<u64>> {
        Ok(self.counters(LOOPBACK)?.map(|[received, _]| received))
    }

    /// Bytes that the cable has carried, both ways, with their Ethernet headers; none where there is no cable.
    pub(super) fn carried_over_cable(&self) -> anyhow::Result<Option<u64>> {
        Ok(self.counters(CABLE)?.map(|[received, sent]| received + sent))
    }

    /// Bytes received and sent.
    fn counters(&self, interface: &str) -> anyhow::Result<Option<[u64; 2]>> {
        if self.own.is_none() {
            return Ok(None);
        }
        let text =
            self.within(|| std::fs::read_to_string(COUNTERS).with_context(|| format!("cannot read {COUNTERS}")))?;
        Ok(counters(&text, interface))
    }
}

/// A namespace with a name and a loopback interface that works.
struct Furnished(String);

impl Furnished {
    fn new(name: &str) -> anyhow::Result<Self> {
        let name = format!("dsmil-bench-{}-{name}", std::process::id());
        ip(&["netns", "add", &name])?;
        let furnished = Self(name);
        ip(&["-n", &furnished.0, "link", "set", LOOPBACK, "up"])?;
        Ok(furnished)
    }

    /// The namespace, which from now on has no name.
    fn open(self) -> anyhow::Result<Rc<Own>> {
        let open = |path: &str| File::open(path).with_context(|| format!("cannot open {path}"));
        Ok(Rc::new(Own { namespace: open(&format!("{NAMED}/{}", self.0))?, home: open(CURRENT)? }))
    }
}

impl Drop for Furnished {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.0]) {
            eprintln!("left behind: {error:#}");
        }
    }
}

fn enter(namespace: &File) -> anyhow::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("a network namespace cannot be entered")
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().context("ip cannot be started; apt-get install iproute2")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), complaint.trim());
    Ok(())
}

/// The first and the ninth counter of an interface: bytes received and sent.
fn counters(text: &str, interface: &str) -> Option<[u64; 2]> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut numbers = line.split_whitespace().map(str::parse);
    let received = numbers.next()?.ok()?;
    Some([received, numbers.nth(7)?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_the_whole_name() {
        let text =
            "Inter-| Receive\n face |bytes\n  lo2: 9 1 0 0 0 0 0 0 9 1\n    lo:  42 7 0 0 0 0 0 0  43 8 0 0 0 0 0 0\n";
        assert_eq!((counters(text, "lo"), counters(text, "cable")), (Some([42, 43]), None));
    }

    #[test]
    fn what_goes_on_in_a_place_is_counted_there_alone() {
        let places = Places::new();
        if let Places::Shared(why) = &places {
            eprintln!("not run: {why}");
            return;
        }
        let [near, far] = places.two("test").expect("two places");
        let other = places.one("other").expect("a place");
        let port = far.within(|| Ok(TcpListener::bind((far.address, 0))?)).expect("a port over there");
        let address = port.local_addr().expect("an address");
        near.within(|| Ok(std::net::TcpStream::connect(address)?)).expect("a cable");
        let carried = near.carried_over_cable().expect("counters").expect("a cable");
        assert!(carried > 100, "a handshake has three packets: {carried}");
        assert_eq!(near.carried_within().expect("counters"), Some(0));
        assert_eq!(other.carried_within().expect("counters"), Some(0));
        assert!(other.within(|| Ok(std::net::TcpStream::connect(address)?)).is_err(), "nobody is there");
    }
}

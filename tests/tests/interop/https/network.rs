//! Another machine, as far as the kernel can tell: a network namespace behind a pair of virtual interfaces.

use std::net::Ipv4Addr;
use std::process::Command;

/// Why there is no such network here, in words for whoever reads the test's output.
#[derive(Debug)]
pub(super) struct NotHere(pub(super) String);

/// The network. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Network {
    name: String,
}

impl Network {
    /// Addresses for documentation (RFC 5737): no machine of anybody's has them.
    pub(super) const ITSELF: &'static str = "198.51.100.0/30";
    /// Our end.
    pub(super) const NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The other machine's.
    pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    /// Makes it, where that is allowed: root may, unless a container keeps it from doing so.
    pub(super) fn new() -> Result<Self, NotHere> {
        if !rustix::process::geteuid().is_root() {
            return Err(NotHere("only root may make a network namespace".to_owned()));
        }
        let name = format!("dsmil-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let network = Self { name };
        let name = network.name.as_str();
        ip(&["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        let ends: [(&[&str], _, _); 2] = [(&[], Self::NEAR, name), (&["-netns", name], Self::FAR, "eth0")];
        for (place, address, device) in ends {
            ip(&[place, &["address", "add", &format!("{address}/30"), "dev", device]].concat())?;
            ip(&[place, &["link", "set", device, "up"]].concat())?;
        }
        Ok(network)
    }

    /// What to put before a command that is to run over there.
    pub(super) fn over_there(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The namespace takes its end of the pair along, and that the other; at once only if ours is removed first.
        for args in [["link", "del", &self.name], ["netns", "del", &self.name]] {
            if let Err(NotHere(why)) = ip(&args) {
                eprintln!("left behind: {why}");
            }
        }
    }
}

fn ip(args: &[&str]) -> Result<(), NotHere> {
    let output = Command::new("ip").args(args).output().expect("`ip` starts; apt-get install iproute2");
    if output.status.success() {
        return Ok(());
    }
    Err(NotHere(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}

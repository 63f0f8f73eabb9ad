//! The clocks of a host and a centre.

use dsmil_protocol::ids::Tick;
use dsmil_protocol::session::Now;
use std::time::Duration;

/// Time passes on all of them together; the two wall clocks say anything.
pub(super) struct Clocks {
    mono: Duration,
    /// When the host booted, on `mono`.
    booted: Duration,
    pub(super) host_wall_ns: i64,
    pub(super) centre_wall_ns: i64,
}

impl Default for Clocks {
    fn default() -> Self {
        let wall_ns = 1_700_000_000_000_000_000;
        Self { mono: Duration::from_secs(10), booted: Duration::ZERO, host_wall_ns: wall_ns, centre_wall_ns: wall_ns }
    }
}

impl Clocks {
    pub(super) fn pass(&mut self, ms: u32) {
        self.mono += Duration::from_millis(ms.into());
        let ns = i64::from(ms) * 1_000_000;
        self.host_wall_ns = self.host_wall_ns.wrapping_add(ns);
        self.centre_wall_ns = self.centre_wall_ns.wrapping_add(ns);
    }

    pub(super) fn reboot(&mut self) {
        self.booted = self.mono;
        self.pass(5_000);
    }

    /// The tick that it is.
    pub(super) fn tick(&self) -> Tick {
        Tick((self.mono - self.booted).as_secs())
    }

    pub(super) fn at_host(&self) -> Now {
        let boot_ns = u64::try_from((self.mono - self.booted).as_nanos()).expect("years");
        Now { mono: self.mono, boot_ns, wall_ns: self.host_wall_ns }
    }

    pub(super) fn at_centre(&self) -> Now {
        let boot_ns = u64::try_from(self.mono.as_nanos()).expect("years");
        Now { mono: self.mono, boot_ns, wall_ns: self.centre_wall_ns }
    }
}

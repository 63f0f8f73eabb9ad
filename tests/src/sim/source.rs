//! Rows of a simulated host.

use super::catalogue;
use super::wave::{Noise, Wave};
use dsmil_agent::sampler::{Row, Source};
use dsmil_protocol::ids::{BootId, HostName, Tick};
use dsmil_protocol::metric::MetricSet;
use dsmil_runtime::clock::Clock;
use std::sync::Arc;

/// The metrics of all simulated hosts, once for all of them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    set: Arc<MetricSet>,
    waves: Arc<[Wave]>,
}

impl Layout {
    /// The layout that the catalogue describes.
    pub(super) fn new() -> Self {
        let (metrics, waves): (Vec<_>, Vec<_>) = catalogue::columns().into_iter().unzip();
        let set = MetricSet::new(metrics).expect("the catalogue is a valid set, as a test shows");
        Self { set: Arc::new(set), waves: waves.into() }
    }
}

/// The sensors of one simulated host.
#[derive(Clone, Debug)]
pub struct SimSource {
    layout: Layout,
    /// Of this host alone.
    seed: u64,
    clock: Clock,
}

impl SimSource {
    /// The sensors of `host` in a fleet of this seed.
    pub(super) fn new(layout: &Layout, seed: u64, host: &HostName, clock: Clock) -> Self {
        Self { layout: layout.clone(), seed: seed ^ fingerprint(host), clock }
    }

    /// The same, for who wants to know what that host samples.
    pub fn of(seed: u64, host: &HostName) -> Self {
        Self::new(&Layout::new(), seed, host, Clock::real())
    }

    /// What the host's metrics are.
    pub fn set(&self) -> &Arc<MetricSet> {
        &self.layout.set
    }

    /// What the host samples at `tick`, whoever asks and whenever.
    pub fn values(&self, tick: Tick) -> Vec<Option<u64>> {
        let noise = |column| Noise { seed: self.seed, column };
        (0..).zip(self.layout.waves.iter()).map(|(column, wave)| wave.value(noise(column), tick.0)).collect()
    }
}

impl Source for SimSource {
    async fn collect(&mut self, tick: Tick) -> Row {
        let set = Arc::clone(&self.layout.set);
        Row { tick, wall_ms: self.clock.wall_ms(), set, values: self.values(tick) }
    }
}

/// The boot id of a simulated host: another one for each host, and, as ticks count from this machine's boot, for each of
/// its boots; the same one when the simulator is started again.
pub(super) fn boot_of(kernel: BootId, host: &HostName) -> BootId {
    let half = |bytes: &[u8], salt: u64| fingerprint_of(bytes.iter().copied().chain(host.as_str().bytes()), salt);
    BootId((u128::from(half(&kernel.0, 1)) << 64 | u128::from(half(&kernel.0, 2))).to_be_bytes())
}

fn fingerprint(host: &HostName) -> u64 {
    fingerprint_of(host.as_str().bytes(), 0)
}

/// FNV-1a (RFC 9923), salted: names are to differ, nobody is to be kept from finding two that do not.
fn fingerprint_of(bytes: impl Iterator<Item = u8>, salt: u64) -> u64 {
    bytes.fold(0xCBF2_9CE4_8422_2325 ^ salt, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    #[test]
    fn what_a_host_samples_depends_on_seed_name_and_tick_alone() {
        let (a, b) = (SimSource::of(1, &name("sim-0001")), SimSource::of(1, &name("sim-0002")));
        assert_eq!(a.values(Tick(9)), SimSource::of(1, &name("sim-0001")).values(Tick(9)));
        assert_ne!(a.values(Tick(9)), a.values(Tick(10)));
        assert_ne!(a.values(Tick(9)), b.values(Tick(9)));
        assert_ne!(a.values(Tick(9)), SimSource::of(2, &name("sim-0001")).values(Tick(9)));
        assert_eq!(a.values(Tick(9)).len(), a.set().metrics().len());
        assert_eq!(a.set().id(), b.set().id(), "one set for the fleet");
    }

    #[test]
    fn a_boot_is_of_one_host_and_one_boot_of_this_machine() {
        let boot = |kernel, host| boot_of(BootId([kernel; 16]), &name(host));
        assert_eq!(boot(1, "a"), boot(1, "a"));
        assert_ne!(boot(1, "a"), boot(2, "a"));
        assert_ne!(boot(1, "a"), boot(1, "b"));
    }
}

//! Both ends of a handshake over loopback, and every way in which one is refused.

mod fleet;
mod https;
mod issued;
mod upstream;

use crate::issue::{FleetRoot, INIT_LEAF_LIFETIME};
use crate::spiffe::TrustDomain;
use crate::time::TimeSource;

/// Some second in 2025.
const NOW: i64 = 1_750_000_000;

fn at(unix_seconds: i64) -> TimeSource {
    TimeSource::new(move || unix_seconds)
}

fn domain(text: &str) -> TrustDomain {
    TrustDomain::new(text).expect("a trust domain")
}

/// A fleet as `init` makes it.
struct Fleet {
    root: FleetRoot,
    aggregator: crate::identity::Identity,
    agent: crate::identity::Identity,
}

fn fleet() -> Fleet {
    let root = FleetRoot::create(&domain("fleet.example"), NOW).expect("a root");
    let aggregator = root.issue_aggregator("main", NOW, INIT_LEAF_LIFETIME).expect("an aggregator's leaf");
    let agent = root.issue_agent("h1", NOW, INIT_LEAF_LIFETIME).expect("an agent's leaf");
    Fleet { root, aggregator, agent }
}

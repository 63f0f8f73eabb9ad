//! Identities without the join port, for tests and measurements of what lies behind it: leaves by the centre's own issuer,
//! keys in its own registry, as joining would leave them.

use anyhow::Context;
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::newest_issuer;
use dsmil_aggregator::run::{NO_BUNDLE, open_state};
use dsmil_crypto::csr::{self, CheckedCsr};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::issue::LEAF_LIFETIME;
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::time::Duration;

/// How long the state's thread gets to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Enrols hosts of a centre that `init` has made; it need not run.
pub async fn enrol(config: &Config, hosts: &[HostName], clock: &Clock) -> anyhow::Result<(Vec<Identity>, Trust)> {
    let supervisor = Supervisor::new(clock.clone());
    let state = open_state(config, &supervisor)?;
    let trust = Trust::own(&state.bundle().await?.context(NO_BUNDLE)?.bytes)?;
    let now_ms = clock.wall_ms();
    let issuer = newest_issuer(&config.identity.issuers, &trust, now_ms.div_euclid(1000))?;
    let mut identities = Vec::with_capacity(hosts.len());
    for host in hosts {
        let key = SigningKey::generate()?;
        let request = CheckedCsr::check(&csr::request(&key)?)?;
        let leaf = issuer.issue_agent(host.as_str(), &request, now_ms.div_euclid(1000), LEAF_LIFETIME)?;
        let identity = Identity::of_key(leaf.to_vec(), &key)?;
        let enrolled = key.fingerprint();
        state.enrol(host, enrolled, identity.validity().not_after, now_ms, "test").await?;
        identities.push(identity);
    }
    supervisor.drain(DRAIN_WITHIN).await;
    Ok((identities, trust))
}

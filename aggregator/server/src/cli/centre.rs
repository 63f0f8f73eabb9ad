//! What nearly every verb works with: the configuration and the state, opened and let go of.

use super::ConfigArgs;
use anyhow::Context;
use dsmil_aggregator::config::Config;
use dsmil_aggregator::fleet::Fleet;
use dsmil_aggregator::run::{NO_BUNDLE, open_state};
use dsmil_aggregator::trust::DRAFT_FILE;
use dsmil_crypto::trust::Trust;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::state::State;
use std::path::PathBuf;
use std::time::Duration;

/// How long the state's thread gets to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The centre, as far as the command line needs it.
pub(super) struct Centre {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) state: State,
    /// Who is asking, for the log.
    pub(super) by: String,
}

impl Centre {
    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// Seconds since 1970.
    pub(super) fn now_s(&self) -> i64 {
        self.clock.wall_ms().div_euclid(1000)
    }

    /// The fleet file.
    pub(super) fn fleet(&self) -> anyhow::Result<Fleet> {
        Ok(Fleet::load(&self.config.fleet)?)
    }

    /// The trust bundle in force.
    pub(super) async fn trust(&self) -> anyhow::Result<Trust> {
        let bundle = self.state.bundle().await?.context(NO_BUNDLE)?;
        Ok(Trust::own(&bundle.bytes)?)
    }

    /// Where the draft of the next trust bundle lies.
    pub(super) fn draft(&self) -> PathBuf {
        self.config.state.with_file_name(DRAFT_FILE)
    }
}

/// Opens what a configuration names, does one piece of work with it, and lets go of it.
pub(super) fn with_centre<T>(
    args: &ConfigArgs,
    work: impl AsyncFnOnce(&Centre) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let config = Config::load(&args.config)?;
    // Opening it would make it, and then `init` would take the empty one for the fleet's.
    anyhow::ensure!(config.state.exists(), "there is no {}; `dsmil-aggregator init` makes it", config.state.display());
    block_on(async |clock, supervisor| {
        let state = open_state(&config, supervisor)?;
        work(&Centre { config, clock: clock.clone(), state, by: invoker() }).await
    })
}

/// Runs one piece of async work and ends what it has started.
pub(super) fn block_on<T>(work: impl AsyncFnOnce(&Clock, &Supervisor) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::real();
        let supervisor = Supervisor::new(clock.clone());
        let outcome = work(&clock, &supervisor).await;
        supervisor.drain(DRAIN_WITHIN).await;
        outcome
    })
}

/// The user who typed the command: the one behind `sudo` where there is one. For the record; it proves nothing.
fn invoker() -> String {
    let named =
        ["SUDO_USER", "USER"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

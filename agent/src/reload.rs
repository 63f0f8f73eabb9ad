//! SIGHUP: agent.toml is read and checked again. What can change while the agent runs does; a bad one changes nothing.

use crate::addresses::Addresses;
use crate::config::AgentConfig;
use dsmil_runtime::config::{Key, Reload, on_hangup};
use dsmil_runtime::supervise::Supervisor;
use dsmil_runtime::{config_keys, log};
use std::error::Error;
use std::path::Path;

/// What was read anew, and who takes it.
#[derive(Debug)]
pub struct Anew {
    config: AgentConfig,
    addresses: Addresses,
}

/// Every key of agent.toml, and what SIGHUP does with it. Host, tenant, clearance and devices are said in a session's first
/// message and checked against the fleet file; the spool is measured out when it is opened.
pub static KEYS: &[Key<AgentConfig, Anew>] = config_keys!(AgentConfig, Anew:
    host;
    tenant;
    compartments;
    classification;
    aggregators => |anew| anew.addresses.set_aggregators(anew.config.aggregators.clone());
    join => |anew| anew.addresses.set_join(anew.config.join.clone());
    link;
    identity.file;
    identity.trust;
    devices;
    spool.path;
    spool.capacity_mib;
    spool.batch_ticks;
    socket;
    root.proc;
    root.sys;
    root.rootfs;
    probes.folder;
    probes.kinds;
    log => |anew| log::set_level(anew.config.log);
);

/// Reads `path` again at every SIGHUP, for an agent that was started with `config`.
///
/// # Errors
/// The signal cannot be received.
pub fn start(path: &Path, config: AgentConfig, addresses: Addresses, supervisor: &Supervisor) -> std::io::Result<()> {
    let (path, mut reload) = (path.to_owned(), Reload::new(KEYS, config));
    on_hangup(supervisor, move || match AgentConfig::load(&path) {
        Ok(config) => {
            tracing::info!("the configuration was read again");
            reload.take(config.clone(), &Anew { config, addresses: addresses.clone() });
        }
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::error!(%error, cause, "SIGHUP changed nothing; mend this, see that `dsmil-agent check` agrees, send it again");
        }
    })
}

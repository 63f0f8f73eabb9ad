//! Where the agent of this host has its things: as named, else as its configuration says, else as packages install it.

use dsmil_agent::config::{AgentConfig, DEFAULT_SOCKET, DEFAULT_SPOOL};
use std::path::PathBuf;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) spool: PathBuf,
}

impl Places {
    /// `socket` and `spool` as they were named, if they were. A configuration that this user may not read, or that is wrong,
    /// names nothing.
    pub(super) fn find(config: PathBuf, socket: Option<PathBuf>, spool: Option<PathBuf>) -> Self {
        let read = (socket.is_none() || spool.is_none()).then(|| AgentConfig::load(&config).ok()).flatten();
        let (said_socket, said_spool) = read.map(|read| (read.socket, read.spool.path)).unzip();
        Self {
            socket: socket.or(said_socket).unwrap_or_else(|| DEFAULT_SOCKET.into()),
            spool: spool.or(said_spool).unwrap_or_else(|| DEFAULT_SPOOL.into()),
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_counts_before_the_configuration_and_that_before_the_default() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("agent.toml");
        let nothing = Places::find(config.clone(), None, None);
        assert_eq!((nothing.socket, nothing.spool), (DEFAULT_SOCKET.into(), DEFAULT_SPOOL.into()));
        let text =
            "host = \"h\"\ntenant = \"t\"\naggregators = [\"a:1\"]\nsocket = \"/x/s\"\n[spool]\npath = \"/x/spool\"\n";
        std::fs::write(&config, text).expect("written");
        let said = Places::find(config.clone(), None, None);
        assert_eq!((said.socket, said.spool), ("/x/s".into(), "/x/spool".into()));
        let named = Places::find(config, Some("/y".into()), None);
        assert_eq!((named.socket, named.spool), ("/y".into(), "/x/spool".into()));
    }
}

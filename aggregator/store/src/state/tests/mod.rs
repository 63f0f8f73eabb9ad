//! The state through real files: what is kept, what is refused, and what two programs at one file make of it.

mod damage;
mod join;
mod log;
mod programs;
mod registry;
mod settings;

use super::{Join, NewToken, Renew, State};
use crate::testing::{host, tenant};
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::DeviceId;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Drained, Supervisor};
use rusqlite::Connection;
use std::path::PathBuf;
use std::time::Duration;

/// A moment, Unix milliseconds.
const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;
/// Until when a leaf is good that is issued [`NOW`], Unix seconds.
const LEAF_END: i64 = NOW / 1000 + 86_400;

/// A folder with a state in it.
struct Place(tempfile::TempDir);

/// An open state, as a program has it.
struct Program {
    state: State,
    supervisor: Supervisor,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.sqlite")
    }

    fn open(&self) -> Program {
        let supervisor = Supervisor::new(Clock::real());
        Program { state: State::open(&self.path(), tenant(), &supervisor).expect("opens"), supervisor }
    }

    /// The file as anybody with SQLite sees it.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).expect("opens")
    }
}

impl Program {
    async fn close(self) {
        assert_eq!(self.supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
    }
}

fn key_hash(n: u8) -> Fingerprint {
    Fingerprint([n; 48])
}

/// A token for host `n`, good for an hour.
fn token(n: u8) -> NewToken {
    NewToken {
        hash: [n; 48],
        host: host(n.into()),
        devices: vec![DeviceId(3), DeviceId(0x1234)],
        created_ms: NOW,
        expires_ms: NOW + HOUR,
        by: "ada".into(),
    }
}

/// Host `n` comes with its token and key `key`.
fn joining(n: u8, key: u8) -> Join {
    Join {
        token: [n; 48],
        host: host(n.into()),
        key: key_hash(key),
        leaf_not_after_s: LEAF_END,
        now_ms: NOW,
        from: "192.0.2.1:5000".into(),
    }
}

/// Host `n` renews with `key`.
fn renewing(n: u8, key: u8, next: u8) -> Renew {
    Renew {
        host: host(n.into()),
        key: key_hash(key),
        next: key_hash(next),
        leaf_not_after_s: LEAF_END + 60,
        max_offline_s: 90 * 86_400,
        now_ms: NOW + 60_000,
        from: "192.0.2.1:5000".into(),
    }
}

/// Enrols host `n` with a key of the same number.
async fn enrol(state: &State, n: u8) {
    assert!(state.enrol(&host(n.into()), key_hash(n), LEAF_END, NOW, "ada").await.expect("enrolled"));
}

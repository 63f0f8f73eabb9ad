//! A configuration read again while the daemon runs: what changed is applied, or named.
//!
//! One table says of every key what a reload does with it. The table is what the reload works through, and what the
//! reference page shows, so the two say the same.

use crate::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use tokio::signal::unix::{SignalKind, signal};

/// A key of the configuration `C`, and what is done when it changes while the daemon runs. `L` is what was read anew,
/// together with the parts of the daemon that take it.
#[derive(Debug)]
pub struct Key<C, L> {
    /// The whole key, as in `spool.path`.
    pub name: &'static str,
    /// Whether two configurations have the same value.
    pub is_same: fn(&C, &C) -> bool,
    /// Puts the new value in force; done at every reload, so it must be harmless where nothing changed. Without it the key
    /// counts from the next start on.
    pub apply: Option<fn(&L)>,
}

/// Makes the table of a configuration's keys: `spool.path;` counts at the next start, `log => |live| …;` is applied.
#[macro_export]
macro_rules! config_keys {
    ($config:ty, $live:ty: $($first:ident $(. $rest:ident)* $(=> $apply:expr)?;)*) => {
        &[$($crate::config::Key::<$config, $live> {
            name: concat!(stringify!($first) $(, ".", stringify!($rest))*),
            is_same: |one, other| one.$first$(.$rest)* == other.$first$(.$rest)*,
            apply: $crate::config_keys!(@ $($apply)?),
        }),*]
    };
    (@) => { None };
    (@ $apply:expr) => { Some($apply) };
}

/// What a running daemon was started with, and what it was told since.
#[derive(Debug)]
pub struct Reload<C: 'static, L: 'static> {
    keys: &'static [Key<C, L>],
    started: C,
    latest: C,
}

impl<C: Clone, L> Reload<C, L> {
    /// A daemon that has started with `config`.
    pub fn new(keys: &'static [Key<C, L>], config: C) -> Self {
        Self { keys, started: config.clone(), latest: config }
    }

    /// Applies what can be applied of a new configuration, and says in the log what changed. What can not is named each time,
    /// until the daemon is started with it.
    pub fn take(&mut self, new: C, live: &L) {
        for key in self.keys {
            match key.apply {
                Some(apply) => {
                    apply(live);
                    if !(key.is_same)(&self.latest, &new) {
                        tracing::info!("{} changed: applied", key.name);
                    }
                }
                None if !(key.is_same)(&self.started, &new) => {
                    tracing::warn!("{} changed: takes effect at the next start", key.name);
                }
                None => {}
            }
        }
        self.latest = new;
    }
}

/// Does `work` at every SIGHUP, until the program stops.
///
/// # Errors
/// The signal cannot be received.
pub fn on_hangup(supervisor: &Supervisor, mut work: impl FnMut() + Send + 'static) -> std::io::Result<()> {
    let (mut hangup, stop) = (signal(SignalKind::hangup())?, supervisor.stop());
    supervisor.spawn("reload", OnFailure::Note, async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => work(),
                () = stop.requested() => return Ok::<(), Infallible>(()),
            }
        }
    });
    Ok(())
}

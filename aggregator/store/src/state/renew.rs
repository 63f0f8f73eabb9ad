//! An enrolled host gets a leaf for a new key, by possession of the key it has.

use super::hosts::{HostRow, row_of};
use super::log::{self, EventKind, SecurityEvent};
use super::table;
use super::{State, StateError};
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::HostName;

/// A host that wants another leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renew {
    /// The host it says it is.
    pub host: HostName,
    /// The key of which it has shown possession.
    pub key: Fingerprint,
    /// The key that the new leaf is for.
    pub next: Fingerprint,
    /// Until when the new leaf is good, Unix seconds.
    pub leaf_not_after_s: i64,
    /// So many seconds after its last leaf expired a host may still renew.
    pub max_offline_s: i64,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
    /// The address it came from.
    pub from: String,
}

/// What became of a [`Renew`]. Only the first may be answered with a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewOutcome {
    /// Both keys are good until the host first speaks with the new one.
    Granted,
    /// No key of this host is enrolled: it has to join.
    NotEnrolled,
    /// The host is shut out.
    Revoked,
    /// The key is not this host's, or not any more.
    WrongKey,
    /// It was away for too long: it has to join again.
    TooOld,
}

impl State {
    /// Takes a host's next key, or says why not. Refusals are not logged here: whoever asks sums them up.
    pub async fn renew(&self, renew: Renew) -> Result<RenewOutcome, StateError> {
        self.write(move |tx, tenant| {
            let Some(mut row) = row_of(tx, tenant, &renew.host)? else { return Ok(RenewOutcome::NotEnrolled) };
            let outcome = judge(&renew, &row);
            if outcome != RenewOutcome::Granted {
                return Ok(outcome);
            }
            // Who renews with the pending key has it, and may have thrown the older one away.
            if row.next == Some(renew.key) {
                row.promote(renew.key, renew.now_ms);
            }
            row.next = (row.key != Some(renew.next)).then_some(renew.next);
            row.renewed_ms = Some(renew.now_ms);
            row.leaf_not_after_s = Some(renew.leaf_not_after_s);
            table::replace(tx, tenant, &row)?;
            let event = SecurityEvent {
                from: Some(renew.from),
                detail: format!("next key {}", renew.next),
                ..SecurityEvent::new(renew.now_ms, EventKind::Renewal, renew.host.as_str())
            };
            log::append(tx, tenant, &event)?;
            Ok(RenewOutcome::Granted)
        })
        .await
    }
}

fn judge(renew: &Renew, row: &HostRow) -> RenewOutcome {
    if row.revoked.is_some() {
        return RenewOutcome::Revoked;
    }
    let (Some(_), Some(not_after_s)) = (row.key, row.leaf_not_after_s) else { return RenewOutcome::NotEnrolled };
    if !row.knows(renew.key) {
        return RenewOutcome::WrongKey;
    }
    if renew.now_ms > not_after_s.saturating_add(renew.max_offline_s).saturating_mul(1000) {
        return RenewOutcome::TooOld;
    }
    RenewOutcome::Granted
}

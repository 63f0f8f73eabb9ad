//! A host comes in by a token: the token's one use, the enrolment and the log are one transaction.

use super::hosts::{HostRow, row_of};
use super::log::{self, EventKind, MAX_TEXT_LEN, SecurityEvent, clip};
use super::table;
use super::tokens::{TokenRow, TokenUse};
use super::{Fault, State, StateError};
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::{HostName, TenantId};
use rusqlite::Connection;
use std::time::Duration;

/// So long after its use a token answers the same key again: the first answer may have been lost on the way.
pub const REPEAT_WITHIN: Duration = Duration::from_secs(600);

/// A host that wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// SHA-384 of the secret it showed.
    pub token: [u8; 48],
    /// The host it says it is.
    pub host: HostName,
    /// Its key, of which it has shown possession.
    pub key: Fingerprint,
    /// Until when the leaf is good that it gets if it is let in, Unix seconds.
    pub leaf_not_after_s: i64,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
    /// The address it came from.
    pub from: String,
}

/// What became of a [`Join`]. Only the first two may be answered with a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// It is enrolled, and the token is used up. A key it had before is no good any more.
    Enrolled,
    /// It was enrolled with this token and this key a moment ago.
    Again,
    /// There is no such token.
    TokenUnknown,
    /// Somebody has used it.
    TokenUsed,
    /// Its time is over.
    TokenExpired,
    /// It was made for another host.
    TokenOfAnotherHost,
    /// The host is shut out.
    Revoked,
}

impl State {
    /// Lets a host in, or says why not. Refusals are not logged here: whoever asks sums them up.
    pub async fn join(&self, join: Join) -> Result<JoinOutcome, StateError> {
        self.write(move |tx, tenant| {
            let Some(mut token) = table::get::<TokenRow>(tx, tenant, join.token.to_vec().into())? else {
                return Ok(JoinOutcome::TokenUnknown);
            };
            let host = row_of(tx, tenant, &join.host)?;
            let outcome = judge(&join, &token, host.as_ref());
            match (outcome, host) {
                (JoinOutcome::Enrolled, _) => {
                    let from = clip(&join.from, MAX_TEXT_LEN);
                    token.used = Some(TokenUse { at_ms: join.now_ms, from, key: join.key });
                    table::replace(tx, tenant, &token)?;
                    let name = join.host.clone();
                    let row = HostRow::joined(name, join.key, join.leaf_not_after_s, join.now_ms);
                    table::replace(tx, tenant, &row)?;
                    note(tx, tenant, &join, "")?;
                }
                (JoinOutcome::Again, Some(row)) => {
                    let row = HostRow { leaf_not_after_s: Some(join.leaf_not_after_s), ..row };
                    table::replace(tx, tenant, &row)?;
                    note(tx, tenant, &join, ", answered again")?;
                }
                _ => {}
            }
            Ok(outcome)
        })
        .await
    }
}

/// What is to become of a join. Whose token it is comes first: who has another's learns nothing of this host.
fn judge(join: &Join, token: &TokenRow, host: Option<&HostRow>) -> JoinOutcome {
    if token.host != join.host {
        return JoinOutcome::TokenOfAnotherHost;
    }
    if host.is_some_and(|row| row.revoked.is_some()) {
        return JoinOutcome::Revoked;
    }
    match &token.used {
        Some(used) if is_repeat(join, used, host) => JoinOutcome::Again,
        Some(_) => JoinOutcome::TokenUsed,
        None if join.now_ms >= token.expires_ms => JoinOutcome::TokenExpired,
        None => JoinOutcome::Enrolled,
    }
}

/// Whether the host asks again for what it was given: nothing may have changed since.
fn is_repeat(join: &Join, used: &TokenUse, host: Option<&HostRow>) -> bool {
    let age_ms = join.now_ms.abs_diff(used.at_ms);
    let still = host.is_some_and(|row| row.key == Some(join.key) && row.next.is_none());
    used.key == join.key && still && u128::from(age_ms) <= REPEAT_WITHIN.as_millis()
}

fn note(db: &Connection, tenant: &TenantId, join: &Join, how: &str) -> Result<(), Fault> {
    let event = SecurityEvent {
        from: Some(join.from.clone()),
        detail: format!("key {}{how}", join.key),
        ..SecurityEvent::new(join.now_ms, EventKind::Join, join.host.as_str())
    };
    log::append(db, tenant, &event)
}

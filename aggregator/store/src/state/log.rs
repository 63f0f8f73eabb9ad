//! The security log: who was let in, shut out or refused, and who changed what is trusted. It only ever grows.
//!
//! Its order is that in which it was written, whatever the clock said. Times are what the writer's clock said.

use super::{Fault, State, StateError};
use dsmil_protocol::ids::TenantId;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, Value, ValueRef};
use rusqlite::{Connection, Row, params, params_from_iter};
use std::str::FromStr;

/// Bytes of a subject, an address, a reason or an author: some of them come from strangers, and each is kept for ever.
pub const MAX_TEXT_LEN: usize = 256;
/// Bytes of the words that go with an event.
pub const MAX_DETAIL_LEN: usize = 1024;
/// Events of one answer: 10,000 of the longest are 20 MB.
pub const MAX_LOG_ROWS: usize = 10_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A join token was made.
    TokenCreated,
    /// A join token was removed.
    TokenRemoved,
    /// A host was enrolled.
    Join,
    /// A host got a leaf for its next key.
    Renewal,
    /// A host was shut out.
    Revocation,
    /// A host that was shut out may join again.
    Reinstatement,
    /// A trust bundle was published, or an issuer or a root was made or retired.
    TrustChange,
    /// Peers were refused: so many in a minute, for one reason.
    Refusal,
}

/// A text that names no [`EventKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such kind of event; it is one of token-created, token-removed, join, renewal, revocation, reinstatement, \
     trust-change, refusal"
)]
pub struct UnknownKind;

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::TokenCreated,
        Self::TokenRemoved,
        Self::Join,
        Self::Renewal,
        Self::Revocation,
        Self::Reinstatement,
        Self::TrustChange,
        Self::Refusal,
    ];

    /// Its name, as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenCreated => "token-created",
            Self::TokenRemoved => "token-removed",
            Self::Join => "join",
            Self::Renewal => "renewal",
            Self::Revocation => "revocation",
            Self::Reinstatement => "reinstatement",
            Self::TrustChange => "trust-change",
            Self::Refusal => "refusal",
        }
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

impl FromSql for EventKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What happened.
    pub kind: EventKind,
    /// To whom or to what: a host's name, `bundle 7`.
    pub subject: String,
    /// The address it came from.
    pub from: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How often; more than once only where events are summed.
    pub count: u64,
    /// More, in words.
    pub detail: String,
}

impl SecurityEvent {
    /// Something that happened once, without more to say.
    pub fn new(at_ms: i64, kind: EventKind, subject: &str) -> Self {
        let (subject, detail) = (subject.into(), String::new());
        Self { at_ms, kind, subject, from: None, reason: None, count: 1, detail }
    }
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only those from this moment on, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Only those of a kind.
    pub kind: Option<EventKind>,
    /// Only those about a subject.
    pub subject: Option<String>,
    /// At most so many, the newest of them; never more than [`MAX_LOG_ROWS`].
    pub limit: usize,
}

impl State {
    /// Writes events, all or none. Texts over their limits are cut off, control characters in them replaced.
    pub async fn log(&self, events: Vec<SecurityEvent>) -> Result<(), StateError> {
        self.write(move |tx, tenant| events.iter().try_for_each(|event| append(tx, tenant, event))).await
    }

    /// The newest events that match, each with its number, in the order in which they were written.
    pub async fn security_log(&self, query: LogQuery) -> Result<Vec<(i64, SecurityEvent)>, StateError> {
        self.read(move |db, tenant| select(db, tenant, query)).await
    }
}

/// Writes an event, as part of the transaction that makes it true.
pub(super) fn append(db: &Connection, tenant: &TenantId, event: &SecurityEvent) -> Result<(), Fault> {
    db.prepare_cached(
        "INSERT INTO security_log(tenant, at_ms, kind, subject, source, reason, count, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        tenant.as_str(),
        event.at_ms,
        event.kind.as_str(),
        clip(&event.subject, MAX_TEXT_LEN),
        event.from.as_ref().map(|from| clip(from, MAX_TEXT_LEN)),
        event.reason.as_ref().map(|reason| clip(reason, MAX_TEXT_LEN)),
        i64::try_from(event.count).unwrap_or(i64::MAX),
        clip(&event.detail, MAX_DETAIL_LEN),
    ])?;
    Ok(())
}

fn select(db: &Connection, tenant: &TenantId, query: LogQuery) -> Result<Vec<(i64, SecurityEvent)>, Fault> {
    let conditions: [(&str, Option<Value>); 4] = [
        ("tenant = ?", Some(tenant.as_str().to_string().into())),
        ("at_ms >= ?", query.since_ms.map(Value::from)),
        ("kind = ?", query.kind.map(|kind| kind.as_str().to_string().into())),
        ("subject = ?", query.subject.map(Value::from)),
    ];
    let asked: Vec<_> = conditions.into_iter().filter_map(|(sql, value)| Some((sql, value?))).collect();
    let filter = asked.iter().map(|(sql, _)| *sql).collect::<Vec<_>>().join(" AND ");
    let limit = query.limit.min(MAX_LOG_ROWS);
    let sql = format!(
        "SELECT id, at_ms, kind, subject, source, reason, count, detail FROM security_log
         WHERE {filter} ORDER BY id DESC LIMIT {limit}"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(asked.into_iter().map(|(_, value)| value)), event_at)?;
    let mut newest_first = rows.collect::<Result<Vec<_>, _>>()?;
    newest_first.reverse();
    Ok(newest_first)
}

fn event_at(row: &Row<'_>) -> rusqlite::Result<(i64, SecurityEvent)> {
    let event = SecurityEvent {
        at_ms: row.get(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        from: row.get(4)?,
        reason: row.get(5)?,
        count: row.get(6)?,
        detail: row.get(7)?,
    };
    Ok((row.get(0)?, event))
}

/// At most `max` bytes of a text, without what would steer the terminal it is shown on.
pub(super) fn clip(text: &str, max: usize) -> String {
    let mut clipped = String::new();
    for c in text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }) {
        if clipped.len() + c.len_utf8() > max {
            break;
        }
        clipped.push(c);
    }
    clipped
}

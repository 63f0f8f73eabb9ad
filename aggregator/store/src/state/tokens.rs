//! Join tokens: each lets one host in, once, until it expires. Only their hashes are kept.

use super::log::{self, EventKind, MAX_TEXT_LEN, SecurityEvent, clip};
use super::table::{self, Listed, Record};
use super::{State, StateError};
use crate::batch_table::name_at;
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::{DeviceId, HostName};
use rusqlite::types::Value;
use rusqlite::{Row, params};
use std::time::Duration;

/// Devices of one token: the shipped layout has 104, and a host carries some of them.
pub const MAX_TOKEN_DEVICES: usize = 1024;

/// So long after a token was used or expired it is still listed; the security log names it for ever.
pub const SPENT_TOKENS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A token to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// SHA-384 of its secret.
    pub hash: [u8; 48],
    /// The one host that may use it.
    pub host: HostName,
    /// The devices that this host carries.
    pub devices: Vec<DeviceId>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// From when on it is no good, Unix milliseconds.
    pub expires_ms: i64,
    /// Who made it.
    pub by: String,
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// SHA-384 of its secret.
    pub hash: [u8; 48],
    /// The one host that may use it.
    pub host: HostName,
    /// The devices that this host carries.
    pub devices: Vec<DeviceId>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// From when on it is no good, Unix milliseconds.
    pub expires_ms: i64,
    /// Who made it.
    pub by: String,
    /// Its one use.
    pub used: Option<TokenUse>,
}

/// How a token was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The address it came from.
    pub from: String,
    /// The key that was enrolled.
    pub key: Fingerprint,
}

impl State {
    /// Keeps a new token. One whose hash is there already is refused by SQLite: a used token must not be made good again.
    pub async fn create_token(&self, token: NewToken) -> Result<(), StateError> {
        if token.devices.len() > MAX_TOKEN_DEVICES {
            return Err(StateError::TooLarge { what: "a token's number of devices", max: MAX_TOKEN_DEVICES as u64 });
        }
        let event = SecurityEvent {
            detail: format!(
                "by {}, good for {} s, token {}…",
                token.by,
                token.expires_ms.saturating_sub(token.created_ms).div_euclid(1000),
                &hex(&token.hash)[..16]
            ),
            ..SecurityEvent::new(token.created_ms, EventKind::TokenCreated, token.host.as_str())
        };
        let row = TokenRow {
            hash: token.hash,
            host: token.host,
            devices: token.devices,
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
            by: clip(&token.by, MAX_TEXT_LEN),
            used: None,
        };
        self.write(move |tx, tenant| {
            let kept_ms = i64::try_from(SPENT_TOKENS_KEPT.as_millis()).expect("a month");
            tx.prepare_cached("DELETE FROM token WHERE tenant = ?1 AND max(expires_ms, ifnull(used_ms, 0)) < ?2")?
                .execute(params![tenant.as_str(), row.created_ms.saturating_sub(kept_ms)])?;
            table::insert(tx, tenant, &row)?;
            log::append(tx, tenant, &event)
        })
        .await
    }

    /// Every token that is kept, by hash.
    pub async fn tokens(&self) -> Result<Listed<TokenRow>, StateError> {
        self.read(table::list).await
    }

    /// The token of a hash.
    pub async fn token(&self, hash: [u8; 48]) -> Result<Option<TokenRow>, StateError> {
        self.read(move |db, tenant| table::get(db, tenant, hash.to_vec().into())).await
    }

    /// Removes a token, damaged or not; says whether there was one.
    pub async fn remove_token(&self, hash: [u8; 48], by: &str, now_ms: i64) -> Result<bool, StateError> {
        let by = clip(by, MAX_TEXT_LEN);
        self.write(move |tx, tenant| {
            let host = table::if_sound(table::get::<TokenRow>(tx, tenant, hash.to_vec().into()))?.map(|row| row.host);
            if !table::remove::<TokenRow>(tx, tenant, hash.to_vec().into())? {
                return Ok(false);
            }
            let subject = host.as_ref().map_or("unknown", HostName::as_str);
            let event = SecurityEvent {
                detail: format!("by {by}, token {}…", &hex(&hash)[..16]),
                ..SecurityEvent::new(now_ms, EventKind::TokenRemoved, subject)
            };
            log::append(tx, tenant, &event)?;
            Ok(true)
        })
        .await
    }
}

impl Record for TokenRow {
    const TABLE: &'static str = "token";
    const COLUMNS: &'static [&'static str] =
        &["hash", "host", "devices", "created_ms", "expires_ms", "by", "used_ms", "used_from", "used_key"];

    fn values(&self) -> Vec<Value> {
        let used = self.used.as_ref();
        vec![
            self.hash.to_vec().into(),
            self.host.to_string().into(),
            self.devices.iter().flat_map(|device| device.0.to_be_bytes()).collect::<Vec<u8>>().into(),
            self.created_ms.into(),
            self.expires_ms.into(),
            self.by.clone().into(),
            used.map(|used| used.at_ms).into(),
            used.map(|used| used.from.clone()).into(),
            used.map(|used| used.key.0.to_vec()).into(),
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let devices: Vec<u8> = row.get(3)?;
        let used = match row.get::<_, Option<i64>>(7)? {
            None => None,
            Some(at_ms) => Some(TokenUse { at_ms, from: row.get(8)?, key: Fingerprint(row.get(9)?) }),
        };
        Ok(Self {
            hash: row.get(1)?,
            host: name_at(row, 2, HostName::new)?,
            devices: devices.chunks_exact(2).map(|two| DeviceId(u16::from_be_bytes([two[0], two[1]]))).collect(),
            created_ms: row.get(4)?,
            expires_ms: row.get(5)?,
            by: row.get(6)?,
            used,
        })
    }
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

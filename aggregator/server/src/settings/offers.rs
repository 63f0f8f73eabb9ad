//! Which settings go to which host: those of the state that an order key of the bundle in force has signed.

use dsmil_authority::{Target, choose};
use dsmil_crypto::settings::accept;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;
use dsmil_store::state::SettingsRow;
use std::sync::Arc;

/// Settings that may be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// For whom.
    pub target: Target,
    /// Their version.
    pub version: u64,
    /// As they were signed.
    pub bytes: Arc<[u8]>,
}

/// All settings that may be offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers(Vec<Offer>);

impl Offers {
    /// Of these rows, those that every host would take: the others are named in the log and offered to nobody.
    pub fn of(rows: &[SettingsRow], trust: &Trust) -> Self {
        let mut newest: Vec<&SettingsRow> = Vec::new();
        for row in rows {
            match newest.iter_mut().find(|other| other.target == row.target) {
                Some(other) if other.version < row.version => *other = row,
                Some(_) => {}
                None => newest.push(row),
            }
        }
        let mut offers = Vec::new();
        for row in newest {
            match accept(&row.bytes, trust, None, 0) {
                Ok(settings) if settings.version == row.version => {
                    let (target, bytes) = (settings.target, row.bytes.as_slice().into());
                    offers.push(Offer { target, version: row.version, bytes });
                }
                Ok(_) => tracing::error!(version = row.version, "settings say another version than their row"),
                Err(error) => {
                    tracing::error!(version = row.version, target = row.target, %error, "settings are offered to nobody");
                }
            }
        }
        Self(offers)
    }

    /// Those that count for a host of a group.
    pub fn of_host(&self, host: &HostName, group: Option<&str>) -> Option<&Offer> {
        choose(&self.0, |offer| (&offer.target, offer.version), host.as_str(), group)
    }
}

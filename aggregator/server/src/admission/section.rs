//! The section `[admission]` of aggregator.toml.

use serde::{Deserialize, Serialize};

/// How many strangers are dealt with at once, and how fast. The defaults suit a fleet of 1,000 hosts behind one address
/// that all come back at the same moment, on an aggregator with two cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionSection {
    /// Handshakes a second in all, and four times as many at once. One takes 1.4 ms of a core: the default is a third of
    /// a core, and its burst is a fleet of 1,000.
    pub handshakes_per_second: u32,
    /// Handshakes a second from one address (IPv6: one /64) that come to nothing. One that ends in a session is not
    /// counted, so a site behind one address comes back at any speed.
    pub address_handshakes_per_second: u32,
    /// The same, at once: how many hosts of one site may be in their handshakes at the same moment.
    pub address_handshakes_burst: u32,
    /// Peers that were let in and have not authenticated yet.
    pub half_open: u32,
    /// The same, from one address.
    pub half_open_per_address: u32,
    /// The same, from addresses that were not proven; also how many a second. Over this many a peer has to prove its
    /// address first, which takes it one round trip and us no memory. 0: always.
    pub half_open_unproven: u32,
    /// Connections in all: one for each host, and as many again that are dying beside their successors.
    pub connections: u32,
    /// Sessions that one host may open in a minute. One that comes back more often is told that we are busy.
    pub sessions_per_minute: u32,
}

impl Default for AdmissionSection {
    fn default() -> Self {
        Self {
            handshakes_per_second: 256,
            address_handshakes_per_second: 32,
            address_handshakes_burst: 256,
            half_open: 1_024,
            half_open_per_address: 256,
            half_open_unproven: 64,
            connections: 4_000,
            sessions_per_minute: 30,
        }
    }
}

/// Half-open peers that one can ask for: with less than 160 KB each they stay under 1.3 GB, and the table of addresses
/// (which must not be full of them) is twice as large.
pub(super) const MOST_HALF_OPEN: u32 = 8_192;

/// A rate over this is no limit: no machine makes so many handshakes.
const MOST_PER_SECOND: u32 = 100_000;

/// What `[admission]` may not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {}", self.key(), self.what())]
pub struct AdmissionError {
    key: &'static str,
    value: u32,
    least: u32,
    most: u32,
}

impl AdmissionError {
    /// The whole key.
    pub fn key(&self) -> String {
        format!("admission.{}", self.key)
    }

    /// What is wrong with its value, and what would be right.
    pub fn what(&self) -> String {
        let Self { value, least, most, .. } = self;
        format!("is {value}; set it to a number from {least} to {most}, or leave it out")
    }
}

impl AdmissionSection {
    /// Refuses numbers that keep everybody out, and numbers that are no limit.
    ///
    /// # Errors
    /// The first key that is out of its range.
    pub fn check(&self) -> Result<(), AdmissionError> {
        let keys = [
            ("handshakes_per_second", self.handshakes_per_second, 1, MOST_PER_SECOND),
            ("address_handshakes_per_second", self.address_handshakes_per_second, 1, MOST_PER_SECOND),
            ("address_handshakes_burst", self.address_handshakes_burst, 1, MOST_PER_SECOND),
            // Of fewer than four a quarter, which known addresses have for themselves, would be none.
            ("half_open", self.half_open, 4, MOST_HALF_OPEN),
            ("half_open_per_address", self.half_open_per_address, 1, MOST_HALF_OPEN),
            ("half_open_unproven", self.half_open_unproven, 0, MOST_HALF_OPEN),
            ("connections", self.connections, 4, 1_000_000),
            ("sessions_per_minute", self.sessions_per_minute, 1, 6_000),
        ];
        let wrong = keys.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        wrong.map_or(Ok(()), |(key, value, least, most)| Err(AdmissionError { key, value, least, most }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_none_and_one_that_lets_nobody_in_are_refused_by_name() {
        assert_eq!(AdmissionSection::default().check(), Ok(()));
        let read = |text: &str| toml::from_str::<AdmissionSection>(text).expect("numbers").check();
        let refused = |text: &str| read(text).expect_err("out of range").to_string();
        let said = refused("half_open = 1000000");
        assert_eq!(said, "admission.half_open is 1000000; set it to a number from 4 to 8192, or leave it out");
        assert!(refused("handshakes_per_second = 0").contains("handshakes_per_second is 0"));
        assert!(refused("sessions_per_minute = 4000000000").contains("sessions_per_minute"));
        assert_eq!(read("half_open_unproven = 0"), Ok(()), "every peer proves its address");
        assert!(toml::from_str::<AdmissionSection>("half_opn = 3").is_err());
    }
}

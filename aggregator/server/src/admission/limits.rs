//! Who is let in: pure, with time passed in. The page for the thought behind it is the module above.

use super::addresses::{Address, Addresses};
use super::bucket::{Bucket, Rate};
use super::network::Network;
use super::recent::Recent;
use super::section::{AdmissionSection, MOST_HALF_OPEN};
use dsmil_protocol::ids::HostName;
use std::net::IpAddr;
use std::time::Duration;

/// A handshake that takes longer than this is a peer that is not there, or one that holds a place on purpose.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The same while many are half-open: three round trips of a slow satellite link, and idle ones make room sooner.
const PRESSED_HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// From one half-open place in this many on, time is short.
const PRESSED_FROM: u32 = 4;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds' worth of handshakes that may come at once.
const BURST_SECONDS: u32 = 4;
/// The first handshakes of an address, and one in ten seconds later, are those of a modest one: an agent that connects.
/// A thousand flooders together have 100 such a second.
const MODEST: (u32, Duration, u32) = (1, Duration::from_secs(10), 2);
/// Peers a second that are answered with a Retry or a refusal; 10 to 20 µs each, so under a tenth of a core. More are
/// ignored: an honest one asks again after 150 ms (QUIC's probe time-out) by itself.
const ANSWERS_PER_SECOND: u32 = 4_096;

/// Addresses remembered: 4 MB. Half of them can be busy at most.
const ADDRESSES: usize = 2 * MOST_HALF_OPEN as usize;
/// Hosts remembered. Only somebody with a certificate of ours comes this far, and a fleet is much smaller. A forgotten
/// host may open its sessions of a minute again.
const IDENTITIES: usize = 16_384;

/// Whether a peer has shown that it is where it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No: the address may be forged.
    None,
    /// It has answered a Retry, or has a token that we once sent to its address (RFC 9000, section 8.1). The latter is
    /// no sign that it had authenticated: QUIC sends them before that.
    Given,
}

/// Which limit a peer has run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// All connections are taken.
    Connections,
    /// All half-open places for peers like this one are taken.
    HalfOpen,
    /// All half-open places of its address are taken.
    AddressHalfOpen,
    /// More handshakes a second in all than we make for peers like this one.
    Handshakes,
    /// More handshakes a second from its address.
    AddressHandshakes,
    /// More sessions a minute of its host.
    Sessions,
}

impl Limit {
    /// All of them, for counters that start at 0.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::HalfOpen,
        Self::AddressHalfOpen,
        Self::Handshakes,
        Self::AddressHandshakes,
        Self::Sessions,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::HalfOpen => "half_open",
            Self::AddressHalfOpen => "address_half_open",
            Self::Handshakes => "handshakes",
            Self::AddressHandshakes => "address_handshakes",
            Self::Sessions => "sessions",
        }
    }
}

/// How much of what all share a peer may use up, in quarters. So floods of one address and of many leave something to
/// those that behave like agents, and floods of very many to those that have been agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It asks often, or may not be where it says it is.
    Stranger,
    /// It asks as rarely as an agent does.
    Modest,
    /// Somebody at its address has authenticated.
    Known,
}

impl Standing {
    /// Its part of `all`.
    fn part(self, all: u32) -> u32 {
        match self {
            Self::Stranger => all / 4 * 2,
            Self::Modest => all / 4 * 3,
            Self::Known => all,
        }
    }
}

/// What is to be done with a peer that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Admit(Slot),
    ProveAddress,
    Refuse(Limit),
    Ignore,
}

/// A place among the admitted. Whoever has it owes the limits a [`Limits::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    network: Network,
    stage: Stage,
    /// How long its handshake may take.
    pub(super) within: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not authenticated, from an address that may be forged.
    Unproven,
    /// Not authenticated.
    HalfOpen,
    Authenticated,
}

/// Numbers of now and since the start, for metrics and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Admitted, and not authenticated yet.
    pub half_open: u32,
    /// Of these, at addresses that may be forged.
    pub unproven: u32,
    /// Authenticated.
    pub connected: u32,
    /// Addresses remembered.
    pub addresses: usize,
    /// Hosts remembered.
    pub identities: usize,
    /// How often each limit was run into, in the order of [`Limit::ALL`].
    pub limited: [u64; Limit::ALL.len()],
    /// How many were told to prove their address.
    pub proofs_asked: u64,
    /// How many were not answered.
    pub ignored: u64,
}

/// Why a peer is not admitted.
enum Shortage {
    Proof,
    Of(Limit),
}

/// Everything that is counted, and what it may come to.
#[derive(Debug)]
pub(super) struct Limits {
    section: AdmissionSection,
    rates: Rates,
    handshakes: Bucket,
    unproven_handshakes: Bucket,
    answers: Bucket,
    addresses: Addresses,
    identities: Recent<HostName, Bucket>,
    now: Occupancy,
}

#[derive(Debug)]
struct Rates {
    handshakes: Rate,
    unproven: Rate,
    address: Rate,
    modest: Rate,
    answers: Rate,
    sessions: Rate,
}

impl Rates {
    fn new(section: &AdmissionSection) -> Self {
        let per_second = |n: u32, burst: u32| Rate::new(n, SECOND, burst);
        let (all, unproven) = (section.handshakes_per_second, section.half_open_unproven);
        Self {
            handshakes: per_second(all, all.saturating_mul(BURST_SECONDS)),
            unproven: per_second(unproven, unproven),
            address: per_second(section.address_handshakes_per_second, section.address_handshakes_burst),
            modest: Rate::new(MODEST.0, MODEST.1, MODEST.2),
            answers: per_second(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND),
            sessions: Rate::new(section.sessions_per_minute, 60 * SECOND, section.sessions_per_minute),
        }
    }
}

impl Limits {
    /// Nobody is there yet.
    pub(super) fn new(section: AdmissionSection) -> Self {
        Self {
            rates: Rates::new(&section),
            section,
            handshakes: Bucket::default(),
            unproven_handshakes: Bucket::default(),
            answers: Bucket::default(),
            addresses: Addresses::new(ADDRESSES),
            identities: Recent::new(IDENTITIES),
            now: Occupancy::default(),
        }
    }

    /// Judges a peer that wants a handshake.
    pub(super) fn ask(&mut self, from: IpAddr, proof: Proof, now: Duration) -> Answer {
        let network = Network::of(from);
        let admitted = match proof {
            Proof::None => self.admit_unproven(network, now),
            Proof::Given => self.admit_proven(network, now).map_err(Shortage::Of),
        };
        match admitted {
            Ok(slot) => Answer::Admit(slot),
            Err(Shortage::Of(limit)) => {
                self.now.limited[limit as usize] += 1;
                self.answer(Answer::Refuse(limit), now)
            }
            Err(Shortage::Proof) => self.answer(Answer::ProveAddress, now),
        }
    }

    fn answer(&mut self, answer: Answer, now: Duration) -> Answer {
        if !self.answers.take(self.rates.answers, now) {
            self.now.ignored += 1;
            return Answer::Ignore;
        }
        if answer == Answer::ProveAddress {
            self.now.proofs_asked += 1;
        }
        answer
    }

    /// Nothing that happens here is held against the address, for somebody else may have forged it.
    fn admit_unproven(&mut self, network: Network, now: Duration) -> Result<Slot, Shortage> {
        if self.is_full() {
            return Err(Shortage::Of(Limit::Connections));
        }
        let has_place = self.now.unproven < self.section.half_open_unproven;
        let is_admitted = has_place
            && self.has_room(Standing::Stranger, now).is_ok()
            && self.unproven_handshakes.take(self.rates.unproven, now);
        if !is_admitted {
            return Err(Shortage::Proof);
        }
        self.now.unproven += 1;
        Ok(self.half_open(network, Stage::Unproven, now))
    }

    fn admit_proven(&mut self, network: Network, now: Duration) -> Result<Slot, Limit> {
        if self.is_full() {
            return Err(Limit::Connections);
        }
        let address = self.addresses.get(network);
        if address.half_open >= self.section.half_open_per_address {
            return Err(Limit::AddressHalfOpen);
        }
        if address.started.tokens(self.rates.address, now) == 0 {
            return Err(Limit::AddressHandshakes);
        }
        self.has_room(standing(&address, &self.rates, now), now)?;
        let rates = &self.rates;
        let is_written = self.addresses.update(network, |there| {
            there.modest.take(rates.modest, now);
            there.started.take(rates.address, now);
            there.half_open += 1;
        });
        if !is_written {
            return Err(Limit::HalfOpen);
        }
        Ok(self.half_open(network, Stage::HalfOpen, now))
    }

    fn is_full(&self) -> bool {
        self.now.half_open + self.now.connected >= self.section.connections
    }

    /// Whether there is a half-open place and a handshake for somebody of this standing.
    fn has_room(&self, standing: Standing, now: Duration) -> Result<(), Limit> {
        if self.now.half_open >= standing.part(self.section.half_open) {
            return Err(Limit::HalfOpen);
        }
        let rate = self.rates.handshakes;
        let left_to_others = rate.burst() - standing.part(rate.burst());
        if self.handshakes.tokens(rate, now) <= left_to_others {
            return Err(Limit::Handshakes);
        }
        Ok(())
    }

    fn half_open(&mut self, network: Network, stage: Stage, now: Duration) -> Slot {
        self.handshakes.take(self.rates.handshakes, now);
        let is_pressed = self.now.half_open >= self.section.half_open / PRESSED_FROM;
        self.now.half_open += 1;
        let within = if is_pressed { PRESSED_HANDSHAKE_WITHIN } else { HANDSHAKE_WITHIN };
        Slot { network, stage, within }
    }

    /// The peer has proven to be `host`. False if that host opens sessions too fast: it is to be told so and closed.
    pub(super) fn authenticated(&mut self, slot: &mut Slot, host: &HostName, now: Duration) -> bool {
        if slot.stage == Stage::Authenticated {
            return true;
        }
        let rates = &self.rates;
        let is_slow_enough = self.identities.touch(host, Bucket::default).take(rates.sessions, now);
        if is_slow_enough {
            let was_counted = slot.stage == Stage::HalfOpen;
            self.addresses.update(slot.network, |address| {
                address.known = true;
                if was_counted {
                    address.started.give_back(rates.address);
                    address.modest.give_back(rates.modest);
                }
            });
        } else {
            self.now.limited[Limit::Sessions as usize] += 1;
        }
        self.leave(slot);
        slot.stage = Stage::Authenticated;
        self.now.connected += 1;
        is_slow_enough
    }

    /// Somebody at this address authenticated once.
    pub(super) fn recall(&mut self, from: IpAddr) {
        self.addresses.update(Network::of(from), |address| address.known = true);
    }

    /// Gives the place back.
    pub(super) fn leave(&mut self, slot: &Slot) {
        match slot.stage {
            Stage::Unproven => {
                self.now.unproven -= 1;
                self.now.half_open -= 1;
            }
            Stage::HalfOpen => {
                self.now.half_open -= 1;
                self.addresses.update(slot.network, |address| address.half_open -= 1);
            }
            Stage::Authenticated => self.now.connected -= 1,
        }
    }

    /// How things stand.
    pub(super) fn occupancy(&self) -> Occupancy {
        Occupancy { addresses: self.addresses.len(), identities: self.identities.len(), ..self.now }
    }

    /// Half-open places that an address holds.
    #[cfg(test)]
    pub(super) fn half_open_of(&self, from: IpAddr) -> u32 {
        self.addresses.get(Network::of(from)).half_open
    }
}

fn standing(address: &Address, rates: &Rates, now: Duration) -> Standing {
    if address.known {
        Standing::Known
    } else if address.modest.tokens(rates.modest, now) > 0 {
        Standing::Modest
    } else {
        Standing::Stranger
    }
}

//! Units as `systemctl list-units` prints them, and what is told of each.
//!
//! Units come and go, those of a user with each login. A metric set that changes each time costs more than some columns without
//! values, so a unit that is gone keeps its own for [`KEPT`] readings: one that comes back has changed nothing.

use super::properties::Details;
use dsmil_protocol::metric::Scale;
use dsmil_sensors::{Form, Reading};
use std::collections::{BTreeMap, HashMap};

/// Units that are told, each with five series and more: a large server has 300. Of more, those that failed go first.
const MAX_UNITS: usize = 1000;
/// Services asked for their type in one reading, 0.2 ms of process 1 each. The rest has its turn at the next one.
const MAX_NEW: usize = 250;
/// Timers and sockets asked for their figures in one reading.
const MAX_WATCHED: usize = 250;
/// Readings for which a unit that is gone keeps its columns: ten minutes.
const KEPT: u32 = 20;
const COUNT: Form = Form::counter(Scale::ONE);
const GAUGE: Form = Form::gauge(Scale::ONE);

/// A unit's state, as far as node_exporter tells states apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Activating,
    Deactivating,
    Inactive,
    Failed,
}

impl State {
    pub(super) const ALL: [Self; 5] =
        [Self::Active, Self::Activating, Self::Deactivating, Self::Inactive, Self::Failed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }
}

/// What a unit is, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Service,
    Timer,
    Socket,
    /// A path or a swap: it has a state and no more.
    Plain,
    /// One of which nothing is told.
    Untold,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("service") => Self::Service,
            Some("timer") => Self::Timer,
            Some("socket") => Self::Socket,
            Some("automount" | "device" | "mount" | "scope" | "slice" | "target") | None => Self::Untold,
            Some(_) => Self::Plain,
        }
    }
}

/// A unit in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed<'a> {
    name: &'a str,
    kind: Kind,
    is_loaded: bool,
    /// None of a unit that is reloaded or cleaned up at this moment.
    pub(super) state: Option<State>,
}

/// The units of a list: `name load active sub description` a line. Old releases put a mark before one that failed.
pub(super) fn listed(list: &str) -> Vec<Listed<'_>> {
    let unit = |line| {
        let mut words = str::split_ascii_whitespace(line).skip_while(|word| !word.contains('.'));
        let (name, load, active) = (words.next()?, words.next()?, words.next()?);
        let state = State::ALL.into_iter().find(|state| state.name() == active);
        Some(Listed { name, kind: Kind::of(name), is_loaded: load == "loaded", state })
    };
    list.lines().filter_map(unit).collect()
}

/// Leaves those that are told. Whether some of them are too many and left out.
pub(super) fn keep_reported(units: &mut Vec<Listed<'_>>) -> bool {
    units.retain(|unit| unit.is_loaded && unit.kind != Kind::Untold);
    let is_cut = units.len() > MAX_UNITS;
    if is_cut {
        units.sort_by_key(|unit| (unit.state != Some(State::Failed), unit.name));
        units.truncate(MAX_UNITS);
    }
    is_cut
}

/// What is told, unit by unit.
#[derive(Debug, Default)]
pub(super) struct Units(BTreeMap<String, Unit>);

#[derive(Debug)]
struct Unit {
    kind: Kind,
    /// Of a service, once it is known.
    service_type: Option<String>,
    state: Option<State>,
    last_trigger_s: Option<u64>,
    accepted: Option<u64>,
    connections: Option<u64>,
    refused: Option<u64>,
    /// Readings since it was listed.
    gone_for: u32,
}

impl Units {
    /// Of which the properties are needed.
    pub(super) fn to_ask<'a>(&self, listed: &[Listed<'a>]) -> Vec<&'a str> {
        let is_watched = |unit: &&Listed<'_>| matches!(unit.kind, Kind::Timer | Kind::Socket);
        let is_new = |unit: &&Listed<'_>| {
            unit.kind == Kind::Service && self.0.get(unit.name).is_none_or(|known| known.service_type.is_none())
        };
        let watched = listed.iter().filter(is_watched).take(MAX_WATCHED);
        watched.chain(listed.iter().filter(is_new).take(MAX_NEW)).map(|unit| unit.name).collect()
    }

    /// What is so now.
    pub(super) fn take(&mut self, listed: &[Listed<'_>], details: &HashMap<&str, Details<'_>>) {
        for unit in self.0.values_mut() {
            unit.gone_for += 1;
        }
        for Listed { name, kind, state, .. } in listed {
            let known = self.0.remove(*name).and_then(|known| known.service_type);
            let details = details.get(name).copied().unwrap_or_default();
            let unit = Unit {
                kind: *kind,
                service_type: details.service_type.map(str::to_owned).or(known),
                state: *state,
                last_trigger_s: details.last_trigger_s,
                accepted: details.accepted,
                connections: details.connections,
                refused: details.refused,
                gone_for: 0,
            };
            self.0.insert((*name).to_owned(), unit);
        }
        let is_full = self.0.len() > MAX_UNITS;
        self.0.retain(|_, unit| unit.gone_for == 0 || !is_full && unit.gone_for <= KEPT);
    }

    /// Tells them, in the order of their names.
    pub(super) fn push(&self, out: &mut Reading) {
        for (name, unit) in &self.0 {
            unit.push(name, out);
        }
    }
}

impl Unit {
    fn push(&self, name: &str, out: &mut Reading) {
        let service_type = match (self.kind, &self.service_type) {
            (Kind::Service, None) => return, // It has its turn: its series would be others afterwards.
            (_, service_type) => service_type.as_deref().unwrap_or_default(),
        };
        // Nothing is known of one that is gone.
        let now = |value: u64| (self.gone_for == 0).then_some(value);
        for state in State::ALL {
            let labels = [("name", name), ("state", state.name()), ("type", service_type)];
            out.push("node_systemd_unit_state", &labels, GAUGE, now(u64::from(self.state == Some(state))));
        }
        let labels = [("name", name)];
        match self.kind {
            Kind::Timer => {
                let last = self.last_trigger_s.and_then(now);
                out.push("node_systemd_timer_last_trigger_seconds", &labels, GAUGE, last);
            }
            Kind::Socket => {
                let count = |value: Option<u64>| value.and_then(now);
                out.push("node_systemd_socket_accepted_connections_total", &labels, COUNT, count(self.accepted));
                out.push("node_systemd_socket_current_connections", &labels, GAUGE, count(self.connections));
                out.push("node_systemd_socket_refused_connections_total", &labels, COUNT, count(self.refused));
            }
            Kind::Service | Kind::Plain | Kind::Untold => {}
        }
    }
}

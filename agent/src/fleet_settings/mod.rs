//! The fleet's settings on this host: taken if an order key has signed them, on trial for a minute, and given up by themselves
//! for the last good ones if the host is not well with them.
//!
//! agent.toml comes first: settings lower its limits and never raise them, and name no addresses, identities or keys. So
//! whatever they say, the agent reaches its aggregator as before.

mod book;
#[cfg(test)]
mod tests;
mod trial;

pub use trial::{COMEBACK, TRIAL};

use crate::credentials::Credentials;
use crate::status::{LinkBoard, SettingsStatus};
use book::{Book, open};
use dsmil_authority::{FleetSettings, SENSORS, SettingsError, Values};
use dsmil_crypto::settings::accept;
use dsmil_protocol::health::{Health, RefusedSettings, SettingsFault};
use dsmil_protocol::ids::HostName;
use dsmil_protocol::message::MAX_TEXT_LEN;
use dsmil_runtime::clock::Clock;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use trial::{Facts, Trial, Verdict};

/// What the file is called; it lies beside the identity.
pub const FILE: &str = "fleet-settings";

/// The settings of one host. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct SettingsDesk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: HostName,
    credentials: Credentials,
    board: LinkBoard,
    clock: Clock,
    /// None: they live in memory only, for simulated hosts.
    path: Option<PathBuf>,
    values: watch::Sender<Arc<Values>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    book: Book,
    /// What the book holds, opened.
    good: Option<FleetSettings>,
    trial: Option<(Trial, FleetSettings)>,
    /// What came last and could not be believed.
    untrusted: Option<RefusedSettings>,
    /// Whether the spool took the last tick.
    is_taken: bool,
}

impl SettingsDesk {
    /// Reads what was kept. Settings that were on trial when the agent ended, and not on purpose, are refused.
    pub fn open(host: HostName, credentials: Credentials, board: LinkBoard, clock: Clock) -> Self {
        let path = credentials.folder().map(|folder| folder.join(FILE));
        let mut book = path.as_ref().map_or_else(Book::default, |path| {
            Book::load(path).unwrap_or_else(|error| {
                let path = path.display();
                tracing::error!(%path, %error, "kept settings cannot be read, agent.toml counts alone: push them again");
                Book::default()
            })
        });
        let ended = book.candidate.take().map(|candidate| open(&candidate).map_or(0, |settings| settings.version));
        if let Some(version) = ended {
            let fault = SettingsFault::AgentEnded;
            tracing::error!(
                version,
                remedy = fault.remedy(),
                "the agent ended while settings were on trial: the last good ones are in force"
            );
            book.refused = Some(refused(version, fault, "the agent ended during the trial"));
        }
        let good = book.good.as_deref().and_then(|bytes| open(bytes).ok());
        let values = good.as_ref().map(|good| good.values.clone()).unwrap_or_default();
        let values = watch::Sender::new(Arc::new(values));
        let state = State { book, good, trial: None, untrusted: None, is_taken: true };
        let desk = Self(Arc::new(Shared { host, credentials, board, clock, path, values, state: Mutex::new(state) }));
        if ended.is_some() {
            desk.note(&desk.state());
        }
        desk
    }

    /// What is to be now.
    pub fn values(&self) -> Arc<Values> {
        self.0.values.borrow().clone()
    }

    /// Tells when something else is to be.
    pub fn watch(&self) -> watch::Receiver<Arc<Values>> {
        self.0.values.subscribe()
    }

    /// Takes settings that came over the link, if they are for us: they are on trial from now on.
    pub fn take(&self, bytes: &[u8]) {
        let mut state = self.state();
        let on_trial = state.trial.as_ref().map_or(0, |(_, settings)| settings.version);
        let seen = state.book.seen().max(on_trial);
        let trust = self.0.credentials.current();
        match accept(bytes, trust.trust(), Some(self.0.host.as_str()), seen) {
            Ok(settings) => self.begin(&mut state, settings, bytes),
            // An aggregator that does not know yet what we have.
            Err(SettingsError::Older { .. }) => {}
            Err(error) => {
                tracing::error!(name = error.name(), %error, remedy = SettingsFault::Untrusted.remedy(),
                    "settings were refused; those in force stay");
                state.untrusted = Some(refused(0, SettingsFault::Untrusted, error.name()));
            }
        }
    }

    fn begin(&self, state: &mut State, settings: FleetSettings, bytes: &[u8]) {
        let version = settings.version;
        let book = Book { candidate: Some(bytes.to_vec()), ..state.book.clone() };
        // On disk first: who is killed by them must know.
        if let Err(error) = self.save(&book) {
            return self.refuse(state, version, SettingsFault::NotKept, &error.to_string());
        }
        let unknown = unknown_sensors(&settings.values);
        tracing::info!(version, target = %settings.target, ?unknown, "new settings are on trial");
        state.book = book;
        state.untrusted = None;
        self.0.values.send_replace(Arc::new(settings.values.clone()));
        state.trial = Some((Trial::begin(self.facts(state.is_taken)), settings));
    }

    /// A tick was sampled, and the spool has taken it or not.
    pub fn ticked(&self, is_taken: bool) {
        let mut state = self.state();
        state.is_taken = is_taken;
        let Some((trial, settings)) = &mut state.trial else { return };
        let version = settings.version;
        match trial.tick(self.facts(is_taken)) {
            None => {}
            Some(Verdict::Healthy) => self.promote(&mut state, version),
            Some(Verdict::Unhealthy(fault, what)) => self.refuse(&mut state, version, fault, &what),
        }
    }

    fn promote(&self, state: &mut State, version: u64) {
        let book = Book { good: state.book.candidate.clone(), candidate: None, refused: None };
        // Not noted, they would be taken for a crash's at the next start.
        if let Err(error) = self.save(&book) {
            return self.refuse(state, version, SettingsFault::NotKept, &error.to_string());
        }
        state.book = book;
        state.good = state.trial.take().map(|(_, settings)| settings);
        tracing::info!(version, "the host is well with the new settings: they are in force");
    }

    /// Back to the last good ones.
    fn refuse(&self, state: &mut State, version: u64, fault: SettingsFault, what: &str) {
        tracing::error!(
            version,
            fault = fault.name(),
            what,
            remedy = fault.remedy(),
            "settings were given up; the last good ones are in force again"
        );
        state.book.refused = Some(refused(version, fault, what));
        self.return_to_good(state);
    }

    fn return_to_good(&self, state: &mut State) {
        state.trial = None;
        state.book.candidate = None;
        let good = state.good.as_ref().map(|good| good.values.clone()).unwrap_or_default();
        self.0.values.send_replace(Arc::new(good));
        self.note(state);
    }

    /// The agent ends on purpose: a trial that is under way says nothing, and begins anew when the settings come again.
    pub fn stopping(&self) {
        let mut state = self.state();
        if state.trial.is_some() {
            self.return_to_good(&mut state);
        }
    }

    /// What the aggregator is told.
    pub fn health(&self) -> Health {
        let state = self.state();
        let on_trial = state.trial.as_ref().map(|(_, settings)| settings);
        let counting = on_trial.or(state.good.as_ref());
        Health {
            in_force: state.good.as_ref().map_or(0, |settings| settings.version),
            on_trial: on_trial.map_or(0, |settings| settings.version),
            refused: state.untrusted.clone().or_else(|| state.book.refused.clone()),
            unknown_sensors: counting.map(|settings| unknown_sensors(&settings.values)).unwrap_or_default(),
        }
    }

    /// What people on this host are told.
    pub fn status(&self) -> SettingsStatus {
        let (health, state) = (self.health(), self.state());
        let counting = state.trial.as_ref().map(|(_, settings)| settings).or(state.good.as_ref());
        let now = self.0.clock.mono();
        SettingsStatus::of(
            &health,
            counting.map(|settings| settings.target.to_string()),
            state.trial.as_ref().map(|(trial, _)| trial.left(now).as_secs()),
        )
    }

    fn facts(&self, is_taken: bool) -> Facts {
        let board = &self.0.board;
        let (is_linked, acknowledged) = (board.is_connected(), board.acknowledged_at());
        Facts { now: self.0.clock.mono(), is_taken, is_linked, acknowledged }
    }

    /// Writes down that settings are no good. If that cannot be, they are tried once more after a restart.
    fn note(&self, state: &State) {
        if let Err(error) = self.save(&state.book) {
            let remedy = SettingsFault::NotKept.remedy();
            tracing::error!(%error, remedy, "that settings were given up could not be noted");
        }
    }

    fn save(&self, book: &Book) -> std::io::Result<()> {
        self.0.path.as_ref().map_or(Ok(()), |path| book.save(path))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(version: u64, fault: SettingsFault, what: &str) -> RefusedSettings {
    let detail = what[..what.floor_char_boundary(MAX_TEXT_LEN)].to_owned();
    RefusedSettings { version, fault: fault.number(), detail }
}

/// Sensors that this agent does not have: those of a newer one.
fn unknown_sensors(values: &Values) -> Vec<String> {
    let names = values.sensors.iter().map(|(name, _)| name);
    names.filter(|name| !SENSORS.contains(&name.as_str())).cloned().collect()
}

//! One host's settings with real signatures, a real folder and a clock that is moved by hand.

use super::book::Book;
use super::{FILE, SettingsDesk, TRIAL};
use crate::credentials::{CredentialFiles, Credentials};
use crate::status::{LinkBoard, Negotiated};
use crate::test_fleet::{Fleet, NOW, clock, domain, host};
use dsmil_authority::{FleetSettings, SENSORS, SensorSetting, Target, Values};
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::settings::sign;
use dsmil_protocol::health::SettingsFault;
use dsmil_runtime::clock::{Clock, ManualClock};
use std::path::Path;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    folder: tempfile::TempDir,
    credentials: Credentials,
    key: SigningKey,
    clock: Clock,
    hand: ManualClock,
    board: LinkBoard,
}

impl Scene {
    fn new() -> Self {
        let (fleet, key) = (Fleet::new(), SigningKey::generate().expect("a key"));
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, hand) = clock();
        let at = |name: &str| folder.path().join(name);
        let files = CredentialFiles { identity: at("agent.pem"), trust: at("trust.bundle") };
        let (identity, trust) = (fleet.enrol("h1", NOW), fleet.trust_listing(2, &key));
        let credentials = Credentials::new(identity, trust, KeyExchange::Pure, Some(files), clock.clone());
        let board = LinkBoard::new(clock.clone());
        board.connected(Negotiated::default());
        Self { folder, credentials, key, clock, hand, board }
    }

    /// An agent that starts.
    fn start(&self) -> SettingsDesk {
        SettingsDesk::open(host("h1"), self.credentials.clone(), self.board.clone(), self.clock.clone())
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(FILE)
    }

    /// Settings with this interval.
    fn settings(&self, version: u64, interval_s: u16) -> Vec<u8> {
        sign(&of(version, interval_s), &self.key).expect("signed")
    }

    /// So many seconds in which all is well.
    fn live(&self, desk: &SettingsDesk, seconds: u64) {
        for _ in 0..seconds {
            self.hand.advance(SECOND);
            self.board.acknowledged();
            desk.ticked(true);
        }
    }
}

fn of(version: u64, interval_s: u16) -> FleetSettings {
    FleetSettings {
        version,
        trust_domain: domain().to_string(),
        target: Target::Group("edge".into()),
        issued_s: NOW,
        note: String::new(),
        values: Values { interval_s: Some(interval_s), ..Values::default() },
    }
}

fn interval(desk: &SettingsDesk) -> Option<u16> {
    desk.values().interval_s
}

/// What is in force, on trial and refused, and why.
fn stands(desk: &SettingsDesk) -> (u64, u64, Option<(u64, SettingsFault)>) {
    let health = desk.health();
    let refused = health.refused.map(|refused| (refused.version, SettingsFault::from_number(refused.fault)));
    (health.in_force, health.on_trial, refused)
}

#[test]
fn settings_are_on_trial_for_a_minute_and_then_in_force_after_a_restart_too() {
    let scene = Scene::new();
    let desk = scene.start();
    assert_eq!((stands(&desk), interval(&desk)), ((0, 0, None), None));
    desk.take(&scene.settings(5, 10));
    assert_eq!((stands(&desk), interval(&desk)), ((0, 5, None), Some(10)), "applied at once");
    scene.live(&desk, TRIAL.as_secs() - 1);
    assert_eq!(stands(&desk), (0, 5, None));
    scene.live(&desk, 1);
    assert_eq!(stands(&desk), (5, 0, None));
    let again = scene.start();
    assert_eq!((stands(&again), interval(&again)), ((5, 0, None), Some(10)));
    desk.take(&scene.settings(5, 20));
    desk.take(&scene.settings(4, 20));
    assert_eq!((stands(&desk), interval(&desk)), ((5, 0, None), Some(10)), "what is not newer is left alone");
}

#[test]
fn a_host_that_is_not_well_returns_to_the_last_good_settings_by_itself() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 60);
    desk.take(&scene.settings(6, 3600));
    scene.live(&desk, 10);
    scene.hand.advance(5 * SECOND);
    desk.ticked(true);
    let refused = (5, 0, Some((6, SettingsFault::TicksMissed)));
    assert_eq!((stands(&desk), interval(&desk)), (refused, Some(10)));
    let again = scene.start();
    assert_eq!((stands(&again), interval(&again)), (refused, Some(10)));
    again.take(&scene.settings(6, 3600));
    assert_eq!((stands(&again), interval(&again)), (refused, Some(10)), "not taken again");
    again.take(&scene.settings(7, 20));
    scene.live(&again, 60);
    assert_eq!((stands(&again), interval(&again)), ((7, 0, None), Some(20)), "a newer one is");
}

#[test]
fn an_agent_that_was_killed_on_trial_comes_back_with_the_last_good_settings() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 30);
    drop(desk);
    let after = scene.start();
    assert_eq!((stands(&after), interval(&after)), ((0, 0, Some((5, SettingsFault::AgentEnded))), None));
    after.take(&scene.settings(6, 20));
    scene.live(&after, 60);
    after.take(&scene.settings(7, 30));
    drop(after);
    let after = scene.start();
    assert_eq!((stands(&after), interval(&after)), ((6, 0, Some((7, SettingsFault::AgentEnded))), Some(20)));
    assert_eq!(stands(&scene.start()), stands(&after), "and stays so");
}

#[test]
fn an_agent_that_ends_on_purpose_refuses_nothing_and_tries_again() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 30);
    desk.stopping();
    let after = scene.start();
    assert_eq!((stands(&after), interval(&after)), ((0, 0, None), None));
    after.take(&scene.settings(5, 10));
    scene.live(&after, 60);
    assert_eq!(stands(&after), (5, 0, None));
}

#[test]
fn a_link_that_does_not_come_back_ends_a_trial() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.board.offline("cut", SECOND);
    for _ in 0..180 {
        scene.hand.advance(SECOND);
        desk.ticked(true);
    }
    assert_eq!(stands(&desk), (0, 0, Some((5, SettingsFault::LinkLost))));
    assert_eq!(interval(&desk), None);
}

#[test]
fn newer_settings_take_the_place_of_those_on_trial() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 50);
    desk.take(&scene.settings(6, 20));
    scene.live(&desk, 50);
    assert_eq!((stands(&desk), interval(&desk)), ((0, 6, None), Some(20)), "with a minute of their own");
    scene.live(&desk, 10);
    assert_eq!(stands(&desk), (6, 0, None));
}

#[test]
fn what_no_order_key_has_signed_for_us_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 60);
    let stranger = SigningKey::generate().expect("a key");
    let elsewhere = FleetSettings { trust_domain: "elsewhere.example".into(), ..of(9, 20) };
    let other_host = FleetSettings { target: Target::Host("h2".into()), ..of(9, 20) };
    let mut altered = scene.settings(9, 20);
    *altered.last_mut().expect("bytes") ^= 1;
    let sign = |settings: &FleetSettings, key: &SigningKey| sign(settings, key).expect("signed");
    for (bytes, why) in [
        (sign(&of(9, 20), &stranger), "settings_other_key"),
        (sign(&elsewhere, &scene.key), "settings_trust_domain"),
        (sign(&other_host, &scene.key), "settings_other_host"),
        (altered, "settings_altered"),
        (b"nonsense".to_vec(), "settings_malformed"),
    ] {
        desk.take(&bytes);
        assert_eq!((stands(&desk), interval(&desk)), ((5, 0, Some((0, SettingsFault::Untrusted))), Some(10)));
        assert_eq!(desk.health().refused.expect("refused").detail, why);
    }
    desk.take(&scene.settings(6, 20));
    assert_eq!(stands(&desk), (5, 6, None), "what is sound is taken after that");
}

#[test]
fn settings_that_cannot_be_written_down_are_not_tried() {
    let scene = Scene::new();
    let desk = scene.start();
    // A folder in the file's place: nobody, root neither, can write over it.
    std::fs::create_dir(scene.file()).expect("a folder");
    desk.take(&scene.settings(5, 10));
    assert_eq!((stands(&desk), interval(&desk)), ((0, 0, Some((5, SettingsFault::NotKept))), None));
}

#[test]
fn a_damaged_file_leaves_agent_toml_alone_in_force() {
    let scene = Scene::new();
    let desk = scene.start();
    desk.take(&scene.settings(5, 10));
    scene.live(&desk, 60);
    let whole = std::fs::read(scene.file()).expect("there");
    for at in (0..whole.len()).step_by(97) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(scene.file(), damaged).expect("written");
        assert!(Book::load(&scene.file()).is_err(), "byte {at}");
        assert_eq!((stands(&scene.start()), interval(&scene.start())), ((0, 0, None), None));
        std::fs::write(scene.file(), &whole[..at]).expect("written");
        assert!(Book::load(&scene.file()).is_err(), "cut at {at}");
    }
    assert_eq!(Book::load(Path::new("/nowhere/at/all")).expect("no file is no fault"), Book::default());
}

#[test]
fn a_sensor_of_a_newer_agent_is_named_and_the_rest_applied() {
    let scene = Scene::new();
    let desk = scene.start();
    let mut newer = of(5, 10);
    newer.values.sensors = vec![("gpu".into(), SensorSetting::Off), ("netdev".into(), SensorSetting::Off)];
    desk.take(&sign(&newer, &scene.key).expect("signed"));
    assert_eq!(desk.health().unknown_sensors, ["gpu"]);
    assert_eq!(desk.values().interval_of("netdev", 1), None);
    let status = desk.status();
    assert_eq!(
        (status.on_trial, status.trial_left_s, status.target.as_deref()),
        (Some(5), Some(60), Some("group edge"))
    );
}

#[test]
fn the_names_of_sensors_that_settings_know_are_those_of_the_sensors() {
    let own = dsmil_sensors::all();
    let probes = dsmil_protocol::probe::ProbeKind::ALL.map(dsmil_protocol::probe::ProbeKind::name);
    let ours: Vec<_> = own.iter().map(|sensor| sensor.name()).chain(probes).collect();
    assert_eq!(ours, SENSORS);
}

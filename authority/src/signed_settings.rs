//! Settings with their signature, as bytes: `"DSFS" | format 1 | postcard(body, key, signature)`.
//!
//! As with trust bundles, what is signed is a label and the body's own bytes: nothing is encoded again before it is checked.

use crate::Fingerprint;
use crate::settings::{FleetSettings, MAX_SETTINGS_LEN, SettingsError, Target};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 4] = b"DSFS";
const FORMAT: u8 = 1;
/// Keeps a signature under settings from passing for one under anything else.
const LABEL: &[u8] = b"dsmil fleet settings v1\0";
/// Bytes of the signature: ML-DSA-87's are 4,627.
const MAX_SIGNATURE_LEN: usize = 8 << 10;

/// The bytes of settings, and who has signed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedSettings {
    body: Vec<u8>,
    /// SHA-384 of the order key's SubjectPublicKeyInfo.
    key: Fingerprint,
    signature: Vec<u8>,
}

/// Who is about to take settings.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'a> {
    /// Its fleet.
    pub trust_domain: &'a str,
    /// Its name. Nothing: whoever passes settings on, to whomever they are for.
    pub host: Option<&'a str>,
    /// The newest version that it has seen.
    pub seen: u64,
}

impl SignedSettings {
    /// Settings that the holder of `key` is to sign.
    ///
    /// # Errors
    /// They are over their limits.
    pub fn new(settings: &FleetSettings, key: Fingerprint) -> Result<Self, SettingsError> {
        settings.check()?;
        let body = postcard::to_allocvec(settings).map_err(|_| SettingsError::Limits)?;
        Ok(Self { body, key, signature: Vec::new() })
    }

    /// The bytes that are signed.
    pub fn statement(&self) -> Vec<u8> {
        [LABEL, &self.body].concat()
    }

    /// Adds the signature over [`SignedSettings::statement`].
    pub fn sign(&mut self, signature: Vec<u8>) {
        self.signature = signature;
    }

    /// The key that is said to have signed.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// The settings as one file or message.
    pub fn encode(&self) -> Result<Vec<u8>, SettingsError> {
        let bytes = postcard::to_allocvec(self).map_err(|_| SettingsError::Limits)?;
        let bytes = [MAGIC, &[FORMAT][..], &bytes].concat();
        if bytes.len() <= MAX_SETTINGS_LEN { Ok(bytes) } else { Err(SettingsError::Limits) }
    }

    /// Reads what [`SignedSettings::encode`] made. Nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, SettingsError> {
        if bytes.len() > MAX_SETTINGS_LEN {
            return Err(SettingsError::Limits);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(SettingsError::Malformed)?;
        let (format, rest) = rest.split_first().ok_or(SettingsError::Malformed)?;
        if *format != FORMAT {
            return Err(SettingsError::Format(*format));
        }
        let (signed, rest): (Self, _) = postcard::take_from_bytes(rest).map_err(|_| SettingsError::Malformed)?;
        let sound = rest.is_empty() && signed.signature.len() <= MAX_SIGNATURE_LEN;
        if sound { Ok(signed) } else { Err(SettingsError::Malformed) }
    }

    /// What they say, before anybody has vouched for it.
    ///
    /// For showing them or opening one's own file; [`SignedSettings::accept`] is for everything that comes from elsewhere.
    pub fn open(&self) -> Result<FleetSettings, SettingsError> {
        let (settings, rest): (FleetSettings, _) =
            postcard::take_from_bytes(&self.body).map_err(|_| SettingsError::Malformed)?;
        if !rest.is_empty() {
            return Err(SettingsError::Malformed);
        }
        settings.check()?;
        Ok(settings)
    }

    /// Takes settings: signed by one of `keys`, of the taker's fleet, for it, and newer than what it has seen. `verify` checks
    /// a signature of a key over a statement.
    ///
    /// The signature is checked before anything in the body is believed.
    pub fn accept<K>(
        &self,
        taker: &Taker<'_>,
        keys: &[(Fingerprint, K)],
        verify: impl Fn(&K, &[u8], &[u8]) -> bool,
    ) -> Result<FleetSettings, SettingsError> {
        let (_, key) = keys.iter().find(|(known, _)| *known == self.key).ok_or(SettingsError::OtherKey)?;
        if !verify(key, &self.statement(), &self.signature) {
            return Err(SettingsError::Altered);
        }
        let settings = self.open()?;
        if settings.trust_domain != taker.trust_domain {
            let (found, ours) = (settings.trust_domain, taker.trust_domain.to_owned());
            return Err(SettingsError::TrustDomain { found, ours });
        }
        match (&settings.target, taker.host) {
            (Target::Host(host), Some(us)) if host != us => return Err(SettingsError::OtherHost(host.clone())),
            _ => {}
        }
        if settings.version <= taker.seen {
            return Err(SettingsError::Older { found: settings.version, seen: taker.seen });
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{MAX_NOTE_LEN, SENSORS, SensorSetting, Values, choose};
    use proptest::prelude::*;

    const KEY: Fingerprint = Fingerprint([1; 48]);
    const TAKER: Taker<'_> = Taker { trust_domain: "fleet.example", host: Some("h1"), seen: 4 };

    fn settings(version: u64, target: Target) -> FleetSettings {
        FleetSettings {
            version,
            trust_domain: "fleet.example".into(),
            target,
            issued_s: 1_000,
            note: "less of it".into(),
            values: Values {
                interval_s: Some(10),
                sensors: vec![("netdev".into(), SensorSetting::Off), ("stat".into(), SensorSetting::EveryS(1))],
                spool_mib: Some(32),
                backlog_kib_per_second: Some(512),
                batch_ticks: Some(60),
            },
        }
    }

    /// A stand-in for a signature; `crypto` tests real ones.
    fn stamp(key: u8, statement: &[u8]) -> Vec<u8> {
        let sum =
            statement.iter().fold(u64::from(key), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        sum.to_be_bytes().to_vec()
    }

    fn fits(key: &u8, statement: &[u8], signature: &[u8]) -> bool {
        stamp(*key, statement) == signature
    }

    fn signed(settings: &FleetSettings) -> SignedSettings {
        let mut signed = SignedSettings::new(settings, KEY).expect("within limits");
        signed.sign(stamp(1, &signed.statement()));
        signed
    }

    fn taken(signed: &SignedSettings) -> Result<u64, &'static str> {
        let taken = signed.accept(&TAKER, &[(KEY, 1)], fits);
        taken.map(|settings| settings.version).map_err(|error| error.name())
    }

    #[test]
    fn settings_are_taken_from_an_order_key_for_us_and_newer() {
        for target in [Target::All, Target::Group("g".into()), Target::Host("h1".into())] {
            assert_eq!(taken(&signed(&settings(5, target))), Ok(5));
        }
        assert_eq!(taken(&signed(&settings(5, Target::Host("h2".into())))), Err("settings_other_host"));
        assert_eq!(taken(&signed(&settings(4, Target::All))), Err("settings_older"));
        let elsewhere = FleetSettings { trust_domain: "other.example".into(), ..settings(5, Target::All) };
        assert_eq!(taken(&signed(&elsewhere)), Err("settings_trust_domain"));
        let sound = signed(&settings(5, Target::All));
        let by_nobody = sound.accept(&TAKER, &[(Fingerprint([2; 48]), 1)], fits);
        assert_eq!(by_nobody, Err(SettingsError::OtherKey));
        assert_eq!(sound.accept(&TAKER, &[(KEY, 2)], fits), Err(SettingsError::Altered));
        let on = Taker { host: None, ..TAKER };
        assert!(signed(&settings(5, Target::Host("h2".into()))).accept(&on, &[(KEY, 1)], fits).is_ok(), "passed on");
    }

    #[test]
    fn a_change_anywhere_is_found_out_and_so_is_every_cut() {
        let bytes = signed(&settings(5, Target::Group("g".into()))).encode().expect("small");
        assert_eq!(SignedSettings::decode(&bytes).map(|again| taken(&again)), Ok(Ok(5)));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let verdict = SignedSettings::decode(&changed).map_err(|error| error.name()).and_then(|one| taken(&one));
            assert!(verdict.is_err(), "byte {at}");
            assert!(SignedSettings::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(SignedSettings::decode(&[&bytes[..], &[0]].concat()), Err(SettingsError::Malformed));
        assert_eq!(SignedSettings::decode(&vec![0; MAX_SETTINGS_LEN + 1]), Err(SettingsError::Limits));
    }

    #[test]
    fn no_value_is_out_of_its_range() {
        let refused = |change: fn(&mut FleetSettings)| {
            let mut settings = settings(5, Target::All);
            change(&mut settings);
            assert_eq!(SignedSettings::new(&settings, KEY), Err(SettingsError::Limits));
            // Somebody signs them all the same.
            let body = postcard::to_allocvec(&settings).expect("memory");
            let mut forced = SignedSettings { body, key: KEY, signature: vec![] };
            forced.sign(stamp(1, &forced.statement()));
            assert_eq!(taken(&forced), Err("settings_limits"));
        };
        refused(|s| s.version = 0);
        refused(|s| s.version = u64::MAX);
        refused(|s| s.values.interval_s = Some(0));
        refused(|s| s.values.interval_s = Some(3601));
        refused(|s| s.values.sensors[1].1 = SensorSetting::EveryS(0));
        refused(|s| s.values.sensors[1].0 = "netdev".into());
        refused(|s| s.values.sensors = vec![("x".repeat(65), SensorSetting::Off)]);
        refused(|s| s.values.sensors = (0..65).map(|n| (n.to_string(), SensorSetting::Off)).collect());
        refused(|s| s.values.spool_mib = Some(0));
        refused(|s| s.values.backlog_kib_per_second = Some(0));
        refused(|s| s.values.batch_ticks = Some(9));
        refused(|s| s.values.batch_ticks = Some(61));
        refused(|s| s.note = "x".repeat(MAX_NOTE_LEN + 1));
        refused(|s| s.note = "\u{1b}[2J".into());
        refused(|s| s.target = Target::Group(String::new()));
        refused(|s| s.trust_domain = String::new());
    }

    #[test]
    fn the_largest_settings_fit_with_a_signature_of_today() {
        let mut largest = settings(u64::MAX >> 1, Target::Host("h".repeat(253)));
        largest.trust_domain = "d".repeat(253);
        largest.note = "n".repeat(MAX_NOTE_LEN);
        let name = |n: usize| format!("{n:0>64}");
        largest.values.sensors = (0..64).map(|n| (name(n), SensorSetting::EveryS(3600))).collect();
        let mut signed = SignedSettings::new(&largest, KEY).expect("within limits");
        signed.sign(vec![7; 4627]);
        assert!(signed.encode().expect("it fits").len() < MAX_SETTINGS_LEN);
    }

    #[test]
    fn a_sensor_has_its_own_interval_or_that_of_all() {
        let values = settings(1, Target::All).values;
        assert_eq!((values.interval_of("netdev", 1), values.interval_of("stat", 60)), (None, Some(1)));
        assert_eq!((values.interval_of("meminfo", 1), values.interval_of("dmi", 60)), (Some(10), Some(60)));
        assert_eq!(
            (Values::default().interval_of("meminfo", 1), Values::default().interval_of("dmi", 60)),
            (Some(1), Some(60))
        );
    }

    #[test]
    fn every_sensor_has_a_name_of_its_own() {
        for (at, name) in SENSORS.iter().enumerate() {
            assert!(!SENSORS[..at].contains(name), "{name}");
        }
    }

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![Just(Target::All), "[ab]".prop_map(Target::Group), "h[12]".prop_map(Target::Host),]
    }

    proptest! {
        /// The narrowest target wins, whatever was pushed later for a wider one; within a target the newest.
        #[test]
        fn the_narrowest_target_counts_and_of_it_the_newest(
            all in proptest::collection::vec((target(), 1u64..100), 0..20), grouped in any::<bool>()
        ) {
            let group = grouped.then_some("a");
            let chosen = choose(&all, |(target, version)| (target, *version), "h1", group).cloned();
            let newest = |wanted: Target| {
                all.iter().filter(|(target, _)| *target == wanted).map(|(_, version)| *version).max()
            };
            let by_hand = [Some(Target::Host("h1".into())), group.map(|g| Target::Group(g.into())), Some(Target::All)];
            let by_hand = by_hand.into_iter().flatten().find_map(|target| Some((target.clone(), newest(target)?)));
            prop_assert_eq!(chosen, by_hand);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(signed) = SignedSettings::decode(&[b"DSFS\x01", &bytes[..]].concat()) {
                let _ = signed.open();
            }
        }
    }
}

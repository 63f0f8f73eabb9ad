//! What the centre says of this host, beside what its own configuration says.
//!
//! The configuration is the host's: nothing overwrites it once it is there. Where the two disagree, somebody is told.

use dsmil_crypto::policy::KeyExchange;
use dsmil_protocol::ids::DeviceId;
use dsmil_protocol::join::{HostSettings, LinkPolicy};
use dsmil_protocol::tlv::Compartments;

/// A key of agent.toml on which the two disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// What the configuration says.
    pub here: String,
    /// What the centre says.
    pub centre: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, here, centre } = self;
        write!(f, "`{key}` is {here} in agent.toml, and {centre} at the centre")
    }
}

/// On what the host's own settings and those of the centre disagree, in the order of agent.toml.
pub fn differences(here: &HostSettings, centre: &HostSettings) -> Vec<Difference> {
    let keys: [(&'static str, Show); 8] = [
        ("host", |s| format!("{:?}", s.host.as_str())),
        ("tenant", |s| format!("{:?}", s.tenant.as_str())),
        ("compartments", |s| format!("{:?}", compartment_names(s.compartments))),
        ("classification", |s| s.classification.level().to_string()),
        ("aggregators", |s| format!("{:?}", s.aggregators)),
        ("join", |s| format!("{:?}", s.join_addresses)),
        ("devices", |s| device_numbers(&s.devices)),
        ("link", |s| format!("{:?}", link_name(s.key_exchange))),
    ];
    let differs = |(key, show): (&'static str, Show)| {
        let (here, centre) = (show(here), show(centre));
        (here != centre).then_some(Difference { key, here, centre })
    };
    keys.into_iter().filter_map(differs).collect()
}

/// A setting as text.
type Show = fn(&HostSettings) -> String;

/// The names of compartments, as agent.toml has them; one without a name is left out.
pub fn compartment_names(mask: Compartments) -> Vec<&'static str> {
    let has = |(_, one): &(&str, Compartments)| mask.covers(*one);
    COMPARTMENTS.into_iter().filter(has).map(|(name, _)| name).collect()
}

/// The compartments that a host's telemetry may have; the kinetic one is none of them.
pub const COMPARTMENTS: [(&str, Compartments); 4] = [
    ("SOC", Compartments::SOC),
    ("DEV", Compartments::DEV),
    ("LAB", Compartments::LAB),
    ("CRYPTO", Compartments::CRYPTO),
];

/// The name of a link policy in agent.toml.
pub fn link_name(policy: LinkPolicy) -> &'static str {
    match policy {
        LinkPolicy::Pure => "pure",
        LinkPolicy::Hybrid => "hybrid",
    }
}

/// What a link policy means to the fleet link.
pub fn key_exchange(policy: LinkPolicy) -> KeyExchange {
    match policy {
        LinkPolicy::Pure => KeyExchange::Pure,
        LinkPolicy::Hybrid => KeyExchange::Hybrid,
    }
}

/// The name in agent.toml of what the fleet link does.
pub fn link_policy(key_exchange: KeyExchange) -> LinkPolicy {
    match key_exchange {
        KeyExchange::Pure => LinkPolicy::Pure,
        KeyExchange::Hybrid => LinkPolicy::Hybrid,
    }
}

/// Devices are a set: their order says nothing.
fn device_numbers(devices: &[DeviceId]) -> String {
    let mut numbers: Vec<u16> = devices.iter().map(|device| device.0).collect();
    numbers.sort_unstable();
    format!("{numbers:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::ids::{HostName, TenantId};
    use dsmil_protocol::tlv::Classification;

    #[test]
    fn only_what_differs_is_told_and_the_order_of_devices_does_not() {
        let here = HostSettings {
            tenant: TenantId::new("t1").expect("a name"),
            host: HostName::new("h1").expect("a name"),
            classification: Classification::UNCLASS,
            compartments: Compartments(5),
            devices: vec![DeviceId(7), DeviceId(3)],
            aggregators: vec!["a:8100".into()],
            join_addresses: vec![],
            key_exchange: LinkPolicy::Pure,
        };
        let mut centre = HostSettings { devices: vec![DeviceId(3), DeviceId(7)], ..here.clone() };
        assert_eq!(differences(&here, &centre), []);
        centre.join_addresses = vec!["a:8101".into()];
        centre.key_exchange = LinkPolicy::Hybrid;
        let told: Vec<String> = differences(&here, &centre).iter().map(ToString::to_string).collect();
        let expected = [
            r#"`join` is [] in agent.toml, and ["a:8101"] at the centre"#,
            r#"`link` is "pure" in agent.toml, and "hybrid" at the centre"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(compartment_names(here.compartments), ["SOC", "LAB"]);
    }
}

//! The targets, one file each.

mod batches;
mod certificates;
mod columns;
mod fleet_settings;
mod frames;
mod hostile;
mod join_messages;
mod join_tokens;
mod messages;
mod metric_sets;
mod probe_messages;
mod queries;
mod requests;
mod salvage;
mod session;
mod signatures;
mod trust_bundles;

/// Something that reads what comes from elsewhere.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line, and that of its corpus.
    pub name: &'static str,
    /// What is put to the test, in a few words.
    pub what: &'static str,
    /// Takes any bytes; panics if something that must hold does not.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by the real encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that the fuzzer may put anywhere.
    pub dictionary: &'static [&'static [u8]],
    /// The longest input worth trying.
    pub max_len: usize,
}

/// All targets, in the order in which bytes pass what they test.
pub const TARGETS: &[Target] = &[
    frames::TARGET,
    messages::TARGET,
    metric_sets::TARGET,
    batches::TARGET,
    columns::TARGET,
    session::TARGET,
    hostile::TARGET,
    probe_messages::TARGET,
    join_messages::TARGET,
    join_tokens::TARGET,
    trust_bundles::TARGET,
    fleet_settings::TARGET,
    requests::TARGET,
    certificates::TARGET,
    queries::TARGET,
    salvage::TARGET,
    signatures::TARGET,
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A first byte that chooses, and the rest.
fn choose(input: &[u8], choices: u8) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (first % choices, rest))
}

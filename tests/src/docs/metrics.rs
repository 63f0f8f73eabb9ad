//! The aggregator's own metrics, each with what to do when it moves, or where to look.
//!
//! A metric without a line here, and a line without a metric, fail the making of the page.

use super::{Page, table};
use anyhow::ensure;
use std::collections::BTreeSet;

/// Where the metrics are named: whatever stands there in quotes has to be on the page.
const SOURCES: [&str; 2] = [
    include_str!("../../../aggregator/server/src/api/metrics.rs"),
    include_str!("../../../aggregator/server/src/api/metrics/security.rs"),
];

/// A metric's name, type, help and labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page, from what an aggregator with a little of everything answers.
pub(super) fn page(text: &str) -> anyhow::Result<Page> {
    let families = families(text);
    let shown: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    let named: BTreeSet<&str> = SOURCES.into_iter().flat_map(names).collect();
    let advised: BTreeSet<&str> = ADVICE.iter().map(|(name, _)| *name).collect();
    let missing: Vec<_> = named.symmetric_difference(&shown).collect();
    ensure!(missing.is_empty(), "in the code or on the page and not in both: {missing:?}");
    let missing: Vec<_> = advised.symmetric_difference(&shown).collect();
    ensure!(missing.is_empty(), "a metric without advice, or advice without a metric: {missing:?}");
    let rows = families.into_iter().map(|family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let advice = ADVICE.iter().find(|(name, _)| *name == family.name).map_or("", |(_, advice)| *advice);
        [format!("`{}`", family.name), family.kind, labels.join(", "), family.help, advice.to_owned()]
    });
    let introduction = "What an aggregator answers to `GET /metrics`: its own numbers. What hosts report is in \
                        [host-metrics.md](host-metrics.md).";
    let body = table(["name", "type", "labels", "meaning", "when it moves"], rows);
    Ok(Page::markdown("metrics.md", "Metrics of the aggregator", introduction, &body))
}

/// The metrics that a source file names.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let quoted = source.split('"').skip(1).step_by(2);
    quoted.filter(|text| {
        text.starts_with("dsmil_") && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

/// The families of a page in Prometheus's text format, in its order.
fn families(text: &str) -> Vec<Family> {
    let mut found: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.push(Family { name: name.into(), help: help.into(), ..Family::default() });
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.last_mut().into_iter().for_each(|family| family.kind = kind.into());
        } else if let (Some(family), Some((_, rest))) = (found.last_mut(), line.split_once('{')) {
            let labels = rest.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(label, _)| label.to_owned());
            family.labels.extend(labels.filter(|label| label != "le"));
        }
    }
    found
}

const TICKS: &str = "[Ticks wait or are lost](../runbooks/ticks.md).";
const JOURNAL: &str = "[The journal or its disk is in trouble](../runbooks/journal.md).";
const HOST: &str = "[A host is down or refused](../runbooks/host.md).";
const KNOCKS: &str = "[Somebody knocks](../runbooks/identity.md#somebody-knocks).";
const FULL: &str = "Near a limit of `[admission]`: [the machine is full](../runbooks/identity.md#the-machine-is-full).";
const WIRE: &str = "[Frames and batches are refused](../runbooks/wire.md).";
const API: &str = "[The API refuses, is slow, or does not answer](../runbooks/api.md).";
const FLOWS: &str = "It grows as long as hosts are up; if it stands still, look at `dsmil_hosts`.";

/// What to do when it moves, or where to look.
const ADVICE: &[(&str, &str)] = &[
    ("dsmil_build_info", "An upgrade, or a rollback. If nobody did that, find out who did."),
    ("dsmil_start_time_seconds", "The program was started again. If nobody did that, its log has the reason."),
    (
        "dsmil_sessions_total",
        "Hosts come and go. Much faster than hosts restart: look at `dsmil_refusals_total` and at the network.",
    ),
    ("dsmil_frames_total", FLOWS),
    ("dsmil_telemetry_bytes_total", FLOWS),
    (
        "dsmil_telemetry_framing_bytes_total",
        "A fixed part of `dsmil_telemetry_bytes_total`; more of it means smaller batches.",
    ),
    ("dsmil_batches_stored_total", FLOWS),
    (
        "dsmil_batches_resent_total",
        "Acknowledgements were lost, as at each reconnect; nothing was written twice. Steadily: look at the network.",
    ),
    ("dsmil_batches_deferred_total", JOURNAL),
    (
        "dsmil_metric_sets_delayed_total",
        "A host's set of metrics changes again and again: devices that come and go, or a host that misbehaves. Its log has the name.",
    ),
    (
        "dsmil_live_ticks_total",
        "One a second for each host that somebody watches; it grows for nobody: `dsmilctl fleet watch` is open somewhere.",
    ),
    ("dsmil_ticks_stored_total", "One a second and host; less: look at `dsmil_ledger_waiting_ticks`."),
    ("dsmil_samples_stored_total", FLOWS),
    (
        "dsmil_tick_to_queryable_seconds",
        "Slower: look at the journal's disk first (`dsmil_journal_commit_age_seconds`), then at the machine's load.",
    ),
    ("dsmil_frame_faults_total", WIRE),
    ("dsmil_link_sessions", "How many hosts have which protection; another group than `link.policy` says cannot be."),
    ("dsmil_refusals_total", KNOCKS),
    ("dsmil_admission_half_open", FULL),
    ("dsmil_admission_unproven", KNOCKS),
    ("dsmil_admission_connected", FULL),
    ("dsmil_admission_addresses", FULL),
    ("dsmil_admission_identities", FULL),
    (
        "dsmil_admission_proofs_asked_total",
        "So many came at once that addresses had to be proven: a fleet that comes back, or a flood. Nothing by itself.",
    ),
    ("dsmil_admission_ignored_total", KNOCKS),
    ("dsmil_admission_limited_total", FULL),
    (
        "dsmil_trust_bundle_version",
        "A bundle was published: `dsmil-aggregator security log --kind trust-change` says by whom.",
    ),
    (
        "dsmil_trust_bundle_expires_timestamp_seconds",
        "Less than 30 days ahead: [the trust bundle runs out](../runbooks/identity.md#the-trust-bundle-runs-out).",
    ),
    (
        "dsmil_issuer_expires_timestamp_seconds",
        "Less than 30 days ahead: [a new issuer](../runbooks/identity.md#a-new-issuer-each-year-or-because-an-aggregator-was-stolen).",
    ),
    (
        "dsmil_identity_expires_timestamp_seconds",
        "It moves on each half day. Less than 6 hours ahead: the log says each second why.",
    ),
    (
        "dsmil_registry_hosts",
        "`revoked` grows: somebody shut a host out, and `security log` says who. `never_joined`: hosts that wait to be joined.",
    ),
    ("dsmil_journal_commits_total", JOURNAL),
    ("dsmil_journal_commit_failures_total", JOURNAL),
    ("dsmil_journal_batches_total", FLOWS),
    ("dsmil_journal_duplicate_batches_total", "As `dsmil_batches_resent_total`."),
    (
        "dsmil_journal_refused_batches_total",
        "The log names the batch and why. [Frames and batches are refused](../runbooks/wire.md).",
    ),
    ("dsmil_journal_damaged_batches_total", JOURNAL),
    (
        "dsmil_journal_size_bytes",
        "Compare it with `warm.max_mib` and with the disk; `warm.retention_days` makes it smaller.",
    ),
    ("dsmil_journal_failing", JOURNAL),
    (
        "dsmil_journal_commit_age_seconds",
        "Seconds while hosts are up; more, with hosts up, is a disk that does not answer. See the [journal's runbook](../runbooks/journal.md).",
    ),
    ("dsmil_hot_batches_total", FLOWS),
    (
        "dsmil_hot_left_out_batches_total",
        "Batches of before the last hour, as after an outage: queries find them in the journal. Else look at `dsmil_hot_working`.",
    ),
    (
        "dsmil_hot_evicted_batches_total",
        "As many as are stored, an hour later. Sooner: the tmpfs is small for the fleet; raise `hot.max_mib`.",
    ),
    ("dsmil_hot_reopened_total", JOURNAL),
    ("dsmil_hot_commits_total", FLOWS),
    (
        "dsmil_hot_working",
        "0: queries are slower, and nothing is lost. See the [journal's runbook](../runbooks/journal.md).",
    ),
    (
        "dsmil_hot_floor_timestamp_seconds",
        "An hour back in a program that has run for so long. Nearer: the tmpfs is small for the fleet.",
    ),
    ("dsmil_ledger_expected_ticks", TICKS),
    ("dsmil_ledger_stored_ticks", TICKS),
    ("dsmil_ledger_waiting_ticks", TICKS),
    ("dsmil_ledger_lost_ticks", TICKS),
    ("dsmil_ledger_duplicate_ticks", "Not 0 is a fault of ours: keep the aggregator's log and tell us."),
    ("dsmil_ledger_resent_ticks", "As `dsmil_batches_resent_total`."),
    ("dsmil_hosts", HOST),
    (
        "dsmil_hosts_without_series",
        "The fleet is larger than this page: have Prometheus ask the hosts' own targets (`/api/v1/sd`).",
    ),
    ("dsmil_host_up", HOST),
    ("dsmil_host_heard_timestamp_seconds", HOST),
    ("dsmil_host_waiting_ticks", TICKS),
    (
        "dsmil_host_spool_used_bytes",
        "It grows while the link is down. Near the capacity, ticks will be lost as `evicted`. See the [ticks' runbook](../runbooks/ticks.md).",
    ),
    (
        "dsmil_host_spool_capacity_bytes",
        "Somebody changed `spool.capacity_mib` on the host, or its tmpfs is smaller than that.",
    ),
    (
        "dsmil_host_clock_uncertainty_seconds",
        "The path to the host is slow or busy. Over a second: look at the network.",
    ),
    (
        "dsmil_host_wall_ahead_seconds",
        "The host's clock, or ours, is wrong: look at its time service. Nothing is lost or reordered by it.",
    ),
    ("dsmil_api_connections", API),
    ("dsmil_api_classical_connections", "Clients to update: `GET /api/v1/security/link` says from where they come."),
    ("dsmil_https_sessions_total", "`classical=\"true\"` grows: clients to update."),
    ("dsmil_api_dropped_connections_total", API),
    (
        "dsmil_api_responses_total",
        "`5xx`: a query that took too long, a host without fresh values, or a fault of ours; the log has the last. `4xx`: [a request is refused](../runbooks/api.md#a-request-is-refused).",
    ),
    ("dsmil_api_unauthorised_total", API),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read() {
        let text = "# HELP a_total All.\n# TYPE a_total counter\na_total{b=\"x\",c=\"y\"} 1\na_total{b=\"z\",c=\"\"} 2\n\
                    # HELP d Some.\n# TYPE d histogram\nd_bucket{le=\"1\"} 0\nd_sum 0\n";
        let family = |name: &str, kind: &str, help: &str, labels: &[&str]| Family {
            name: name.into(),
            kind: kind.into(),
            help: help.into(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        assert_eq!(
            families(text),
            [family("a_total", "counter", "All.", &["b", "c"]), family("d", "histogram", "Some.", &[])]
        );
    }

    #[test]
    fn a_metric_that_nobody_explains_is_an_error() {
        let error = page("# HELP dsmil_new New.\n# TYPE dsmil_new gauge\ndsmil_new 1\n").expect_err("no advice");
        assert!(error.to_string().contains("dsmil_new"), "{error}");
    }
}

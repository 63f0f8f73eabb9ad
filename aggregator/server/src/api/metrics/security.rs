//! Identity, trust, admission and refusals. Every label is one of a closed list: strangers cannot make series.

use super::{Page, float, seconds};
use crate::admission::{Limit, Occupancy};
use crate::api::App;
use crate::api::security::enrolment::HostCounts;
use crate::live::Link;
use crate::prometheus::text::Type;
use crate::refusals::{Port, Reason, Refused, Side};
use std::collections::BTreeMap;

pub(super) fn write(app: &App, page: &mut Page) {
    sessions(app, page);
    refusals(app, page);
    admission(app, page);
    trust(app, page);
}

fn sessions(app: &App, page: &mut Page) {
    let policy = app.context.credentials.key_exchange().negotiated();
    // Shown before anybody came, too.
    let mut counts = BTreeMap::from([((policy.group, policy.scheme, policy.suite), 0_u64)]);
    let up = app.context.live.all().into_iter().filter(|(_, host)| host.link == Link::Up);
    for agreed in up.filter_map(|(_, host)| host.negotiated) {
        *counts.entry((agreed.group, agreed.scheme, agreed.suite)).or_default() += 1;
    }
    let name = "dsmil_link_sessions";
    page.0.family(name, Type::Gauge, Some("Sessions of hosts that are open, by what protects them."));
    for ((group, scheme, suite), count) in counts {
        page.0.sample(name, [("group", group), ("scheme", scheme), ("suite", suite)], float(count));
    }
}

fn refusals(app: &App, page: &mut Page) {
    // Those that can be expected start at 0, or the first refusal of a kind would be no increase to Prometheus.
    let mut counts: BTreeMap<Refused, u64> = expected().map(|refused| (refused, 0)).collect();
    counts.extend(app.context.telemetry.refused.totals());
    let name = "dsmil_refusals_total";
    let help = "Refused peers, by port, by who refused (we, or the peer) and by reason.";
    page.0.family(name, Type::Counter, Some(help));
    for (Refused { port, side, reason }, count) in counts {
        let labels = [("port", port.as_str()), ("side", side.as_str()), ("reason", reason.as_str())];
        page.0.sample(name, labels, float(count));
    }
}

/// Handshakes fail on every port, for either side; only hosts are refused by what they say after it, and only by us.
fn expected() -> impl Iterator<Item = Refused> {
    [Port::Fleet, Port::Join, Port::Https].into_iter().flat_map(|port| {
        [Side::Us, Side::Peer].into_iter().flat_map(move |side| {
            let may_be = move |reason: &Reason| match reason {
                Reason::Handshake(_) => true,
                Reason::Session(_) => side == Side::Us && port != Port::Https,
            };
            Reason::all().filter(may_be).map(move |reason| Refused { port, side, reason })
        })
    })
}

fn admission(app: &App, page: &mut Page) {
    let ports = app.context.occupancies().map(|(port, now)| (port.as_str(), now));
    let mut each = |name: &str, kind: Type, help: &str, value: &dyn Fn(&Occupancy) -> f64| {
        let values = ports.iter().map(|(port, now)| (*port, value(now)));
        page.labelled((name, kind, help), "port", values);
    };
    let (gauge, counter) = (Type::Gauge, Type::Counter);
    let help = "Peers that were let in and have not authenticated yet.";
    each("dsmil_admission_half_open", gauge, help, &|now| now.half_open.into());
    let help = "Of these, at addresses that may be forged.";
    each("dsmil_admission_unproven", gauge, help, &|now| now.unproven.into());
    each("dsmil_admission_connected", gauge, "Peers that have authenticated.", &|now| now.connected.into());
    each("dsmil_admission_addresses", gauge, "Addresses remembered.", &|now| float(now.addresses as u64));
    each("dsmil_admission_identities", gauge, "Hosts remembered.", &|now| float(now.identities as u64));
    let help = "Peers that were told to prove their address.";
    each("dsmil_admission_proofs_asked_total", counter, help, &|now| float(now.proofs_asked));
    let help = "Peers that were not answered, because so many were refused.";
    each("dsmil_admission_ignored_total", counter, help, &|now| float(now.ignored));

    let name = "dsmil_admission_limited_total";
    page.0.family(name, counter, Some("Times a limit was run into."));
    for (port, now) in &ports {
        for (limit, count) in Limit::ALL.iter().zip(now.limited) {
            page.0.sample(name, [("port", *port), ("limit", limit.as_str())], float(count));
        }
    }
}

fn trust(app: &App, page: &mut Page) {
    let held = app.context.credentials.held();
    let at = |unix_s: i64| seconds(unix_s.saturating_mul(1000));
    page.gauge("dsmil_trust_bundle_version", "The trust bundle in force.", float(held.trust.version()));
    let help = "When the trust bundle expires; nobody is let in after that.";
    page.gauge("dsmil_trust_bundle_expires_timestamp_seconds", help, at(held.trust.bundle().expires_s));
    let help = "When the issuer that signs certificates expires.";
    page.gauge("dsmil_issuer_expires_timestamp_seconds", help, at(held.issuer.validity().not_after));
    let help = "When this aggregator's own certificate expires; it makes a new one long before.";
    page.gauge("dsmil_identity_expires_timestamp_seconds", help, at(held.identity.validity().not_after));
    let HostCounts { enrolled, revoked, never_joined } = HostCounts::of(&app.context);
    let states = [("enrolled", enrolled), ("revoked", revoked), ("never_joined", never_joined)];
    let states = states.map(|(state, hosts)| (state, float(hosts as u64)));
    // Not dsmil_hosts, which says who is heard of: a host is in both, and a family's sum must mean something.
    let family = ("dsmil_registry_hosts", Type::Gauge, "Hosts, by their standing in the registry.");
    page.labelled(family, "state", states);
}

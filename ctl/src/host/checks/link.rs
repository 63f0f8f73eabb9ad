//! The way to the centre: link, names, UDP, and the clocks at both ends.

use super::super::facts::{Facts, Peer, Reach, Role};
use super::super::finding::Finding;
use super::super::screen::{count, span, span_ms};
use dsmil_agent::status::{ClockStatus, LinkState, LinkStatus};

/// A link that is up and silent for so long has somebody at its other end who does not store.
const ACKNOWLEDGED_WITHIN_MS: u64 = 60_000;
/// Clocks further apart make logs of two machines hard to read together.
const CLOCK_WARNING_MS: u64 = 1_000;
/// A certificate lives for a day and is dated back by one: clocks some hours apart bring its ends near.
const CLOCK_TROUBLE_MS: u64 = 3_600_000;
/// A step after this long is no longer the one that a host without a clock's battery makes after it boots.
const STEP_AFTER_S: u64 = 600;
/// Older steps have done what they could.
const STEP_WITHIN_S: u64 = 86_400;

/// How the link stands.
pub(super) fn link(facts: &Facts) -> Vec<Finding> {
    let Some(status) = &facts.status else { return Vec::new() };
    let LinkStatus { state, since_ms, aggregator, last_ack_ms_ago, .. } = &status.link;
    let since = span_ms(*since_ms);
    vec![match state {
        LinkState::Connected => {
            let connected = format!("connected to {} for {since}", aggregator.as_deref().unwrap_or("an aggregator"));
            let silent_ms = last_ack_ms_ago.unwrap_or(*since_ms).min(*since_ms);
            if silent_ms < ACKNOWLEDGED_WITHIN_MS {
                Finding::ok(LINK, connected)
            } else {
                let what = format!("{connected}, and nothing was acknowledged for {}", span_ms(silent_ms));
                Finding::warning(LINK, what, "the centre takes and does not store: `/health/pipeline` there says why")
            }
        }
        LinkState::Connecting => {
            Finding::warning(LINK, "the link is not up yet", "ask again in some seconds: `dsmilctl host status`")
        }
        LinkState::Offline { reason, .. } => Finding::trouble(
            LINK,
            format!("the link is down: {reason}"),
            "how far one gets towards the aggregator is in the findings of `network` (`dsmilctl host doctor`); nothing is lost \
             while the spool has room",
        ),
        LinkState::Refused { code, remedy, .. } => {
            Finding::trouble(LINK, format!("the link is refused: {code}"), remedy.clone())
        }
    }]
}

/// Whether those can be reached whom the configuration names.
pub(super) fn network(facts: &Facts) -> Vec<Finding> {
    let link = facts.status.as_ref().map(|status| &status.link);
    let is_connected = link.is_some_and(|link| link.state == LinkState::Connected);
    let connected = link.filter(|_| is_connected).and_then(|link| link.aggregator.as_deref());
    facts.peers.iter().map(|peer| reached(peer, is_connected, connected == Some(&peer.address))).collect()
}

fn reached(peer: &Peer, is_connected: bool, is_ours: bool) -> Finding {
    let Peer { role, address, reach } = peer;
    let (name, key) = (role.name(), role.key());
    let (what, remedy) = match reach {
        Reach::Answers { address: at, took } => {
            let took = span_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            return Finding::ok(NETWORK, format!("{name} {address} ({at}) answers over UDP in {took}"));
        }
        // The link itself is the better witness.
        Reach::Silent { .. } if is_ours => {
            return Finding::ok(NETWORK, format!("{name} {address} is connected"));
        }
        Reach::NoAddress { why } => {
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            let remedy = format!(
                "see that /etc/resolv.conf names a DNS that knows it (`getent hosts {host}`), or that `{key}` in agent.toml is right"
            );
            (format!("{name} {address} has no address: {why}"), remedy)
        }
        Reach::NoWay { address: at, why } => {
            let remedy = format!("`ip -br address` and `ip route get {}` show which network is missing", at.ip());
            (format!("{name} {address}: this host has no way to {at}: {why}"), remedy)
        }
        Reach::NobodyListens { address: at } => {
            let remedy = format!(
                "see that the aggregator runs there (`dsmil-aggregator check`), and that `{key}` in agent.toml has the port of `{}`",
                listens(*role)
            );
            (format!("{name} {address}: nothing listens on UDP {at}"), remedy)
        }
        Reach::Silent { address: at } => {
            let remedy = format!(
                "let UDP port {} through, both ways; `tcpdump -ni any udp port {}` here and there shows where it ends",
                at.port(),
                at.port()
            );
            (format!("{name} {address}: nothing comes back from UDP {at}"), remedy)
        }
    };
    // With a link, one of several that is away is no trouble yet.
    if is_connected { Finding::warning(NETWORK, what, remedy) } else { Finding::trouble(NETWORK, what, remedy) }
}

/// The aggregator's key for its end.
fn listens(role: Role) -> &'static str {
    match role {
        Role::Aggregator => "listen.quic",
        Role::JoinPort => "listen.join",
    }
}

/// The host's wall clock.
pub(super) fn clock(facts: &Facts) -> Vec<Finding> {
    let Some(status) = &facts.status else { return Vec::new() };
    let ClockStatus { ahead_ms, steps, .. } = &status.clock;
    let mut found = Vec::new();
    if let Some(ahead_ms) = ahead_ms {
        let side = if *ahead_ms < 0 { "behind" } else { "ahead of" };
        let what = format!("the host's clock is {} {side} the aggregator's", span_ms(ahead_ms.unsigned_abs()));
        found.push(match ahead_ms.unsigned_abs() {
            off if off >= CLOCK_TROUBLE_MS => Finding::trouble(CLOCK, what, SET_CLOCK),
            off if off >= CLOCK_WARNING_MS => Finding::warning(CLOCK, what, SET_CLOCK),
            _ => Finding::ok(CLOCK, what),
        });
    }
    if let (Some(by_ms), Some(ago)) = (steps.last_by_ms, steps.last_s_ago) {
        let (times, by) = (count(steps.count, "step", "steps"), span_ms(by_ms.unsigned_abs()));
        let way = if by_ms < 0 { "back" } else { "forward" };
        let what = format!("{times} of the wall clock since the agent started, the last {by} {way}, {} ago", span(ago));
        let is_of_boot = steps.count == 1 && status.agent_uptime_s.saturating_sub(ago) < STEP_AFTER_S;
        found.push(if is_of_boot || ago > STEP_WITHIN_S {
            Finding::ok(CLOCK, what)
        } else {
            let remedy = "ticks lose nothing by it, but something sets the clock: see that only one program does \
                          (`systemctl status systemd-timesyncd chrony ntp`)";
            Finding::warning(CLOCK, what, remedy)
        });
    }
    found
}

const LINK: &str = "link";
const NETWORK: &str = "network";
const CLOCK: &str = "clock";
const SET_CLOCK: &str = "find out which of the two is right (`date --utc`, `timedatectl`), and have the other follow a time server \
                         (`systemctl enable --now systemd-timesyncd`)";

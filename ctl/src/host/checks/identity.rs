//! Who the host is and whom it trusts, for how long, and which settings of the fleet count.

use super::super::facts::{Configured, Facts};
use super::super::finding::Finding;
use super::super::screen::span;
use dsmil_agent::status::{IdentityStatus, TrustStatus};

/// A certificate that nobody renews and that ends sooner needs a hand: a week leaves room for a holiday.
const RENEW_WITHIN_S: i64 = 7 * DAY_S;
/// A trust bundle that ends sooner wants a new one: signing it takes the root out of its safe.
const SIGN_WITHIN_S: i64 = 30 * DAY_S;
const DAY_S: i64 = 86_400;

/// The certificate, and how renewing it goes.
pub(super) fn identity(facts: &Facts) -> Vec<Finding> {
    match (&facts.status, &facts.config) {
        (Some(status), _) => running(&status.identity, facts.now_s),
        (None, Some(Configured::Read(config))) => match &config.identity {
            // Why it cannot be read is the configuration's finding.
            None | Some(Err(_)) => Vec::new(),
            Some(Ok(identity)) => left(identity.not_after_s, config.renews, facts.now_s),
        },
        _ => Vec::new(),
    }
}

fn running(identity: &IdentityStatus, now_s: i64) -> Vec<Finding> {
    let left_s = identity.not_after_s.saturating_sub(now_s);
    let mut found = Vec::new();
    if now_s < identity.not_before_s {
        found.push(Finding::trouble(IDENTITY, "the certificate is not valid yet", WRONG_CLOCK));
    } else if left_s < 0 {
        found.push(Finding::trouble(IDENTITY, "the certificate is not valid any more", WRONG_CLOCK));
    }
    match (&identity.renewal.failed, identity.renewal.next_in_s) {
        (Some(failed), _) => {
            let what = format!("the certificate could not be renewed: {}", failed.what);
            found.push(Finding::trouble(IDENTITY, what, failed.remedy.clone()));
        }
        (None, None) if left_s < RENEW_WITHIN_S => {
            let ends = u64::try_from(left_s).map_or_else(|_| "has ended".into(), |s| format!("ends in {}", span(s)));
            let what = format!("the certificate {ends} and agent.toml names no join port to renew it");
            found.push(Finding::warning(IDENTITY, what, ADD_JOIN));
        }
        _ => {}
    }
    if found.is_empty() {
        let next = identity.renewal.next_in_s.map_or_else(String::new, |s| format!(", renewed in {}", span(s)));
        found.push(Finding::ok(IDENTITY, format!("certificate valid for {}{next}", span_of(left_s))));
    }
    found
}

/// Of an agent that does not run.
fn left(not_after_s: i64, renews: bool, now_s: i64) -> Vec<Finding> {
    let left_s = not_after_s.saturating_sub(now_s);
    let finding = match (left_s < 0, renews) {
        (false, _) => Finding::ok(IDENTITY, format!("certificate valid for {}", span_of(left_s))),
        (true, true) => Finding::warning(
            IDENTITY,
            format!("the certificate ended {} ago", span_of(left_s)),
            "nothing: it is renewed when the agent starts (`systemctl start dsmil-agent`), unless the host was away longer \
             than `join.max_offline_days` at the centre",
        ),
        (true, false) => {
            let what =
                format!("the certificate ended {} ago and agent.toml names no join port to renew it", span_of(left_s));
            Finding::trouble(IDENTITY, what, ADD_JOIN)
        }
    };
    vec![finding]
}

/// The trust bundle.
pub(super) fn trust(facts: &Facts) -> Vec<Finding> {
    match (&facts.status, &facts.config) {
        (Some(status), _) => {
            let TrustStatus { version, expires_s, refused, .. } = &status.trust;
            let mut found = vec![bundle(*version, *expires_s, facts.now_s)];
            found.extend(refused.iter().map(|why| {
                let what = format!("a trust bundle was refused: {why}");
                Finding::warning(
                    TRUST,
                    what,
                    "compare `dsmil-aggregator trust show` at the centre with `dsmilctl host status`",
                )
            }));
            found
        }
        (None, Some(Configured::Read(config))) => match &config.trust {
            None | Some(Err(_)) => Vec::new(),
            Some(Ok(trust)) => vec![bundle(trust.version, trust.expires_s, facts.now_s)],
        },
        _ => Vec::new(),
    }
}

fn bundle(version: u64, expires_s: i64, now_s: i64) -> Finding {
    let left_s = expires_s.saturating_sub(now_s);
    if left_s >= SIGN_WITHIN_S {
        return Finding::ok(TRUST, format!("bundle {version} valid for {}", span_of(left_s)));
    }
    let remedy = "have the root sign a new one and publish it (`dsmil-aggregator trust` there)";
    match u64::try_from(left_s) {
        Ok(left_s) => Finding::warning(TRUST, format!("trust bundle {version} expires in {}", span(left_s)), remedy),
        Err(_) => Finding::trouble(TRUST, format!("trust bundle {version} has expired"), remedy),
    }
}

/// Settings of the fleet that were refused here.
pub(super) fn settings(facts: &Facts) -> Vec<Finding> {
    let refused = facts.status.as_ref().and_then(|status| status.settings.refused.as_ref());
    let of = |refused: &dsmil_agent::status::RefusedStatus| {
        let what = format!("settings of the fleet were refused: {}: {}", refused.fault, refused.what);
        Finding::warning(SETTINGS, what, refused.remedy.clone())
    };
    refused.map(of).into_iter().collect()
}

fn span_of(seconds: i64) -> String {
    span(seconds.unsigned_abs())
}

const IDENTITY: &str = "identity";
const TRUST: &str = "trust";
const SETTINGS: &str = "settings";
const WRONG_CLOCK: &str = "compare the host's clock with another (`date --utc`); if it is right, the agent renews by itself, or \
                           `dsmil-agent join TOKEN --again` does";
const ADD_JOIN: &str =
    "add `join = [\"host:8101\"]`, the aggregator's join port, to agent.toml, then `systemctl reload dsmil-agent`";

//! `dsmil-agent check`: what there is, then what is wrong.

use dsmil_agent::config::{AgentConfig, CredentialFacts, Finding, IdentityFacts, Severity, TrustFacts};
use dsmil_crypto::provider_version;
use dsmil_runtime::clock::Clock;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    /// The files that were read: the main one, then drop-ins in their order.
    configuration: Vec<PathBuf>,
    /// The implementation that does the arithmetic, and its version.
    cryptography: String,
    /// What the fleet link is protected with.
    link: LinkFacts,
    /// Who the agent is; absent if its file cannot be read, which is a finding.
    identity: Option<IdentityFacts>,
    /// Whom it trusts; absent if its file cannot be read, which is a finding.
    trust: Option<TrustFacts>,
    /// What is wrong.
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct LinkFacts {
    group: &'static str,
    scheme: &'static str,
    suite: &'static str,
}

pub(crate) fn run(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let read = AgentConfig::document(path)?;
    let config = AgentConfig::of(&read, path)?;
    let CredentialFacts { identity, trust } = config.credentials();
    let agreed = config.key_exchange().negotiated();
    let document = Document {
        configuration: read.files().map(Path::to_owned).collect(),
        cryptography: provider_version(),
        link: LinkFacts { group: agreed.group, scheme: agreed.scheme, suite: agreed.suite },
        identity: identity.ok(),
        trust: trust.ok(),
        findings: config.check(),
    };
    if json {
        println!("{}", serde_json::to_string(&document)?);
    } else {
        print(&document, Clock::real().wall_ms().div_euclid(1000));
    }
    let failed = document.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(document: &Document, now_s: i64) {
    let Document { configuration, cryptography, link, identity, trust, findings } = document;
    let files: Vec<_> = configuration.iter().map(|path| path.display().to_string()).collect();
    println!("{} reads; cryptography by {cryptography}", files.join(", "));
    println!("link      {}, {}, {}", link.group, link.scheme, link.suite);
    if let Some(IdentityFacts { spiffe_id, key, not_after_s }) = identity {
        println!("identity  {spiffe_id}, key {key}, {}", until(*not_after_s, now_s));
    }
    if let Some(TrustFacts { trust_domain, version, expires_s, roots }) = trust {
        let roots = roots.join(", ");
        println!("trust     bundle {version} of {trust_domain}, {}; root {roots}", until(*expires_s, now_s));
    }
    for finding in findings {
        let mark = match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error  ",
        };
        println!("{mark}  {:<22} {}\n{:32}{}", finding.key, finding.what, "", finding.remedy);
    }
    if findings.is_empty() {
        println!("nothing to mend");
    }
}

fn until(end_s: i64, now_s: i64) -> String {
    match end_s.saturating_sub(now_s) {
        left if left < 0 => "expired".into(),
        left if left < 2 * DAY_S => format!("valid for {} h", left / HOUR_S),
        left => format!("valid for {} d", left / DAY_S),
    }
}

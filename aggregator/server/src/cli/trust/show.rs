//! `trust show`.

use super::super::ConfigArgs;
use super::super::centre::{Centre, with_centre};
use super::super::output::{print, print_json};
use super::super::when;
use clap::Args;
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::issuer_keys;
use dsmil_aggregator::trust::{TrustDraft, difference, publishable, read_bundle};
use dsmil_authority::{Fingerprint, Issuer, SignedBundle};
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::issue::IssuerKey;
use dsmil_crypto::key::key_fingerprint;
use dsmil_crypto::trust::Trust;
use dsmil_runtime::clock::Clock;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// A signed bundle; left out: the one in force.
    file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A bundle as it is shown.
#[derive(Serialize)]
struct Shown {
    version: u64,
    trust_domain: String,
    issued_s: i64,
    expires_s: i64,
    days_left: i64,
    roots: Vec<ShownRoot>,
    issuers: Vec<ShownIssuer>,
    order_keys: Vec<ShownOrderKey>,
    revoked: Vec<Fingerprint>,
    retired: Vec<Fingerprint>,
    /// Of the bundle in force: what is drafted to follow it.
    draft: Option<ShownDraft>,
    /// Of a file: whether `publish` would take it, where there is a bundle in force to ask.
    publishable: Option<ShownVerdict>,
}

#[derive(Serialize)]
struct ShownRoot {
    name: String,
    fingerprint: Fingerprint,
    expires_s: i64,
    has_signed: bool,
}

#[derive(Serialize)]
struct ShownIssuer {
    name: String,
    key: Fingerprint,
    expires_s: i64,
    certified_by: Vec<String>,
    key_is_here: bool,
    in_use: bool,
    revoked: bool,
}

#[derive(Serialize)]
struct ShownOrderKey {
    name: String,
    key: Fingerprint,
}

#[derive(Serialize)]
struct ShownDraft {
    file: PathBuf,
    base_version: u64,
    changes: Vec<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct ShownVerdict {
    taken: bool,
    reason: Option<String>,
    changes: Vec<String>,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let shown = match &args.file {
        Some(file) => of_file(file, args)?,
        None => with_centre(&args.config, async |centre| in_force(centre).await)?,
    };
    if args.json {
        return print_json(&shown);
    }
    Ok(print(&words(&shown, Clock::real().wall_ms().div_euclid(1000)))?)
}

async fn in_force(centre: &Centre) -> anyhow::Result<Shown> {
    let trust = centre.trust().await?;
    let mut shown = Shown::new(&trust, Some(&centre.config), centre.now_s())?;
    shown.draft = pending(&centre.draft(), &trust);
    Ok(shown)
}

/// What is pending, even if it cannot be used any more: then it says why.
fn pending(path: &Path, held: &Trust) -> Option<ShownDraft> {
    let draft = match TrustDraft::load(path) {
        Ok(draft) => draft?,
        Err(error) => {
            let problem = Some(error.to_string());
            return Some(ShownDraft { file: path.into(), base_version: 0, changes: Vec::new(), problem });
        }
    };
    Some(ShownDraft {
        file: path.into(),
        base_version: draft.base().map_or(0, |base| base.version()),
        changes: draft.changes().iter().map(ToString::to_string).collect(),
        problem: draft.check_base(held).err().map(|error| error.to_string()),
    })
}

fn of_file(file: &Path, args: &ShowArgs) -> anyhow::Result<Shown> {
    let trust = Trust::own(&read_bundle(file)?)?;
    let now_s = Clock::real().wall_ms().div_euclid(1000);
    // A file can be shown anywhere; where there is an aggregator, it says more.
    let centre = with_centre(&args.config, async |centre| Ok((centre.trust().await?, centre.config.clone()))).ok();
    let mut shown = Shown::new(&trust, centre.as_ref().map(|(_, config)| config), now_s)?;
    shown.publishable = centre.map(|(held, _)| {
        let taken = publishable(&held, trust.bytes(), now_s);
        let changes = difference(held.bundle(), trust.bundle());
        ShownVerdict { taken: taken.is_ok(), reason: taken.err().map(|error| error.to_string()), changes }
    });
    Ok(shown)
}

impl Shown {
    fn new(trust: &Trust, config: Option<&Config>, now_s: i64) -> anyhow::Result<Self> {
        let bundle = trust.bundle();
        let signed_by: Vec<_> = SignedBundle::decode(trust.bytes())?.signers().collect();
        let root = |fingerprint: &Fingerprint, der: &[u8]| -> anyhow::Result<_> {
            let facts = Facts::read(der)?;
            let has_signed = signed_by.contains(fingerprint);
            let expires_s = facts.validity.not_after;
            Ok(ShownRoot { name: facts.name, fingerprint: *fingerprint, expires_s, has_signed })
        };
        let ours = config.map(|config| ours(config, trust)).unwrap_or_default();
        let in_use = using(trust, &ours, now_s);
        let issuer = |issuer: &Issuer| -> anyhow::Result<_> {
            let facts = issuer.certificates.iter().map(|der| Facts::read(der)).collect::<Result<Vec<_>, _>>()?;
            let key = facts.first().map_or(Fingerprint([0; Fingerprint::LEN]), |facts| facts.key);
            Ok(ShownIssuer {
                name: issuer.name.clone(),
                key,
                expires_s: facts.iter().map(|facts| facts.validity.not_after).max().unwrap_or(0),
                certified_by: certified_by(trust, issuer),
                key_is_here: ours.contains(&issuer.name),
                in_use: in_use.as_ref() == Some(&issuer.name),
                revoked: bundle.revoked.contains(&key),
            })
        };
        let order_keys = bundle.order_keys.iter();
        Ok(Self {
            version: bundle.version,
            trust_domain: bundle.trust_domain.clone(),
            issued_s: bundle.issued_s,
            expires_s: bundle.expires_s,
            days_left: bundle.expires_s.saturating_sub(now_s).div_euclid(86_400),
            roots: trust.roots().map(|(fingerprint, der)| root(fingerprint, der)).collect::<Result<_, _>>()?,
            issuers: bundle.issuers.iter().map(issuer).collect::<Result<_, _>>()?,
            order_keys: order_keys
                .map(|key| ShownOrderKey { name: key.name.clone(), key: key_fingerprint(&key.public_key) })
                .collect(),
            revoked: bundle.revoked.clone(),
            retired: bundle.retired.clone(),
            draft: None,
            publishable: None,
        })
    }
}

fn certified_by(trust: &Trust, issuer: &Issuer) -> Vec<String> {
    let roots = trust.roots().filter(|(_, root)| issuer.certificates.iter().any(|der| is_signed_by(der, root)));
    roots.map(|(_, root)| Facts::read(root).map_or_else(|error| error.to_string(), |facts| facts.name)).collect()
}

/// The names of the issuers whose keys are here. A key that cannot be read is named, and is not here.
pub(super) fn ours(config: &Config, trust: &Trust) -> Vec<String> {
    let files = issuer_keys(&config.identity.issuers).unwrap_or_else(|error| {
        eprintln!("dsmil-aggregator: {error:#}");
        Vec::new()
    });
    let mut keys = Vec::new();
    for path in files {
        match IssuerKey::load(&path) {
            Ok(key) => keys.push(key),
            Err(error) => eprintln!("dsmil-aggregator: {}: {:#}", path.display(), anyhow::Error::from(error)),
        }
    }
    let is_ours =
        |issuer: &&Issuer| issuer.certificates.first().is_some_and(|der| keys.iter().any(|key| key.fits(der)));
    trust.bundle().issuers.iter().filter(is_ours).map(|issuer| issuer.name.clone()).collect()
}

/// The issuer that an aggregator signs with: the newest of those whose keys it has.
pub(super) fn using(trust: &Trust, ours: &[String], now_s: i64) -> Option<String> {
    let is_good = |issuer: &&Issuer| {
        let facts = issuer.certificates.first().and_then(|der| Facts::read(der).ok());
        let is_good = |facts: Facts| facts.validity.not_after >= now_s && !trust.bundle().revoked.contains(&facts.key);
        ours.contains(&issuer.name) && facts.is_some_and(is_good)
    };
    trust.bundle().issuers.iter().rev().find(is_good).map(|issuer| issuer.name.clone())
}

fn words(shown: &Shown, now_s: i64) -> String {
    let mut text = String::new();
    let until = |at| format!("{} ({})", when::utc(at), when::left(at, now_s));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "trust bundle {} of {}", shown.version, shown.trust_domain);
    let _ = writeln!(text, "signed   {}", when::utc(shown.issued_s));
    let _ = writeln!(text, "expires  {}", until(shown.expires_s));
    for root in &shown.roots {
        let signed = if root.has_signed { "has signed this bundle" } else { "has not signed this bundle" };
        let _ = writeln!(text, "\nroot     {}, {signed}", root.name);
        let _ = writeln!(text, "         expires {}", until(root.expires_s));
        let _ = writeln!(text, "         {}", root.fingerprint);
    }
    for issuer in &shown.issuers {
        let standing = match (issuer.revoked, issuer.in_use, issuer.key_is_here) {
            (true, ..) => "its key is shut out",
            (_, true, _) => "in use here",
            (_, _, true) => "its key is here",
            _ => "its key is not here",
        };
        let _ = writeln!(text, "\nissuer   {}, {standing}", issuer.name);
        let _ = writeln!(text, "         expires {}", until(issuer.expires_s));
        let _ = writeln!(text, "         certified by {}", issuer.certified_by.join(", "));
        let _ = writeln!(text, "         key {}", issuer.key);
    }
    text.push('\n');
    list(&mut text, "order keys", shown.order_keys.iter().map(|key| format!("{} {}", key.name, key.key)));
    list(&mut text, "keys shut out", shown.revoked.iter().map(ToString::to_string));
    list(&mut text, "issuers retired", shown.retired.iter().map(ToString::to_string));
    after(shown, &mut text);
    text
}

/// What is pending, or what would become of a file.
fn after(shown: &Shown, text: &mut String) {
    if let Some(draft) = &shown.draft {
        let _ = writeln!(text, "\ndraft    {}, from bundle {}", draft.file.display(), draft.base_version);
        draft.changes.iter().for_each(|change| text.push_str(&format!("         {change}\n")));
        if let Some(problem) = &draft.problem {
            let _ = writeln!(text, "         {problem}");
        }
    }
    if let Some(verdict) = &shown.publishable {
        match &verdict.reason {
            None => text.push_str("\n`trust publish` would take it:\n"),
            Some(reason) => {
                let _ = writeln!(text, "\n`trust publish` would refuse it: {reason}");
            }
        }
        if verdict.taken {
            verdict.changes.iter().for_each(|change| text.push_str(&format!("         {change}\n")));
        }
    }
}

fn list(text: &mut String, name: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        let _ = writeln!(text, "{name:<16} none");
    }
    for line in lines {
        let _ = writeln!(text, "{name:<16} {line}");
    }
}

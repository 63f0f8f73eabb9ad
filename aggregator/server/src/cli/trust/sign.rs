//! `trust sign`: the one verb that needs the root, and nothing of the aggregator.

use super::super::ConfigArgs;
use super::super::centre::{Centre, with_centre};
use super::super::output::{print, print_json};
use super::super::when;
use anyhow::Context;
use clap::Args;
use dsmil_aggregator::trust::{TrustDraft, difference, read_bundle, write_whole};
use dsmil_authority::{Fingerprint, TrustBundle};
use dsmil_crypto::issue::FleetRoot;
use dsmil_crypto::trust::Trust;
use dsmil_runtime::clock::Clock;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Args)]
pub(crate) struct SignArgs {
    /// The draft, or a bundle (`trust export`) that is to last longer. Left out: the pending draft of the configuration, and
    /// without one the bundle in force.
    draft: Option<PathBuf>,
    /// A folder with root.pem and root.key. Given once for each root of the new bundle; one that was retired may sign too,
    /// for hosts that have slept since.
    #[arg(long = "root", value_name = "DIR", required = true)]
    roots: Vec<PathBuf>,
    /// So long the bundle counts.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The file of the signed bundle; left out, it lies beside the draft as trust.bundle.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was signed.
#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    version: u64,
    expires_s: i64,
    signed_by: Vec<Fingerprint>,
    changes: Vec<String>,
}

pub(super) fn run(args: &SignArgs) -> anyhow::Result<()> {
    let (draft, folder) = match &args.draft {
        Some(path) => (read(path)?, path.parent().map(Path::to_path_buf).unwrap_or_default()),
        None => with_centre(&args.config, async |centre| pending(centre).await)?,
    };
    let roots = args.roots.iter().map(|folder| load(folder)).collect::<anyhow::Result<Vec<_>>>()?;
    let lifetime = Duration::from_secs(u64::from(args.days) * 86_400);
    let now_s = Clock::real().wall_ms().div_euclid(1000);
    let base = draft.base()?;
    let trust = draft.sign(&roots, now_s, lifetime)?;
    let file = args.out.clone().unwrap_or_else(|| folder.join("trust.bundle"));
    write_whole(&file, trust.bytes())?;
    let signed = Signed {
        file,
        version: trust.version(),
        expires_s: trust.bundle().expires_s,
        signed_by: roots.iter().map(FleetRoot::fingerprint).collect(),
        changes: difference(base.bundle(), trust.bundle()),
    };
    if args.json {
        return print_json(&signed);
    }
    print(&words(&signed, base.bundle(), now_s))?;
    eprintln!("\nAt the aggregator: dsmil-aggregator trust publish {}", signed.file.display());
    Ok(())
}

fn words(signed: &Signed, base: &TrustBundle, now_s: i64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "signed     trust bundle {} of {}, after bundle {}",
        signed.version, base.trust_domain, base.version
    );
    let was = format!("it was {}", when::utc(base.expires_s));
    let _ = writeln!(
        text,
        "expires    {} (in {}; {was})",
        when::utc(signed.expires_s),
        when::left(signed.expires_s, now_s)
    );
    for root in &signed.signed_by {
        let _ = writeln!(text, "signed by  {root}");
    }
    let changes =
        if signed.changes.is_empty() { vec!["nothing but its time".to_string()] } else { signed.changes.clone() };
    for (at, change) in changes.iter().enumerate() {
        let _ = writeln!(text, "{:<10} {change}", if at == 0 { "changes" } else { "" });
    }
    let _ = writeln!(text, "file       {}", signed.file.display());
    text
}

/// A draft from a file; a bundle is a draft that changes nothing.
fn read(path: &Path) -> anyhow::Result<TrustDraft> {
    let draft = match read_bundle(path) {
        Ok(bytes) if bytes.starts_with(BUNDLE_MAGIC) => return Ok(TrustDraft::new(&Trust::own(&bytes)?)),
        _ => TrustDraft::load(path)?,
    };
    draft.with_context(|| format!("there is no {}", path.display()))
}

async fn pending(centre: &Centre) -> anyhow::Result<(TrustDraft, PathBuf)> {
    let path = centre.draft();
    let held = centre.trust().await?;
    let draft = match TrustDraft::load(&path)? {
        Some(draft) => {
            draft.check_base(&held)?;
            draft
        }
        None => TrustDraft::new(&held),
    };
    Ok((draft, path.parent().map(Path::to_path_buf).unwrap_or_default()))
}

fn load(folder: &Path) -> anyhow::Result<FleetRoot> {
    FleetRoot::load(&folder.join("root.pem"), &folder.join("root.key")).with_context(|| {
        format!("there is no root in {}: give the folder with root.pem and root.key", folder.display())
    })
}

/// What a signed bundle begins with; a draft is JSON.
const BUNDLE_MAGIC: &[u8] = b"DSTB";

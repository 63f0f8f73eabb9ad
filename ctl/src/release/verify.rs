//! `dsmilctl verify-package`: for whoever installs.

use super::signature_of;
use crate::outcome::Outcome;
use anyhow::Context;
use clap::Args;
use dsmil_crypto::release::{PublicKey, Refused};
use serde::Serialize;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The version of what `--json` prints.
const JSON_VERSION: u8 = 1;
/// Where the package dsmilctl has the key of those who made it.
const DEFAULT_KEY: &str = "/usr/share/dsmil/release.pub";

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The public key of those who made them; that beside the installed dsmilctl checks newer versions.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_KEY)]
    key: PathBuf,
    /// Print one JSON document instead of lines.
    #[arg(long)]
    json: bool,
    /// What to check; the signature of FILE is in FILE.sig.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What is to be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The key's holder signed exactly this.
    Good,
    /// It is not what was signed.
    Changed,
    /// Somebody else signed it.
    OtherKey,
    /// Nobody did, as far as can be seen.
    NoSignature,
    /// The signature is newer than this program.
    UnknownVersion,
    /// What should be the signature is none.
    BadSignature,
    /// The file, or its signature, cannot be read.
    Unreadable,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    key: String,
    files: Vec<Checked<'a>>,
}

#[derive(Serialize)]
pub(super) struct Checked<'a> {
    pub(super) file: &'a Path,
    pub(super) verdict: Verdict,
    /// In words.
    pub(super) says: String,
}

/// Checks files and prints a line of each.
pub(crate) fn verify(args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let key = PublicKey::load(&args.key).context("there is no key to check with: name it with --key")?;
    let files: Vec<_> = args.files.iter().map(|file| check(&key, file)).collect();
    let good = files.iter().all(|checked| checked.verdict == Verdict::Good);
    let out = if args.json {
        let document = Document { version: JSON_VERSION, key: key.fingerprint().to_string(), files };
        serde_json::to_string_pretty(&document)? + "\n"
    } else {
        let line = |checked: &Checked<'_>| format!("{}: {}\n", checked.file.display(), checked.says);
        files.iter().map(line).collect()
    };
    match io::stdout().lock().write_all(out.as_bytes()) {
        // `dsmilctl … | head` is not a failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context("cannot print"),
        _ => {}
    }
    Ok(if good { Outcome::Fine } else { Outcome::NeedsAttention })
}

/// What is to be said of one file.
pub(super) fn check<'a>(key: &PublicKey, file: &'a Path) -> Checked<'a> {
    let said = |verdict, says: String| Checked { file, verdict, says };
    let cannot =
        |path: &Path, error: io::Error| said(Verdict::Unreadable, format!("cannot read {}: {error}", path.display()));
    let content = match File::open(file) {
        Ok(content) => content,
        Err(error) => return cannot(file, error),
    };
    let beside = signature_of(file);
    let signature = match File::open(&beside) {
        Ok(signature) => signature,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return said(Verdict::NoSignature, format!("NOT SIGNED: there is no {}", beside.display()));
        }
        Err(error) => return cannot(&beside, error),
    };
    match key.verify(signature, content) {
        Ok(()) => said(Verdict::Good, format!("good, signed by key {}", key.fingerprint().short())),
        Err(refused) => said(verdict(&refused), format!("BAD: {refused}{}", cause(&refused))),
    }
}

fn verdict(refused: &Refused) -> Verdict {
    match refused {
        Refused::Changed => Verdict::Changed,
        Refused::OtherKey(_) => Verdict::OtherKey,
        Refused::Version(_) => Verdict::UnknownVersion,
        Refused::Malformed => Verdict::BadSignature,
        Refused::Read(_) => Verdict::Unreadable,
    }
}

fn cause(refused: &Refused) -> String {
    std::error::Error::source(refused).map(|source| format!(": {source}")).unwrap_or_default()
}

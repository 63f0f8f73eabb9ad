//! `dsmilctl release-key`, `dsmilctl sign-package`: for whoever makes releases.

use super::signature_of;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use dsmil_crypto::release::{ENDING, ReleaseKey};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The files of a pair of keys, in their folder.
const PRIVATE: &str = "release.key";
const PUBLIC: &str = "release.pub";

#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct NewKeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Subcommand)]
enum KeyVerb {
    /// Make a pair of keys: release.key, which nobody else may see, and release.pub, which everybody has to have.
    ///
    /// Do it once, and keep release.key where no network is: whoever has it signs in your name. A pair that is there already
    /// is left alone.
    New {
        /// Where to; made if it is not there.
        dir: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct SignArgs {
    /// The private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What to sign.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Makes keys.
pub(crate) fn new_key(args: &NewKeyArgs) -> anyhow::Result<()> {
    let KeyVerb::New { dir } = &args.verb;
    let (private, public) = (dir.join(PRIVATE), dir.join(PUBLIC));
    for path in [&private, &public] {
        let there = path.symlink_metadata().is_ok();
        ensure!(!there, "{} is there already: a new key would end what was signed with it", path.display());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let key = ReleaseKey::generate()?;
    key.save(&private)?;
    key.public().save(&public)?;
    println!("{}\n{}\nkey {}", private.display(), public.display(), key.public().fingerprint());
    Ok(())
}

/// Signs files, each into a file beside it.
pub(crate) fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let key = ReleaseKey::load(&args.key)?;
    args.files.iter().try_for_each(|file| sign_one(&key, file))
}

fn sign_one(key: &ReleaseKey, file: &Path) -> anyhow::Result<()> {
    let is_signature = file.to_string_lossy().ends_with(ENDING);
    ensure!(!is_signature, "{} is a signature itself: name the files, not all that lies beside them", file.display());
    let open = || File::open(file).with_context(|| format!("cannot open {}", file.display()));
    let signature = key.sign(open()?).with_context(|| format!("cannot sign {}", file.display()))?;
    // What cannot be checked here could be checked nowhere: the file is being written to, or the machine miscalculates.
    key.public().verify(signature.as_bytes(), open()?).with_context(|| format!("{} changes", file.display()))?;
    let path = signature_of(file);
    fs::write(&path, signature).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

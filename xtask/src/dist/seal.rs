//! What proves that nothing was changed on the way: checksums of everything, and signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::packages::PACKAGES;
use crate::cargo;

/// The sums, in the form that `sha384sum -c` reads.
pub(super) const SUMS: &str = "SHA384SUMS";
/// What a signature's file is called, behind the name of what is signed.
pub(super) const SIGNATURE: &str = ".sig";
/// The program that signs and checks.
const SIGNER: &str = "dsmilctl";

/// A pair of keys that `dsmilctl release-key new` made.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    private: PathBuf,
    public: PathBuf,
}

impl Keys {
    /// The pair of a private key: the public one is beside it.
    pub(super) fn of(private: &Path) -> anyhow::Result<Self> {
        let private = private.canonicalize().with_context(|| format!("there is no key {}", private.display()))?;
        let public = private.with_extension("pub");
        ensure!(public.is_file(), "{} is missing: the public key has to be beside the private one", public.display());
        Ok(Self { private, public })
    }

    /// The public one, which is shipped.
    pub(super) fn public(&self) -> &Path {
        &self.public
    }
}

/// Writes the sums of the programs and `made`, all in `folder`.
pub(super) fn sum(folder: &Path, made: &[PathBuf]) -> anyhow::Result<()> {
    let programs = PACKAGES.iter().map(|package| Path::new(package.name));
    let files = programs.chain(made.iter().map(PathBuf::as_path));
    let sums = cargo::output(Command::new("sha384sum").args(files).current_dir(folder))?;
    fs::write(folder.join(SUMS), sums).with_context(|| format!("cannot write {SUMS}"))?;
    cargo::output(Command::new("sha384sum").args(["--check", "--strict", "--quiet", SUMS]).current_dir(folder))
        .map(drop)
}

/// Signs `made` and the sums by the program that is shipped, and has it check them as users will.
pub(super) fn sign(keys: &Keys, folder: &Path, made: &[PathBuf]) -> anyhow::Result<()> {
    let dsmilctl = |verb: &str, key: &Path| {
        let mut command = Command::new(folder.join(SIGNER));
        command.arg(verb).arg("--key").arg(key).args(made).arg(SUMS).current_dir(folder);
        cargo::output(&mut command)
    };
    dsmilctl("sign-package", &keys.private)?;
    dsmilctl("verify-package", &keys.public).map(drop)
}

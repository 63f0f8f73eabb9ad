//! `cargo xtask dist`: what is shipped. Static programs, .deb and .rpm of each, and what proves that they are ours.
//!
//! In the order in which it is done: [`programs`] are built; what is in a package is a table ([`packages`]), laid out as a
//! folder ([`contents`], [`staging`]), and packed twice ([`deb`], [`rpm`]) and looked over ([`lint`]);
//! what a program consists of is listed ([`sbom`]), and everything is summed and signed ([`seal`]). The packers get nothing that
//! differs from one run to the next: the time is that of the last commit, so two runs give the same bytes.

mod contents;
mod deb;
mod lint;
mod manual;
mod notices;
mod packages;
mod programs;
mod release;
mod rpm;
mod sbom;
mod seal;
mod staging;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as ClapArgs;

use crate::{tools, workspace};
use contents::Job;
use packages::PACKAGES;
use release::Release;
use seal::Keys;

/// Programs, packages and their checksums, into target/dist.
///
/// Two runs on the same commit give the same bytes.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Package debug programs, for drills only: into target/dist-debug, with ~debug in the version.
    #[arg(long)]
    debug: bool,
    /// Add this to the version, such as ~git20261122.053a891; ~ sorts before the release, + after it.
    #[arg(long, value_name = "SUFFIX")]
    version_suffix: Option<release::Suffix>,
    /// Build nothing; take the programs from this folder, as they are.
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Put everything into this folder instead; older packages in it are removed.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Sign everything with this key, of which the public half is beside it (dsmilctl release-key new DIR).
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

impl Args {
    /// The folder that everything goes into.
    fn folder(&self) -> PathBuf {
        let usual = || workspace::target().join(if self.debug { "dist-debug" } else { "dist" });
        self.into.clone().unwrap_or_else(usual)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure(&tools::PACKAGING)?;
    let keys = args.sign.as_deref().map(Keys::of).transpose()?;
    let release = Release::of(args.version_suffix.as_ref(), args.debug, keys.as_ref().map(Keys::public))?;
    let folder = args.folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Commands run in folders of their own.
    let folder = folder.canonicalize()?;
    clear(&folder)?;

    println!("programs …");
    programs::gather(args, &folder)?;
    let staging = folder.join(STAGING);
    let known = sbom::Known::ask()?;
    let mut made = Vec::new();
    for package in &PACKAGES {
        println!("{} {} …", package.name, release.version);
        let notices = notices::text(package.name, &known)?;
        let job = Job { package, release: &release, folder: &folder, staging: &staging, notices: &notices };
        for pack in [deb::build, rpm::build] {
            let file = pack(&job)?;
            println!("  {:<48} {:>10} bytes", file.display(), size(&folder.join(&file))?);
            made.push(file);
        }
        made.push(sbom::write(package, &release, &known, &folder)?);
    }
    fs::remove_dir_all(&staging).with_context(|| format!("cannot clear {}", staging.display()))?;
    println!("lintian, rpmlint …");
    lint::check(&release, &folder, &made)?;
    seal::sum(&folder, &made)?;
    if let Some(keys) = &keys {
        println!("signatures …");
        seal::sign(keys, &folder, &made)?;
    }
    println!("in {}", folder.display());
    Ok(())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("{} was not made", path.display()))?.len())
}

/// Where packages are laid out, within the folder of what is shipped.
const STAGING: &str = "staging";

/// What an earlier run left, whatever its version: nobody is to ship it by mistake. Files that we do not make stay.
fn clear(folder: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(folder.join(STAGING));
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// How names end of what is made here, programs apart.
const ENDINGS: [&str; 5] = [".deb", ".rpm", ".cdx.json", seal::SIGNATURE, seal::SUMS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_left_goes_and_nothing_else() {
        let folder = workspace::target().join("tmp-xtask-clear");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("old_1_amd64.deb"), "").unwrap();
        fs::write(folder.join("release.key"), "").unwrap();
        clear(&folder).unwrap();
        assert!(!folder.join("old_1_amd64.deb").exists() && folder.join("release.key").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Where things are: the repository and what cargo builds into it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The triple of `.cargo/config.toml`; cargo puts what it builds for a named target under that name.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The profile of Cargo.toml that the agent is shipped in.
pub(crate) const SMALL: &str = "small";

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    // Joining an absolute path replaces, so both forms of the variable are served.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The version that all crates have.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Copies a built program into `folder`, and says where it is now.
pub(crate) fn take(profile: &str, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    copy(&program(profile, name), folder)
}

/// Copies the program at `from` into `folder`, and says where it is now.
pub(crate) fn copy(from: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let name = from.file_name().with_context(|| format!("{} is no program", from.display()))?;
    let copy = folder.join(name);
    // Removed first: writing over a program that runs is refused.
    let _ = fs::remove_file(&copy);
    fs::copy(from, &copy).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(copy)
}

/// A program of this workspace, built in `profile` ("debug", "release" or [`SMALL`]).
pub(crate) fn program(profile: &str, name: &str) -> PathBuf {
    target().join(TARGET).join(profile).join(name)
}

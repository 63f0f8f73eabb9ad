//! Where things are: the repository and what cargo builds into it.

use std::path::{Path, PathBuf};

/// The triple of `.cargo/config.toml`; cargo puts what it builds for a named target under that name.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    // Joining an absolute path replaces, so both forms of the variable are served.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A program of this workspace, built in `profile` ("debug" or "release").
pub(crate) fn program(profile: &str, name: &str) -> PathBuf {
    target().join(TARGET).join(profile).join(name)
}

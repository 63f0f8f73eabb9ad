//! Packages and whatever else is released: signed by those who make them, checked by those who install them.

mod keys;
mod verify;

pub(crate) use keys::{NewKeyArgs, SignArgs, new_key, sign};
pub(crate) use verify::{VerifyArgs, verify};

use dsmil_crypto::release::ENDING;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where a file's signature is: beside it.
fn signature_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ENDING);
    name.into()
}

#[cfg(test)]
mod tests;

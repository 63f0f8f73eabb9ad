//! Whether a program is static: an ELF file that names no interpreter.
//!
//! Source: System V ABI, "Object Files" and "Program Loading" (`Elf64_Ehdr`, `Elf64_Phdr`).

use std::path::Path;

use anyhow::{Context, ensure};

/// A segment of this type names the dynamic loader (`PT_INTERP`).
const PT_INTERP: u32 = 3;

/// Whether the program at `path` needs a dynamic loader. A static position-independent one does not, though it relocates itself.
pub(crate) fn needs_loader(path: &Path) -> anyhow::Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    has_interpreter(&bytes).with_context(|| format!("{} is no program for this check", path.display()))
}

/// The oldest release of glibc that a dynamic program starts with: the newest that one of its symbols names, as in `GLIBC_2.34`.
pub(crate) fn glibc(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let newest = newest_glibc(&bytes).with_context(|| format!("{} names no symbol of glibc", path.display()))?;
    Ok(format!("2.{newest}"))
}

/// Names of versions are text in the file (Linux Standard Base, "Symbol Versioning").
fn newest_glibc(bytes: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"GLIBC_2.";
    let minor = |at: usize| {
        let digits: Vec<u8> = bytes[at + NAME.len()..].iter().copied().take_while(u8::is_ascii_digit).take(4).collect();
        String::from_utf8(digits).ok()?.parse().ok()
    };
    let places = bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    places.filter_map(|(at, _)| minor(at)).max()
}

fn has_interpreter(elf: &[u8]) -> anyhow::Result<bool> {
    ensure!(elf.get(..6) == Some(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
    let table = usize::try_from(u64::from_le_bytes(field(elf, 32)?))?;
    let entry_size = usize::from(u16::from_le_bytes(field(elf, 54)?));
    let entries = usize::from(u16::from_le_bytes(field(elf, 56)?));
    for index in 0..entries {
        let offset = table.checked_add(index * entry_size).context("the program headers lie outside the file")?;
        if u32::from_le_bytes(field(elf, offset)?) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The `N` bytes at `offset`.
fn field<const N: usize>(elf: &[u8], offset: usize) -> anyhow::Result<[u8; N]> {
    let bytes = elf.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().context("the file ends inside its headers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of 64 bytes and two program headers of 56, the second of type `kind`.
    fn elf(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 2 * 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 2;
        bytes[64 + 56..64 + 60].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn an_interpreter_is_seen() {
        assert!(has_interpreter(&elf(PT_INTERP)).unwrap());
        assert!(!has_interpreter(&elf(1)).unwrap());
    }

    #[test]
    fn this_very_test_is_static_as_everything_here_is() {
        assert!(!needs_loader(&std::env::current_exe().unwrap()).unwrap());
    }

    #[test]
    fn the_newest_release_of_glibc_counts() {
        assert_eq!(newest_glibc(b"x\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.14\0GLIBC_PRIVATE\0GLIBC_2."), Some(34));
        assert_eq!(newest_glibc(b"GLIBC_ABI_DT_RELR"), None);
    }

    #[test]
    fn what_is_cut_short_or_foreign_is_an_error() {
        let whole = elf(PT_INTERP);
        for length in 0..64 + 56 + 4 {
            assert!(has_interpreter(&whole[..length]).is_err(), "cut at {length}");
        }
        assert!(has_interpreter(b"#!/bin/sh\n").is_err());
    }
}

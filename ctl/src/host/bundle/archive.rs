//! The archive: a tar file (POSIX ustar) of small texts, packed with zstd, for its owner alone.

use anyhow::{Context, ensure};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A tar file is made of blocks of so many bytes.
const BLOCK: usize = 512;
/// For whoever made it alone: what is scrubbed is still theirs to hand on.
const MODE: u32 = 0o600;
/// Packs text to a tenth in milliseconds.
const LEVEL: i32 = 9;

/// A file in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name, below the archive's folder.
    pub(super) name: String,
    pub(super) text: String,
}

/// Writes the archive, all of it in `folder` within, unless there is a file already.
///
/// # Errors
/// There is one already, or it cannot be written: then nothing is left of it.
pub(super) fn write(path: &Path, folder: &str, entries: &[Entry], now_s: i64) -> anyhow::Result<u64> {
    let mut file = create(path)?;
    let packed = zstd::bulk::compress(&tar(folder, entries, now_s)?, LEVEL).context("the archive cannot be packed")?;
    let written = file.write_all(&packed).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half an archive is none; if it cannot be removed either, the error says enough.
        let _ = std::fs::remove_file(path);
    }
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(packed.len() as u64)
}

fn create(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    made.with_context(|| format!("{} cannot be made; a file that is there is not overwritten", path.display()))
}

/// The tar file.
fn tar(folder: &str, entries: &[Entry], now_s: i64) -> anyhow::Result<Vec<u8>> {
    let mut tar = Vec::new();
    for Entry { name, text } in entries {
        tar.extend(header(&format!("{folder}/{name}"), text.len(), now_s)?);
        tar.extend(text.as_bytes());
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks are the end.
    tar.resize(tar.len() + 2 * BLOCK, 0);
    Ok(tar)
}

/// The header of a file (POSIX.1-2017, pax, "ustar Interchange Format"): its fields in their places, numbers in octal.
fn header(name: &str, len: usize, now_s: i64) -> anyhow::Result<[u8; BLOCK]> {
    ensure!(name.len() <= 100, "{name} is too long a name for a tar file");
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{MODE:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{len:011o}").as_bytes());
    put(136, format!("{:011o}", now_s.max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn tar_reads_it_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.tar.zst");
        let entry = |name: &str, text: String| Entry { name: name.into(), text };
        let entries =
            [entry("a.txt", "hello\n".into()), entry("b/c.txt", "x".repeat(1_000)), entry("empty", String::new())];
        let written = write(&path, "bundle", &entries, 1_800_000_000).expect("written");
        let meta = std::fs::metadata(&path).expect("there");
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (written, 0o600));
        let again = write(&path, "bundle", &entries, 0).expect_err("it is there").to_string();
        assert!(again.contains("is not overwritten"), "{again}");

        let packed = std::fs::read(&path).expect("reads");
        let plain = folder.path().join("x.tar");
        std::fs::write(&plain, zstd::bulk::decompress(&packed, 1 << 20).expect("unpacks")).expect("written");
        let out = Command::new("tar").arg("-xvf").arg(&plain).arg("-C").arg(folder.path()).output().expect("tar runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(String::from_utf8_lossy(&out.stdout), "bundle/a.txt\nbundle/b/c.txt\nbundle/empty\n");
        let read = |name: &str| std::fs::read_to_string(folder.path().join("bundle").join(name)).expect("unpacked");
        assert_eq!(
            (read("a.txt"), read("b/c.txt"), read("empty")),
            ("hello\n".into(), "x".repeat(1_000), String::new())
        );
    }
}

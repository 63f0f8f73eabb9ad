//! PEM files on disk: written whole or not at all, keys never readable by others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate or key file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A private key that others on this machine can read is no secret.
    #[error(
        "{} holds a private key, but its mode {mode:03o} lets others read it: run `chmod 600 {}`; if others may have read it, replace the key",
        path.display(),
        path.display()
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is larger than any certificate or key of ours.
    #[error("{} is larger than any certificate, key or bundle of ours: it is another file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM, or lacks the section asked for.
    #[error("{} has no usable PEM section `{label}`", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The section asked for.
        label: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// More certificates than the one there should be.
    #[error("{} must hold exactly one certificate", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
    },
    /// More certificates than a chain of ours has.
    #[error("{} holds more than {MAX_CHAIN} certificates: keep the leaf and its issuers only", path.display())]
    LongChain {
        /// The file.
        path: PathBuf,
    },
}

/// An ML-DSA-87 leaf is 10 KiB of PEM, and an HTTPS chain of four RSA certificates about as much.
pub(crate) const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A leaf and three issuers: our own chains are one long, and bought HTTPS certificates have one or two intermediates.
pub(crate) const MAX_CHAIN: usize = 4;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Reads a chain of certificates, leaf first; never empty.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates(&read(open(path)?, path, MAX_FILE_BYTES)?, path)
}

/// Reads a file that holds one certificate and nothing else.
pub(crate) fn read_one(path: &Path) -> Result<CertificateDer<'static>, FileError> {
    let mut chain = read_chain(path)?;
    match chain.pop() {
        Some(only) if chain.is_empty() => Ok(only),
        _ => Err(FileError::NotOne { path: path.to_owned() }),
    }
}

/// Reads a file that is no secret, of at most `most` bytes.
pub(crate) fn read_public(path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
    read(open(path)?, path, most as u64)
}

/// Writes a file that is no secret, whole or not at all.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o644)
}

/// Reads a private key, if only its owner can.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    private_key(&read_private(path)?, path)
}

/// Reads a private key that systemd passed as a credential: a file of root's that the service's user may read by an access
/// list, whose mask shows as permission of the group (0440, systemd 255 and later). Nobody else may do anything with it.
pub(crate) fn read_passed_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    private_key(&read_denied_to(0o037, path)?, path)
}

/// Reads a chain and its key from one file, if only its owner can.
pub(crate) fn read_identity(path: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    let text = read_private(path)?;
    let chain = certificates(&text, path)?;
    Ok((chain, private_key(&text, path)?))
}

/// Writes a chain and its key into one file, readable by its owner only.
pub(crate) fn write_identity(
    path: &Path,
    chain: &[CertificateDer<'_>],
    key: &PrivateKeyDer<'_>,
) -> Result<(), FileError> {
    let certificates: String = chain.iter().map(|cert| pem(CERTIFICATE, cert)).collect();
    write_private(path, format!("{certificates}{}", pem(PRIVATE_KEY, key.secret_der())).as_bytes())
}

/// Reads a secret file, if only its owner can.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, FileError> {
    read_denied_to(0o077, path)
}

/// Reads a file that has none of these permission bits.
fn read_denied_to(forbidden: u32, path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    // Asked of the open file, so that what was checked is what is read.
    let mode = file.metadata().map_err(|source| FileError::Read { path: path.to_owned(), source })?.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(FileError::KeyExposed { path: path.to_owned(), mode });
    }
    read(file, path, MAX_FILE_BYTES)
}

/// Writes certificates, readable by all.
pub(crate) fn write_chain(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), FileError> {
    let text: String = chain.iter().map(|cert| pem(CERTIFICATE, cert)).collect();
    write(path, text.as_bytes(), 0o644)
}

/// Writes a PKCS #8 key, readable by its owner only.
pub(crate) fn write_key(path: &Path, key: &PrivateKeyDer<'_>) -> Result<(), FileError> {
    write_private(path, pem(PRIVATE_KEY, key.secret_der()).as_bytes())
}

/// Writes a secret file, readable by its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write(path, bytes, 0o600)
}

/// A certificate as PEM text.
pub(crate) fn certificate_pem(cert: &CertificateDer<'_>) -> String {
    pem(CERTIFICATE, cert)
}

fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem_error = |source| FileError::Pem { path: path.to_owned(), label: CERTIFICATE, source };
    let chain = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(pem_error)?;
    match chain.len() {
        0 => Err(pem_error(rustls::pki_types::pem::Error::NoItemsFound)),
        1..=MAX_CHAIN => Ok(chain),
        _ => Err(FileError::LongChain { path: path.to_owned() }),
    }
}

fn private_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|source| FileError::Pem {
        path: path.to_owned(),
        label: PRIVATE_KEY,
        source,
    })
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

fn read(file: File, path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > most {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Writes beside the file, syncs, and renames over it: after a crash there is the old file or the new one, never half of one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let error = |source| FileError::Write { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| error(io::ErrorKind::InvalidFilename.into()))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", random_hex()));
    let temporary = folder.join(temporary);
    write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|source| {
            // The file may never have been made; what matters is the first error.
            let _ = fs::remove_file(&temporary);
            error(source)
        })
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The mode is given at creation: there is no moment in which another could open the key.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn random_hex() -> String {
    crate::random::<4>().iter().map(|b| format!("{b:02x}")).collect()
}

/// RFC 7468: lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

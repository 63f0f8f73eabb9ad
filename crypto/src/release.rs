//! Signatures beside files: of packages, and whatever else a release consists of.
//!
//! `NAME.sig` is three lines of text:
//!
//! ```text
//! dsmil signature 1
//! key HEX            SHA-384 of the key's SubjectPublicKeyInfo
//! ml-dsa-87 BASE64   the signature
//! ```
//!
//! What is signed is a label, the file's length (eight bytes, big-endian) and its SHA-384, so that a file of any size is read
//! once, in pieces: aws-lc-rs has no interface that takes a message in parts, and none that takes FIPS 204's context string. The
//! label does the context's work: a signature under a file passes for one under nothing else. SHA-384 is the hash of everything
//! here (fingerprints, TLS), and that of CNSA 2.0.
//!
//! A file's name is not signed: mirrors change names, and a package says itself what it is and of which version.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str;

use aws_lc_rs::digest::{self, SHA384};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dsmil_authority::Fingerprint;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::public_key_to_spki;

use crate::files::{self, FileError};
use crate::identity::IdentityError;
use crate::key::{self, KeyError, PUBLIC_KEY_LEN, SIGNATURE_LEN, SigningKey, key_fingerprint};

/// How a signature's file is named: this behind the file's own name.
pub const ENDING: &str = ".sig";
/// Bytes of a signature's file at most: one has 6,302.
pub const MAX_SIGNATURE_FILE: u64 = 16 << 10;

/// Keeps a signature under a file from passing for one under anything else.
const LABEL: &[u8] = b"dsmil release file v1\0";
const FIRST_LINE: &str = "dsmil signature ";
const VERSION: &str = "1";
const KEY: &str = "key ";
const SIGNATURE: &str = "ml-dsa-87 ";
const PUBLIC_KEY: &str = "PUBLIC KEY";

/// The key that releases are signed with.
#[derive(Debug)]
pub struct ReleaseKey(SigningKey);

impl ReleaseKey {
    /// Makes a new one.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(SigningKey::generate()?))
    }

    /// Reads it from a PEM file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Ok(Self(SigningKey::load(path)?))
    }

    /// Writes it as a PEM file of mode 0600, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        self.0.save(path)
    }

    /// What others check its signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().to_vec())
    }

    /// Reads a file to its end and signs it: the text for the file beside it.
    pub fn sign(&self, file: impl Read) -> Result<String, SignError> {
        let signature = self.0.sign(&statement(file)?)?;
        let (key, signature) = (self.0.fingerprint(), STANDARD.encode(signature));
        Ok(format!("{FIRST_LINE}{VERSION}\n{KEY}{key}\n{SIGNATURE}{signature}\n"))
    }
}

/// The key that releases are checked with, [`PUBLIC_KEY_LEN`] bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads it from a PEM file (`PUBLIC KEY`, RFC 7468; RFC 9881 says what is in it).
    pub fn load(path: &Path) -> Result<Self, PublicKeyError> {
        let text = files::read_public(path, usize::try_from(MAX_SIGNATURE_FILE).unwrap_or(usize::MAX))?;
        let not_ours = || PublicKeyError::NotMlDsa87(path.to_owned());
        let info = SubjectPublicKeyInfoDer::from_pem_slice(&text).map_err(|_| not_ours())?;
        // The key is the end of the structure, and there is one structure for it.
        let at = info.len().checked_sub(PUBLIC_KEY_LEN).ok_or_else(not_ours)?;
        let key = Self(info[at..].to_vec());
        if key.info() == info.as_ref() { Ok(key) } else { Err(not_ours()) }
    }

    /// Writes it as such a file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write_public(path, files::pem(PUBLIC_KEY, &self.info()).as_bytes())
    }

    /// What people compare: SHA-384 of its SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Fingerprint {
        key_fingerprint(&self.0)
    }

    /// Checks that the holder of the key signed exactly this file. `signature` is the text beside it.
    ///
    /// # Errors
    /// [`Refused`] says why not. Only [`Refused::Changed`] costs reading the file.
    pub fn verify(&self, signature: impl Read, file: impl Read) -> Result<(), Refused> {
        let mut text = Vec::new();
        signature.take(MAX_SIGNATURE_FILE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_SIGNATURE_FILE {
            return Err(Refused::Malformed);
        }
        let signed = Signed::parse(&text)?;
        if signed.key != self.fingerprint() {
            return Err(Refused::OtherKey(signed.key));
        }
        if key::verify(&self.0, &statement(file)?, &signed.signature) { Ok(()) } else { Err(Refused::Changed) }
    }

    fn info(&self) -> Vec<u8> {
        public_key_to_spki(&alg_id::ML_DSA_87, &self.0).to_vec()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?})", self.fingerprint())
    }
}

/// What a signature's file says.
struct Signed {
    key: Fingerprint,
    signature: Vec<u8>,
}

impl Signed {
    /// The version first: of another one nothing is known. Then exactly what [`ReleaseKey::sign`] writes.
    fn parse(text: &[u8]) -> Result<Self, Refused> {
        let text = str::from_utf8(text).map_err(|_| Refused::Malformed)?;
        let (version, rest) =
            text.strip_prefix(FIRST_LINE).and_then(|t| t.split_once('\n')).ok_or(Refused::Malformed)?;
        if version != VERSION {
            let number = version.parse().map_err(|_| Refused::Malformed)?;
            return Err(Refused::Version(number));
        }
        let lines = rest.strip_suffix('\n').and_then(|rest| rest.split_once('\n'));
        let (key, signature) = lines.ok_or(Refused::Malformed)?;
        let key = key.strip_prefix(KEY).and_then(|key| key.parse().ok()).ok_or(Refused::Malformed)?;
        let signature = signature.strip_prefix(SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.filter(|signature| signature.len() == SIGNATURE_LEN).ok_or(Refused::Malformed)?;
        Ok(Self { key, signature })
    }
}

/// What is signed of a file, read to its end.
fn statement(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut hash = digest::Context::new(&SHA384);
    let mut length = 0_u64;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                hash.update(&piece[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok([LABEL, &length.to_be_bytes(), hash.finish().as_ref()].concat())
}

/// How much of a file is in memory at a time.
const PIECE: usize = 64 << 10;

/// Why a file could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The file could not be read.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a public key was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("{} holds no public key of a release: give the file release.pub that was published with it", .0.display())]
    NotMlDsa87(PathBuf),
}

/// Why a file is not taken for one that the key's holder signed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The signature is for other bytes.
    #[error("the file is not what was signed: it was changed, damaged or cut short")]
    Changed,
    /// Whoever signed holds another key.
    #[error("signed by another key, {0}")]
    OtherKey(Fingerprint),
    /// A newer form of signatures.
    #[error("the signature is of version {0}, which this program does not know: use a newer one")]
    Version(u64),
    /// No signature of ours.
    #[error("the signature's file is damaged, or of another kind")]
    Malformed,
    /// One of both files could not be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Longer than a piece, and not a multiple of one.
    fn file() -> Vec<u8> {
        (0..PIECE + 1000).map(|i| u8::try_from(i % 251).expect("less than 251")).collect()
    }

    #[test]
    fn what_was_signed_is_good() {
        let key = ReleaseKey::generate().expect("a key");
        for file in [file(), Vec::new()] {
            let signature = key.sign(&file[..]).expect("signed");
            key.public().verify(signature.as_bytes(), &file[..]).expect("good");
            assert!((signature.len() as u64) < MAX_SIGNATURE_FILE / 2, "{}", signature.len());
        }
    }

    #[test]
    fn a_change_anywhere_in_the_file_is_seen() {
        let key = ReleaseKey::generate().expect("a key");
        let file = file();
        let signature = key.sign(&file[..]).expect("signed");
        let refused = |file: &[u8]| {
            let verdict = key.public().verify(signature.as_bytes(), file);
            assert!(matches!(verdict, Err(Refused::Changed)), "{verdict:?}");
        };
        for at in [0, 1, PIECE - 1, PIECE, PIECE + 1, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            refused(&changed);
        }
        refused(&file[..file.len() - 1]);
        refused(&[&file[..], b"\0"].concat());
        refused(b"");
    }

    #[test]
    fn a_change_anywhere_in_the_signature_is_refused() {
        let key = ReleaseKey::generate().expect("a key");
        let text = key.sign(&b"file"[..]).expect("signed").into_bytes();
        let head = text.len() - SIGNATURE_LEN.div_ceil(3) * 4 - 1;
        // Each byte of the lines before it, and some of the signature itself.
        for at in (0..head + 4).chain((head..text.len()).step_by(97)).chain([text.len() - 1]) {
            for change in [1, 0x20, 0x80] {
                let mut changed = text.clone();
                changed[at] ^= change;
                if changed.eq_ignore_ascii_case(&text) && at < head {
                    continue; // The same fingerprint, in capitals.
                }
                assert!(key.public().verify(&changed[..], &b"file"[..]).is_err(), "byte {at} ^ {change}");
            }
        }
        for cut in [0, 1, 17, 18, 30, head, text.len() - 2, text.len() - 1] {
            let verdict = key.public().verify(&text[..cut], &b"file"[..]);
            assert!(matches!(verdict, Err(Refused::Malformed)), "cut at {cut}: {verdict:?}");
        }
        for more in [&b"\n"[..], b"x", b"ml-dsa-87 AAAA\n"] {
            let verdict = key.public().verify(&[&text[..], more].concat()[..], &b"file"[..]);
            assert!(matches!(verdict, Err(Refused::Malformed)), "{verdict:?}");
        }
    }

    #[test]
    fn another_key_and_another_version_are_named() {
        let (key, other) = (ReleaseKey::generate().expect("a key"), ReleaseKey::generate().expect("a key"));
        let text = key.sign(&b"file"[..]).expect("signed");
        let verdict = other.public().verify(text.as_bytes(), &b"file"[..]);
        assert!(matches!(verdict, Err(Refused::OtherKey(found)) if found == key.public().fingerprint()), "{verdict:?}");
        // Whoever claims the right key signed with another all the same.
        let claimed = text.replace(&key.public().fingerprint().to_string(), &other.public().fingerprint().to_string());
        let verdict = other.public().verify(claimed.as_bytes(), &b"file"[..]);
        assert!(matches!(verdict, Err(Refused::Changed)), "{verdict:?}");

        let newer = text.replacen("signature 1", "signature 2", 1);
        let verdict = key.public().verify(newer.as_bytes(), &b"file"[..]);
        assert!(matches!(verdict, Err(Refused::Version(2))), "{verdict:?}");
    }

    #[test]
    fn a_signature_under_something_else_is_none_under_a_file() {
        let key = ReleaseKey::generate().expect("a key");
        let unlabelled = &statement(&b"file"[..]).expect("read")[LABEL.len()..];
        for other in [b"file", unlabelled] {
            let (fingerprint, signature) = (key.0.fingerprint(), STANDARD.encode(key.0.sign(other).expect("signed")));
            let text = format!("{FIRST_LINE}{VERSION}\n{KEY}{fingerprint}\n{SIGNATURE}{signature}\n");
            assert!(matches!(key.public().verify(text.as_bytes(), &b"file"[..]), Err(Refused::Changed)));
        }
    }

    #[test]
    fn a_file_without_an_end_is_not_read_into_memory() {
        let key = ReleaseKey::generate().expect("a key");
        let verdict = key.public().verify(io::repeat(b'a'), &b"file"[..]);
        assert!(matches!(verdict, Err(Refused::Malformed)), "{verdict:?}");
    }

    #[test]
    fn keys_read_back_and_other_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let key = ReleaseKey::generate().expect("a key");
        key.save(&path("release.key")).expect("saved");
        key.public().save(&path("release.pub")).expect("saved");
        let mode = std::fs::metadata(path("release.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let again = ReleaseKey::load(&path("release.key")).expect("a key");
        let public = PublicKey::load(&path("release.pub")).expect("a key");
        assert_eq!((again.public(), public.fingerprint()), (public.clone(), key.public().fingerprint()));
        let signature = again.sign(&b"file"[..]).expect("signed");
        public.verify(signature.as_bytes(), &b"file"[..]).expect("good");

        assert!(PublicKey::load(&path("release.key")).is_err(), "a private key is no public one");
        std::fs::write(path("other.pub"), files::pem(PUBLIC_KEY, &[0; 3000])).expect("written");
        assert!(matches!(PublicKey::load(&path("other.pub")), Err(PublicKeyError::NotMlDsa87(_))));
        std::fs::write(path("short.pub"), files::pem(PUBLIC_KEY, b"short")).expect("written");
        assert!(matches!(PublicKey::load(&path("short.pub")), Err(PublicKeyError::NotMlDsa87(_))));
    }
}

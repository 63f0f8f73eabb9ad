//! The name of a public key: what the registry keeps of it.

use std::fmt;
use std::str::FromStr;

/// SHA-384 of a key's SubjectPublicKeyInfo (DER). Not of a certificate: a host's next leaf has the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; KeyHash::LEN]);

/// Why a text is no key hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's fingerprint is 96 hexadecimal digits, as `host show` prints it")]
pub struct KeyHashError;

impl KeyHash {
    /// Bytes of a hash.
    pub const LEN: usize = 48;
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::LEN {
            return Err(KeyHashError);
        }
        let mut hash = [0; Self::LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(hash))
    }
}

fn nibble(digit: u8) -> Result<u8, KeyHashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(KeyHashError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_hash_reads_what_it_prints() {
        let hash = KeyHash(std::array::from_fn(|i| u8::try_from(i * 5).expect("small")));
        assert_eq!(hash.to_string().len(), 96);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
        for bad in ["", &"0".repeat(95), &"0".repeat(97), &"g".repeat(96), &"é".repeat(48)] {
            assert_eq!(bad.parse::<KeyHash>(), Err(KeyHashError), "{bad:?}");
        }
    }
}

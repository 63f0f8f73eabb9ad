//! Many small inputs in one file: a corpus as it lies in the repository.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | "DSFC" |
//! | 1 | version, 1 |
//! | 48 | SHA-384 of what follows once it is decompressed |
//! | the rest | a zstd frame: for each input its length as u32, big-endian, and its bytes |
//!
//! Inputs are in the order of their lengths, then of their bytes, and none is there twice: the same inputs make the same
//! file.

use sha2::{Digest, Sha384};
use std::collections::BTreeSet;

const MAGIC: &[u8; 4] = b"DSFC";
const VERSION: u8 = 1;
const HASH_LEN: usize = 48;
/// Inputs are alike, and a corpus is packed seldom: as short as can be.
const LEVEL: i32 = 19;
/// Bytes of a corpus unpacked; ours have less than one MiB.
const MAX_LEN: usize = 64 << 20;

/// Why a file is no corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Another kind of file, or of another version.
    #[error("this is no corpus of version {VERSION}")]
    Format,
    /// Cut short or changed.
    #[error("the corpus is damaged: take it from the repository again")]
    Damaged,
}

/// The file of a corpus.
pub fn pack(inputs: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let inputs: BTreeSet<(usize, Vec<u8>)> = inputs.into_iter().map(|input| (input.len(), input)).collect();
    let mut plain = Vec::new();
    for (len, input) in inputs {
        plain.extend(u32::try_from(len).expect("an input is far below 4 GiB").to_be_bytes());
        plain.extend(input);
    }
    let packed = zstd::bulk::compress(&plain, LEVEL).expect("memory to memory cannot fail");
    [&MAGIC[..], &[VERSION], &Sha384::digest(&plain), &packed].concat()
}

/// The inputs in a file, the shortest first.
pub fn unpack(file: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let rest = file.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&[VERSION])).ok_or(ArchiveError::Format)?;
    let (hash, packed) = rest.split_at_checked(HASH_LEN).ok_or(ArchiveError::Damaged)?;
    let plain = zstd::bulk::decompress(packed, MAX_LEN).map_err(|_| ArchiveError::Damaged)?;
    if Sha384::digest(&plain)[..] != *hash {
        return Err(ArchiveError::Damaged);
    }
    let (mut inputs, mut rest) = (Vec::new(), &plain[..]);
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk().ok_or(ArchiveError::Damaged)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| ArchiveError::Damaged)?;
        let (input, after) = after.split_at_checked(len).ok_or(ArchiveError::Damaged)?;
        inputs.push(input.to_vec());
        rest = after;
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_inputs_make_the_same_file_whatever_their_order() {
        let inputs = [vec![2, 2], vec![], vec![1], vec![1]].to_vec();
        let file = pack(inputs.clone());
        assert_eq!(unpack(&file), Ok(vec![vec![], vec![1], vec![2, 2]]));
        assert_eq!(pack(inputs.into_iter().rev()), file);
    }

    #[test]
    fn a_damaged_file_is_named_as_such() {
        let file = pack([vec![1; 100], vec![2; 300]]);
        for end in 0..file.len() {
            assert!(unpack(&file[..end]).is_err(), "cut at {end}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            // The frame's own header has a byte or two that say nothing of its content.
            assert!(unpack(&changed).is_err() || unpack(&changed) == unpack(&file), "changed at {at}");
        }
        assert_eq!(unpack(b"DSFC\x02"), Err(ArchiveError::Format));
    }
}

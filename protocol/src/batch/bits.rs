//! Bits and bytes: the packer of columns, and a cursor that never reads past the end.

use super::BatchError;

/// How many bits `value` needs; 0 for 0.
pub(super) fn bit_len(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// A width, shift or length of at most 64, as the byte that is sent.
#[allow(clippy::cast_possible_truncation, reason = "at most 64")]
pub(super) fn small(bits: u32) -> u8 {
    debug_assert!(bits <= u64::BITS, "a number of bits in a word");
    bits as u8
}

/// Maps small magnitudes of either sign to small numbers: 0, -1, 1, -2 … to 0, 1, 2, 3 …
pub(super) fn zigzag(value: u64) -> u64 {
    (value << 1) ^ (value.cast_signed() >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// Appends `value` in base 128, least significant group first, top bit set on all bytes but the last.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7F) as u8);
}

/// Packs numbers of any width, least significant bit first.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The bits that do not fill a word yet.
    held: u64,
    /// How many they are, always below 64.
    count: u32,
}

impl BitWriter {
    /// Appends the low `width` bits of `value`, which has no others.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        debug_assert!(bit_len(value) <= width && width <= u64::BITS, "{value} in {width} bits");
        self.held |= value << self.count;
        let total = self.count + width;
        if total < u64::BITS {
            self.count = total;
            return;
        }
        self.bytes.extend_from_slice(&self.held.to_le_bytes());
        self.held = value.checked_shr(u64::BITS - self.count).unwrap_or(0);
        self.count = total - u64::BITS;
    }

    /// Appends the low `width` bits of `value`, up to 128.
    pub(super) fn put_wide(&mut self, value: u128, width: u32) {
        let (low, high) = halves(value);
        self.put(low, width.min(u64::BITS));
        self.put(high, width.saturating_sub(u64::BITS));
    }

    /// Fills the last byte with zeros, appends all bytes to `out` and starts anew.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(&self.held.to_le_bytes()[..self.count.div_ceil(8) as usize]);
        self.clear();
    }

    /// Forgets what was written, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.held = 0;
        self.count = 0;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
fn halves(value: u128) -> (u64, u64) {
    (value as u64, (value >> u64::BITS) as u64)
}

/// Reads what [`BitWriter`] wrote.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `width` bits, at most 64.
    pub(super) fn take(&mut self, width: u32) -> Result<u64, BatchError> {
        self.need(width as usize)?;
        Ok(self.next(width))
    }

    /// The next `width` bits, at most 128.
    pub(super) fn take_wide(&mut self, width: u32) -> Result<u128, BatchError> {
        let low = self.take(width.min(u64::BITS))?;
        let high = self.take(width.saturating_sub(u64::BITS))?;
        Ok(u128::from(low) | u128::from(high) << u64::BITS)
    }

    /// The number of zeros before the next one, both taken; 64 or more are refused.
    pub(super) fn take_zeros(&mut self) -> Result<u32, BatchError> {
        let left = self.bytes.len() * 8 - self.at;
        let from = self.at;
        let zeros = self.next(u64::BITS).trailing_zeros();
        self.at = from;
        if zeros as usize >= left {
            return Err(BatchError::Length);
        }
        if zeros == u64::BITS {
            return Err(BatchError::Column);
        }
        self.at += zeros as usize + 1;
        Ok(zeros)
    }

    /// Fills `out` with numbers of `width` bits each.
    pub(super) fn fill(&mut self, width: u32, out: &mut [u64]) -> Result<(), BatchError> {
        // At most 120 numbers of 64 bits: no overflow, and one check for all of them.
        self.need(width as usize * out.len())?;
        for slot in out {
            *slot = self.next(width);
        }
        Ok(())
    }

    /// Checks that nothing is left but the zeros that fill the last byte.
    pub(super) fn finish(mut self) -> Result<(), BatchError> {
        let left = self.bytes.len() * 8 - self.at;
        if left >= 8 {
            return Err(BatchError::Length);
        }
        if self.next(small_left(left)) == 0 { Ok(()) } else { Err(BatchError::Column) }
    }

    fn need(&self, bits: usize) -> Result<(), BatchError> {
        if bits <= self.bytes.len() * 8 - self.at { Ok(()) } else { Err(BatchError::Length) }
    }

    /// The next `width` bits; zeros stand for what is not there.
    fn next(&mut self, width: u32) -> u64 {
        let byte = self.at >> 3;
        let skip = small_left(self.at & 7);
        self.at += width as usize;
        let mut window = [0u8; 9];
        match self.bytes.get(byte..byte + 9) {
            Some(nine) => window.copy_from_slice(nine),
            None => {
                let rest = &self.bytes[byte.min(self.bytes.len())..];
                window[..rest.len()].copy_from_slice(rest);
            }
        }
        let mut low = [0u8; 8];
        low.copy_from_slice(&window[..8]);
        let mut value = u64::from_le_bytes(low) >> skip;
        if skip + width > u64::BITS {
            value |= u64::from(window[8]) << (u64::BITS - skip);
        }
        if width < u64::BITS { value & ((1 << width) - 1) } else { value }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "below 8")]
fn small_left(bits: usize) -> u32 {
    bits as u32
}

/// A cursor over whole bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    left: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8, BatchError> {
        let (&first, rest) = self.left.split_first().ok_or(BatchError::Length)?;
        self.left = rest;
        Ok(first)
    }

    /// The next `len` bytes.
    pub(super) fn slice(&mut self, len: usize) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.left.split_at_checked(len).ok_or(BatchError::Length)?;
        self.left = rest;
        Ok(taken)
    }

    /// The next 16 bytes, an identity.
    pub(super) fn id(&mut self) -> Result<[u8; 16], BatchError> {
        let (taken, rest) = self.left.split_first_chunk().ok_or(BatchError::Length)?;
        self.left = rest;
        Ok(*taken)
    }

    /// A number as [`put_varint`] writes it; a longer form of the same number is refused.
    pub(super) fn varint(&mut self) -> Result<u64, BatchError> {
        let mut value = 0;
        for group in 0..10 {
            let byte = self.byte()?;
            // The tenth byte holds the 64th bit and no other.
            if group == 9 && byte > 1 || group > 0 && byte == 0 {
                return Err(BatchError::Column);
            }
            value |= u64::from(byte & 0x7F) << (7 * group);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BatchError::Column)
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_read_back(items in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..60)) {
            let mut writer = BitWriter::default();
            let cut = |value: u64, width: u32| if width == 64 { value } else { value & ((1 << width) - 1) };
            for (value, width) in &items {
                writer.put(cut(*value, *width), *width);
            }
            let mut bytes = vec![];
            writer.finish(&mut bytes);
            let bits: u32 = items.iter().map(|i| i.1).sum();
            prop_assert_eq!(bytes.len(), bits.div_ceil(8) as usize);
            let mut reader = BitReader::new(&bytes);
            for (value, width) in &items {
                prop_assert_eq!(reader.take(*width), Ok(cut(*value, *width)));
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn wide_bits_read_back(value in any::<u128>(), width in 1u32..=128, skip in 0u32..8) {
            let value = if width == 128 { value } else { value & ((1 << width) - 1) };
            let mut writer = BitWriter::default();
            writer.put(0, skip);
            writer.put_wide(value, width);
            let mut bytes = vec![];
            writer.finish(&mut bytes);
            let mut reader = BitReader::new(&bytes);
            prop_assert_eq!(reader.take(skip), Ok(0));
            prop_assert_eq!(reader.take_wide(width), Ok(value));
        }

        #[test]
        fn numbers_read_back(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            prop_assert_eq!(unzigzag(zigzag(value)), value);
            let mut bytes = vec![];
            put_varint(&mut bytes, value);
            let mut cursor = Bytes::new(&bytes);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert!(cursor.rest().is_empty());
        }
    }

    #[test]
    fn what_is_not_there_is_not_read() {
        let mut reader = BitReader::new(&[0xFF]);
        assert_eq!(reader.take(9), Err(BatchError::Length));
        assert_eq!(reader.fill(3, &mut [0; 3]), Err(BatchError::Length));
        assert_eq!(reader.take(8), Ok(0xFF));
        assert_eq!(reader.take(1), Err(BatchError::Length));
        assert_eq!(BitReader::new(&[0]).finish(), Err(BatchError::Length), "a byte nobody asked for");
    }

    #[test]
    fn a_number_has_one_form() {
        for bytes in [&[0x80, 0x00][..], &[0x81, 0x80, 0x00], &[0xFF; 10], &[0xFF; 11]] {
            assert_eq!(Bytes::new(bytes).varint(), Err(BatchError::Column), "{bytes:?}");
        }
        assert_eq!(Bytes::new(&[0x80]).varint(), Err(BatchError::Length));
    }
}

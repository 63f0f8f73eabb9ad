//! A column's many numbers: all in one width, or each in a length that suits it.

use super::BatchError;
use super::bits::{BitReader, BitWriter, bit_len};

/// How the numbers of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// Bits of every number, or the order of the Golomb code.
    pub(super) width: u32,
    /// Exponential Golomb instead of one width: small numbers take few bits and a rare large one many.
    pub(super) golomb: bool,
}

impl Coding {
    /// Numbers that are all 0 and take no bits.
    pub(super) const NOTHING: Self = Self { width: 0, golomb: false };

    /// The coding that takes the fewest bits for `numbers`, and how many.
    pub(super) fn of(numbers: &[u64]) -> (Self, u32) {
        let width = bit_len(numbers.iter().fold(0, |all, n| all | n));
        let mut best = (Self { width, golomb: false }, count(numbers) * width);
        // Two numbers have nothing to average out; the widest ones must leave room for the bit that Golomb adds.
        if numbers.len() < 3 || width == u64::BITS {
            return best;
        }
        let mut last = u32::MAX;
        for order in (0..width).rev() {
            let bits = numbers.iter().map(|n| golomb_len(*n, order)).sum();
            // The sum falls, then rises; ripples are not worth another round.
            if bits > last {
                break;
            }
            last = bits;
            if bits < best.1 {
                best = (Self { width: order, golomb: true }, bits);
            }
        }
        best
    }

    /// Writes one number.
    pub(super) fn put(self, number: u64, bits: &mut BitWriter) {
        if !self.golomb {
            return bits.put(number, self.width);
        }
        let raised = number + (1 << self.width);
        let length = bit_len(raised) - 1;
        let extra = length - self.width;
        bits.put(1 << extra, extra + 1);
        bits.put(raised ^ 1 << length, length);
    }

    /// Reads one number.
    pub(super) fn take(self, bits: &mut BitReader<'_>) -> Result<u64, BatchError> {
        if !self.golomb {
            return bits.take(self.width);
        }
        let length = self.width + bits.take_zeros()?;
        if length >= u64::BITS {
            return Err(BatchError::Column);
        }
        Ok((bits.take(length)? | 1 << length) - (1 << self.width))
    }

    /// Fills `numbers`.
    pub(super) fn fill(self, bits: &mut BitReader<'_>, numbers: &mut [u64]) -> Result<(), BatchError> {
        if !self.golomb {
            return bits.fill(self.width, numbers);
        }
        numbers.iter_mut().try_for_each(|slot| self.take(bits).map(|number| *slot = number))
    }
}

/// Bits of `number` in the exponential Golomb code of `order`: as many zeros as the number is longer than the order,
/// a one, and the number, raised by 2^order, without its top bit.
fn golomb_len(number: u64, order: u32) -> u32 {
    let length = bit_len(number + (1 << order)) - 1;
    2 * length - order + 1
}

#[allow(clippy::cast_possible_truncation, reason = "at most the ticks of a batch")]
fn count(numbers: &[u64]) -> u32 {
    numbers.len() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(numbers in proptest::collection::vec((any::<u64>(), 0u32..64), 1..120)) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(n, shift)| n >> shift).collect();
            let widest = numbers.iter().map(|n| bit_len(*n)).max().unwrap_or(0);
            let (best, bits) = Coding::of(&numbers);
            prop_assert!(bits <= count(&numbers) * widest);
            let golomb = (0..64).map(|width| Coding { width, golomb: true });
            for coding in golomb.filter(|_| widest < 64).chain([best]) {
                let mut writer = BitWriter::default();
                numbers.iter().for_each(|n| coding.put(*n, &mut writer));
                let mut bytes = vec![];
                writer.finish(&mut bytes);
                if coding == best {
                    prop_assert_eq!(bytes.len(), bits.div_ceil(8) as usize);
                }
                let mut read = vec![0; numbers.len()];
                let mut reader = BitReader::new(&bytes);
                prop_assert_eq!(coding.fill(&mut reader, &mut read), Ok(()));
                prop_assert_eq!(&read, &numbers);
                prop_assert_eq!(reader.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn one_outlier_does_not_widen_the_others() {
        let mut numbers = [1; 60];
        numbers[7] = 1 << 40;
        let (coding, bits) = Coding::of(&numbers);
        assert!(coding.golomb && bits < 60 * 4 + 90, "{coding:?} takes {bits}");
    }

    #[test]
    fn a_golomb_number_longer_than_a_word_is_refused() {
        let coding = Coding { width: 60, golomb: true };
        assert_eq!(coding.take(&mut BitReader::new(&[0b1_0000; 40])), Err(BatchError::Column));
        assert_eq!(coding.take(&mut BitReader::new(&[0; 40])), Err(BatchError::Column), "zeros without end");
        assert_eq!(coding.take(&mut BitReader::new(&[0; 3])), Err(BatchError::Length));
    }
}

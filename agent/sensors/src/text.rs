//! Reading the kernel's text: lines, fields, and numbers that may be anything.
//!
//! A number that does not fit is `None`, never a guess and never a panic.

use dsmil_protocol::metric::MAX_NAME_LEN;

/// The lines of a file with their numbers, from 1, without the empty ones.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|byte| *byte == b'\n').enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.is_empty())
}

/// The fields of a line, separated by any white space.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

/// A decimal number without a sign.
pub(crate) fn unsigned(field: &[u8]) -> Option<u64> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A hexadecimal number without a sign, with or without `0x` before it.
pub(crate) fn hexadecimal(field: &[u8]) -> Option<u64> {
    let digits = field.strip_prefix(b"0x").unwrap_or(field);
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| Some(sum << 4 | u64::from(char::from(*byte).to_digit(16)?)))
}

/// A decimal number that may be negative, as the two's complement of it.
pub(crate) fn signed(field: &[u8]) -> Option<u64> {
    match field.split_first() {
        Some((b'-', digits)) => i64::try_from(unsigned(digits)?).ok().map(|n| (-n).cast_unsigned()),
        _ => unsigned(field).filter(|n| i64::try_from(*n).is_ok()),
    }
}

/// A decimal number with exactly two places (`0.57`), in hundredths.
pub(crate) fn hundredths(field: &[u8]) -> Option<u64> {
    let dot = field.iter().position(|byte| *byte == b'.')?;
    let (whole, places) = (&field[..dot], &field[dot + 1..]);
    if places.len() != 2 {
        return None;
    }
    unsigned(whole)?.checked_mul(100)?.checked_add(unsigned(places)?)
}

/// A metric name put together from kernel text, in memory that is kept.
#[derive(Debug, Default)]
pub(crate) struct Name(String);

impl Name {
    /// `prefix`, then `parts`, every byte that a metric name may not have turned into `_`.
    pub(crate) fn of(&mut self, prefix: &str, parts: &[&[u8]]) -> &str {
        self.0.clear();
        self.0.push_str(prefix);
        for byte in parts.iter().copied().flatten() {
            if self.0.len() > MAX_NAME_LEN {
                break; // Too long already, so it will be refused; a hostile line must not grow the buffer.
            }
            self.0.push(if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '_' });
        }
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_or_refused() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "+1", "18446744073709551616", "1.0", "0x1", " 1", "1\0"] {
            assert_eq!(unsigned(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(signed(b"-125000").map(u64::cast_signed), Some(-125_000));
        assert_eq!(signed(b"9223372036854775807").map(u64::cast_signed), Some(i64::MAX));
        for bad in ["9223372036854775808", "--1", "-", ""] {
            assert_eq!(signed(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!((hexadecimal(b"0x1003"), hexadecimal(b"00c7aaFF")), (Some(0x1003), Some(0x00c7_aaff)));
        for bad in ["", "0x", "-1", "+1", "1g", "11112222333344445", "0x 1"] {
            assert_eq!(hexadecimal(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(hundredths(b"12.05"), Some(1205));
        for bad in ["12", "12.5", "12.055", ".05", "-1.00", "184467440737095516.16"] {
            assert_eq!(hundredths(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_made_of_what_a_name_may_have() {
        let mut name = Name::default();
        assert_eq!(name.of("node_", &[b"a-b", b"_", b"c\xff"]), "node_a_b_c_");
        assert!(name.of("node_", &[&[b'x'; 10_000]]).len() <= MAX_NAME_LEN + 1);
    }

    proptest! {
        #[test]
        fn numbers_agree_with_the_standard_library(n in any::<i64>(), text in ".{0,24}") {
            prop_assert_eq!(signed(n.to_string().as_bytes()).map(u64::cast_signed), if n == i64::MIN { None } else { Some(n) });
            let expected = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
            prop_assert_eq!(unsigned(text.as_bytes()), expected);
        }
    }
}

//! Values out of the bytes of a record.
//!
//! Format: <https://www.sqlite.org/fileformat2.html>, section 2.1.

use crate::{MAX_COLUMNS, Value};

/// A record: length of its header, a type a column, then the values. Nothing may be left over.
pub(crate) fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header_len, rest) = varint(payload)?;
    let header_len = usize::try_from(header_len).ok()?;
    let mut types = payload.get(payload.len() - rest.len()..header_len)?;
    let mut body = payload.get(header_len..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        if values.len() == MAX_COLUMNS {
            return None;
        }
        let (kind, rest) = varint(types)?;
        types = rest;
        let (value, rest) = value(kind, body)?;
        body = rest;
        values.push(value);
    }
    body.is_empty().then_some(values)
}

fn value(kind: u64, body: &[u8]) -> Option<(Value, &[u8])> {
    let int = |len: usize| {
        let (bytes, rest) = body.split_at_checked(len)?;
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Some((Value::Int(bytes.iter().fold(sign, |n, b| n << 8 | i64::from(*b))), rest))
    };
    match kind {
        0 => Some((Value::Null, body)),
        1..=4 => int(usize::try_from(kind).ok()?),
        5 => int(6),
        6 => int(8),
        8 => Some((Value::Int(0), body)),
        9 => Some((Value::Int(1), body)),
        // 7 is a double, which no table of ours has; 10 and 11 are never written.
        7 | 10 | 11 => None,
        _ => {
            let (bytes, rest) = body.split_at_checked(usize::try_from((kind - 12) / 2).ok()?)?;
            let bytes = bytes.to_vec();
            Some((if kind.is_multiple_of(2) { Value::Blob(bytes) } else { Value::Text(bytes) }, rest))
        }
    }
}

/// One to nine bytes, big end first, seven bits each and eight of the ninth.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        if i == 8 {
            return Some((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[i + 1..]));
        }
    }
    None
}

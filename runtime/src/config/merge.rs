//! Layers become one table, and every value remembers where it was written.

use super::credential::CREDENTIAL_PREFIX;
use super::layers::Layer;
use super::{ConfigError, MAX_DEPTH, Place};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A key of the merged table, and where what counts of it was written.
#[derive(Debug)]
pub(super) struct Entry {
    /// The whole key: `spool.path`.
    pub(super) name: String,
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
    /// Whether it asks for a credential.
    pub(super) is_credential: bool,
}

/// Merges layers, the later over the earlier.
pub(super) fn merge(layers: &[Layer]) -> Result<DeTable<'_>, ConfigError> {
    let mut merged = DeTable::new();
    for layer in layers {
        let place = |at| Place { path: layer.path.clone(), line: Some(layer.line(at)) };
        let table = DeTable::parse(&layer.text).map_err(|error| {
            let at = layer.start + error.span().map_or(0, |span| span.start);
            ConfigError::Syntax { place: place(at), what: error.message().to_owned() }
        })?;
        let table = moved_table(table.into_inner(), layer.start, 0).map_err(|TooDeep(at)| {
            let what = format!("tables and arrays lie more than {MAX_DEPTH} deep in each other");
            ConfigError::Syntax { place: place(at), what }
        })?;
        put(&mut merged, table);
    }
    Ok(merged)
}

/// Every key of a table, whole, those of its tables behind it.
pub(super) fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    list(table, "", &mut entries);
    entries
}

/// Where something lies too deep.
struct TooDeep(usize);

/// A table with offsets of its own file, moved to where that file lies.
fn moved_table(table: DeTable<'_>, by: usize, depth: usize) -> Result<DeTable<'_>, TooDeep> {
    let moved = table.into_iter().map(|(key, value)| {
        let span = moved_span(&key.span(), by);
        Ok((Spanned::new(span, key.into_inner()), moved_value(value, by, depth)?))
    });
    moved.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize, depth: usize) -> Result<Spanned<DeValue<'_>>, TooDeep> {
    let span = moved_span(&value.span(), by);
    if depth > MAX_DEPTH {
        return Err(TooDeep(span.start));
    }
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by, depth + 1)?),
        DeValue::Array(array) => {
            let mut moved = DeArray::new();
            for item in array {
                moved.push(moved_value(item, by, depth + 1)?);
            }
            DeValue::Array(moved)
        }
        other => other,
    };
    Ok(Spanned::new(span, value))
}

fn moved_span(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

/// Puts a layer over what is there.
fn put<'t>(merged: &mut DeTable<'t>, layer: DeTable<'t>) {
    for (key, value) in layer {
        match (merged.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(below)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(above) = value.into_inner() {
                    put(below, above);
                }
            }
            (_, value) => {
                // Removed first: an insertion alone would keep the place of the key below.
                merged.remove(key.get_ref().as_ref());
                merged.insert(key, value);
            }
        }
    }
}

fn list(table: &DeTable<'_>, prefix: &str, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let is_credential = value.get_ref().as_str().is_some_and(|text| text.starts_with(CREDENTIAL_PREFIX));
        entries.push(Entry { name: name.clone(), key: key.span(), value: value.span(), is_credential });
        if let DeValue::Table(below) = value.get_ref() {
            list(below, &format!("{name}."), entries);
        }
    }
}

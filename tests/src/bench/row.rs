//! Rows, and how they are printed.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Under(f64),
    /// This or more.
    AtLeast(f64),
}

impl Target {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::Under(bound) => value < bound,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, bound) = match self {
            Self::AtMost(most) => ('≤', most),
            Self::Under(bound) => ('<', bound),
            Self::AtLeast(least) => ('≥', least),
        };
        write!(f, "{sign} {}", number(*bound))
    }
}

/// In which direction a figure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Bytes, instructions, costs.
    Less,
    /// Throughput.
    More,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// The figure; none if it cannot be had yet.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be; none for what is told for information.
    #[serde(serialize_with = "as_text")]
    pub target: Option<Target>,
    /// Whether the target holds; none without a target.
    pub holds: Option<bool>,
    /// Set where the figure survives a change of machine (a count, or a ratio within one run), so that it is kept in the
    /// baseline, by its name, and compared with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Better>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn as_text<S: serde::Serializer>(target: &Option<Target>, serializer: S) -> Result<S::Ok, S::Error> {
    target.map(|target| target.to_string()).serialize(serializer)
}

impl Row {
    /// A figure with a target.
    pub fn aimed(name: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        let holds = Some(target.holds(value));
        Self { name: name.into(), value: Some(value), unit, target: Some(target), holds, kept: None, note: None }
    }

    /// A figure for information.
    pub fn told(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value: Some(value), unit, target: None, holds: None, kept: None, note: None }
    }

    /// A target without a figure, and why.
    pub fn missed(name: impl Into<String>, unit: &'static str, target: Target, why: &str) -> Self {
        let (holds, note) = (Some(false), Some(why.to_owned()));
        Self { name: name.into(), value: None, unit, target: Some(target), holds, kept: None, note }
    }

    /// A figure that this machine cannot give, and why.
    pub fn absent(name: impl Into<String>, unit: &'static str, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit,
            target: None,
            holds: None,
            kept: None,
            note: Some(format!("not measured: {}", why.into())),
        }
    }

    /// The figure as one of the baseline: it must mean the same on any machine.
    #[must_use]
    pub fn kept(self, better: Better) -> Self {
        Self { kept: Some(better), ..self }
    }

    /// The figure with a remark.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// The rows as an aligned table.
pub fn as_table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let holds = match row.holds {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "",
        };
        [
            row.name.clone(),
            row.value.map_or("–".into(), number),
            row.unit.to_owned(),
            row.target.map_or(String::new(), |target| target.to_string()),
            holds.to_owned(),
            row.note.clone().unwrap_or_default(),
        ]
    });
    let head = ["figure", "value", "unit", "target", "", ""].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for [name, value, unit, target, holds, note] in &lines {
        let line = format!(
            "{name:<0$}  {value:>1$}  {unit:<2$}  {target:<3$}  {holds:<4$}  {note}",
            width(0),
            width(1),
            width(2),
            width(3),
            width(4)
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The rows as JSON: an array of objects.
pub fn as_json(rows: &[Row]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(rows)
}

/// A number with the digits that matter, thousands parted.
pub(super) fn number(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 || v == v.trunc() => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut parted = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !parted.ends_with('-') {
            parted.push(',');
        }
        parted.push(digit);
    }
    match fraction.map(|fraction| fraction.trim_end_matches('0')) {
        Some(fraction) if !fraction.is_empty() => format!("{parted}.{fraction}"),
        _ => parted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_easily() {
        let numbers = [0.7654, 0.8, 6.0, 7.891, 56.78, 1234.5, 12_345_678.0, -1234.0, 0.0].map(number);
        assert_eq!(numbers, ["0.765", "0.8", "6", "7.89", "56.8", "1,234", "12,345,678", "-1,234", "0"]);
    }

    #[test]
    fn a_target_is_met_or_missed_and_both_are_said() {
        let rows = [
            Row::aimed("a", 0.5, "B", Target::AtMost(0.5)),
            Row::aimed("b", 12.0, "s", Target::Under(12.0)),
            Row::aimed("c", 9.0, "1/s", Target::AtLeast(10.0)),
            Row::told("d", 1.0, "B"),
            Row::missed("e", "s", Target::Under(1.5), "not yet"),
        ];
        assert_eq!(rows.each_ref().map(|row| row.holds), [Some(true), Some(false), Some(false), None, Some(false)]);
        let table = as_table(&rows);
        assert!(table.contains("e           –  s     < 1.5   MISSED  not yet"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&rows).expect("JSON")).expect("JSON");
        assert_eq!(
            json[2],
            serde_json::json!({"name": "c", "value": 9.0, "unit": "1/s", "target": "≥ 10", "holds": false})
        );
        assert_eq!(json[3]["target"], serde_json::Value::Null);
    }
}

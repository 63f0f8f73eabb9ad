//! The baseline: figures that survive a change of machine, kept in the repository, and what got worse since.
//!
//! Only counts (bytes, instructions) and ratios within one run are kept. Seconds are not: they are the machine's.

use super::row::{Better, number};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a figure may get worse before it is named: bytes and instructions repeat exactly, ratios within a few percent.
pub const TOLERANCE: f64 = 0.05;

/// Figures by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline(BTreeMap<String, Kept>);

/// A figure of the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    value: f64,
    unit: String,
    better: Better,
}

/// A figure of a run, as its JSON has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Figure {
    name: String,
    value: Option<f64>,
    unit: String,
    #[serde(default)]
    kept: Option<Better>,
}

impl Figure {
    /// All figures of a run, from the JSON that [`super::as_json`] made.
    pub fn load(path: &Path) -> anyhow::Result<Vec<Self>> {
        let text = std::fs::read(path)
            .with_context(|| format!("cannot read {}; `cargo xtask bench` writes it", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} holds no figures of a run", path.display()))
    }
}

/// A figure beside the one of the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What it is.
    pub name: String,
    /// In the baseline.
    pub was: f64,
    /// In this run; none where it was not measured.
    pub is: Option<f64>,
    /// Of both.
    pub unit: String,
    better: Better,
}

impl Change {
    /// By how much the figure got worse, as a share of what it was; below zero where it got better.
    pub fn worse_by(&self) -> Option<f64> {
        let change = match (self.is?, self.was) {
            (is, was) if is == was => 0.0,
            // From nothing to something has no share: it is as much worse as can be, or better.
            (is, 0.0) => is.signum() * f64::INFINITY,
            (is, was) => is / was - 1.0,
        };
        Some(match self.better {
            Better::Less => change,
            Better::More => -change,
        })
    }

    /// Whether it got worse by more than [`TOLERANCE`].
    pub fn is_worse(&self) -> bool {
        self.worse_by().is_some_and(|share| share > TOLERANCE)
    }
}

impl Baseline {
    /// Where the repository has it.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-data/baseline.json")
    }

    /// Reads one; a file that is not there is an empty one.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is no baseline", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes it, a figure a line in the order of names, so that a change of one is a change of one line.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let line =
            |(name, kept)| anyhow::Ok(format!("  {}: {}", serde_json::to_string(name)?, serde_json::to_string(kept)?));
        let lines = self.0.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        std::fs::write(path, format!("{{\n{}\n}}\n", lines.join(",\n")))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes over what a run has for it; figures that it lacks stay. Returns how many it took.
    pub fn keep(&mut self, run: &[Figure]) -> usize {
        let found = run.iter().filter_map(|figure| Some((figure, figure.kept?, figure.value?)));
        let kept: Vec<_> = found
            .map(|(Figure { name, unit, .. }, better, value)| {
                (name.clone(), Kept { value: rounded(value), unit: unit.clone(), better })
            })
            .collect();
        let count = kept.len();
        self.0.extend(kept);
        count
    }

    /// Every figure of the baseline beside the one of a run.
    pub fn compare(&self, run: &[Figure]) -> Vec<Change> {
        let is = |name: &str| run.iter().find(|figure| figure.name == name).and_then(|figure| figure.value);
        let change = |(name, kept): (&String, &Kept)| Change {
            name: name.clone(),
            was: kept.value,
            is: is(name),
            unit: kept.unit.clone(),
            better: kept.better,
        };
        self.0.iter().map(change).collect()
    }
}

/// Four digits that matter: more would change with every run.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The comparison as a table: what got worse first, and by how much.
pub fn as_table(changes: &[Change]) -> String {
    let mut measured: Vec<(&Change, f64)> = changes.iter().filter_map(|c| Some((c, c.worse_by()?))).collect();
    measured.sort_by(|a, b| b.1.total_cmp(&a.1));
    let width = measured.iter().map(|(change, _)| change.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (Change { name, was, is, unit, .. }, by) in &measured {
        let verdict = match by {
            by if *by > TOLERANCE => format!("WORSE by {:.1} %", by * 100.0),
            by if *by < -TOLERANCE => format!("better by {:.1} %", by * -100.0),
            _ => String::new(),
        };
        let [was, is] = [*was, is.unwrap_or_default()].map(number);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", format!("{name:<width$}  {was:>9} → {is:>9}  {unit:<20}  {verdict}").trim_end());
    }
    let absent = changes.len() - measured.len();
    if absent > 0 {
        let _ = writeln!(text, "{absent} figures of the baseline were not measured");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Row, Target, as_json};

    fn kept(name: &str, value: f64, better: Better) -> Row {
        Row::told(name, value, "B").kept(better)
    }

    fn run(rows: &[Row]) -> Vec<Figure> {
        serde_json::from_str(&as_json(rows).expect("JSON")).expect("rows read back")
    }

    #[test]
    fn what_got_worse_by_more_than_a_twentieth_is_named_in_either_direction() {
        let mut baseline = Baseline::default();
        let before = [
            kept("bytes", 100.0, Better::Less),
            kept("rate", 100.0, Better::More),
            kept("same", 100.0, Better::Less),
            kept("lost", 0.0, Better::Less),
            kept("gone", 1.0, Better::Less),
            Row::told("seconds", 9.0, "s"),
            Row::aimed("aimed", 9.0, "s", Target::Under(10.0)),
        ];
        assert_eq!(baseline.keep(&run(&before)), 5, "what is not kept stays out");
        let now = [
            kept("bytes", 106.0, Better::Less),
            kept("rate", 94.0, Better::More),
            kept("same", 104.9, Better::Less),
            kept("lost", 1.0, Better::Less),
        ];
        let changes = baseline.compare(&run(&now));
        let worse: Vec<&str> = changes.iter().filter(|c| c.is_worse()).map(|c| c.name.as_str()).collect();
        assert_eq!(worse, ["bytes", "lost", "rate"]);
        let table = as_table(&changes);
        assert!(table.contains("WORSE by 6.0 %") && table.contains("1 figures of the baseline were not"), "{table}");
        assert!(baseline.compare(&run(&before)).iter().all(|change| !change.is_worse()));
    }

    #[test]
    fn a_baseline_reads_back_and_keeps_what_was_not_measured_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baseline.json");
        let mut baseline = Baseline::load(&path).expect("none yet is an empty one");
        baseline.keep(&run(&[kept("a", 1.23456, Better::Less), kept("b", 2.0, Better::More)]));
        baseline.keep(&run(&[kept("b", 3.0, Better::More)]));
        baseline.save(&path).expect("it is written");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text.lines().nth(1), Some(r#"  "a": {"value":1.235,"unit":"B","better":"less"},"#));
        assert_eq!(Baseline::load(&path).expect("it reads back"), baseline);
        std::fs::write(&path, "{").expect("written");
        assert!(Baseline::load(&path).is_err());
    }
}

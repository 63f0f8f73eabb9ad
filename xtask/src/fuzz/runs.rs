//! What runs came to: read off libFuzzer's lines, kept in a file, summed up in a table.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

/// One run of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) target: String,
    pub(super) seconds: u64,
    pub(super) executions: u64,
    /// Edges of the program that were reached.
    pub(super) edges: u64,
    /// Inputs kept.
    pub(super) corpus: u64,
    /// Files with inputs that showed a fault.
    pub(super) finds: Vec<String>,
}

impl Run {
    pub(super) fn of(target: &str) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// Takes a line of libFuzzer's; true if it is worth showing as it comes.
    pub(super) fn take(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix('#') {
            let mut words = rest.split_whitespace();
            self.executions = words.next().and_then(|word| word.parse().ok()).unwrap_or(self.executions);
            let event = words.next().unwrap_or_default();
            if words.next() == Some("cov:") {
                self.edges = words.next().and_then(|word| word.parse().ok()).unwrap_or(self.edges);
            }
            return matches!(event, "INITED" | "pulse" | "DONE");
        }
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(self.executions);
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.finds.push(path.trim().into());
        }
        line.starts_with("INFO: Loaded")
    }

    fn line(&self) -> String {
        let Self { target, seconds, executions, edges, corpus, finds } = self;
        format!("{target}\t{seconds}\t{executions}\t{edges}\t{corpus}\t{}\n", finds.len())
    }
}

/// All runs there ever were here.
pub(super) struct Runs {
    path: PathBuf,
    lines: String,
}

impl Runs {
    /// Reads them; a file that is not there has none.
    pub(super) fn load(path: PathBuf) -> anyhow::Result<Self> {
        let lines =
            if path.exists() { fs::read_to_string(&path).context("cannot read the runs")? } else { String::new() };
        Ok(Self { path, lines })
    }

    /// Adds one, in the file at once.
    pub(super) fn add(&mut self, run: &Run) -> anyhow::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(run.line().as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.lines.push_str(&run.line());
        Ok(())
    }

    /// What all runs of each target came to.
    pub(super) fn table(&self) -> String {
        table(&self.lines)
    }
}

/// What these runs of each target came to.
pub(super) fn table_of(runs: &[Run]) -> String {
    table(&runs.iter().map(Run::line).collect::<String>())
}

/// Runs, a line each, as a table of the sums.
fn table(lines: &str) -> String {
    let mut sums = BTreeMap::<&str, [u64; 5]>::new();
    for line in lines.lines() {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap_or_default();
        let numbers: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        let [seconds, executions, edges, corpus, finds] = numbers[..] else { continue };
        let sum = sums.entry(name).or_default();
        *sum = [sum[0] + seconds, sum[1] + executions, sum[2].max(edges), corpus, sum[4] + finds];
    }
    render(sums.into_iter())
}

fn render<'a>(rows: impl Iterator<Item = (&'a str, [u64; 5])>) -> String {
    let mut text = String::from(
        "| target | hours | executions | executions/s | edges | corpus | finds |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (name, [seconds, executions, edges, corpus, finds]) in rows {
        // Two digits of an hour are half a minute; whole numbers are enough for that.
        let hours = format!("{}.{:02}", seconds / 3600, seconds % 3600 / 36);
        let rate = executions / seconds.max(1);
        text.push_str(&format!("| {name} | {hours} | {executions} | {rate} | {edges} | {corpus} | {finds} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_prints_is_understood() {
        let mut run = Run::of("frames");
        assert!(!run.take("#2\tNEW    cov: 300 ft: 400 corp: 2/9b lim: 4 exec/s: 0 rss: 40Mb L: 4/4 MS: 1 Cross-"));
        assert!(run.take("#4096\tpulse  cov: 312 ft: 450 corp: 9/70b lim: 17 exec/s: 2048 rss: 41Mb"));
        assert_eq!((run.executions, run.edges), (4096, 312));
        run.take("stat::number_of_executed_units: 5000");
        run.take("artifact_prefix='a/'; Test unit written to a/frames-crash-00ff");
        assert_eq!((run.executions, run.finds), (5000, vec!["a/frames-crash-00ff".to_owned()]));
    }

    #[test]
    fn runs_of_one_target_are_summed_up() {
        let run = |executions| Run { seconds: 1800, executions, edges: 7, corpus: 3, ..Run::of("frames") };
        let lines = run(18_000).line() + "half a lin\n" + &run(36_000).line();
        let runs = Runs { path: PathBuf::new(), lines };
        assert!(runs.table().ends_with("|\n| frames | 1.00 | 54000 | 15 | 7 | 3 | 0 |\n"), "{}", runs.table());
    }
}

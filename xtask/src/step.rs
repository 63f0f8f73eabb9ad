//! Timed steps, each ending in one line, and the summary of them all.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Failed,
    /// Not run, and why.
    Skipped(String),
}

/// The steps taken so far.
pub(crate) struct Steps {
    taken: Vec<(&'static str, Verdict, Duration)>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self { taken: Vec::new() }
    }

    /// A step that is quick or silent: its output is shown only when it fails.
    pub(crate) fn quiet(&mut self, name: &'static str, command: &mut Command) {
        print!("{name} … ");
        let _ = std::io::stdout().flush();
        let started = now();
        let output = command.stdin(Stdio::null()).output();
        let verdict = match &output {
            Ok(output) if output.status.success() => Verdict::Ok,
            _ => Verdict::Failed,
        };
        let took = started.elapsed();
        println!("{}", line(&verdict, took));
        match output {
            Ok(output) if verdict == Verdict::Failed => {
                print!("{}", String::from_utf8_lossy(&output.stdout));
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(_) => {}
            Err(error) => eprintln!("cannot start {}: {error}", command.get_program().display()),
        }
        self.taken.push((name, verdict, took));
    }

    /// A step that takes long: its output is shown as it comes.
    pub(crate) fn loud(&mut self, name: &'static str, command: &mut Command) {
        println!("{name} …");
        let started = now();
        let verdict = match command.stdin(Stdio::null()).status() {
            Ok(status) if status.success() => Verdict::Ok,
            Ok(_) => Verdict::Failed,
            Err(error) => {
                eprintln!("cannot start {}: {error}", command.get_program().display());
                Verdict::Failed
            }
        };
        let took = started.elapsed();
        println!("{name} … {}", line(&verdict, took));
        self.taken.push((name, verdict, took));
    }

    /// A step of our own: the violations it found, one a line.
    pub(crate) fn check(&mut self, name: &'static str, check: impl FnOnce() -> anyhow::Result<Vec<String>>) {
        let started = now();
        let found = check();
        let took = started.elapsed();
        let verdict = if matches!(&found, Ok(found) if found.is_empty()) { Verdict::Ok } else { Verdict::Failed };
        println!("{name} … {}", line(&verdict, took));
        match found {
            Ok(found) => found.iter().for_each(|line| println!("{line}")),
            Err(error) => eprintln!("{error:#}"),
        }
        self.taken.push((name, verdict, took));
    }

    /// A step that is left out; the reason is said, here and in the summary.
    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        let verdict = Verdict::Skipped(why.into());
        println!("{name} … {}", line(&verdict, Duration::ZERO));
        self.taken.push((name, verdict, Duration::ZERO));
    }

    /// Ends a stage: an error if a step so far has failed, so that nothing dear runs on a tree already known to be bad.
    pub(crate) fn stage(&self) -> anyhow::Result<()> {
        let failed: Vec<_> = self.taken.iter().filter(|(_, v, _)| *v == Verdict::Failed).map(|(n, ..)| *n).collect();
        if failed.is_empty() {
            return Ok(());
        }
        println!("\n{}", self.summary());
        bail!("{} failed", failed.join(", "))
    }

    /// One line a step, and the whole.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for (name, verdict, took) in &self.taken {
            text.push_str(&format!("  {name:<10} {}\n", line(verdict, *took)));
        }
        let total: Duration = self.taken.iter().map(|(.., took)| *took).sum();
        text.push_str(&format!("  {:<10} {:.1} s", "in all", total.as_secs_f64()));
        text
    }
}

fn line(verdict: &Verdict, took: Duration) -> String {
    match verdict {
        Verdict::Ok => format!("ok {:.1} s", took.as_secs_f64()),
        Verdict::Failed => format!("FAILED {:.1} s", took.as_secs_f64()),
        Verdict::Skipped(why) => format!("skipped: {why}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "xtask times real commands; the product's clock stays out of it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_ends_the_stage_and_is_named() {
        let mut steps = Steps::new();
        steps.quiet("good", &mut Command::new("true"));
        steps.skip("later", "not today");
        assert!(steps.stage().is_ok(), "neither success nor a skipped step is a failure");
        steps.quiet("bad", &mut Command::new("false"));
        steps.check("worse", || Ok(vec!["here:1: law".into()]));
        let error = steps.stage().expect_err("two steps failed");
        assert_eq!(error.to_string(), "bad, worse failed");
        assert!(steps.summary().contains("skipped: not today"));
    }

    #[test]
    fn a_program_that_is_not_there_fails_its_step() {
        let mut steps = Steps::new();
        steps.loud("absent", &mut Command::new("no-such-program-here"));
        assert!(steps.stage().is_err());
    }
}

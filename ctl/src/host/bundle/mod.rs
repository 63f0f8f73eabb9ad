//! `dsmilctl host bundle`: one archive for whoever is to help, without secrets and without saying whose it is.

mod archive;
mod contents;
mod known;
mod scrub;
mod shapes;
#[cfg(test)]
mod tests;

use super::places::Places;
use archive::Entry;
use clap::Args;
use contents::{Contents, MAX_ALL, MAX_TEXT, Missing, collect};
use dsmil_runtime::clock::Clock;
use scrub::{Count, Kind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The version of the manifest.
const VERSION: u8 = 1;

/// Where to write it, and what to put in.
#[derive(Args)]
pub(super) struct BundleArgs {
    /// The archive. Left out: dsmil-bundle-TIME.tar.zst in this folder. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The agent's log, where it is not in the journal: whatever its standard error was led into.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// What is in a bundle, and what is not.
#[derive(Serialize)]
struct Manifest {
    version: u8,
    /// When, Unix seconds by the host's clock.
    made_s: i64,
    dsmilctl: &'static str,
    entries: Vec<Described>,
    /// What was to be there and is not, or not whole.
    missing: Vec<Missing>,
    /// What was replaced by placeholders, by kind.
    scrubbed: BTreeMap<Kind, Count>,
    limits: Limits,
}

#[derive(Clone, Serialize)]
struct Described {
    name: String,
    bytes: usize,
}

#[derive(Serialize)]
struct Limits {
    bytes_of_a_text: usize,
    bytes_of_all: usize,
}

/// What was written.
#[derive(Serialize)]
pub(super) struct Bundle {
    path: PathBuf,
    bytes: u64,
    entries: Vec<Described>,
    missing: Vec<Missing>,
    scrubbed: BTreeMap<Kind, Count>,
}

/// Makes it. What is done is said on standard error.
pub(super) async fn make(args: &BundleArgs, places: &Places, clock: &Clock) -> anyhow::Result<Bundle> {
    let now_s = clock.wall_ms().div_euclid(1000);
    let folder = format!("dsmil-bundle-{}", stamp(now_s));
    let path = args.out.clone().unwrap_or_else(|| format!("{folder}.tar.zst").into());
    let mut say = |what: &str| eprintln!("dsmilctl: {what}");
    let Contents { mut entries, missing, scrubber, .. } = collect(places, args.log.as_deref(), clock, &mut say).await?;
    let described: Vec<Described> =
        entries.iter().map(|entry| Described { name: entry.name.clone(), bytes: entry.text.len() }).collect();
    let scrubbed = scrubber.counts().clone();
    let manifest = Manifest {
        version: VERSION,
        made_s: now_s,
        dsmilctl: env!("CARGO_PKG_VERSION"),
        entries: described.clone(),
        missing: missing.clone(),
        scrubbed: scrubbed.clone(),
        limits: Limits { bytes_of_a_text: MAX_TEXT, bytes_of_all: MAX_ALL },
    };
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    entries.insert(0, Entry { name: "manifest.json".into(), text });
    say("writing");
    let bytes = archive::write(&path, &folder, &entries, now_s)?;
    Ok(Bundle { path, bytes, entries: described, missing, scrubbed })
}

/// What there is to say of it.
pub(super) fn draw(bundle: &Bundle, screen: &mut super::screen::Screen) {
    use super::screen::{Tone, count, size};
    let Bundle { path, bytes, entries, missing, scrubbed } = bundle;
    let files = count(entries.len() as u64 + 1, "file", "files");
    screen.field("bundle", Tone::Good, &format!("{} ({}, {files})", path.display(), size(*bytes)));
    let kinds: Vec<String> =
        scrubbed.iter().map(|(kind, counted)| format!("{} {}", kind.name(), counted.replaced)).collect();
    screen.field("scrubbed", Tone::Plain, &if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") });
    for Missing { name, why } in missing {
        screen.field("", Tone::Warning, &format!("{name}: {why}"));
    }
    screen.field("", Tone::Plain, &format!("look through it before you send it: `tar --zstd -xf {}`", path.display()));
}

/// A moment as a part of a file's name, in UTC: 20260131T235959Z.
fn stamp(unix_s: i64) -> String {
    let (days, s) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    // From days to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

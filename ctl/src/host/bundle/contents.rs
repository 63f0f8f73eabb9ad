//! What goes into a bundle: everything that can be read of host and agent, scrubbed, each text within a bound.

use super::archive::Entry;
use super::known::{is_secret, known};
use super::scrub::{Kind, Scrubber};
use crate::host::ask::ask;
use crate::host::checks;
use crate::host::finding::Finding;
use crate::host::gather::{self, command};
use crate::host::places::Places;
use dsmil_agent::config::AgentConfig;
use dsmil_agent::local::{Reply, Verb};
use dsmil_agent::spool::inspect;
use dsmil_agent::status::{Family, Latest, Sample, Status};
use dsmil_runtime::clock::Clock;
use serde::Serialize;
use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of one text. Of a log the end is kept, of everything else the beginning.
pub(super) const MAX_TEXT: usize = 4 << 20;
/// Bytes of all of them.
pub(super) const MAX_ALL: usize = 16 << 20;
/// Bytes of a configuration file: as many as the agent reads.
const MAX_CONFIG: u64 = 64 << 10;
/// Lines of the journal that are asked for: an hour of an agent that complains each second.
const LOG_LINES: &str = "10000";

/// What journalctl says where there is nothing.
const NO_ENTRIES: &str = "-- No entries --";

/// Scrubbed texts, as they come together.
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// Texts that were to be there and are not, or not whole, and why.
    pub(super) missing: Vec<Missing>,
    pub(super) scrubber: Scrubber,
    room: usize,
}

/// A text that is not there, or not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) name: String,
    pub(super) why: String,
}

/// Which end of a text is worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Start,
    End,
}

/// Collects all of it. `say` is told what is looked at.
pub(super) async fn collect(
    places: &Places,
    log: Option<&Path>,
    clock: &Clock,
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<Contents> {
    say("status, spool, gaps");
    let config = AgentConfig::load(&places.config).ok();
    let asked = |verb| ask(&places.socket, verb).map_err(|error| error.to_string());
    let answers = [Verb::Status, Verb::Spool, Verb::Gaps, Verb::Latest].map(|verb| (verb, asked(verb)));
    let status = answers.iter().find_map(|(_, answer)| match answer {
        Ok(Reply::Status(status)) => Some(&**status),
        _ => None,
    });
    let spool = answers.iter().find_map(|(_, answer)| match answer {
        Ok(Reply::Spool(spool)) => Some(spool),
        _ => None,
    });
    let left = status.is_none().then(|| inspect(&places.spool).ok()).flatten();
    let scrubber = Scrubber::new(known(config.as_ref(), status, spool, left.as_ref()))?;
    let mut contents = Contents { entries: Vec::new(), missing: Vec::new(), scrubber, room: MAX_ALL };
    for (verb, answer) in &answers {
        contents.answer(*verb, answer);
    }
    if let Some(left) = &left {
        contents.json("spool-left.json", &left.spool);
        contents.json("gaps-left.json", &left.gaps);
    }
    say("doctor");
    contents.json("doctor.json", &checks::all(&gather::facts(places, clock).await) as &Vec<Finding>);
    say("configuration");
    contents.configuration(&places.config);
    say("versions, units");
    contents.versions(status, clock).await;
    contents.units(clock).await;
    say("the agent's log");
    contents.log(log, clock).await;
    Ok(contents)
}

impl Contents {
    fn answer(&mut self, verb: Verb, answer: &Result<Reply, String>) {
        match answer {
            Ok(Reply::Status(status)) => self.json("status.json", status),
            Ok(Reply::Spool(spool)) => self.json("spool.json", spool),
            Ok(Reply::Gaps(gaps)) => self.json("gaps.json", gaps),
            Ok(Reply::Latest(latest)) => {
                let text = self.metrics(latest);
                self.add("metrics.prom", text, Keep::Start);
            }
            Ok(Reply::Error(trouble)) => self.lack(verb.name(), &trouble.message),
            Err(why) => self.lack(verb.name(), why),
        }
    }

    /// Every metric of the newest tick, as Prometheus reads it.
    fn metrics(&mut self, latest: &Latest) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let _ = writeln!(text, "# tick {} at {} ms since 1970", latest.tick, latest.wall_ms);
        for Family { name, kind, samples } in &latest.families {
            let _ = writeln!(
                text,
                "# TYPE {name} {}",
                if *kind == dsmil_agent::status::MetricKind::Counter { "counter" } else { "gauge" }
            );
            for Sample { labels, value, .. } in samples {
                let labels: Vec<String> =
                    labels.iter().map(|(label, value)| format!("{label}={:?}", self.label(label, value))).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                // Absent is not zero.
                let _ = match value {
                    Some(value) => writeln!(text, "{name}{labels} {value}"),
                    None => writeln!(text, "# {name}{labels} absent"),
                };
            }
        }
        text
    }

    /// A label's value without what it says of somebody.
    fn label(&mut self, label: &str, value: &str) -> String {
        let label = label.to_ascii_lowercase();
        let is = |words: &[&str]| words.iter().any(|word| label.contains(word));
        match () {
            () if is(&["serial", "wwn", "wwid", "asset_tag", "nqn"]) => self.scrubber.whole(Kind::Serial, value),
            () if is(&["uuid"]) => self.scrubber.whole(Kind::Uuid, value),
            () if is(&["nodename", "hostname"]) => self.scrubber.whole(Kind::Host, value),
            () if is(&["domainname"]) => self.scrubber.whole(Kind::Name, value),
            () if is(&["user"]) && label != "mode" => self.scrubber.whole(Kind::User, value),
            () => self.scrubber.text(value),
        }
    }

    /// Main file and drop-ins: what they set, without comments, which may say anything.
    fn configuration(&mut self, main: &Path) {
        let files: Vec<PathBuf> = match AgentConfig::document(main) {
            Ok(document) => document.files().map(Path::to_owned).collect(),
            Err(error) => return self.lack("configuration", &error.to_string()),
        };
        for (place, path) in files.iter().enumerate() {
            let name = format!("configuration/{place:02}.toml");
            match read_config(path) {
                Ok(table) => {
                    let text = self.table(table);
                    self.add(&name, text, Keep::Start);
                }
                Err(why) => self.lack(&name, &why),
            }
        }
    }

    /// A configuration's values, those of some keys whole.
    fn table(&mut self, mut table: toml::Table) -> String {
        for (key, value) in &mut table {
            match (key.as_str(), &mut *value) {
                ("host", toml::Value::String(text)) => *text = self.scrubber.whole(Kind::Host, text),
                ("tenant", toml::Value::String(text)) => *text = self.scrubber.whole(Kind::Tenant, text),
                ("devices", toml::Value::Array(all)) => {
                    for device in all {
                        *device = toml::Value::String(self.scrubber.whole(Kind::Device, &device.to_string()));
                    }
                }
                _ => self.toml(value),
            }
        }
        toml::to_string(&table).unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn toml(&mut self, value: &mut toml::Value) {
        match value {
            toml::Value::String(text) => *text = self.scrubber.text(text),
            toml::Value::Array(all) => all.iter_mut().for_each(|value| self.toml(value)),
            toml::Value::Table(all) => all.iter_mut().for_each(|(_, value)| self.toml(value)),
            _ => {}
        }
    }

    async fn versions(&mut self, status: Option<&Status>, clock: &Clock) {
        let uname = rustix::system::uname();
        let mut text = format!("dsmilctl {}\n", env!("CARGO_PKG_VERSION"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "agent {}", status.map_or("does not run", |status| status.agent_version.as_str()));
        let _ = writeln!(text, "cryptography {}", dsmil_crypto::provider_version());
        let kernel =
            [uname.sysname(), uname.release(), uname.version(), uname.machine()].map(|part| part.to_string_lossy());
        let _ = writeln!(text, "kernel {}", kernel.join(" "));
        let distribution = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        text.extend(
            distribution.lines().filter(|line| line.starts_with("PRETTY_NAME=")).map(|line| format!("{line}\n")),
        );
        if let Ok(systemd) = command::run(clock, "systemctl", &["--version"], MAX_TEXT).await {
            text.extend(systemd.text.lines().take(1).map(|line| format!("{line}\n")));
        }
        let text = self.scrubber.text(&text);
        self.add("versions.txt", text, Keep::Start);
    }

    async fn units(&mut self, clock: &Clock) {
        let args =
            ["show", "--all", "--no-pager", "dsmil-agent.service", r"mnt-dsmil\x2dram-agent.mount", "dsmil-probe@*"];
        self.command("units.txt", "systemctl", &args, Keep::Start, clock).await;
    }

    async fn log(&mut self, file: Option<&Path>, clock: &Clock) {
        if let Some(path) = file {
            if is_secret(path) {
                return self.lack("log.txt", "a file of keys goes into no bundle");
            }
            match end_of(path) {
                Ok(text) => {
                    let text = self.scrubber.text(&text);
                    self.add("log.txt", text, Keep::End);
                }
                Err(error) => self.lack("log.txt", &format!("{} cannot be read: {error}", path.display())),
            }
            return;
        }
        let args = [
            "--unit=dsmil-agent.service",
            "--since=-1h",
            "--no-pager",
            "--no-hostname",
            "--output=short-iso-precise",
            "--lines",
            LOG_LINES,
        ];
        self.command("log.txt", "journalctl", &args, Keep::End, clock).await;
    }

    async fn command(&mut self, name: &str, program: &str, args: &[&str], keep: Keep, clock: &Clock) {
        match command::run(clock, program, args, MAX_TEXT).await {
            Ok(printed) if printed.text.trim() == NO_ENTRIES => {
                self.lack(
                    name,
                    "the journal has nothing of it: name the file that its standard error goes to with --log",
                );
            }
            Ok(printed) => {
                if printed.is_cut {
                    self.lack(name, &format!("{program} printed more than {MAX_TEXT} bytes: the rest is left out"));
                }
                let text = self.scrubber.text(&printed.text);
                self.add(name, text, keep);
            }
            Err(error) => self.lack(name, &error.to_string()),
        }
    }

    fn json(&mut self, name: &str, value: &impl Serialize) {
        let mut value = match serde_json::to_value(value) {
            Ok(value) => value,
            Err(error) => return self.lack(name, &error.to_string()),
        };
        self.scrubber.json(&mut value);
        self.add(name, format!("{value:#}\n"), Keep::Start);
    }

    /// What is not there, and why: scrubbed as well.
    fn lack(&mut self, name: &str, why: &str) {
        let why = self.scrubber.text(why);
        self.missing.push(Missing { name: name.into(), why });
    }

    fn add(&mut self, name: &str, mut text: String, keep: Keep) {
        let len = text.len();
        let room = MAX_TEXT.min(self.room);
        if len > room {
            match keep {
                Keep::Start => text.truncate(text.floor_char_boundary(room)),
                Keep::End => drop(text.drain(..text.ceil_char_boundary(len - room))),
            }
            let left_out = len - text.len();
            self.missing.push(Missing { name: name.into(), why: format!("{left_out} of its {len} bytes did not fit") });
        }
        self.room -= text.len().min(self.room);
        self.entries.push(Entry { name: name.into(), text });
    }
}

/// The last of a file, as much as fits.
fn end_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(MAX_TEXT as u64)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_config(path: &Path) -> Result<toml::Table, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_CONFIG).read_to_string(&mut text).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: toml::de::Error| error.message().to_owned())
}

//! Every key of agent.toml and aggregator.toml: its meaning from the doc comment of its field, its default from there or
//! from the program itself, what SIGHUP does with it from the table that the reload works through.

use super::source::{Field, structures};
use super::{Page, table};
use dsmil_aggregator::config::Config;
use dsmil_runtime::config;
use serde_json::Value;
use std::collections::BTreeMap;

const AGENT_SOURCE: &str = include_str!("../../../agent/src/config.rs");
const AGGREGATOR_SOURCES: [&str; 2] = [
    include_str!("../../../aggregator/server/src/config.rs"),
    include_str!("../../../aggregator/server/src/admission/section.rs"),
];
/// What an aggregator has to be told.
const AGGREGATOR_LEAST: &str = r#"{"name":"a1","tenant":"demo"}"#;
/// In the place of a default.
const REQUIRED: &str = "**required**";

/// A key with its table's name before it, as in `spool.path`.
struct Key {
    name: String,
    meaning: String,
    default: String,
    /// Whether SIGHUP applies it.
    is_applied: bool,
}

/// The page of all keys.
pub(super) fn page() -> Page {
    let section = |title: &str, text: &str, keys: Vec<Key>| {
        let rows = keys.into_iter().map(|key| {
            let counts = if key.is_applied { "SIGHUP" } else { "start" };
            [format!("`{}`", key.name), key.meaning, key.default, counts.to_owned()]
        });
        format!("## {title}\n\n{text}\n\n{}", table(["key", "meaning", "default", "counts from"], rows))
    };
    let body = format!(
        "{}\n{}",
        section("agent.toml", "Read by `dsmil-agent`; `dsmil-agent check` looks at all that it names.", agent()),
        section(
            "aggregator.toml",
            "Read by `dsmil-aggregator`; `dsmil-aggregator check` looks at all that it names.",
            aggregator()
        ),
    );
    let introduction = "`spool.path` is the key `path` in the table `[spool]`. Relative paths are taken from the folder of the main file. \
                        A key that is not listed is an error. A change counts from the next SIGHUP or the next start on. Files, drop-ins, \
                        credentials and reloading: [configuration](../configuration.md).";
    Page::markdown("configuration.md", "Configuration", introduction, &body)
}

fn agent() -> Vec<Key> {
    keys(&[AGENT_SOURCE], "AgentConfig", dsmil_agent::reload::KEYS, |_, field| {
        let (meaning, default) = match field.doc.split_once("Default: ") {
            Some((meaning, default)) => (meaning, default.trim_end_matches('.').to_owned()),
            None => (field.doc.strip_suffix("No default.").unwrap_or(&field.doc), REQUIRED.to_owned()),
        };
        (meaning.trim().to_owned(), default)
    })
}

fn aggregator() -> Vec<Key> {
    let given: Value = serde_json::from_str(AGGREGATOR_LEAST).expect("it is JSON");
    let config: Config = serde_json::from_value(given.clone()).expect("it is the least that an aggregator takes");
    let defaults = serde_json::to_value(config).expect("a configuration is plain data");
    keys(&AGGREGATOR_SOURCES, "Config", dsmil_aggregator::reload::KEYS, |name, field| {
        let pointer = format!("/{}", name.replace('.', "/"));
        let default = match (given.pointer(&pointer), defaults.pointer(&pointer)) {
            (None, Some(Value::Null)) => "none".to_owned(),
            (None, Some(value)) => format!("`{value}`"),
            _ => REQUIRED.to_owned(),
        };
        (field.doc.clone(), default)
    })
}

/// The keys below the structure `root` of `sources`, tables opened, each with the meaning and default that `explain` gives it.
fn keys<C, L>(
    sources: &[&str],
    root: &str,
    reloaded: &[config::Key<C, L>],
    explain: impl Fn(&str, &Field) -> (String, String),
) -> Vec<Key> {
    let structures = sources.iter().flat_map(|source| structures(source)).collect();
    let mut found = Vec::new();
    walk(&structures, root, "", &mut |name, field| {
        let (meaning, default) = explain(&name, field);
        let is_applied = reloaded.iter().any(|key| key.name == name && key.apply.is_some());
        found.push(Key { name, meaning, default, is_applied });
    });
    found
}

fn walk(structures: &BTreeMap<String, Vec<Field>>, of: &str, prefix: &str, visit: &mut impl FnMut(String, &Field)) {
    for field in structures.get(of).into_iter().flatten() {
        let name = format!("{prefix}{}", field.name);
        if structures.contains_key(&field.kind) {
            walk(structures, &field.kind, &format!("{name}."), visit);
        } else {
            visit(name, field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_agent::config::AgentConfig;
    use serde::de::DeserializeOwned;
    use std::collections::BTreeSet;

    const AGENT_LEAST: &str = r#"{"host":"h1","tenant":"demo","aggregators":["a:1"]}"#;

    /// The keys that a configuration really takes, as its refusal of an unknown one lists them.
    fn accepted<T: DeserializeOwned>(least: &str, prefix: &str) -> BTreeSet<String> {
        let mut value: Value = serde_json::from_str(least).expect("JSON");
        let unknown = serde_json::json!({"no_such_key": 1});
        match prefix {
            "" => value["no_such_key"] = 1.into(),
            table => value[table] = unknown,
        }
        let message = serde_json::from_value::<T>(value).err().expect("an unknown key is refused").to_string();
        message.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    fn every_key_is_listed<T: DeserializeOwned>(least: &str, keys: &[Key]) {
        let tables: BTreeSet<&str> = keys.iter().filter_map(|key| Some(key.name.split_once('.')?.0)).collect();
        let top: BTreeSet<String> =
            keys.iter().map(|key| key.name.split('.').next().expect("a name").to_owned()).collect();
        assert_eq!(top, accepted::<T>(least, ""));
        for table in tables {
            let below = keys.iter().filter_map(|key| key.name.strip_prefix(&format!("{table}.")).map(str::to_owned));
            assert_eq!(below.collect::<BTreeSet<_>>(), accepted::<T>(least, table), "[{table}]");
        }
        assert!(keys.iter().all(|key| !key.meaning.is_empty()));
    }

    fn every_key_is_reloaded_or_not<C, L>(keys: &[Key], reloaded: &[config::Key<C, L>]) {
        let (mut listed, mut known): (Vec<&str>, Vec<&str>) =
            (keys.iter().map(|key| key.name.as_str()).collect(), reloaded.iter().map(|key| key.name).collect());
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn every_key_of_the_agent_is_listed() {
        every_key_is_listed::<AgentConfig>(AGENT_LEAST, &agent());
        every_key_is_reloaded_or_not(&agent(), dsmil_agent::reload::KEYS);
    }

    #[test]
    fn every_key_of_the_aggregator_is_listed() {
        every_key_is_listed::<Config>(AGGREGATOR_LEAST, &aggregator());
        every_key_is_reloaded_or_not(&aggregator(), dsmil_aggregator::reload::KEYS);
    }

    #[test]
    fn the_agents_defaults_are_those_of_its_comments() {
        let config: AgentConfig = serde_json::from_str(AGENT_LEAST).expect("the least there can be");
        let debug = format!("{config:?}").to_lowercase();
        for key in agent().iter().filter(|key| key.default.starts_with('`') && !key.default.starts_with("`[")) {
            let written = key.default.split('`').nth(1).expect("a value between backquotes");
            // A choice is a text in the file, and a name in the program.
            let written = written.trim_matches('"');
            assert!(debug.contains(written), "{}: {written} is not in {debug}", key.name);
        }
        let required: Vec<String> =
            agent().into_iter().filter(|key| key.default == REQUIRED).map(|key| key.name).collect();
        assert_eq!(required, ["host", "tenant", "aggregators"]);
    }
}

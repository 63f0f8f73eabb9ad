//! Layers as people and packages write them, right and wrong.

use super::*;
use crate::config_keys;
use proptest::prelude::*;
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

const READER: Reader = Reader { made_by: "`make it`", max_len: 1_000, credentials: &["tls.key"] };

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    name: String,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    spool: Spool,
    #[serde(default)]
    tls: Tls,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Spool {
    path: PathBuf,
    capacity_mib: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tls {
    key: Option<SecretFile>,
    chain: PathBuf,
}

/// A folder with a main file and its drop-ins.
struct Files(TempDir);

impl Files {
    fn new(main: &str, drop_ins: &[(&str, &str)]) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        fs::write(files.main(), main).expect("written");
        if !drop_ins.is_empty() {
            fs::create_dir(files.main().with_extension("toml.d")).expect("made");
        }
        for (name, text) in drop_ins {
            fs::write(files.drop_in(name), text).expect("written");
        }
        files
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("a.toml")
    }

    fn drop_in(&self, name: &str) -> PathBuf {
        self.0.path().join("a.toml.d").join(name)
    }

    fn load(&self) -> Result<Config, ConfigError> {
        READER.read(&self.main())?.get()
    }

    /// The refusal, the folder left out.
    fn refusal(&self) -> String {
        let error = self.load().expect_err("a refusal").to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

#[test]
fn drop_ins_are_merged_in_order_of_name_and_other_files_are_none() {
    let more = [
        ("20-b.toml", "hosts = [\"b\"]\n[spool]\ncapacity_mib = 2"),
        ("10-a.toml", "hosts = [\"a\", \"c\"]\nspool = { path = \"/a\", capacity_mib = 1 }"),
        (".30-hidden.toml", "name = 1"),
        ("40-left.toml~", "name = 1"),
        (".50.toml.swp", "name = 1"),
        ("60.conf", "name = 1"),
    ];
    let files = Files::new("name = \"n\"\n[spool]\npath = \"/m\"\n", &more);
    let config = files.load().expect("a configuration");
    assert_eq!((config.name.as_str(), &config.hosts[..]), ("n", &["b".to_owned()][..]), "arrays are replaced");
    assert_eq!(config.spool, Spool { path: "/a".into(), capacity_mib: 2 });
    let read: Vec<PathBuf> = READER.read(&files.main()).expect("read").files().map(Path::to_owned).collect();
    assert_eq!(read, [files.main(), files.drop_in("10-a.toml"), files.drop_in("20-b.toml")]);
    assert_eq!(Files::new("name = \"n\"", &[]).load().expect("no drop-ins").name, "n");
}

#[test]
fn an_error_names_the_layer_the_line_and_the_whole_key() {
    let main = "name = \"n\"\n[spool]\ncapacity_mib = 1\n";
    let with = |text: &str| Files::new(main, &[("1.toml", "# nothing"), ("2.toml", text)]).refusal();
    let unknown = with("\n[spool]\n\ncapacity_mb = 1\n");
    assert_eq!(
        unknown,
        "a.toml.d/2.toml, line 4: there is no key `capacity_mb` in [spool]: did you mean `capacity_mib`?"
    );
    let far = with("kafka = 1");
    assert_eq!(far, "a.toml.d/2.toml, line 1: there is no key `kafka` here; the keys are name, hosts, spool, tls");
    let dotted = with("spool.pth = \"/\"");
    assert_eq!(dotted, "a.toml.d/2.toml, line 1: there is no key `pth` in [spool]: did you mean `path`?");
    let typed = with("[spool]\ncapacity_mib = \"ten\"");
    assert_eq!(typed, "a.toml.d/2.toml, line 2, `spool.capacity_mib`: invalid type: string \"ten\", expected u64");
    let inside = with("hosts = [\n  \"a\",\n  3]");
    assert_eq!(inside, "a.toml.d/2.toml, line 3, `hosts`: invalid type: integer `3`, expected a string");
    let table = with("\n[name]\nx = 1");
    assert_eq!(table, "a.toml.d/2.toml, line 2, `name`: invalid type: map, expected a string");
    let syntax = with("\nname = \n");
    assert!(syntax.starts_with("a.toml.d/2.toml, line 2: this is not TOML: "), "{syntax}");
    let missing = Files::new("hosts = []", &[("1.toml", "[spool]")]).refusal();
    assert_eq!(missing, "a.toml: the key `name` is missing and has no default: add it");
    let below = Files::new("name = \"n\"\nspol = 1", &[("1.toml", "[spool]")]).refusal();
    assert!(below.starts_with("a.toml, line 2: there is no key `spol` here: did you mean `spool`?"), "{below}");
}

#[test]
fn a_complaint_points_at_the_layer_in_force_and_at_no_other_key_of_that_name() {
    let main = "name = \"capacity_mib = 3\"\ncapacity_mib = 1\n[other]\ncapacity_mib = 1\n[spool]\ncapacity_mib = 1\n";
    let said = |files: &Files, key| {
        let error = READER.read(&files.main()).expect("TOML").wrong(key, "is odd").to_string();
        error.replace(&format!("{}/", files.0.path().display()), "")
    };
    let files = Files::new(main, &[]);
    assert_eq!(said(&files, "spool.capacity_mib"), "a.toml, line 6, `spool.capacity_mib`: is odd");
    let files = Files::new(main, &[("1.toml", "\n\nspool.capacity_mib = 2"), ("2.toml", "[spool]\npath = \"/\"")]);
    assert_eq!(said(&files, "spool.capacity_mib"), "a.toml.d/1.toml, line 3, `spool.capacity_mib`: is odd");
    assert_eq!(said(&files, "not.there"), "a.toml, `not.there`: is odd", "a default has no line");
}

#[test]
fn files_have_bounds() {
    let long = format!("name = \"{}\"", "n".repeat(1_000));
    assert_eq!(Files::new(&long, &[]).refusal(), "a.toml is longer than any configuration: is it another file?");
    let drop_in = Files::new("name = \"n\"", &[("1.toml", &long)]).refusal();
    assert!(drop_in.starts_with("a.toml.d/1.toml is longer"), "{drop_in}");
    let names: Vec<String> = (0..=layers::MAX_DROP_INS).map(|n| format!("{n}.toml")).collect();
    let most: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    Files::new("name = \"n\"", &most[1..]).load().expect("as many as there may be");
    assert_eq!(Files::new("name = \"n\"", &most).refusal(), "a.toml.d has more than 64 drop-ins: put them together");
    let deep = Files::new("name = \"n\"", &[("1.toml", "\na.b.c.d.e.f.g.h.i.j.k.l = 1")]).refusal();
    assert_eq!(deep, "a.toml.d/1.toml, line 2: this is not TOML: tables and arrays lie more than 8 deep in each other");
}

#[test]
fn what_cannot_be_read_is_named_with_its_remedy() {
    let files = Files::new("", &[]);
    fs::remove_file(files.main()).expect("removed");
    assert_eq!(files.refusal(), "cannot read a.toml: `make it` makes one, --config names another");
    let files = Files::new("name = \"n\"", &[]);
    fs::write(files.main().with_extension("toml.d"), "").expect("a file in the place of the folder");
    assert_eq!(files.refusal(), "cannot read a.toml.d: make it readable for the daemon's user, or remove it");
    let files = Files::new("name = \"n\"", &[("1.toml", "")]);
    fs::create_dir(files.drop_in("2.toml")).expect("a folder in the place of a file");
    assert!(files.refusal().starts_with("cannot read a.toml.d/2.toml: "));
}

#[test]
fn a_credential_is_found_where_systemd_puts_it_and_only_where_one_is_allowed() {
    let config = Files::new("name = \"n\"\ntls.key = \"credential:https.key\"", &[]).load().expect("a configuration");
    let mut key = config.tls.key.expect("a key");
    let nobody = key.path().expect_err("nobody looked").to_string();
    assert!(nobody.starts_with("credential:https.key: $CREDENTIALS_DIRECTORY is not set: start"), "{nobody}");
    assert!(nobody.contains("LoadCredential=https.key:"), "{nobody}");
    key.resolve(Path::new("/etc"));
    key.find(&Environment::default());
    assert_eq!(key.path().expect_err("no systemd").to_string(), nobody);

    let folder = tempfile::tempdir().expect("a folder");
    let environment = Environment { credentials: Some(folder.path().into()) };
    key.find(&environment);
    let missing = key.path().expect_err("not passed").to_string();
    assert!(missing.contains("has none of this name: add `LoadCredential=https.key:"), "{missing}");
    fs::write(folder.path().join("https.key"), "secret").expect("written");
    key.find(&environment);
    assert_eq!((key.path().ok(), key.is_passed()), (Some(folder.path().join("https.key").as_path()), true));

    let mut path = SecretFile::from("https.key");
    path.resolve(Path::new("/etc"));
    path.find(&Environment::default());
    assert_eq!((path.path().ok(), path.is_passed()), (Some(Path::new("/etc/https.key")), false));

    let other = Files::new("name = \"n\"\n[tls]\nchain = \"credential:c\"", &[]).refusal();
    assert_eq!(
        other,
        "a.toml, line 3, `tls.chain`: a credential can only be read, and this is no file that is only read: name a path; \
         credentials serve tls.key"
    );
    for bad in ["", ".", "..", "a/b", "../a", "a:b", "a\\nb", "ä", &"n".repeat(256)] {
        let error = Files::new(&format!("name = \"n\"\ntls.key = \"credential:{bad}\""), &[]).refusal();
        assert!(error.contains("line 2, `tls.key`: ") && error.contains("is no credential's name"), "{bad}: {error}");
    }
    assert!(CredentialName::new(&"n".repeat(255)).is_ok());
}

/// A table whose leaves are numbers that no other leaf has, thousands saying in which layer.
fn layer(index: i64, shape: &Shape, next: &AtomicI64) -> toml::Value {
    let number = || index * 1_000 + next.fetch_add(1, Ordering::Relaxed);
    match shape {
        Shape::Number => number().into(),
        Shape::Array(len) => (0..*len).map(|_| toml::Value::from(number())).collect::<Vec<_>>().into(),
        Shape::Table(keys) => {
            let keys = keys.iter().map(|(key, shape)| (key.clone(), layer(index, shape, next)));
            keys.collect::<toml::Table>().into()
        }
    }
}

#[derive(Clone, Debug)]
enum Shape {
    Number,
    Array(usize),
    Table(std::collections::BTreeMap<String, Shape>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![Just(Shape::Number), (1..3usize).prop_map(Shape::Array)];
    let table = |inner| proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(Shape::Table);
    // The outermost is a document.
    table(leaf.prop_recursive(3, 16, 4, move |inner| table(inner).boxed()).boxed())
}

/// Merging as anybody would write it.
fn model(mut below: toml::Table, above: toml::Table) -> toml::Table {
    for (key, value) in above {
        let value = match (below.remove(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => model(below, above).into(),
            (_, value) => value,
        };
        below.insert(key, value);
    }
    below
}

/// The first number of every key whose value is no table.
fn leaves(table: &toml::Table, prefix: &str, found: &mut Vec<(String, i64)>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            toml::Value::Table(below) => leaves(below, &format!("{name}."), found),
            toml::Value::Array(items) => found.push((name, items[0].as_integer().expect("a number"))),
            other => found.push((name, other.as_integer().expect("a number"))),
        }
    }
}

proptest! {
    #[test]
    fn merging_files_is_merging_values_and_each_value_knows_its_file(
        shapes in proptest::collection::vec(shape(), 1..5)
    ) {
        let next = AtomicI64::new(0);
        let tables: Vec<toml::Table> = (0..).zip(&shapes).map(|(index, shape)| {
            layer(index, shape, &next).as_table().expect("a table").clone()
        }).collect();
        let texts: Vec<String> = tables.iter().map(|table| toml::to_string(table).expect("TOML")).collect();
        let mut layers: Vec<Layer> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let start = layers.last().map_or(0, |layer: &Layer| layer.start + layer.text.len() + 1);
            layers.push(Layer { path: index.to_string().into(), start, text: text.clone() });
        }
        let document = READER.document(layers).expect("TOML");
        let expected = tables.into_iter().reduce(model).expect("one at least");
        prop_assert_eq!(document.get::<toml::Table>().expect("a table"), expected.clone());
        let mut found = Vec::new();
        leaves(&expected, "", &mut found);
        for (name, number) in found {
            let entry = document.entries.iter().find(|entry| entry.name == name).expect("an entry");
            let place = document.place(entry.key.start);
            let index = usize::try_from(number / 1_000).expect("an index");
            prop_assert_eq!(&place.path, &PathBuf::from(index.to_string()));
            let line = texts[index].lines().nth(place.line.expect("a line") - 1).expect("that line");
            prop_assert!(line.contains(&number.to_string()), "{} at {:?}: {}", name, place, line);
        }
    }
}

#[test]
fn what_can_be_applied_is_and_the_rest_waits_for_the_next_start() {
    #[derive(Debug, Default)]
    struct Live(AtomicI64);
    static KEYS: &[Key<Config, Live>] = config_keys!(Config, Live:
        name;
        spool.path;
        spool.capacity_mib => |live| { live.0.fetch_add(1, Ordering::Relaxed); };
    );
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names, ["name", "spool.path", "spool.capacity_mib"]);
    let started = Files::new("name = \"n\"", &[]).load().expect("a configuration");
    let mut new = started.clone();
    new.spool.capacity_mib = 5;
    assert!((KEYS[0].is_same)(&started, &new) && (KEYS[1].is_same)(&started, &new));
    assert!(!(KEYS[2].is_same)(&started, &new));
    let (mut reload, live) = (Reload::new(KEYS, started), Live::default());
    reload.take(new, &live);
    assert_eq!(live.0.load(Ordering::Relaxed), 1);
}

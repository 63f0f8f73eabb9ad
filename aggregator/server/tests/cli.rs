//! The command line as its users have it: the real program, its output and its exit codes.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder that `init` has made a centre in.
struct Centre {
    folder: TempDir,
}

impl Centre {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("centre");
        let hot = folder.path().join("hot.sqlite");
        let made = program()
            .args(["init", "--advertise", "a1.test", "--trust-domain", "fleet.test", "--host", "h1", "--host", "h2"])
            .args([Path::new("--dir"), &dir, Path::new("--hot"), &hot])
            .output()
            .expect("started");
        assert!(made.status.success(), "{}", stderr(&made));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = program();
        command.env("DSMIL_AGGREGATOR_CONFIG", self.path("centre/aggregator.toml")).args(line.split(' '));
        command.current_dir(self.folder.path());
        command
    }

    fn try_run(&self, line: &str) -> Output {
        self.command(line).output().expect("started")
    }

    /// Standard output of a verb that succeeds.
    fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line)).expect("JSON")
    }

    /// Standard error of a verb that fails with `code`.
    fn refused(&self, line: &str, code: i32) -> String {
        let output = self.try_run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        stderr(&output)
    }
}

/// The program, as a user called ann starts it.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dsmil-aggregator"));
    command.env_remove("SUDO_USER").env_remove("DSMIL_AGGREGATOR_CONFIG").env("USER", "ann");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn init_says_what_it_made_and_what_comes_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("centre");
    let init = |more: &[&str]| {
        let output = program().arg("init").arg("--dir").arg(&dir).args(more).output().expect("started");
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let listen = ["--quic", "0.0.0.0:9100", "--join", "0.0.0.0:9101", "--link", "hybrid"];
    let said = init(&[&listen[..], &["--host", "h1", "--advertise", "2001:db8::1"]].concat());
    for words in ["API token", "Take ", "can make issuers", "token create", "dsmil-agent join TOKEN"] {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
    let config = std::fs::read_to_string(dir.join("aggregator.toml")).expect("a configuration");
    for line in ["agents = [\"[2001:db8::1]:9100\"]", "join = [\"[2001:db8::1]:9101\"]", "policy = \"hybrid\""] {
        assert!(config.contains(line), "{line:?} is missing:\n{config}");
    }
    let again: Value = serde_json::from_str(&init(&["--host", "h2", "--json"])).expect("JSON");
    assert_eq!(again["hosts"], serde_json::json!(["h1", "h2"]));
    assert!(again["api_token"].is_null() && again["root"].is_null(), "made once");

    let output = program().args(["init", "--advertise", "a1.test:8100"]).output().expect("started");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`--advertise a1.test`"), "{}", stderr(&output));
}

#[test]
fn tokens_are_made_listed_and_removed() {
    let centre = Centre::new();
    let made = centre.try_run("token create --host h1");
    let token = String::from_utf8(made.stdout.clone()).expect("text");
    assert!(token.starts_with("dsmil-join-1.") && token.lines().count() == 1, "nothing else: {token}");
    assert!(stderr(&made).contains("h1 alone, once") && stderr(&made).contains("a1.test:8101"));

    let both = centre.run("token create --host h1 --host h2 --ttl 7d --address b1.test:1");
    assert_eq!(both.lines().map(|line| line.split(' ').next()).collect::<Vec<_>>(), [Some("h1"), Some("h2")]);
    let made = centre.json("token create --every-host --json");
    assert_eq!(made["tokens"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["tokens"][0]["addresses"], serde_json::json!(["a1.test:8101"]));

    let text = centre.run("token list");
    assert!(text.starts_with("HASH ") && text.lines().count() == 6 && text.contains("not yet"), "{text}");
    let listed = centre.json("token list --json");
    let hash = listed["tokens"][0]["hash"].as_str().expect("a hash");
    assert!(text.contains(&hash[..16]) && listed["tokens"][0]["state"] == "open" && listed["tokens"][0]["by"] == "ann");
    assert!(!text.contains("dsmil-join-1") && !listed.to_string().contains("dsmil-join-1"), "secrets are shown once");

    centre.run(&format!("token remove {}", &hash[..8]));
    centre.run("token remove --host h2");
    assert_eq!(centre.json("token list --json")["tokens"].as_array().map(Vec::len), Some(2));
    assert!(centre.refused(&format!("token remove {hash}"), 1).contains("no token's hash"));
    assert!(centre.refused("token remove --host h2", 1).contains("no open token"));
    assert!(centre.refused("token create --host h9", 1).contains("[[host]]"));
}

#[test]
fn hosts_are_shut_out_and_let_in_again_and_the_log_says_so() {
    let centre = Centre::new();
    assert!(centre.run("host list").contains("h1    never joined"));
    let revoke = |host: &str, reason: &str| {
        centre.command(&format!("host revoke {host}")).args(["--reason", reason]).output().expect("started")
    };
    assert!(revoke("h1", "stolen laptop").status.success());
    assert!(
        String::from_utf8_lossy(&revoke("h1", "again").stdout).contains("revoked before"),
        "and that is no failure"
    );
    assert_eq!(revoke("h7", "a typing error").status.code(), Some(1));
    assert_eq!(revoke("h1", " ").status.code(), Some(1), "a reason is one");
    let hosts = centre.json("host list --json");
    assert_eq!((&hosts["hosts"][0]["state"], &hosts["hosts"][1]["state"]), (&"revoked".into(), &"never_joined".into()));
    assert_eq!(hosts["hosts"][0]["revoked"]["reason"], "stolen laptop");
    assert!(centre.run("host show h1").contains("by ann: stolen laptop"));
    assert!(centre.refused("token create --host h1", 1).contains("host reinstate h1"));
    let every = centre.json("token create --every-host --json");
    assert_eq!(every["tokens"].as_array().map(Vec::len), Some(1), "who is revoked gets none");
    centre.run("host reinstate h1");
    assert_eq!(centre.json("host show h1 --json")["state"], "must_join");
    assert!(centre.run("host reinstate h1").contains("nothing to lift"));
    assert!(centre.refused("host show h7", 1).contains("host list"));

    let log = centre.run("security log");
    let kinds: Vec<_> = log.lines().filter_map(|line| line.split("  ").nth(1)).map(str::trim).collect();
    assert_eq!(kinds, ["trust-change", "revocation", "token-created", "reinstatement"]);
    assert!(log.lines().all(|line| line.as_bytes()[19] == b'Z'), "in UTC:\n{log}");
    let one = centre.json("security log --json --kind revocation --host h1 --since 1h --limit 5");
    assert_eq!((&one["subject"], &one["reason"]), (&"h1".into(), &"stolen laptop".into()));
    assert_eq!(centre.run("security log --since 2999-01-01"), "");
}

#[test]
fn an_issuer_is_added_and_the_old_one_retired() {
    let centre = Centre::new();
    assert!(centre.refused("trust retire a1-1", 1).contains("last issuer"));
    centre.run("trust add-issuer");
    assert!(centre.path("centre/identity/issuers/a1-2.key").exists());
    let pending = centre.json("trust show --json");
    assert_eq!(pending["version"], 1, "a draft changes nothing");
    assert!(pending["draft"]["changes"][0].as_str().is_some_and(|change| change.starts_with("adds issuer a1-2")));

    // As it is done away from the aggregator: no configuration, a draft and a root.
    let (draft, root) = (centre.path("centre/state/trust.draft"), centre.path("centre/root"));
    let offline = program()
        .args(["trust", "sign", "--out", "b2", "--days", "30", "--root"])
        .args([&root, &draft])
        .current_dir(centre.folder.path())
        .output()
        .expect("started");
    assert!(offline.status.success(), "{}", stderr(&offline));
    let said = String::from_utf8_lossy(&offline.stdout).into_owned();
    assert!(said.contains("adds issuer a1-2") && said.contains("after bundle 1"), "{said}");

    assert!(centre.run("trust show b2").contains("would take it"));
    assert!(centre.run("trust publish b2").contains("trust bundle 2 is in force"));
    assert!(!draft.exists());
    assert!(centre.refused("trust publish b2", 1).contains("bundle_older"));
    let shown = centre.json("trust show --json");
    let seconds = |name: &str| shown[name].as_i64().expect("a time");
    assert_eq!((seconds("version"), seconds("expires_s") - seconds("issued_s")), (2, 30 * 86_400));
    assert_eq!((&shown["issuers"][0]["in_use"], &shown["issuers"][1]["in_use"]), (&false.into(), &true.into()));
    assert!(centre.run("trust show").contains("a1-2, in use here"));

    centre.run("trust retire a1-1");
    let signed = centre.json("trust sign --json --root centre/root");
    assert!(signed["changes"][0].as_str().is_some_and(|change| change.starts_with("retires issuer a1-1")));
    let published = centre.json("trust publish centre/state/trust.bundle --json");
    assert_eq!((&published["version"], &published["issuer"]), (&3.into(), &"a1-2".into()));
    let log = centre.run("security log --kind trust-change");
    assert_eq!(log.lines().count(), 4, "{log}");
    assert!(log.contains("by ann: retires issuer a1-1"), "{log}");
}

#[test]
fn a_root_is_followed_by_another() {
    let centre = Centre::new();
    centre.run("trust export b1");
    centre.run("trust add-root --dir next");
    assert!(centre.refused("trust sign --root centre/root", 1).contains("draft_root_missing"));
    assert!(centre.refused("trust sign --root next", 1).contains("draft_other_root"));
    centre.run("trust sign --root centre/root --root next --out b2");
    centre.run("trust publish b2");
    let first = centre.json("trust show --json");
    assert_eq!(first["issuers"][0]["certified_by"].as_array().map(Vec::len), Some(2), "by either root");
    let old = first["roots"][0]["fingerprint"].as_str().expect("a fingerprint");
    centre.run(&format!("trust retire {}", &old[..16]));
    centre.run("trust sign --root centre/root --root next --out b3");
    centre.run("trust publish b3");
    let last = centre.json("trust show --json");
    assert_eq!((last["roots"].as_array().map(Vec::len), &last["roots"][0]["has_signed"]), (Some(1), &true.into()));
    assert_eq!(centre.json("trust sign b1 --root centre/root --out late --json")["version"], 2);
    assert!(centre.refused("trust publish late", 1).contains("bundle_other_root"), "its time is over");
    let elsewhere = Centre::new();
    let foreign = elsewhere.path("centre/root");
    assert!(centre.refused(&format!("trust sign --root {}", foreign.display()), 1).contains("draft_other_root"));
}

#[test]
fn a_bundle_without_our_issuer_is_published_with_a_warning() {
    let centre = Centre::new();
    centre.run("trust sign --root centre/root");
    std::fs::remove_file(centre.path("centre/identity/issuers/a1-1.key")).expect("lost");
    let published = centre.try_run("trust publish centre/state/trust.bundle");
    assert!(published.status.success() && stderr(&published).contains("WARNING"), "{}", stderr(&published));
    assert!(centre.try_run("check").status.code() == Some(1), "it could not start");
}

#[test]
fn a_draft_of_another_bundle_is_neither_added_to_nor_signed() {
    let centre = Centre::new();
    centre.run("trust sign --root centre/root --out b2");
    centre.run("trust add-issuer");
    let kept = std::fs::read(centre.path("centre/state/trust.draft")).expect("a draft");
    centre.run("trust publish b2");
    std::fs::write(centre.path("centre/state/trust.draft"), kept).expect("brought back");
    for line in ["trust add-issuer", "trust retire a1-1", "trust sign --root centre/root"] {
        assert!(centre.refused(line, 1).contains("draft_stale"), "{line}");
    }
    assert!(centre.json("trust show --json")["draft"]["problem"].as_str().is_some_and(|p| p.contains("draft_stale")));
    centre.run("trust discard");
    centre.run("trust add-issuer");
}

#[test]
fn check_names_what_is_missing() {
    let centre = Centre::new();
    let found = centre.json("check --json");
    let outcome = |subject: &str, found: &Value| {
        let one = found.as_array().and_then(|all| all.iter().find(|one| one["subject"] == subject));
        one.map(|one| one["outcome"].to_string())
    };
    for subject in ["configuration", "cryptography", "advertised", "state", "trust", "issuer"] {
        assert_eq!(outcome(subject, &found).as_deref(), Some("\"ok\""), "{subject}: {found}");
    }
    centre.run("trust sign --root centre/root --days 10 --out b2");
    centre.run("trust publish b2");
    let soon = centre.run("check");
    assert!(soon.lines().any(|line| line.starts_with("warning  trust ") && line.contains("trust sign")), "{soon}");

    let config = centre.path("centre/aggregator.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("\"a1.test:8101\"", "")).expect("written");
    assert_eq!(outcome("advertised", &centre.json("check --json")).as_deref(), Some("\"warning\""));
    assert!(centre.refused("token create --host h1", 1).contains("[advertise]"));
    std::fs::remove_file(centre.path("centre/state/state.sqlite")).expect("lost");
    assert!(String::from_utf8_lossy(&centre.try_run("check").stdout).contains("`dsmil-aggregator init` makes it"));
    assert!(centre.refused("host list", 1).contains("`dsmil-aggregator init` makes it"));
    assert!(!centre.path("centre/state/state.sqlite").exists(), "looking makes nothing");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let centre = Centre::new();
    for line in [
        "token",
        "token create",
        "token create --host h1 --every-host",
        "token create --host H_1",
        "token create --host h1 --ttl 59s",
        "token create --host h1 --ttl 31d",
        "token create --host h1 --address a1.test",
        "token remove",
        "token remove 00000000 --host h1",
        "host revoke h1",
        "security log --kind gossip",
        "security log --since yesterday",
        "security log --limit 0",
        "trust sign",
        "trust sign --root centre/root --days 0",
        "trust revoke-key 1234",
        "init --link classical",
        "init --join a1.test:8101",
    ] {
        let said = centre.refused(line, 2);
        assert!(said.starts_with("error: ") || said.contains("Usage:"), "{line}: {said}");
    }
}

#[test]
fn many_commands_at_once_lose_nothing() {
    let centre = Centre::new();
    let at_once = |line: &str, count: usize| {
        let start = || centre.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let running: Vec<_> = (0..count).map(|_| start()).collect();
        let outputs = running.into_iter().map(|child| child.wait_with_output().expect("ended"));
        outputs.collect::<Vec<_>>()
    };
    let made = at_once("token create --host h1", 6);
    assert!(made.iter().all(|output| output.status.success()), "{:?}", made.iter().map(stderr).collect::<Vec<_>>());
    assert_eq!(centre.json("token list --json")["tokens"].as_array().map(Vec::len), Some(6));
    let drafted = at_once("trust add-issuer", 3);
    assert!(drafted.iter().all(|output| output.status.success()));
    assert_eq!(centre.json("trust show --json")["draft"]["changes"].as_array().map(Vec::len), Some(3));
    centre.run("trust sign --root centre/root --out b2");
    let published = at_once("trust publish b2", 3);
    assert_eq!(published.iter().filter(|output| output.status.success()).count(), 1, "once");
}

#[test]
fn a_followed_log_shows_what_another_command_does() {
    let centre = Centre::new();
    let mut follower = centre.command("security log --follow --json").stdout(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let mut next =
        || -> Value { serde_json::from_str(&lines.next().expect("it goes on").expect("text")).expect("JSON") };
    assert_eq!(next()["subject"], "bundle 1");
    centre.run("token create --host h2");
    assert_eq!(next()["kind"], "token-created");
    centre.run("host reinstate h2");
    centre.run("trust add-issuer");
    assert_eq!(next()["kind"], "trust-change", "and nothing twice");
    follower.kill().expect("ended");
    follower.wait().expect("gone");
}

#[test]
fn who_reads_no_further_is_no_failure() {
    let centre = Centre::new();
    let mut child =
        centre.command("security log").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

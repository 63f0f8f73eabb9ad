//! The real `dsmil-agent join`: what it prints and how it exits where there is no fleet.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `dsmil-agent join` in `dir` with a token on standard input.
fn join(dir: &Path, token: &str, args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dsmil-agent"))
        .args(["join", "-", "--dir"])
        .arg(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dsmil-agent runs");
    child.stdin.take().expect("a pipe").write_all(token.as_bytes()).expect("written");
    child.wait_with_output().expect("it ends")
}

/// A sound token of a fleet that is nowhere: h1 at a port of loopback where nobody answers.
fn token(port: u16) -> String {
    let root = "07".repeat(48).parse().expect("a fingerprint");
    let addresses = vec![format!("127.0.0.1:{port}")];
    let made = dsmil_crypto::join_token::JoinToken::generate(
        addresses,
        "fleet.example".into(),
        root,
        "h1".into(),
        1_750_000_000,
    );
    made.text()
}

#[test]
fn a_token_is_read_from_standard_input_and_a_damaged_one_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = join(dir.path(), "dsmil-join-1.AAAA\n", &[]);
    let said = String::from_utf8(out.stderr).expect("text");
    assert_eq!(out.status.code(), Some(1));
    assert!(said.starts_with("dsmil-agent: [token_malformed] the join token is damaged"), "{said}");
    assert!(said.contains("dsmil-aggregator token create"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
}

#[test]
fn where_nobody_answers_the_steps_say_how_far_it_came() {
    let dir = tempfile::tempdir().expect("a folder");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let token = token(silent.local_addr().expect("an address").port());
    let out = join(dir.path(), &token, &["--timeout", "1"]);
    let (said, steps) = (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
    assert_eq!(out.status.code(), Some(1));
    assert!(steps.contains("token       for host h1 of fleet.example, root 0707070707070707\n"), "{steps}");
    assert!(steps.contains("connecting  127.0.0.1:"), "{steps}");
    assert!(said.contains("[no_answer]") && said.contains("nobody answers there within 1 s"), "{said}");
    let secret = token.trim_start_matches("dsmil-join-1.");
    assert!(!said.contains(secret) && !steps.contains(secret), "a token is a secret");

    let out = join(dir.path(), &token, &["--timeout", "1", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((&document["failed"]["code"], out.status.code()), (&"no_answer".into(), Some(1)));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn wrong_usage_exits_2() {
    for args in [&["--timeout", "0"][..], &["--force"]] {
        assert_eq!(join(Path::new("/nonexistent"), "", args).status.code(), Some(2), "{args:?}");
    }
}

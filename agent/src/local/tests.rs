//! Through a real socket: questions, nonsense, silence, and sockets that are in the way.

use super::*;
use crate::status::SpoolReport;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Drained, OnFailure, Supervisor};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A server on a thread of its own, as an agent runs one.
struct Served {
    dir: tempfile::TempDir,
    supervisor: Supervisor,
    ended: std::sync::mpsc::Receiver<Drained>,
}

impl Served {
    fn start(clock: Clock) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, supervisor) = (dir.path().join("s"), Supervisor::new(Clock::real()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel();
        let (inner, threads) = (supervisor.clone(), Supervisor::new(Clock::real()));
        threads.thread("server", OnFailure::Note, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let socket = LocalSocket::bind(&path).expect("binds");
                let answer = |verb| match verb {
                    Verb::Spool => Reply::Spool(SpoolReport::default()),
                    Verb::Gaps => Reply::Gaps(GapsReport::default()),
                    Verb::Latest => Reply::Latest(Latest::default()),
                    Verb::Status => Reply::Error(Trouble { code: TroubleCode::Unavailable, message: "not now".into() }),
                };
                inner.spawn("local", OnFailure::Stop, serve(socket, clock, inner.clone(), Arc::new(answer)));
                ready.send(()).expect("the test waits");
                inner.stop().requested().await;
                let drained = inner.drain(Duration::from_secs(10)).await;
                // The test may have ended already.
                let _ = end.send(drained);
            });
            Ok::<(), std::io::Error>(())
        });
        is_ready.recv().expect("the server starts");
        Self { dir, supervisor, ended }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).expect("connects")
    }

    /// The code of the refusal that some bytes get.
    fn refusal(&self, question: &[u8]) -> (TroubleCode, String) {
        let mut stream = self.connect();
        stream.write_all(question).expect("writes");
        // An end of input ends a question as well.
        stream.shutdown(std::net::Shutdown::Write).expect("ends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("reads");
        match serde_json::from_slice::<Document>(&answer).expect("a document").reply {
            Reply::Error(trouble) => (trouble.code, trouble.message),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_question_gets_its_answer() {
    let served = Served::start(Clock::real());
    assert_eq!(ask(&served.path(), Verb::Spool).expect("answers"), Reply::Spool(SpoolReport::default()));
    assert_eq!(ask(&served.path(), Verb::Gaps).expect("answers"), Reply::Gaps(GapsReport::default()));
    assert_eq!(ask(&served.path(), Verb::Latest).expect("answers"), Reply::Latest(Latest::default()));
    assert!(matches!(ask(&served.path(), Verb::Status), Ok(Reply::Error(_))));
    let meta = std::fs::symlink_metadata(served.path()).expect("there");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    served.supervisor.request_stop();
    assert_eq!(served.ended.recv().expect("it ends"), Drained::Clean);
    assert!(!served.path().exists(), "the socket goes with the agent");
    assert!(matches!(ask(&served.path(), Verb::Spool), Err(ClientError::NotRunning { .. })));
}

#[test]
fn what_is_not_a_question_is_told_what_is() {
    let served = Served::start(Clock::real());
    let (code, message) = served.refusal(b"{\"version\":1,\"verb\":\"reboot\"}\n");
    assert_eq!(
        (code, message.as_str()),
        (TroubleCode::UnknownVerb, "\"reboot\" is none of status, gaps, spool, latest")
    );
    let (code, message) = served.refusal(b"{\"version\":2,\"verb\":\"status\"}\n");
    assert_eq!((code, message.as_str()), (TroubleCode::UnknownVersion, "this agent speaks version 1, not 2"));
    for bad in [&b"\n"[..], b"", b"hello\n", b"{}\n", b"\xFF\xFE\n", &[b'x'; 256]] {
        let (code, message) = served.refusal(bad);
        assert_eq!(code, TroubleCode::BadQuestion, "{message}");
    }
}

#[test]
fn who_says_too_much_is_not_listened_to() {
    let served = Served::start(Clock::real());
    let mut stream = served.connect();
    // The server closes after its answer; what it did not read makes the rest of ours fail.
    while stream.write_all(&[b'x'; 4096]).is_ok() {}
    assert!(matches!(ask(&served.path(), Verb::Spool), Ok(Reply::Spool(_))));
}

#[test]
fn who_says_nothing_loses_its_place() {
    let (clock, hand) = Clock::manual();
    let served = Served::start(clock);
    // More than are served at once: the last ones wait in the kernel.
    let mut silent: Vec<UnixStream> = (0..20).map(|_| served.connect()).collect();
    let mut answered = served.connect();
    answered.write_all(b"{\"version\":1,\"verb\":\"spool\"}\n").expect("writes");
    answered.set_read_timeout(Some(Duration::from_millis(20))).expect("sets");
    let mut answer = Vec::new();
    for _ in 0..500 {
        // Each round lets the patience of those who have a place run out.
        hand.advance(Duration::from_secs(3));
        match answered.read_to_end(&mut answer) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    assert!(serde_json::from_slice::<Document>(&answer).is_ok(), "{answer:?}");
    assert_eq!(silent[0].read(&mut [0; 1]).expect("is closed"), 0);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let served = Served::start(Clock::real());
    let bind = |path: &Path| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { LocalSocket::bind(path).map(drop) })
    };
    assert!(matches!(bind(&served.path()), Err(LocalError::Taken { .. })));
    let stale = served.dir.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("binds"));
    assert!(stale.exists(), "a listener of std leaves its file");
    bind(&stale).expect("takes its place");
    let file = served.dir.path().join("file");
    std::fs::write(&file, "precious").expect("writes");
    assert!(matches!(bind(&file), Err(LocalError::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).expect("reads"), b"precious");
    assert!(matches!(bind(Path::new("/nonexistent/s")), Err(LocalError::Bind { .. })));
}

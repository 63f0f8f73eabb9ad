//! The HTTPS API under attack: schemathesis makes requests up from the document that the API gives of itself, right ones
//! and wrong ones, and holds every answer against it. And the page of that document, as a browser shows it.
//!
//! What it may not find: an answer that is not documented in its status, its type or its form, a 5xx, a wrong request
//! that is taken, a right one that is refused, a path that does without the token.

mod browser;

use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports, SimOptions, SimProc};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Until there are ticks to ask for.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the attack may take beyond the time that it was given: phases end with a whole operation.
const OVERTIME: Duration = Duration::from_secs(240);

/// How hard it is tried.
struct Effort {
    /// Cases for each operation and phase.
    examples: u32,
    /// Seconds in all; fuzzing goes on until they are over. None: until the cases are.
    seconds: Option<u32>,
}

#[tokio::test]
async fn the_api_answers_as_it_says_whatever_it_is_asked() {
    attack(&Effort { examples: 8, seconds: None }).await;
}

#[tokio::test]
async fn long_the_api_answers_as_it_says_for_a_quarter_of_an_hour() {
    attack(&Effort { examples: 2_000, seconds: Some(900) }).await;
}

async fn attack(effort: &Effort) {
    let Some(schemathesis) = std::env::var_os("DSMIL_SCHEMATHESIS") else {
        return eprintln!("not run: schemathesis is not here; `cargo xtask test` installs it");
    };
    let fleet = Fleet::new(&Parents::default(), "dsmil-api", &Clock::real()).expect("folders");
    let [real, simulated] = ["h1", "sim-1"].map(|name| HostName::new(name).expect("a name"));
    let mut centre =
        Centre::init(&fleet, &[real.clone(), simulated.clone()], Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");
    let mut agent = AgentProc::join(&fleet, &centre, &real).expect("an agent");
    let mut sim =
        SimProc::new(&fleet, &centre, std::slice::from_ref(&simulated), SimOptions::default()).expect("a host");
    agent.start().expect("the agent starts");
    sim.start().expect("the simulator starts");
    centre.until("both hosts' ticks are stored", PATIENCE, |ledger| ledger.stored >= 20).await.expect("ticks flow");

    let work = tempfile::tempdir().expect("a folder");
    let said = run(schemathesis.as_ref(), &centre, work.path(), effort).await;
    println!("{}", summary(&said.text));
    println!("{}", answers(&centre).await);
    assert!(said.success, "it found:\n{}", said.text);

    let log = std::fs::read_to_string(centre.process().expect("it runs").log()).expect("a log");
    for word in ["panicked", "could not be answered"] {
        assert!(!log.contains(word), "the log speaks of it:\n{}", lines_with(&log, word));
    }
    sim.stop().await.expect("the simulator stops");
    agent.stop().await.expect("the agent stops");
    centre.stop().await.expect("the centre stops");
}

/// What the attack came to.
struct Said {
    success: bool,
    text: String,
}

async fn run(schemathesis: &Path, centre: &Centre<'_>, work: &Path, effort: &Effort) -> Said {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let mut command = Command::new(schemathesis);
    command.arg("--config-file").arg(ours.join("schemathesis.toml")).args(["--no-color", "run"]);
    command.arg("--tls-verify").arg(centre.https_root());
    command.arg(format!("--max-examples={}", effort.examples));
    command.args(effort.seconds.map(|seconds| format!("--max-time={seconds}")));
    command.arg(format!("https://{}/openapi.json", centre.api().address()));
    command.env("DSMIL_TOKEN", centre.token()).env("DSMIL_HOOKS", ours.join("hooks.py"));
    // It leaves notes where it runs, and Python beside what it reads.
    command.current_dir(work).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let limit = Duration::from_secs(effort.seconds.unwrap_or(0).into()) + OVERTIME;
    let output = tokio::time::timeout(limit, command.output()).await.expect("it ends").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    Said { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

/// Its figures, for whoever reads the test's output.
fn summary(said: &str) -> String {
    let wanted = ["Tested:", "generated", "Filtered:", "=== "];
    said.lines().filter(|line| wanted.iter().any(|word| line.contains(word))).collect::<Vec<_>>().join("\n")
}

/// What the aggregator counted meanwhile.
async fn answers(centre: &Centre<'_>) -> String {
    let metrics = centre.api().text("/metrics").await.expect("it answers after all that");
    lines_with(&metrics, "dsmil_api_responses_total{")
}

fn lines_with(text: &str, word: &str) -> String {
    text.lines().filter(|line| line.contains(word)).collect::<Vec<_>>().join("\n")
}

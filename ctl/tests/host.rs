//! The real `dsmilctl` against a real socket, and against the files that an agent left.

use dsmil_agent::local::{LocalSocket, Reply, Trouble, TroubleCode, Verb, serve};
use dsmil_agent::sampler::Row;
use dsmil_agent::spool::{Spool, SpoolConfig};
use dsmil_agent::status::{
    ClockStatus, GapEntry, GapSummary, GapsReport, IdentityStatus, LinkState, LinkStatus, Negotiated, RefusedStatus,
    RejectedEntry, RenewalFailure, RenewalStatus, SensorStatus, SettingsStatus, SpoolReport, SpoolStatus, SpoolTotals,
    Status, StepStatus, TrustStatus,
};
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};

const NOW_MS: i64 = 1_800_000_000_000;

/// What `dsmilctl host …` said: standard output, standard error, and its exit code.
fn ctl(dir: &Path, args: &[&str]) -> (String, String, i32) {
    let out = Command::new(env!("CARGO_BIN_EXE_dsmilctl"))
        .arg("host")
        .args(args)
        .arg("--socket")
        .arg(dir.join("s"))
        .arg("--spool")
        .arg(dir.join("spool.sqlite"))
        .output()
        .expect("dsmilctl runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(out.stdout), text(out.stderr), out.status.code().expect("an exit code"))
}

fn json(dir: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&ctl(dir, args).0).expect("JSON")
}

/// Runs `test` while an agent's socket answers as `answer` does.
fn with_agent(answer: impl Fn(Verb) -> Reply + Send + Sync + 'static, test: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, clock) = (dir.path().join("s"), Clock::real());
    let supervisor = Supervisor::new(clock.clone());
    let (ready, is_ready) = mpsc::channel();
    let inner = supervisor.clone();
    let threads = Supervisor::new(clock.clone());
    threads.thread("agent", OnFailure::Note, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = LocalSocket::bind(&path).expect("binds");
            ready.send(()).expect("the test waits");
            serve(socket, clock, inner, Arc::new(answer)).await.expect("serves");
        });
        Ok::<(), std::io::Error>(())
    });
    is_ready.recv().expect("the server starts");
    test(dir.path());
    supervisor.request_stop();
}

fn status() -> Status {
    Status {
        host: HostName::new("h1").expect("a name"),
        tenant: TenantId::new("t1").expect("a name"),
        agent_version: "0.1.0".into(),
        boot: BootId([7; 16]).to_string(),
        host_uptime_s: 90_000,
        agent_uptime_s: 3_700,
        link: LinkStatus {
            state: LinkState::Connected,
            since_ms: 65_000,
            aggregator: Some("agg:7443".into()),
            negotiated: Some(Negotiated { group: "G".into(), scheme: "S".into(), suite: "C".into() }),
            attempts: 0,
            last_error: None,
            last_ack_ms_ago: Some(900),
        },
        spool: SpoolStatus {
            path: "/mnt/dsmil-ram/agent/spool.sqlite".into(),
            writable: true,
            used_bytes: 1 << 20,
            capacity_bytes: 64 << 20,
            batches_waiting: 1,
            ticks_waiting: 14,
            ticks_pending: 4,
            totals: SpoolTotals { ticks_taken: 12_345, ticks_accounted: 12_331, ..SpoolTotals::default() },
            ..SpoolStatus::default()
        },
        gaps: GapSummary::default(),
        sensors: vec![SensorStatus {
            name: "stat".into(),
            ok: true,
            trouble: None,
            remedy: None,
            metrics: 254,
            took_us: Some(120),
        }],
        identity: IdentityStatus {
            spiffe_id: "spiffe://fleet.example/agent/h1".into(),
            key: "0123456789abcdef".into(),
            not_before_s: NOW_MS / 1000 - 86_400,
            not_after_s: NOW_MS / 1000 + 16 * 3_600,
            renewal: RenewalStatus { next_in_s: Some(7_200), renewed_s_ago: Some(28_800), failed: None },
        },
        trust: TrustStatus {
            trust_domain: "fleet.example".into(),
            version: 7,
            expires_s: NOW_MS / 1000 + 90 * 86_400,
            refused: None,
        },
        settings: SettingsStatus::default(),
        clock: ClockStatus {
            wall_ms: NOW_MS,
            ahead_ms: Some(-3),
            uncertainty_ms: Some(1),
            steps: StepStatus::default(),
        },
    }
}

#[test]
fn a_host_that_is_well_fits_one_screen_and_exits_0() {
    with_agent(
        |_| Reply::Status(Box::new(status())),
        |dir| {
            let (out, err, code) = ctl(dir, &["status"]);
            let expected = "\
host      h1, tenant t1
agent     0.1.0, up 1 h 1 min of the host's 1 d 1 h; boot 07070707-0707-0707-0707-070707070707
link      connected to agg:7443 for 1 min 5 s
          G, S, C
          last acknowledgement 900 ms ago
spool     14 ticks wait in 1 batch and 4 not sealed yet; 1.0 MiB of 64.0 MiB used
          ticks so far: taken 12,345, acknowledged 12,331
gaps      none that the aggregator does not know
identity  spiffe://fleet.example/agent/h1, valid for 16 h
          key 0123456789abcdef, renewed in 2 h, last 8 h ago
trust     bundle 7 of fleet.example, valid for 90 d
clock     3 ms behind the aggregator's, give or take 1 ms
sensors   1 of 1 fine, 254 metrics; the slowest, stat, took 120 µs
";
            assert_eq!((out.as_str(), err.as_str(), code), (expected, "", 0));
            let document = json(dir, &["status", "--json"]);
            assert_eq!((&document["version"], &document["status"]["link"]["state"]), (&1.into(), &"connected".into()));
            assert_eq!(document["attention"], serde_json::json!([]));
        },
    );
}

#[test]
fn settings_of_the_fleet_are_named_with_their_state() {
    let with = |settings: SettingsStatus, wanted: &'static [&'static str], exit: i32| {
        with_agent(
            move |_| Reply::Status(Box::new(Status { settings: settings.clone(), ..status() })),
            |dir| {
                let (out, err, code) = ctl(dir, &["status"]);
                let all = format!("{out}{err}");
                assert!(wanted.iter().all(|line| all.contains(line)), "{all}");
                assert_eq!(code, exit);
            },
        );
    };
    let good = SettingsStatus { in_force: 7, target: Some("group edge".into()), ..SettingsStatus::default() };
    with(good.clone(), &["settings  7 for group edge\n"], 0);
    let trial = SettingsStatus { on_trial: Some(8), trial_left_s: Some(34), ..good.clone() };
    with(trial, &["settings  8 for group edge, on trial for 34 s more; settings 7 before\n"], 0);
    let refused = Some(RefusedStatus {
        version: 8,
        fault: "ticks_missed".into(),
        what: "4 ticks of 13 s were missed".into(),
        remedy: "Push longer intervals.".into(),
    });
    let wanted = &[
        "settings  7 for group edge\n",
        "          8 refused: ticks_missed: 4 ticks of 13 s were missed\n",
        "settings of the fleet were refused: ticks_missed: 4 ticks of 13 s were missed → Push longer intervals.",
    ];
    with(SettingsStatus { refused: refused.clone(), ..good }, wanted, 1);
    with(
        SettingsStatus { refused, ..SettingsStatus::default() },
        &["settings  none in force: agent.toml counts alone"],
        1,
    );
}

#[test]
fn what_needs_attention_is_named_and_exits_1() {
    let broken = || {
        let mut status = status();
        status.link.state = LinkState::Refused {
            code: "not_enrolled".into(),
            remedy: "Add the host to the fleet file.\x1b[2J".into(),
            next_attempt_in_ms: 1_500,
        };
        status.link.attempts = 3;
        status.spool.tmpfs_full = true;
        status.spool.set_aside = vec!["/x.damaged-1".into()];
        status.sensors[0].ok = false;
        status.sensors[0].trouble = Some("hangs since tick 5".into());
        let (s_ago, code) = (60, "renewal_too_old".into());
        let (what, remedy) = ("the aggregator refuses".into(), "Join it again.".into());
        status.identity.renewal.failed = Some(RenewalFailure { s_ago, code, what, remedy });
        status.trust.expires_s -= 80 * 86_400;
        status.trust.refused = Some("bundle_altered: somebody has altered it".into());
        status.gaps = GapSummary { gaps: 2, ticks: 9, by_reason: vec![("agent_down".into(), 9)] };
        Reply::Status(Box::new(status))
    };
    with_agent(
        move |_| broken(),
        |dir| {
            let (out, _, code) = ctl(dir, &["status"]);
            assert_eq!(code, 1);
            for line in [
                "link      refused for 1 min 5 s: not_enrolled",
                "          Add the host to the fleet file.\u{FFFD}[2J",
                "          3 attempts, the last to agg:7443; the next in 1500 ms",
                "gaps      9 seconds in 2 gaps to be told: agent_down 9",
                "sensors   0 of 1 fine, 254 metrics; the slowest, stat, took 120 µs",
                "needs attention",
                "          not renewed 1 min ago: renewal_too_old: the aggregator refuses",
                "          another was refused: bundle_altered: somebody has altered it",
                "  - the certificate could not be renewed: the aggregator refuses → Join it again.",
                "  - trust bundle 7 expires in 10 d → have the root sign a new one and publish it (`dsmil-aggregator trust` there)",
                "  - sensor stat: hangs since tick 5 → `journalctl -u dsmil-agent --since -10min` says more",
            ] {
                assert!(out.lines().any(|found| found == line), "{line:?} is not in\n{out}");
            }
            assert!(out.contains("tmpfs is full") && out.contains("/x.damaged-1"), "{out}");
            assert_eq!(json(dir, &["--json", "status"])["attention"].as_array().map(Vec::len), Some(7));
        },
    );
}

#[test]
fn a_certificate_that_nobody_renews_is_named_before_it_ends_and_after() {
    let ends_in = |seconds: i64| {
        let mut status = status();
        status.identity.renewal = RenewalStatus::default();
        status.identity.not_after_s = NOW_MS / 1000 + seconds;
        status
    };
    let attention = |seconds: i64| {
        let mut found = Vec::new();
        with_agent(
            move |_| Reply::Status(Box::new(ends_in(seconds))),
            |dir| found = json(dir, &["status", "--json"])["attention"].as_array().cloned().expect("a list"),
        );
        found.iter().map(|line| line.as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(attention(8 * 86_400), [""; 0]);
    let soon = attention(86_400);
    assert!(soon.len() == 1 && soon[0].contains("ends in 1 d and agent.toml names no join port"), "{soon:?}");
    let late = attention(-86_400);
    assert!(late.len() == 2 && late[1].contains("has ended"), "{late:?}");
}

#[test]
fn gaps_and_rejected_batches_of_a_running_agent() {
    let boot = BootId([7; 16]).to_string();
    let gap = GapEntry { boot: boot.clone(), first: 1_000, last: 1_009, reason: "evicted".into() };
    let summary = GapSummary { gaps: 1, ticks: 10, by_reason: vec![("evicted".into(), 10)] };
    let gaps = GapsReport { summary, gaps: vec![gap] };
    let rejected = RejectedEntry {
        boot,
        first: 5,
        last: 14,
        code: "batch_malformed".into(),
        remedy: "Suspect the host's memory.".into(),
        bytes: 1_700,
    };
    let spool = SpoolReport { spool: status().spool, boots: vec![], rejected: vec![rejected] };
    with_agent(
        move |verb| match verb {
            Verb::Gaps => Reply::Gaps(gaps.clone()),
            _ => Reply::Spool(spool.clone()),
        },
        |dir| {
            let (out, _, code) = ctl(dir, &["gaps"]);
            let row = "07070707-0707-0707-0707-070707070707       1,000      1,009       10  evicted";
            assert!(out.lines().any(|line| line == row), "{out}");
            assert_eq!(code, 1);
            let (out, _, code) = ctl(dir, &["spool"]);
            assert!(out.contains("batch_malformed: Suspect the host's memory."), "{out}");
            assert_eq!(code, 1);
        },
    );
}

#[test]
fn an_agent_that_does_not_run_is_read_from_what_it_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let (out, err, code) = ctl(dir.path(), &["status"]);
    assert_eq!((out.as_str(), code), ("", 2));
    assert!(err.contains("start it (`dsmil-agent run`)") && err.contains("dsmilctl host spool"), "{err}");
    let (_, err, code) = ctl(dir.path(), &["spool"]);
    assert!(code == 2 && err.contains("there is no spool at"), "{err}");

    let metric = Metric { name: "m".into(), labels: vec![], kind: Kind::Gauge, repr: Repr::U64, scale: Scale::ONE };
    let set = Arc::new(MetricSet::new(vec![metric]).expect("a set"));
    let config = SpoolConfig { path: dir.path().join("spool.sqlite"), capacity_bytes: 1 << 20, batch_ticks: 10 };
    let (mut spool, _) = Spool::open(config, BootId([7; 16]), Clock::real()).expect("opens");
    for tick in (100..=111).chain(120..=121) {
        let row = Row { tick: Tick(tick), wall_ms: 0, set: Arc::clone(&set), values: vec![Some(tick)] };
        spool.push(&row, None).expect("room");
    }
    drop(spool);
    let (out, _, code) = ctl(dir.path(), &["spool"]);
    assert!(out.starts_with("The agent does not run. This is what it left in "), "{out}");
    assert!(out.contains("14 ticks wait in 2 batches and 2 not sealed yet"), "{out}");
    assert_eq!(code, 1);
    let gaps = json(dir.path(), &["gaps", "--json"]);
    assert_eq!(gaps["gaps"]["summary"]["ticks"], 8);
    assert!(gaps["from"]["file"].is_string());

    let path = dir.path().join("spool.sqlite");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[..100].fill(0);
    std::fs::write(&path, &bytes).expect("writes");
    let (out, _, code) = ctl(dir.path(), &["spool"]);
    assert!(code == 1 && out.contains("the file is damaged") && out.contains("14 ticks wait"), "{out}");
    assert_eq!(std::fs::read(&path).expect("reads"), bytes, "it is only read");
}

/// A configuration in `dir` whose aggregator is at `aggregator`.
fn configure(dir: &Path, aggregator: &str) -> std::path::PathBuf {
    let text = format!(
        "host = \"h1\"\ntenant = \"t1\"\naggregators = [\"{aggregator}\"]\nsocket = \"s\"\n[spool]\npath = \"spool.sqlite\"\n"
    );
    let path = dir.join("agent.toml");
    std::fs::write(&path, text).expect("written");
    path
}

/// What the doctor found: state and words, by check.
fn findings(dir: &Path, config: &Path) -> Vec<(String, String, String)> {
    let document = json(dir, &["doctor", "--json", "--config", config.to_str().expect("text")]);
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().expect("text").to_owned();
    let of = |finding| (text(finding, "check"), text(finding, "state"), text(finding, "what"));
    document["findings"].as_array().expect("a list").iter().map(of).collect()
}

#[test]
fn the_doctor_looks_at_a_host_whose_agent_runs() {
    // A port that is taken and says nothing: what a firewall looks like.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("an address").to_string();
    with_agent(
        |_| Reply::Status(Box::new(status())),
        |dir| {
            let found = findings(dir, &configure(dir, &address));
            let is = |check: &str, state: &str, said: &str| {
                assert!(
                    found.iter().any(|(c, s, w)| c == check && s == state && w.contains(said)),
                    "{check}: {found:#?}"
                );
            };
            is("agent", "ok", "runs for 1 h 1 min, and answers on");
            is("link", "ok", "connected to agg:7443");
            is("network", "warning", "nothing comes back from UDP 127.0.0.1");
            is("configuration", "trouble", "`identity.file`");
            is("sensors", "ok", "1 sensor fine");
            is("memory", "ok", "available");
            is("disk", "ok", "free");
        },
    );
}

#[test]
fn the_doctor_looks_at_a_host_whose_agent_does_not_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let unused = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket").local_addr().expect("an address");
    let config = configure(dir.path(), &unused.to_string());
    let found = findings(dir.path(), &config);
    let worst: Vec<&str> = found.iter().take_while(|(_, s, _)| s == "trouble").map(|(c, ..)| c.as_str()).collect();
    assert!(worst.contains(&"agent") && worst.contains(&"network"), "{found:#?}");
    assert!(found.iter().any(|(_, _, what)| what.contains(&format!("nothing listens on UDP {unused}"))), "{found:#?}");
    let (out, _, code) = ctl(dir.path(), &["doctor", "--config", config.to_str().expect("text")]);
    assert_eq!(code, 1);
    assert!(out.starts_with("trouble  ") && out.contains("→ ") && out.contains("troubles"), "{out}");
}

#[test]
fn an_agent_that_does_not_know_a_question_is_older() {
    let said = "none of status, gaps, spool".to_owned();
    with_agent(
        move |_| Reply::Error(Trouble { code: TroubleCode::UnknownVerb, message: said.clone() }),
        |dir| {
            let (out, err, code) = ctl(dir, &["status"]);
            assert_eq!((out.as_str(), code), ("", 2));
            assert!(
                err.contains("older than this dsmilctl") && err.contains("`systemctl restart dsmil-agent`"),
                "{err}"
            );
            let (_, err, code) = ctl(dir, &["top", "--once"]);
            assert!(code == 2 && err.contains("does not know `latest`"), "{err}");
            let (_, err, code) = ctl(dir, &["top"]);
            assert!(code == 2 && err.contains("there is no terminal here"), "{err}");
        },
    );
}

#[test]
fn wrong_usage_exits_2_and_help_names_the_exit_codes() {
    for args in [&["upside-down"][..], &["status", "--colour"], &[]] {
        assert_eq!(ctl(Path::new("/nonexistent"), args).2, 2, "{args:?}");
    }
    for verb in ["status", "doctor", "top", "bundle", "gaps", "spool"] {
        let (out, _, code) = ctl(Path::new("/nonexistent"), &[verb, "--help"]);
        assert!(code == 0 && out.contains("Exit codes: 0"), "{out}");
        assert!(out.contains("/run/dsmil/agent.sock") && out.contains("--json"), "{out}");
    }
}

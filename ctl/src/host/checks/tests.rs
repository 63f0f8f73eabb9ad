//! Each check on facts made for it, and what holds for all of them.

use super::super::facts::{
    Answered, ConfigFacts, Configured, Holds, Kernel, Memory, Peer, Probe, Reach, Role, Unit, Volume,
};
use super::super::finding::State;
use super::*;
use dsmil_agent::config::{Finding as ConfigFinding, IdentityFacts, Severity, TrustFacts};
use dsmil_agent::spool::Inspection;
use dsmil_agent::status::{
    ClockStatus, GapSummary, IdentityStatus, LinkState, LinkStatus, RefusedStatus, RenewalFailure, RenewalStatus,
    SensorStatus, SettingsStatus, SpoolStatus, StepStatus, TrustStatus,
};
use dsmil_protocol::ids::{HostName, TenantId};
use std::net::SocketAddr;
use std::time::Duration;

const NOW_S: i64 = 1_800_000_000;
const DAY_S: i64 = 86_400;

fn status() -> Status {
    let link = LinkStatus {
        state: LinkState::Connected,
        since_ms: 65_000,
        aggregator: Some("agg:8100".into()),
        negotiated: None,
        attempts: 0,
        last_error: None,
        last_ack_ms_ago: Some(900),
    };
    let spool = SpoolStatus {
        path: "/ram/spool.sqlite".into(),
        writable: true,
        used_bytes: 1 << 20,
        capacity_bytes: 64 << 20,
        ..SpoolStatus::default()
    };
    let renewal = RenewalStatus { next_in_s: Some(7_200), renewed_s_ago: None, failed: None };
    Status {
        host: HostName::new("h1").expect("a name"),
        tenant: TenantId::new("t1").expect("a name"),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot: "b".into(),
        host_uptime_s: 90_000,
        agent_uptime_s: 80_000,
        link,
        spool,
        gaps: GapSummary::default(),
        sensors: vec![sensor(None, Some(100))],
        identity: IdentityStatus {
            not_before_s: NOW_S - DAY_S,
            not_after_s: NOW_S + DAY_S,
            renewal,
            ..IdentityStatus::default()
        },
        trust: TrustStatus { version: 7, expires_s: NOW_S + 90 * DAY_S, ..TrustStatus::default() },
        settings: SettingsStatus::default(),
        clock: ClockStatus { wall_ms: NOW_S * 1000, ahead_ms: Some(-3), ..ClockStatus::default() },
    }
}

fn sensor(trouble: Option<&str>, took_us: Option<u64>) -> SensorStatus {
    let remedy = trouble.map(|_| "look at `dmesg`".to_owned());
    SensorStatus {
        name: "stat".into(),
        ok: trouble.is_none(),
        trouble: trouble.map(Into::into),
        remedy,
        metrics: 3,
        took_us,
    }
}

/// A running agent whose status was changed.
fn with(change: impl FnOnce(&mut Status)) -> Facts {
    let mut status = status();
    change(&mut status);
    Facts::of_status(&status)
}

/// Everything of a host that is well.
fn well() -> Facts {
    Facts {
        agent: Some(Answered::Well { socket: "/run/s".into() }),
        unit: Some(running()),
        config: Some(Configured::Read(Box::new(config()))),
        peers: vec![peer(Reach::Answers { address: address(), took: Duration::from_millis(3) })],
        probes: vec![probe("stat", false, true)],
        volumes: vec![volume(Holds::System, 50), volume(Holds::Identity, 50)],
        memory: Some(Memory { total_bytes: 100 << 20, available_bytes: 50 << 20 }),
        kernel: Some(Kernel { release: "6.1".into(), has_pressure: true, has_cgroup2: true }),
        ..with(|_| {})
    }
}

/// The same with an agent that does not run.
fn stopped(change: impl FnOnce(&mut Facts)) -> Facts {
    let socket = "/run/s".into();
    let mut facts = Facts { status: None, agent: Some(Answered::NotRunning { socket }), ..well() };
    change(&mut facts);
    facts
}

fn running() -> Unit {
    let text = |text: &str| text.to_owned();
    Unit {
        load: text("loaded"),
        active: text("active"),
        sub: text("running"),
        result: text("success"),
        enabled: text("enabled"),
        condition: true,
        restarts: 0,
        memory: Some((10, 100)),
    }
}

fn config() -> ConfigFacts {
    let identity = IdentityFacts { spiffe_id: "s".into(), key: "k".into(), not_after_s: NOW_S + DAY_S };
    let trust = TrustFacts { trust_domain: "d".into(), version: 7, expires_s: NOW_S + 90 * DAY_S, roots: vec![] };
    ConfigFacts {
        path: "/etc/dsmil/agent.toml".into(),
        files: 1,
        findings: Some(vec![]),
        identity: Some(Ok(identity)),
        trust: Some(Ok(trust)),
        renews: true,
    }
}

fn address() -> SocketAddr {
    ([192, 0, 2, 1], 8100).into()
}

fn peer(reach: Reach) -> Peer {
    Peer { role: Role::Aggregator, address: "agg:8100".into(), reach }
}

fn probe(kind: &'static str, matters: bool, has_socket: bool) -> Probe {
    Probe { kind, reads: "something", matters, has_socket }
}

fn volume(holds: Holds, available_percent: u64) -> Volume {
    Volume { path: "/x".into(), holds, size_bytes: 100 << 20, available_bytes: available_percent << 20 }
}

fn configured(change: impl FnOnce(&mut ConfigFacts)) -> Option<Configured> {
    let mut config = config();
    change(&mut config);
    Some(Configured::Read(Box::new(config)))
}

/// Facts in which something is wrong, how bad it is, and what is said of it.
type Wrong = (Facts, State, &'static str);

fn wrongs() -> Vec<Wrong> {
    [agent_wrongs(), word_wrongs(), way_wrongs(), keep_wrongs()].concat()
}

fn of_unit(change: fn(&mut Unit)) -> Facts {
    stopped(|facts| {
        let mut unit = running();
        change(&mut unit);
        facts.unit = Some(unit);
    })
}

fn of_agent(agent: Answered) -> Facts {
    Facts { agent: Some(agent), ..stopped(|_| {}) }
}

fn of_config(config: Option<Configured>) -> Facts {
    Facts { config, ..stopped(|_| {}) }
}

fn of_reach(reach: Reach) -> Facts {
    Facts { peers: vec![peer(reach)], ..stopped(|_| {}) }
}

fn left(inspection: Result<Option<Inspection>, String>) -> Facts {
    Facts { left: Some(inspection), ..stopped(|_| {}) }
}

/// Of the agent, its service and its configuration.
fn agent_wrongs() -> Vec<Wrong> {
    use State::{Trouble, Unseen, Warning};
    let not_running = || stopped(|_| {});
    let error = |severity| {
        let (what, remedy) = ("x is no tmpfs".into(), "mount one".into());
        configured(|config| config.findings = Some(vec![ConfigFinding { severity, key: "spool.path", what, remedy }]))
    };
    vec![
        (not_running(), Trouble, "its service runs, so its socket is another"),
        (Facts { unit: None, ..not_running() }, Trouble, "no agent listens on /run/s"),
        (of_unit(|unit| unit.load = "not-found".into()), Trouble, "is not installed"),
        (of_unit(|unit| unit.load = "masked".into()), Trouble, "is masked"),
        (of_unit(|unit| unit.active = "failed".into()), Trouble, "does not stay up (failed, running: success"),
        (of_unit(|unit| unit.active = "inactive".into()), Trouble, "its service is inactive"),
        (
            of_unit(|unit| (unit.active, unit.condition) = ("inactive".into(), false)),
            Trouble,
            "was not started, because the host has not joined",
        ),
        (of_config(Some(Configured::Missing { path: "/c".into() })), Trouble, "this host has not joined a fleet"),
        (of_config(Some(Configured::Wrong { what: "line 3: no".into() })), Trouble, "line 3: no"),
        (of_config(Some(Configured::Forbidden { path: "/c".into() })), Unseen, "/c is not for this user"),
        (of_config(configured(|config| config.findings = None)), Unseen, "by root and the agent's user only"),
        (of_config(error(Severity::Error)), Trouble, "`spool.path`: x is no tmpfs"),
        (of_config(error(Severity::Warning)), Warning, "`spool.path`: x is no tmpfs"),
        (of_agent(Answered::Silent), Trouble, "did not answer it within 5 s"),
        (of_agent(Answered::Otherwise { what: "of another release".into() }), Trouble, "of another release"),
        (
            of_agent(Answered::Forbidden { socket: "/run/s".into(), is_member_elsewhere: false }),
            Trouble,
            "this user may not ask the agent",
        ),
        (
            Facts { agent: Some(Answered::Well { socket: "/s".into() }), ..with(|s| s.agent_version = "0.0.9".into()) },
            Warning,
            "of release 0.0.9",
        ),
    ]
}

/// Of its sensors, its identity, and whom it trusts.
fn word_wrongs() -> Vec<Wrong> {
    use State::{Trouble, Unseen, Warning};
    let refused = RefusedStatus { version: 8, fault: "f".into(), what: "w".into(), remedy: "r".into() };
    let failed = RenewalFailure { s_ago: 1, code: "c".into(), what: "nobody answers".into(), remedy: "r".into() };
    vec![
        (Facts { probes: vec![probe("nvml", true, false)], ..well() }, Warning, "the probe nvml has no socket"),
        (Facts { probes: vec![probe("rapl", false, false)], ..well() }, Unseen, "the probe rapl has no socket"),
        (Facts { probes: vec![probe("kmsg", false, true)], ..well() }, Warning, "its socket came after the agent"),
        (with(|s| s.sensors = vec![sensor(Some("hangs since tick 5"), None)]), Trouble, "sensor stat: hangs"),
        (with(|s| s.sensors = vec![sensor(Some("cannot be read"), Some(5))]), Warning, "sensor stat: cannot"),
        (with(|s| s.identity.not_before_s = NOW_S + 9), Trouble, "is not valid yet"),
        (with(|s| s.identity.not_after_s = NOW_S - 9), Trouble, "is not valid any more"),
        (with(|s| s.identity.renewal.failed = Some(failed)), Trouble, "could not be renewed: nobody answers"),
        (with(|s| s.identity.renewal.next_in_s = None), Warning, "ends in 1 d and agent.toml names no join port"),
        (with(|s| s.trust.expires_s = NOW_S + 10 * DAY_S), Warning, "trust bundle 7 expires in 10 d"),
        (with(|s| s.trust.expires_s = NOW_S - 1), Trouble, "trust bundle 7 has expired"),
        (with(|s| s.trust.refused = Some("altered".into())), Warning, "a trust bundle was refused: altered"),
        (with(|s| s.settings.refused = Some(refused)), Warning, "settings of the fleet were refused: f: w"),
        (
            of_config(configured(|config| {
                config.identity =
                    Some(Ok(IdentityFacts { spiffe_id: "s".into(), key: "k".into(), not_after_s: NOW_S - DAY_S }))
            })),
            Warning,
            "the certificate ended 1 d ago",
        ),
    ]
}

/// Of the way to the centre.
fn way_wrongs() -> Vec<Wrong> {
    use State::{Trouble, Warning};
    let steps = StepStatus { count: 2, last_by_ms: Some(-5_000), last_s_ago: Some(60) };
    vec![
        (with(|s| s.link.last_ack_ms_ago = Some(65_000)), Warning, "nothing was acknowledged for 1 min 5 s"),
        (with(|s| s.link.state = LinkState::Connecting), Warning, "the link is not up yet"),
        (
            with(|s| s.link.state = LinkState::Offline { reason: "nobody answers".into(), next_attempt_in_ms: 1 }),
            Trouble,
            "the link is down: nobody answers",
        ),
        (
            with(|s| {
                s.link.state =
                    LinkState::Refused { code: "revoked".into(), remedy: "ask".into(), next_attempt_in_ms: 1 }
            }),
            Trouble,
            "the link is refused: revoked",
        ),
        (of_reach(Reach::NoAddress { why: "no such name".into() }), Trouble, "agg:8100 has no address: no such name"),
        (of_reach(Reach::NoWay { address: address(), why: "unreachable".into() }), Trouble, "no way to 192.0.2.1:8100"),
        (of_reach(Reach::NobodyListens { address: address() }), Trouble, "nothing listens on UDP 192.0.2.1:8100"),
        (of_reach(Reach::Silent { address: address() }), Trouble, "nothing comes back from UDP 192.0.2.1:8100"),
        (with(|s| s.clock.ahead_ms = Some(-2_000)), Warning, "clock is 2 s behind the aggregator's"),
        (with(|s| s.clock.ahead_ms = Some(7_200_000)), Trouble, "clock is 2 h ahead of the aggregator's"),
        (
            with(|s| s.clock.steps = steps),
            Warning,
            "2 steps of the wall clock since the agent started, the last 5 s back",
        ),
    ]
}

/// Of what it keeps, and where.
fn keep_wrongs() -> Vec<Wrong> {
    use State::{Trouble, Unseen, Warning};
    let damage = Some("the file is damaged".into());
    let damaged = Inspection { spool: SpoolReport::default(), gaps: GapsReport::default(), damage };
    vec![
        (with(|s| s.spool.writable = false), Trouble, "the spool cannot be written"),
        (with(|s| s.spool.tmpfs_full = true), Trouble, "the spool's tmpfs is full"),
        (with(|s| s.spool.used_bytes = 60 << 20), Warning, "the spool is nearly full: 60.0 MiB of 64.0 MiB"),
        (with(|s| s.spool.set_aside = vec!["/x".into()]), Warning, "damaged files were set aside: /x"),
        (left(Err("no such file".into())), Unseen, "what the agent left cannot be read: no such file"),
        (left(Ok(Some(damaged))), Warning, "the file is damaged"),
        (
            with(|s| s.gaps = GapSummary { gaps: 1, ticks: 9, by_reason: vec![("evicted".into(), 9)] }),
            Warning,
            "9 s in 1 gap will never come (evicted 9)",
        ),
        (
            Facts { memory: Some(Memory { total_bytes: 100, available_bytes: 4 }), ..well() },
            Warning,
            "memory is nearly used up",
        ),
        (
            Facts { unit: Some(Unit { memory: Some((95 << 20, 100 << 20)), ..running() }), ..well() },
            Warning,
            "takes 95.0 MiB of the 100.0 MiB",
        ),
        (Facts { volumes: vec![volume(Holds::System, 4)], ..well() }, Warning, "/x: 4.0 MiB of 100.0 MiB free"),
        (
            Facts { volumes: vec![volume(Holds::Identity, 0)], ..well() },
            Trouble,
            "a renewed certificate cannot be kept",
        ),
        (
            Facts { kernel: Some(Kernel { release: "6.1".into(), has_pressure: false, has_cgroup2: true }), ..well() },
            Warning,
            "does not account pressure",
        ),
        (
            Facts { kernel: Some(Kernel { release: "6.1".into(), has_pressure: true, has_cgroup2: false }), ..well() },
            Warning,
            "not in one hierarchy",
        ),
    ]
}

#[test]
fn a_host_that_is_well_is_said_to_be_in_every_respect() {
    let findings = all(&well());
    assert!(findings.iter().all(|finding| finding.state == State::Ok && finding.remedy.is_none()), "{findings:#?}");
    let checks: std::collections::BTreeSet<_> = findings.iter().map(|finding| finding.check).collect();
    let expected = [
        "agent",
        "clock",
        "configuration",
        "disk",
        "gaps",
        "identity",
        "kernel",
        "link",
        "memory",
        "network",
        "probes",
        "sensors",
        "spool",
        "trust",
    ];
    assert_eq!(checks.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(of_status(&status()), [""; 0]);
}

#[test]
fn whatever_is_wrong_is_found_and_called_what_it_is() {
    for (facts, state, said) in wrongs() {
        let findings = all(&facts);
        let found = findings.iter().find(|finding| finding.what.contains(said));
        assert_eq!(found.map(|finding| finding.state), Some(state), "{said}: {findings:#?}");
    }
}

#[test]
fn every_trouble_has_a_remedy() {
    for (facts, _, said) in wrongs() {
        for finding in all(&facts).iter().filter(|finding| finding.state != State::Ok) {
            let remedy = finding.remedy.as_deref().unwrap_or_default();
            assert!(!remedy.trim().is_empty(), "{said}: {finding:?}");
        }
    }
}

#[test]
fn the_worst_comes_first_and_nothing_is_said_of_what_was_not_looked_at() {
    let mut facts = with(|status| status.link.state = LinkState::Connecting);
    facts.kernel = Some(Kernel { release: "6.1".into(), has_pressure: false, has_cgroup2: true });
    facts.agent = Some(Answered::Silent);
    let states: Vec<State> = all(&facts).iter().map(|finding| finding.state).collect();
    assert!(states.is_sorted() && states[0] == State::Trouble, "{states:?}");
    assert_eq!(all(&Facts::default()), []);
}

#[test]
fn what_a_status_says_is_what_its_own_screen_names() {
    for (facts, state, said) in wrongs() {
        let Some(status) = facts.status.as_deref().filter(|_| facts.agent.is_none()) else { continue };
        let named = of_status(status).iter().any(|line| line.contains(said));
        // Gaps are an account, and have a verb of their own.
        assert_eq!(named, state.needs_attention() && !said.contains("will never come"), "{said}");
    }
}

#[test]
fn the_folder_that_systemd_makes_for_the_socket_is_not_missed_while_the_service_is_stopped() {
    let (what, remedy) = ("/run/dsmil is not a directory".into(), "make it".into());
    let missing = ConfigFinding { severity: Severity::Error, key: "socket", what, remedy };
    let facts = of_config(configured(|config| config.findings = Some(vec![missing])));
    let states = |facts: &Facts| agent::configuration(facts).iter().map(|finding| finding.state).collect::<Vec<_>>();
    assert_eq!(states(&facts), [State::Ok]);
    assert_eq!(states(&Facts { unit: None, ..facts }), [State::Trouble]);
}

#[test]
fn with_a_link_an_aggregator_that_is_away_is_no_trouble_yet() {
    let away = |address: &str| Peer { address: address.into(), ..peer(Reach::Silent { address: self::address() }) };
    let facts = Facts { peers: vec![away("agg:8100"), away("other:8100")], ..well() };
    let found: Vec<State> = link::network(&facts).iter().map(|finding| finding.state).collect();
    assert_eq!(found, [State::Ok, State::Warning], "the link itself is the better witness of its own way");
}

#[test]
fn the_step_that_a_host_without_a_battery_makes_after_it_boots_is_no_news() {
    let stepped = |count, ago| {
        let facts = with(|s| s.clock.steps = StepStatus { count, last_by_ms: Some(9_000), last_s_ago: Some(ago) });
        link::clock(&facts).iter().any(|finding| finding.state == State::Warning)
    };
    // The agent runs for 80,000 s.
    assert_eq!(
        [stepped(1, 79_500), stepped(2, 79_500), stepped(1, 60), stepped(5, 90_000)],
        [false, true, true, false]
    );
}

//! The file as people write it, right and wrong.

use super::*;
use crate::test_fleet::{Fleet, NOW};

const MINIMAL: &str = "host = \"h1\"\ntenant = \"t1\"\naggregators = [\"agg.example:7443\"]\n";

fn parse(text: &str) -> Result<AgentConfig, ConfigError> {
    AgentConfig::parse(text, Path::new("agent.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("a refusal").to_string()
}

#[test]
fn three_keys_are_enough() {
    let config = parse(MINIMAL).expect("a configuration");
    assert_eq!(config.compartments, Compartments::SOC);
    assert_eq!(config.classification, Classification::UNCLASS);
    assert_eq!(config.spool, SpoolSection::default());
    assert_eq!(config.spool_config().capacity_bytes, 64 << 20);
    assert_eq!((config.socket.to_str(), config.log), (Some(DEFAULT_SOCKET), Level::Info));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        host = "h1"
        tenant = "t1"
        compartments = ["SOC", "LAB"]
        classification = 3
        aggregators = ["10.0.0.1:7443", "[2001:db8::1]:7443"]
        devices = [0, 103]
        socket = "/s"
        log = "debug"
        join = ["10.0.0.1:8101"]
        link = "hybrid"
        [identity]
        file = "/c"
        trust = "/t"
        [spool]
        path = "/p"
        capacity_mib = 8
        batch_ticks = 60
        [root]
        proc = "/host/proc"
        sys = "/host/sys"
        rootfs = "/host"
    "#;
    let config = parse(text).expect("a configuration");
    assert_eq!(config.compartments, Compartments(5));
    assert_eq!(config.devices, [DeviceId(0), DeviceId(103)]);
    assert_eq!((config.spool.capacity_mib, config.spool.batch_ticks), (8, 60));
    assert_eq!(config.root.rootfs, Path::new("/host"));
    assert_eq!((config.identity.file.to_str(), config.identity.trust.to_str()), (Some("/c"), Some("/t")));
    assert_eq!((config.join.len(), config.key_exchange()), (1, KeyExchange::Hybrid));
    assert_eq!(config.log, Level::Debug);
}

#[test]
fn an_error_names_file_line_key_and_remedy() {
    let unknown = refusal(&format!("{MINIMAL}\n[spool]\ncapacity_mb = 3\n"));
    assert_eq!(unknown, "agent.toml, line 6: there is no key `capacity_mb` in [spool]: did you mean `capacity_mib`?");
    let far = refusal(&format!("{MINIMAL}kafka = 1\n"));
    assert!(far.starts_with("agent.toml, line 4: there is no key `kafka` here; the keys are host, tenant,"), "{far}");
    assert_eq!(refusal("host = \"h1\"\n"), "agent.toml: the key `tenant` is missing and has no default: add it");
    let name = refusal(&MINIMAL.replace("h1", "H 1"));
    assert!(name.starts_with("agent.toml, line 1, `host`: a host name is 1 to 63 of"), "{name}");
    let typed = refusal(&format!("{MINIMAL}[spool]\nbatch_ticks = \"ten\"\n"));
    assert!(typed.starts_with("agent.toml, line 5, `spool.batch_ticks`: invalid type"), "{typed}");
    let range = refusal(&format!("{MINIMAL}[spool]\nbatch_ticks = 0\n"));
    assert!(range.starts_with("agent.toml, line 5, `spool.batch_ticks`: is 1 to 120"), "{range}");
    let address = refusal("host = \"h1\"\ntenant = \"t1\"\naggregators = [\"agg\"]\n");
    assert!(address.starts_with("agent.toml, line 3, `aggregators`: \"agg\" is not \"host:port\""), "{address}");
    let join = refusal(&format!("{MINIMAL}join = [\"agg\"]\n"));
    assert!(join.starts_with("agent.toml, line 4, `join`: \"agg\" is not \"host:port\""), "{join}");
    let link = refusal(&format!("{MINIMAL}link = \"classical\"\n"));
    assert!(link.ends_with("`link`: \"classical\" is neither \"pure\" nor \"hybrid\""), "{link}");
    let syntax = refusal("host = \n");
    assert!(syntax.starts_with("agent.toml, line 1: this is not TOML"), "{syntax}");
    let kinetic = refusal(&format!("{MINIMAL}compartments = [\n  \"KINETIC\"]\n"));
    assert!(kinetic.contains("line 4, `compartments`: compartment \"KINETIC\" is none of"), "{kinetic}");
    let missing = AgentConfig::load(Path::new("/nonexistent/agent.toml")).expect_err("not there");
    assert!(missing.to_string().starts_with("cannot read /nonexistent/agent.toml"), "{missing}");
}

#[test]
fn addresses() {
    for good in ["a:1", "agg.example:7443", "10.0.0.1:65535", "[::1]:7443"] {
        assert!(is_host_port(good), "{good}");
    }
    for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:7443", "[::1]", "[a]:1", "a b:1", "https://a:1"] {
        assert!(!is_host_port(bad), "{bad}");
    }
}

#[test]
fn what_does_not_fit_the_host_is_found() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
    let fleet = Fleet::new();
    let mut config = parse(MINIMAL).expect("a configuration");
    config.identity = IdentityConfig { file: dir.path().join("a.pem"), trust: dir.path().join("t") };
    fleet.enrol("h1", NOW).save(&config.identity.file).expect("writes");
    fleet.trust(1).save(&config.identity.trust).expect("writes");
    config.join = vec!["agg.example:8101".into()];
    config.spool = SpoolSection { path: dir.path().join("spool.sqlite"), capacity_mib: 1, batch_ticks: 10 };
    config.socket = dir.path().join("s");
    assert_eq!(config.check(), []);
    config.spool.path = dir.path().join("made-at-start/spool.sqlite");
    assert_eq!(config.check(), []);
    config.spool.path = dir.path().join("none/none/spool.sqlite");
    assert_eq!(config.check().iter().map(|finding| finding.key).collect::<Vec<_>>(), ["spool.path"]);
    config.spool.path = dir.path().join("spool.sqlite");

    let exposed = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&config.identity.file, exposed).expect("sets");
    config.identity.trust = dir.path().join("none/none");
    config.join.clear();
    config.spool.capacity_mib = 1 << 40;
    config.root.sys = dir.path().join("none");
    config.socket = dir.path().join("none/s");
    let found: Vec<_> = config.check().into_iter().map(|f| (f.severity, f.key)).collect();
    let (error, warning) = (Severity::Error, Severity::Warning);
    let expected = [
        (error, "identity.file"),
        (error, "identity.trust"),
        (error, "identity.trust"),
        (warning, "join"),
        (warning, "spool.capacity_mib"),
        (error, "socket"),
        (error, "root.sys"),
    ];
    assert_eq!(found, expected);
    let exposed = config.check().remove(0);
    assert!(exposed.what.contains("chmod 600") && exposed.remedy.contains("--again"), "{exposed:?}");
}

//! Joining over real sockets, as it should go and in every way that it should not.

use super::*;
use crate::config::AgentConfig;
use crate::test_fleet::{Asked, Fleet, JoinServer, NOW, clock, host};
use dsmil_authority::Fingerprint;
use dsmil_protocol::tlv::Compartments;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

struct Attempt {
    outcome: Result<Joined, JoinError>,
    steps: Vec<Step>,
}

async fn attempt(dir: &Path, token: &str, again: bool) -> Attempt {
    let options = JoinOptions { dir: dir.to_owned(), state: dir.to_owned(), again, within: Duration::from_secs(10) };
    let mut steps = Vec::new();
    let outcome = join(token, &options, &clock().0, &mut |step| steps.push(step)).await;
    Attempt { outcome, steps }
}

async fn refusal(dir: &Path, token: &str) -> JoinError {
    attempt(dir, token, false).await.outcome.expect_err("a refusal")
}

fn server() -> JoinServer {
    JoinServer::start(Fleet::new(), NOW, 5)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_identity_elsewhere_is_named_in_the_configuration() {
    let (server, dir, state) = (server(), folder(), folder());
    let options = JoinOptions {
        dir: dir.path().to_owned(),
        state: state.path().join("agent"),
        again: false,
        within: Duration::from_secs(10),
    };
    join(&server.token("h1"), &options, &clock().0, &mut |_| {}).await.expect("joined");
    assert_eq!(names(dir.path()), ["agent.toml"]);
    assert_eq!(names(&options.state), ["agent.pem", "trust.bundle"]);
    let config = AgentConfig::load(&dir.path().join("agent.toml")).expect("a configuration");
    assert_eq!(config.identity.file, options.state.join("agent.pem"));
    // Joined again it is found by its configuration, whatever folder is typed.
    let elsewhere = JoinOptions { state: dir.path().join("other"), ..options };
    let error = join(&server.token("h1"), &elsewhere, &clock().0, &mut |_| {}).await.expect_err("joined already");
    assert!(matches!(error, JoinError::Joined(_)), "{error}");
}

fn joined_keys(server: &JoinServer) -> Vec<Fingerprint> {
    let key = |asked| match asked {
        Asked::Join { key } => key,
        other => panic!("{other:?}"),
    };
    server.asked().into_iter().map(key).collect()
}

#[tokio::test]
async fn a_token_makes_identity_trust_and_configuration() {
    let (server, dir) = (server(), folder());
    let Attempt { outcome, steps } = attempt(&dir.path().join("new"), &server.token("h1"), false).await;
    let joined = outcome.expect("joined");
    let dir = dir.path().join("new");
    assert_eq!(names(&dir), ["agent.pem", "agent.toml", "trust.bundle"]);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode("agent.pem"), mode("agent.toml"), mode("trust.bundle")), (0o600, 0o644, 0o644));

    let config = AgentConfig::load(&dir.join("agent.toml")).expect("a configuration");
    assert_eq!(config.host_settings(), server.settings());
    let identity = Identity::load(&config.identity.file).expect("an identity");
    assert_eq!(identity.id().to_string(), "spiffe://fleet.example/agent/h1");
    assert_eq!(joined_keys(&server), [identity.key_fingerprint().expect("a key")]);
    assert_eq!(Trust::load(&config.identity.trust).expect("a bundle").version(), 5);
    assert_eq!((joined.spiffe_id.as_str(), joined.trust.version), ("spiffe://fleet.example/agent/h1", 5));

    let told: Vec<String> = steps.iter().map(|step| step.to_string().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(told, ["token", "connecting", "pinned", "requested", "written", "written", "written"]);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_with_the_same_key() {
    let (server, dir) = (server(), folder());
    let token = server.token("h1");
    server.twist(|_| None);
    let lost = refusal(dir.path(), &token).await;
    assert_eq!(lost.code(), "lost", "{lost}");
    assert_eq!(names(dir.path()), ["agent.key.joining"]);
    let mode = std::fs::metadata(dir.path().join("agent.key.joining")).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    server.untwist();
    attempt(dir.path(), &token, false).await.outcome.expect("joined");
    let keys = joined_keys(&server);
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    assert_eq!(names(dir.path()), ["agent.pem", "agent.toml", "trust.bundle"]);
}

/// The files are written one after the other; between each two the host may lose its power.
#[tokio::test]
async fn cut_short_between_two_files_the_same_command_goes_on() {
    for cut_after in ["trust.bundle", "agent.pem", "agent.toml"] {
        let (server, dir) = (server(), folder());
        let token = server.token("h1");
        attempt(dir.path(), &token, false).await.outcome.expect("joined");
        let path = |name: &str| dir.path().join(name);
        let key = Identity::load(&path("agent.pem")).expect("an identity").key().expect("a key");
        key.save(&path("agent.key.joining")).expect("writes");
        let written = ["trust.bundle", "agent.pem", "agent.toml"];
        let lost = written.iter().skip_while(|name| **name != cut_after).skip(1);
        lost.for_each(|name| std::fs::remove_file(path(name)).expect("removes"));

        attempt(dir.path(), &token, false).await.outcome.expect("joined");
        assert_eq!(names(dir.path()), ["agent.pem", "agent.toml", "trust.bundle"], "cut after {cut_after}");
        let keys = joined_keys(&server);
        assert_eq!(keys[0], keys[1], "cut after {cut_after}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named_and_the_rest_waits() {
    let (server, dir) = (server(), folder());
    let token = server.token("h1");
    std::fs::create_dir(dir.path().join("agent.pem")).expect("in the way");
    let error = attempt(dir.path(), &token, true).await.outcome.expect_err("in the way");
    assert!(error.code() == "identity_file" && error.to_string().contains("agent.pem"), "{error}");
    std::fs::remove_dir(dir.path().join("agent.pem")).expect("removes");
    attempt(dir.path(), &token, false).await.outcome.expect("joined");
    let keys = joined_keys(&server);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn every_refusal_says_what_to_do_and_writes_nothing() {
    let (server, dir) = (server(), folder());
    let refusals = [
        ErrorCode::TokenInvalid,
        ErrorCode::TokenExpired,
        ErrorCode::TokenUsed,
        ErrorCode::TokenWrongHost,
        ErrorCode::TokenStale,
        ErrorCode::NotEnrolled,
        ErrorCode::Revoked,
        ErrorCode::CsrInvalid,
        ErrorCode::Busy,
        ErrorCode::TrustUnavailable,
        ErrorCode::Unknown,
    ];
    for code in refusals {
        server.refuse(code);
        let error = refusal(dir.path(), &server.token("h1")).await;
        assert_eq!((error.code(), error.remedy().as_str()), (code.name(), code.remedy()));
        let said = format!("the aggregator refuses: {} (as the test wants it)", code.name());
        assert_eq!(error.to_string(), said);
        assert_eq!(names(dir.path()), ["agent.key.joining"]);
    }
}

#[tokio::test]
async fn somebody_with_another_root_is_told_nothing() {
    let (server, dir) = (server(), folder());
    let stranger = Fleet::new().token(server.address(), "h1").text();
    let error = refusal(dir.path(), &stranger).await;
    assert_eq!(error.code(), "unknown_root", "{error}");
    assert!(error.remedy().contains("was told nothing"), "{}", error.remedy());
    assert_eq!(server.asked(), []);
}

/// Changes what was granted, and says why it is not taken.
async fn twisted(change: impl Fn(&mut Granted) + Send + 'static) -> JoinError {
    let (server, dir) = (server(), folder());
    server.twist(move |answer| match answer {
        JoinAnswer::Granted(mut granted) => {
            change(&mut granted);
            Some(JoinAnswer::Granted(granted))
        }
        other => Some(other),
    });
    let error = refusal(dir.path(), &server.token("h1")).await;
    assert_eq!(names(dir.path()), ["agent.key.joining"], "{error}");
    error
}

#[tokio::test]
async fn what_is_granted_is_taken_only_if_it_is_ours() {
    let fleet = Fleet::new();
    let of_another_key = fleet.enrol("h1", NOW).credential().leaf().to_vec();
    let error = twisted(move |granted| granted.leaf = of_another_key.clone()).await;
    assert_eq!(error.code(), "identity_file", "{error}");

    let of_another_fleet = fleet.bundle(9);
    let error = twisted(move |granted| granted.bundle = of_another_fleet.clone()).await;
    assert_eq!(error.code(), "bundle_other_root", "{error}");

    let error = twisted(|granted| granted.settings.host = host("h2")).await;
    assert_eq!(error.code(), "identity_mismatch", "{error}");

    let error = twisted(|granted| granted.settings.compartments = Compartments(0x10)).await;
    assert_eq!(error.to_string(), "the aggregator's answer has settings that agent.toml cannot say");
    let error = twisted(|granted| granted.settings.aggregators = vec!["no-port".into()]).await;
    assert_eq!(error.code(), "configuration", "{error}");

    let (server, dir) = (server(), folder());
    server.twist(|_| Some(JoinAnswer::UpToDate));
    assert_eq!(refusal(dir.path(), &server.token("h1")).await.code(), "answer");
}

#[tokio::test]
async fn a_leaf_for_another_host_is_not_taken() {
    let (server, dir) = (server(), folder());
    server.with(|state| state.misname("h2"));
    let error = refusal(dir.path(), &server.token("h1")).await;
    assert_eq!(error.code(), "identity_mismatch");
    assert!(error.to_string().contains("/agent/h2"), "{error}");
    assert_eq!(names(dir.path()), ["agent.key.joining"]);
}

#[tokio::test]
async fn a_host_that_has_joined_joins_again_only_on_purpose() {
    let (server, dir) = (server(), folder());
    attempt(dir.path(), &server.token("h1"), false).await.outcome.expect("joined");
    let error = refusal(dir.path(), &server.token("h1")).await;
    assert!(error.code() == "joined_already" && error.remedy().contains("--again"), "{error}");
    assert_eq!(server.asked().len(), 1, "the token was not used up");

    server.with(|state| state.settings_mut().aggregators = vec!["10.0.0.9:8100".into()]);
    let before = std::fs::read(dir.path().join("agent.toml")).expect("reads");
    let settings = dir.path().join(crate::fleet_settings::FILE);
    std::fs::write(&settings, "of the fleet before").expect("writes");
    let Attempt { outcome, steps } = attempt(dir.path(), &server.token("h1"), true).await;
    assert!(!settings.exists(), "another fleet's settings are none of this one's");
    let differs = r#"`aggregators` is ["127.0.0.1:8100"] in agent.toml, and ["10.0.0.9:8100"] at the centre"#;
    assert_eq!(outcome.expect("joined").differences, [differs]);
    assert!(steps.contains(&Step::Differs(differs.into())), "{steps:?}");
    assert_eq!(std::fs::read(dir.path().join("agent.toml")).expect("reads"), before);
    let keys = joined_keys(&server);
    assert_ne!(keys[0], keys[1], "a new key for a new identity");
}

#[tokio::test]
async fn a_configuration_of_another_host_or_a_broken_one_stands_in_the_way() {
    let (server, dir) = (server(), folder());
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, "host = \"h2\"\ntenant = \"t1\"\naggregators = [\"a:1\"]\n").expect("writes");
    let error = refusal(dir.path(), &server.token("h1")).await;
    assert!(error.code() == "other_host" && error.to_string().contains("of host h2"), "{error}");
    std::fs::write(&path, "host = \n").expect("writes");
    assert_eq!(refusal(dir.path(), &server.token("h1")).await.code(), "configuration");
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn where_nobody_answers_it_says_whom_it_asked() {
    let dir = folder();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("an address").to_string();
    let fleet = Fleet::new();
    let root = fleet.root.fingerprint();
    let addresses = vec!["no-port".into(), address.clone()];
    let token = JoinToken::generate(addresses, "fleet.example".into(), root, "h1".into(), NOW).text();
    let at = dir.path().to_owned();
    let options = JoinOptions { dir: at.clone(), state: at, again: false, within: Duration::from_millis(50) };
    let error = join(&token, &options, &Clock::real(), &mut |_| {}).await.expect_err("nobody is there");
    let said = error.to_string();
    assert!(said.contains("\"no-port\" is no address") && said.contains(&address), "{said}");
    assert_eq!(error.code(), "no_answer");
    assert!(error.remedy().contains("8101"), "{}", error.remedy());

    let damaged = refusal(dir.path(), &token[..token.len() - 3]).await;
    assert_eq!(damaged.code(), "token_malformed");
}

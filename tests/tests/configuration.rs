//! Real daemons whose configuration changes under them: what a drop-in says counts, SIGHUP applies what it can and names
//! the rest, a bad configuration changes nothing, and no tick and no session is lost by any of it.

use anyhow::{Context, ensure};
use dsmil_crypto::identity::Credential;
use dsmil_crypto::issue::HttpsRoot;
use dsmil_crypto::token::ApiToken;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::client::ApiClient;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports, Process, Program, eventually};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a drop-in of a main file, readable by the daemons' user.
fn drop_in(main: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let mut folder = main.as_os_str().to_owned();
    folder.push(".d");
    fs::create_dir_all(&folder)?;
    let path = PathBuf::from(folder).join(name);
    fs::write(&path, text)?;
    Ok(path)
}

/// Sends SIGHUP and waits until the log says each of `words` behind what it says now.
async fn hang_up(clock: &Clock, process: &mut Process, words: &[&str]) -> anyhow::Result<()> {
    let log = process.log().to_owned();
    let before = fs::read(&log)?.len();
    process.signal(Signal::HUP)?;
    let said = || fs::read(&log).map(|text| String::from_utf8_lossy(&text[before..]).into_owned());
    let heard = eventually(clock, "the log tells of SIGHUP", PATIENCE, || {
        let said = said();
        async move { Ok(words.iter().all(|word| said.as_ref().is_ok_and(|said| said.contains(word)))) }
    });
    let heard = heard.await;
    process.check_alive()?;
    heard.with_context(|| format!("{words:?} in:\n{}", said().unwrap_or_default()))
}

/// Sessions that were welcomed since the centre started.
async fn sessions(api: &ApiClient) -> anyhow::Result<Option<u64>> {
    Ok(api.json::<Value>("/health/pipeline").await?["ingest"]["sessions"].as_u64())
}

/// Writes certificate and key over those that are there, for the same owner.
fn replaced(credential: &Credential, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let owner = fs::metadata(key)?;
    credential.save(certificate, key)?;
    Ok(std::os::unix::fs::chown(key, Some(owner.uid()), Some(owner.gid()))?)
}

/// What `check --json` of a program prints.
fn check(fleet: &Fleet, program: Program, config: &Path) -> anyhow::Result<Value> {
    let args = [OsStr::new("check"), OsStr::new("--json"), OsStr::new("--config"), config.as_os_str()];
    let output = fleet.launcher().outcome(program, &args)?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A centre and the agent of the first host, with a tick a batch; both run.
async fn started<'f>(fleet: &'f Fleet, hosts: &[HostName]) -> anyhow::Result<(Centre<'f>, AgentProc<'f>, Ports)> {
    let ports = Ports::free()?;
    let mut centre = Centre::init(fleet, hosts, ports)?;
    centre.start().await?;
    let mut agent = AgentProc::join(fleet, &centre, &hosts[0])?;
    drop_in(agent.config(), "10-fast.toml", "spool.batch_ticks = 1\n")?;
    agent.start()?;
    Ok((centre, agent, ports))
}

#[tokio::test]
async fn an_agent_takes_what_it_can_at_sighup_and_loses_neither_a_tick_nor_its_session() {
    let (clock, hosts) = (Clock::real(), ["h1", "h2"].map(|name| HostName::new(name).expect("a name")));
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let (mut centre, mut agent, ports) = started(&fleet, &hosts).await.expect("a fleet");
    let outcome: anyhow::Result<()> = async {
        let flowing = |more| {
            let centre = &centre;
            async move {
                let before = centre.pipeline().await?.ledger.stored;
                centre.until("more is stored", PATIENCE, |ledger| ledger.stored >= before + more).await
            }
        };
        flowing(3).await?;
        let (main, config) = (agent.config().to_owned(), agent.config().display().to_string());
        let seen = check(&fleet, Program::Agent, &main)?["configuration"].clone();
        ensure!(seen == serde_json::json!([config, format!("{config}.d/10-fast.toml")]), "{seen}");
        ensure!(sessions(centre.api()).await? == Some(1), "one session");

        // Half is written when the signal comes: nothing changes, and the line is named.
        let bad = drop_in(&main, "20-more.toml", "log = \"debug\"\n\n[spool]\ncapacity_mb = 8\n")?;
        let words = ["SIGHUP changed nothing", "20-more.toml, line 4", "did you mean `capacity_mib`?"];
        hang_up(&clock, agent.process()?, &words).await?;
        flowing(3).await?;

        // The same port under another name, so that it can be told apart.
        let other = format!("localhost:{}", ports.quic);
        fs::write(&bad, format!("log = \"debug\"\naggregators = [\"{other}\"]\nspool.capacity_mib = 8\n"))?;
        let words = [
            "log changed: applied",
            "aggregators changed: applied",
            "spool.capacity_mib changed: takes effect at the next start",
        ];
        hang_up(&clock, agent.process()?, &words).await?;
        let status = agent.status()?;
        flowing(3).await?;
        ensure!(sessions(centre.api()).await? == Some(1), "the session goes on");
        ensure!(status.spool.capacity_bytes == 64 << 20, "a spool is as large as it was opened");

        // The next connection goes where it was told.
        centre.kill()?;
        centre.start().await?;
        eventually(&clock, "the other name is called", PATIENCE, || {
            let found = agent.status().map(|status| status.link.aggregator.as_deref() == Some(other.as_str()));
            async { found }
        })
        .await?;
        Ok(())
    }
    .await;
    outcome.with_context(|| agent.process().map(|process| process.log_tail()).unwrap_or_default()).expect("as told");
    let whole = |ledger: &e2e::fleet::Ledger| ledger.waiting == 0;
    assert!(agent.stop().await.expect("it stops").success());
    let ledger = centre.until("everything is stored", PATIENCE, whole).await.expect("whole");
    assert_eq!((ledger.lost, ledger.duplicates), (0, 0), "{ledger:?}");
}

#[tokio::test]
async fn an_aggregator_uses_what_systemd_passes_and_says_what_is_missing() {
    let (clock, hosts) = (Clock::real(), ["h1"].map(|name| HostName::new(name).expect("a name")));
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let centre = Centre::init(&fleet, &hosts, Ports::free().expect("ports")).expect("init");
    let outcome: anyhow::Result<()> = async {
        let passed = fleet.disk().join("credentials");
        fs::create_dir(&passed)?;
        for (name, from) in [("tokens", "api-tokens"), ("https.key", "identity/https.key")] {
            let (from, to) = (centre.folder().join(from), passed.join(name));
            fs::rename(&from, &to)?;
            // As the mask of systemd's access list shows it.
            fs::set_permissions(&to, PermissionsExt::from_mode(0o440))?;
        }
        let text = "api.tokens = \"credential:tokens\"\nidentity.https_key = \"credential:https.key\"\n";
        drop_in(centre.config(), "10-credentials.toml", text)?;
        let bare = check(&fleet, Program::Aggregator, centre.config())?.to_string();
        for name in ["tokens", "https.key"] {
            let said = format!("credential:{name}: $CREDENTIALS_DIRECTORY is not set");
            ensure!(bare.contains(&said), "{said} in {bare}");
        }
        // Beside a running aggregator nobody passes any, and no verb needs them.
        ensure!(!centre.tokens(&hosts)?.is_empty());

        let (env, program) = (Path::new("/usr/bin/env"), fleet.launcher().path(Program::Aggregator));
        let folder = format!("CREDENTIALS_DIRECTORY={}", passed.display());
        let args = [OsStr::new(&folder), program.as_os_str(), "run".as_ref(), "--config".as_ref()];
        let args = [&args[..], &[centre.config().as_os_str()]].concat();
        let mut running = fleet.launcher().start_other("credentialed", env, &args)?;
        let answers = eventually(&clock, "it answers", PATIENCE, || async { Ok(centre.hosts().await.is_ok()) }).await;
        answers.with_context(|| running.log_tail())?;
        ensure!(running.stop(PATIENCE).await?.success());

        fs::remove_file(passed.join("tokens"))?;
        let mut refused = fleet.launcher().start_other("refused", env, &args)?;
        let status = refused.wait(PATIENCE).await?;
        let said = refused.log_tail();
        ensure!(status.code() == Some(1) && said.contains("add `LoadCredential=tokens:"), "{said}");
        Ok(())
    }
    .await;
    outcome.expect("as told");
}

#[tokio::test]
async fn an_aggregator_takes_what_it_can_at_sighup_and_its_hosts_stay() {
    let (clock, hosts) = (Clock::real(), ["h1", "h2"].map(|name| HostName::new(name).expect("a name")));
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let (mut centre, mut agent, ports) = started(&fleet, &hosts).await.expect("a fleet");
    let main = centre.config().to_owned();
    let outcome: anyhow::Result<()> = async {
        centre.until("ticks flow", PATIENCE, |ledger| ledger.stored >= 3).await?;
        ensure!(sessions(centre.api()).await? == Some(1), "one session");

        // A bad fleet file, tokens that are none, an unknown key: each of them, and nothing is different.
        let tokens = centre.folder().join("api-tokens");
        let good = fs::read_to_string(&tokens)?;
        fs::write(&tokens, "no hash\n")?;
        let drop = drop_in(&main, "10-site.toml", "[warm]\nretention_days = 3\n")?;
        hang_up(&clock, centre.process()?, &["SIGHUP changed nothing", "line 1 of", "no token hash"]).await?;
        centre.hosts().await.context("the token is still good")?;
        fs::write(&tokens, &good)?;
        fs::write(&drop, "\n[warm]\nretention_day = 3\n")?;
        let words = ["SIGHUP changed nothing", "10-site.toml, line 3", "did you mean `retention_days`?"];
        hang_up(&clock, centre.process()?, &words).await?;

        // Another token, another address to tell, and a listener that has to wait.
        let token = ApiToken::generate();
        fs::write(&tokens, format!("{}\n", token.hash()))?;
        let text = format!(
            "log = \"debug\"\n[warm]\nretention_days = 3\n[advertise]\nagents = [\"elsewhere.example:{}\"]\n[hot]\nmax_mib = 64\n",
            ports.quic
        );
        fs::write(&drop, text)?;
        let words = [
            "log changed: applied",
            "warm.retention_days changed: applied",
            "advertise.agents changed: applied",
            "hot.max_mib changed: takes effect at the next start",
            // The first word that the new level lets through: what the new retention has removed.
            "DEBUG dsmil_aggregator::retention: pruned",
        ];
        hang_up(&clock, centre.process()?, &words).await?;
        let refused = centre.api().json::<Value>("/api/v1/hosts").await;
        ensure!(refused.is_err(), "the old token is no good any more");
        let https = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.https));
        let client = |root: &[u8]| ApiClient::new(https, root, token.secret(), clock.clone());
        let old_root = fs::read(centre.https_root())?;
        client(&old_root)?.json::<Value>("/api/v1/hosts").await?;

        // A new certificate under the old name, as whoever renews it leaves it there.
        let root = HttpsRoot::create(clock.wall_ms() / 1000)?;
        let leaf = root.issue(&["127.0.0.1"], clock.wall_ms() / 1000, Duration::from_secs(3_600))?;
        let identity = centre.folder().join("identity");
        replaced(&leaf, &identity.join("https.pem"), &identity.join("https.key"))?;
        hang_up(&clock, centre.process()?, &["read again"]).await?;
        ensure!(client(&old_root)?.get("/health").await.is_err(), "it shows the new certificate");
        let api = client(root.certificate_pem().as_bytes())?;

        let made = centre.tokens(&hosts[1..])?;
        let folder = fleet.disk().join("hosts/h2");
        let args = ["join".as_ref(), OsStr::new(&made[0].token), "--dir".as_ref(), folder.as_os_str()];
        fleet.launcher().output(Program::Agent, &args)?;
        let told = fs::read_to_string(folder.join("agent.toml"))?;
        ensure!(told.contains("aggregators = [\"elsewhere.example:"), "what joins is told: {told}");
        ensure!(sessions(&api).await? == Some(1), "the agent's session goes on");
        let findings = check(&fleet, Program::Aggregator, &main)?;
        let files: Vec<_> = findings.as_array().into_iter().flatten().take(2).map(|f| f["detail"].clone()).collect();
        ensure!(files == [main.display().to_string(), drop.display().to_string()], "{files:?}");
        Ok(())
    }
    .await;
    outcome.with_context(|| centre.process().map(|process| process.log_tail()).unwrap_or_default()).expect("as told");
    assert!(agent.stop().await.expect("it stops").success());
    centre.stop().await.expect("it stops");
}

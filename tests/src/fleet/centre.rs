//! The centre of a throw-away fleet: made by `init`, started, broken, asked.

use super::slot::Slot;
use super::{Fleet, Process, Program, eventually, rewrite};
use crate::client::ApiClient;
use anyhow::Context;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// How long a centre may take until it answers; opening a journal that was killed takes the longest.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a stopping centre may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// The ports that people see in the documents.
const USUAL: Ports = Ports { quic: 8100, join: 8101, https: 8443 };

/// Where a centre listens on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// UDP, for agents.
    pub quic: u16,
    /// UDP, for hosts that join or renew.
    pub join: u16,
    /// TCP, for the API.
    pub https: u16,
}

impl Ports {
    /// Ports that were free a moment ago.
    pub fn free() -> std::io::Result<Self> {
        // Both at once, or the second could be the first again.
        let (quic, join) = (bound(0)?, bound(0)?);
        Ok(Self { quic: quic.local_addr()?.port(), join: join.local_addr()?.port(), https: tcp(0)? })
    }

    /// The usual ports, or free ones for those that are taken.
    pub fn usual_or_free() -> std::io::Result<Self> {
        let (quic, join) = (bound(USUAL.quic).or_else(|_| bound(0))?, bound(USUAL.join).or_else(|_| bound(0))?);
        let https = tcp(USUAL.https).or_else(|_| tcp(0))?;
        Ok(Self { quic: quic.local_addr()?.port(), join: join.local_addr()?.port(), https })
    }
}

fn bound(port: u16) -> std::io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
}

fn tcp(port: u16) -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

/// What `GET /health/pipeline` says; only what is used here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Pipeline {
    /// What came in since the centre started.
    pub ingest: Ingest,
    /// The loss ledger, all hosts added up.
    pub ledger: Ledger,
    /// How long ticks took until they could be queried; none before the first.
    pub tick_to_queryable_ms: Option<Delay>,
    /// Bytes of telemetry frames a sample; none before the first.
    pub wire_bytes_per_sample: Option<f64>,
}

/// What came in since the centre started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Ingest {
    /// Hosts that are known.
    pub hosts: u64,
    /// Hosts with a session that were heard of in the last seconds.
    pub hosts_up: u64,
    /// Samples stored.
    pub samples: u64,
    /// Refused frames and batches, by code.
    pub faults: BTreeMap<String, u64>,
    /// Refused handshakes, by reason.
    pub refusals: BTreeMap<String, u64>,
}

/// The fate of all ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Ledger {
    /// Seconds that the hosts account for.
    pub expected: u64,
    /// In the journal.
    pub stored: u64,
    /// Neither stored nor known to be lost.
    pub waiting: u64,
    /// Will never come.
    pub lost: u64,
    /// The same, by reason.
    pub lost_by: BTreeMap<String, u64>,
    /// Stored twice.
    pub duplicates: u64,
}

/// A distribution of delays, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Delay {
    /// Half of the ticks were faster.
    pub p50: f64,
    /// 99 in 100 were faster.
    pub p99: f64,
}

/// A host in `GET /api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HostEntry {
    /// Its name.
    pub host: String,
    /// Its link: never, up, silent, closed or refused.
    pub link: String,
    /// When its newest values were sampled, milliseconds since 1970.
    pub latest_ms: Option<i64>,
}

/// What `init --json` prints.
#[derive(Deserialize)]
struct Made {
    config: PathBuf,
    api_token: String,
    https_root: PathBuf,
}

/// A join token as `token create --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The host that it is for.
    pub host: HostName,
    /// The line for `dsmil-agent join`.
    pub token: String,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct HostList {
    hosts: Vec<HostEntry>,
}

/// A centre.
#[derive(Debug)]
pub struct Centre<'f> {
    fleet: &'f Fleet,
    config: PathBuf,
    token: String,
    https_root: PathBuf,
    api: ApiClient,
    slot: Slot,
}

impl<'f> Centre<'f> {
    /// Has `dsmil-aggregator init` make everything for a centre and these hosts. It is not started.
    pub fn init(fleet: &'f Fleet, hosts: &[HostName], ports: Ports) -> anyhow::Result<Self> {
        Self::init_with(fleet, hosts, ports, &[])
    }

    /// The same with more arguments for `init`.
    pub fn init_with(fleet: &'f Fleet, hosts: &[HostName], ports: Ports, more: &[&str]) -> anyhow::Result<Self> {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let hot = fleet.ram().join("hot/hot.sqlite");
        let [quic, join, https] = [ports.quic, ports.join, ports.https].map(|port| at(port).to_string());
        let folder = fleet.disk().join("centre");
        let mut args = vec!["init".into(), "--json".into(), "--dir".into(), folder.into_os_string()];
        args.extend(["--tenant", "demo", "--trust-domain", "demo.fleet.local"].map(Into::into));
        args.extend(["--quic", &quic, "--join", &join, "--https", &https].map(Into::into));
        args.extend(["--hot".into(), hot.into_os_string()]);
        args.extend(hosts.iter().flat_map(|host| ["--host".into(), host.as_str().into()]));
        args.extend(more.iter().map(Into::into));
        let made = fleet.launcher().output(Program::Aggregator, &args)?;
        let made: Made = serde_json::from_str(&made).context("`dsmil-aggregator init --json` printed another form")?;
        let root =
            std::fs::read(&made.https_root).with_context(|| format!("{} cannot be read", made.https_root.display()))?;
        let api = ApiClient::new(at(ports.https), &root, &made.api_token, fleet.clock().clone())?;
        let Made { config, api_token: token, https_root } = made;
        Ok(Self { fleet, config, token, https_root, api, slot: Slot::empty("the aggregator") })
    }

    /// Starts it, again if need be, and waits until it answers.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let args = ["run".as_ref(), "--config".as_ref(), self.config.as_os_str()];
        let process = self.slot.fill(self.fleet.launcher().start("aggregator", Program::Aggregator, &args)?);
        let deadline = self.fleet.clock().mono() + READY_WITHIN;
        loop {
            process.check_alive()?;
            match self.api.get("/health").await {
                Ok(_) => return Ok(()),
                Err(error) if self.fleet.clock().mono() > deadline => {
                    let log = process.log_tail();
                    return Err(error)
                        .with_context(|| format!("the aggregator does not answer; its last words:\n{log}"));
                }
                Err(_) => self.fleet.clock().sleep(super::LOOK_EVERY).await,
            }
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.slot.stop(STOP_WITHIN).await
    }

    /// Ends it at once, without a word.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.slot.kill()
    }

    /// The running program.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.slot.running()
    }

    /// Changes its configuration, for the next start.
    pub fn configure(&self, change: impl FnOnce(&mut toml::Table)) -> anyhow::Result<()> {
        rewrite(&self.config, &self.config, change)
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder that `init` made.
    pub fn folder(&self) -> &Path {
        self.config.parent().unwrap_or(&self.config)
    }

    /// Runs a verb of `dsmil-aggregator` on its configuration and returns what it prints.
    pub fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        let config = ["--config".as_ref(), self.config.as_os_str()];
        let args: Vec<_> = args.iter().map(std::ffi::OsStr::new).chain(config).collect();
        self.fleet.launcher().output(Program::Aggregator, &args)
    }

    /// Makes a join token for each of the hosts.
    pub fn tokens(&self, hosts: &[HostName]) -> anyhow::Result<Vec<Token>> {
        let mut args = vec!["token", "create", "--json"];
        args.extend(hosts.iter().flat_map(|host| ["--host", host.as_str()]));
        let printed = self.cli(&args)?;
        let printed: Tokens = serde_json::from_str(&printed).context("`token create --json` printed another form")?;
        Ok(printed.tokens)
    }

    /// The durable journal.
    pub fn journal(&self) -> PathBuf {
        self.folder().join("warm/journal.sqlite")
    }

    /// The hot cache.
    pub fn hot(&self) -> PathBuf {
        self.fleet.ram().join("hot/hot.sqlite")
    }

    /// The token for the API.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate that clients check the API by.
    pub fn https_root(&self) -> &Path {
        &self.https_root
    }

    /// Asks it.
    pub fn api(&self) -> &ApiClient {
        &self.api
    }

    /// `GET /health/pipeline`.
    pub async fn pipeline(&self) -> anyhow::Result<Pipeline> {
        Ok(self.api.json("/health/pipeline").await?)
    }

    /// `GET /api/v1/hosts`.
    pub async fn hosts(&self) -> anyhow::Result<Vec<HostEntry>> {
        Ok(self.api.json::<HostList>("/api/v1/hosts").await?.hosts)
    }

    /// Waits until the ledger is as `wanted`, and returns it.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Ledger) -> bool,
    ) -> anyhow::Result<Ledger> {
        let last = std::cell::RefCell::new(Ledger::default());
        let looked = eventually(self.clock(), what, within, || async {
            let ledger = self.pipeline().await?.ledger;
            let found = wanted(&ledger);
            last.replace(ledger);
            Ok(found)
        });
        let looked = looked.await;
        let last = last.into_inner();
        looked.with_context(|| format!("the ledger is {last:?}"))?;
        Ok(last)
    }

    fn clock(&self) -> &'f Clock {
        self.fleet.clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_chosen() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = held.local_addr().expect("an address").port();
        assert!(tcp(port).is_err());
        let free = Ports::free().expect("free ports");
        assert!(free.https != 0 && free.quic != 0);
    }

    #[test]
    fn absent_figures_are_absent() {
        let text = r#"{"status":"healthy","ingest":{"hosts":1,"hosts_up":0,"samples":0,"faults":{},"refusals":{},"frames":3},
            "ledger":{"expected":0,"stored":0,"waiting":0,"lost":0,"lost_by":{},"duplicates":0,"resent":0}}"#;
        let pipeline: Pipeline = serde_json::from_str(text).expect("a document");
        assert_eq!((pipeline.tick_to_queryable_ms, pipeline.wire_bytes_per_sample), (None, None));
    }
}

//! The real Prometheus, and what it is asked.

use anyhow::{Context, bail, ensure};
use dsmil_runtime::clock::Clock;
use e2e::fleet::{Centre, Fleet, Process};
use e2e::http::{Http, escaped};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says where Prometheus is; `cargo xtask test --long` sets it.
const PROMETHEUS: &str = "DSMIL_PROMETHEUS";
/// Until every question has an answer: rates need some scrapes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A question, and what its answer is like.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// In PromQL.
    pub(crate) query: String,
    /// The least value of a series.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) most: f64,
    /// How many series there are; none: one at least.
    pub(crate) series: Option<usize>,
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    process: Process,
    http: Http,
}

impl Prometheus {
    /// Where it is; nothing, and said so, where nobody has installed it.
    pub(crate) fn program() -> Option<PathBuf> {
        let program = std::env::var_os(PROMETHEUS).map(PathBuf::from);
        if program.is_none() {
            eprintln!("not run: {PROMETHEUS} does not say where Prometheus is; `cargo xtask test --long` does");
        }
        program
    }

    /// Starts it with the configuration of docs/by-hand.md, scraping more often, and these rules.
    pub(crate) fn start(
        program: &Path,
        fleet: &Fleet,
        centre: &Centre<'_>,
        rules: &str,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let folder = fleet.disk().join("prometheus");
        write_config(fleet, centre, &folder, rules)?;
        let args = [
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        // Where it lies, only we may look.
        let own = folder.join("program");
        std::fs::copy(program, &own)?;
        let process = fleet.launcher().start_other("prometheus", &own, &args)?;
        Ok(Self { process, http: Http { address, clock: clock.clone() } })
    }

    /// Asks for a path.
    pub(crate) async fn json(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.http.get(path).await?)?)
    }

    /// The series of an answer.
    pub(crate) async fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.json(&format!("/api/v1/query?query={}", escaped(query))).await?;
        Ok(answer["data"]["result"].as_array().context("no result")?.clone())
    }

    /// Asks until every answer is as it should be.
    pub(crate) async fn answers(&mut self, questions: &[Question]) -> anyhow::Result<()> {
        let give_up = self.http.clock.mono() + ANSWERED_WITHIN;
        let mut open: Vec<&Question> = questions.iter().collect();
        loop {
            self.process.check_alive()?;
            let (mut left, mut why) = (Vec::new(), Vec::new());
            for question in open {
                if let Err(error) = self.answer(question).await {
                    why.push(format!("{}: {error:#}", question.query));
                    left.push(question);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            let in_time = self.http.clock.mono() < give_up;
            ensure!(in_time, "no good answer:\n{}\n{}", why.join("\n"), self.process.log_tail());
            open = left;
            self.http.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Whether every series of the answer is a number between the bounds, and of the host `h1` where it names one.
    async fn answer(&self, question: &Question) -> anyhow::Result<()> {
        let (least, most) = (question.least, question.most);
        let series = self.query(&question.query).await?;
        ensure!(!series.is_empty(), "no series");
        ensure!(question.series.is_none_or(|count| count == series.len()), "{} series: {series:?}", series.len());
        for one in series {
            let value: f64 = one["value"][1].as_str().context("no value")?.parse()?;
            ensure!((least..=most).contains(&value), "{value} is not between {least} and {most}: {one}");
            if let Some(instance) = one["metric"]["instance"].as_str() {
                ensure!(instance == "h1", "of another instance: {one}");
            }
        }
        Ok(())
    }

    /// Every rule with its state.
    pub(crate) async fn rules(&self) -> anyhow::Result<Vec<Value>> {
        let rules = self.json("/api/v1/rules").await?;
        Ok(rules["data"]["groups"][0]["rules"].as_array().context("no rules")?.clone())
    }

    /// Waits until each of these alerts fires, and hands over all that do.
    pub(crate) async fn fires(&mut self, names: &[&str]) -> anyhow::Result<Vec<Value>> {
        let give_up = self.http.clock.mono() + ANSWERED_WITHIN;
        loop {
            self.process.check_alive()?;
            let alerts = self.json("/api/v1/alerts").await?;
            let alerts = alerts["data"]["alerts"].as_array().context("no alerts")?.clone();
            if names.iter().all(|name| alerts.iter().any(|alert| alert["labels"]["alertname"] == *name)) {
                return Ok(alerts);
            }
            if self.http.clock.mono() > give_up {
                bail!("of {names:?} fire only {alerts:?}");
            }
            self.http.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// The configuration of docs/by-hand.md, scraped more often.
fn write_config(fleet: &Fleet, centre: &Centre<'_>, folder: &Path, rules: &str) -> anyhow::Result<()> {
    let (token, root) = (folder.join("token"), centre.https_root());
    let access = format!(
        "authorization: {{ type: Bearer, credentials_file: {} }}\n    tls_config: {{ ca_file: {} }}",
        token.display(),
        root.display()
    );
    let config = format!(
        "global:\n  scrape_interval: 2s\n  evaluation_interval: 2s\n  scrape_timeout: 2s\nrule_files: [{}]\nscrape_configs:\n  - job_name: dsmil\n    {access}\n    http_sd_configs:\n      - url: https://{}/api/v1/sd\n        refresh_interval: 2s\n        {}\n",
        folder.join("rules.yml").display(),
        centre.api().address(),
        access.replace("\n    ", "\n        "),
    );
    std::fs::create_dir(folder)?;
    let files = [("token", centre.token()), ("rules.yml", rules), ("prometheus.yml", &config)];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    if let Some(user) = fleet.user() {
        user.own(folder)?;
        files.iter().try_for_each(|(name, _)| user.own(&folder.join(name)))?;
    }
    Ok(())
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

//! A real Prometheus, configured as the documents say: it finds the hosts by itself, scrapes them through the aggregator, and
//! answers what dashboards and rules for node_exporter ask.

use anyhow::{Context, ensure};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports};
use e2e::http::{Http, escaped};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Says where Prometheus is; `cargo xtask test --long` sets it.
const PROMETHEUS: &str = "DSMIL_PROMETHEUS";
/// Until every question has an answer: rates need some scrapes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// What widespread dashboards and rules for node_exporter ask of a host (expressions as such dashboards are built of them,
/// over a window that fits a short test), and between what the answer lies.
const QUESTIONS: [(&str, f64, f64); 24] = [
    ("up{job=\"dsmil\"}", 1.0, 1.0),
    ("100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[20s])))", -5.0, 105.0),
    ("sum by (mode) (rate(node_cpu_seconds_total[20s]))", 0.0, 1e3),
    ("count(count by (cpu) (node_cpu_seconds_total))", 1.0, 1e4),
    ("100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)", 0.0, 100.0),
    ("node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes", 0.0, 1e15),
    (
        "100 - node_filesystem_avail_bytes{mountpoint=\"/\"} * 100 / node_filesystem_size_bytes{mountpoint=\"/\"}",
        0.0,
        100.0,
    ),
    ("rate(node_disk_read_bytes_total[20s])", 0.0, 1e12),
    ("rate(node_disk_io_time_seconds_total[20s])", 0.0, 2.0),
    ("rate(node_network_receive_bytes_total{device=\"lo\"}[20s]) * 8", 0.0, 1e12),
    ("rate(node_network_transmit_drop_total[20s])", 0.0, 1e9),
    ("node_network_up", 0.0, 1.0),
    ("node_load1", 0.0, 1e4),
    ("node_time_seconds - node_boot_time_seconds", 1.0, 1e9),
    ("abs(node_time_seconds - timestamp(node_time_seconds))", 0.0, 30.0),
    ("rate(node_context_switches_total[20s])", 1.0, 1e9),
    ("rate(node_pressure_cpu_waiting_seconds_total[20s])", 0.0, 1.1),
    ("rate(node_vmstat_pgfault[20s])", 0.0, 1e9),
    ("node_filefd_allocated / node_filefd_maximum", 0.0, 1.0),
    ("node_netstat_Tcp_CurrEstab", 0.0, 1e6),
    ("node_sockstat_sockets_used", 1.0, 1e6),
    ("rate(node_softnet_processed_total[20s])", 0.0, 1e9),
    ("count by (nodename) (node_uname_info)", 1.0, 1.0),
    ("min(node_scrape_collector_success)", 0.0, 1.0),
];

/// Rules as people have them. On a host that is well none fires.
const RULES: &str = r#"
groups:
  - name: node
    rules:
      - alert: HostDown
        expr: up{job="dsmil"} == 0 or dsmil_host_up == 0
      - alert: NodeFilesystemAlmostOutOfSpace
        expr: node_filesystem_avail_bytes{fstype!=""} / node_filesystem_size_bytes{fstype!=""} * 100 < 0.01 and node_filesystem_readonly{fstype!=""} == 0
      - alert: NodeClockSkew
        expr: abs(node_time_seconds - timestamp(node_time_seconds)) > 60
      - record: instance:node_cpu_utilisation:rate20s
        expr: 1 - avg without (cpu) (sum without (mode) (rate(node_cpu_seconds_total{mode=~"idle|iowait|steal"}[20s])))
"#;

#[tokio::test]
async fn long_dashboards_and_rules_for_node_exporter_work_on_the_fleet() {
    let Some(program) = std::env::var_os(PROMETHEUS).map(PathBuf::from) else {
        return eprintln!("not run: {PROMETHEUS} does not say where Prometheus is; `cargo xtask test --long` does");
    };
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let host = HostName::new("h1").expect("a name");
    let mut centre = Centre::init(&fleet, std::slice::from_ref(&host), Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");
    let mut agent = AgentProc::join(&fleet, &centre, &host).expect("an agent");
    agent.start().expect("the agent starts");

    let address = free_address();
    let folder = fleet.disk().join("prometheus");
    write_config(&fleet, &centre, &folder).expect("a configuration");
    let args = [
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    // Where it lies, only we may look.
    let own = folder.join("program");
    std::fs::copy(&program, &own).expect("a copy of it");
    let mut prometheus = fleet.launcher().start_other("prometheus", &own, &args).expect("it starts");
    let asked = Http { address, clock: clock.clone() };
    let give_up = clock.mono() + ANSWERED_WITHIN;
    let mut open: Vec<_> = QUESTIONS.to_vec();
    let mut why: Vec<String> = Vec::new();
    while !open.is_empty() {
        prometheus.check_alive().expect("it runs");
        assert!(clock.mono() < give_up, "no good answer:\n{}\n{}", why.join("\n"), prometheus.log_tail());
        why.clear();
        let mut left = Vec::new();
        for question in open {
            if let Err(error) = answer(&asked, question, &host).await {
                why.push(format!("{}: {error:#}", question.0));
                left.push(question);
            }
        }
        open = left;
        clock.sleep(Duration::from_millis(500)).await;
    }
    let rules = json(&asked, "/api/v1/rules").await.expect("rules");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules").clone();
    assert_eq!(rules.len(), 4);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(rule["state"].is_null() || rule["state"] == "inactive", "{rule}");
    }

    // A host that stops is an alert.
    assert!(agent.stop().await.expect("the agent stops").success());
    let give_up = clock.mono() + ANSWERED_WITHIN;
    while json(&asked, "/api/v1/alerts").await.expect("alerts")["data"]["alerts"].as_array().is_none_or(Vec::is_empty) {
        assert!(clock.mono() < give_up, "nobody is alarmed");
        clock.sleep(Duration::from_millis(500)).await;
    }
    let alerts = json(&asked, "/api/v1/alerts").await.expect("alerts");
    assert_eq!(alerts["data"]["alerts"][0]["labels"]["alertname"], "HostDown", "{alerts}");
    assert_eq!(alerts["data"]["alerts"][0]["labels"]["instance"], "h1", "{alerts}");
    centre.stop().await.expect("the centre stops");
}

/// The configuration of docs/by-hand.md, scraped more often.
fn write_config(fleet: &Fleet, centre: &Centre<'_>, folder: &Path) -> anyhow::Result<()> {
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
    let files = [("token", centre.token()), ("rules.yml", RULES), ("prometheus.yml", &config)];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    if let Some(user) = fleet.user() {
        user.own(folder)?;
        files.iter().try_for_each(|(name, _)| user.own(&folder.join(name)))?;
    }
    Ok(())
}

/// Whether every series of the answer is a number between the bounds, and of this host where it names one.
async fn answer(http: &Http, (query, least, most): (&str, f64, f64), host: &HostName) -> anyhow::Result<()> {
    let answer = json(http, &format!("/api/v1/query?query={}", escaped(query))).await?;
    let series = answer["data"]["result"].as_array().context("no result")?;
    ensure!(!series.is_empty(), "no series");
    for one in series {
        let value: f64 = one["value"][1].as_str().context("no value")?.parse()?;
        ensure!((least..=most).contains(&value), "{value} is not between {least} and {most}: {one}");
        if let Some(instance) = one["metric"]["instance"].as_str() {
            ensure!(instance == host.as_str(), "of another instance: {one}");
        }
    }
    Ok(())
}

async fn json(http: &Http, path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&http.get(path).await?)?)
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

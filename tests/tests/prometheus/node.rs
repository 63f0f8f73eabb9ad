//! Dashboards and rules for node_exporter, on a host that is this machine.

use crate::server::{Prometheus, Question};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports};

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
    let Some(program) = Prometheus::program() else { return };
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let host = HostName::new("h1").expect("a name");
    let mut centre = Centre::init(&fleet, std::slice::from_ref(&host), Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");
    let mut agent = AgentProc::join(&fleet, &centre, &host).expect("an agent");
    agent.start().expect("the agent starts");
    let mut prometheus = Prometheus::start(&program, &fleet, &centre, RULES, &clock).expect("it starts");
    let questions = QUESTIONS.map(|(query, least, most)| Question { query: query.into(), least, most, series: None });
    prometheus.answers(&questions).await.expect("answers");
    let rules = prometheus.rules().await.expect("rules");
    assert_eq!(rules.len(), 4);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(rule["state"].is_null() || rule["state"] == "inactive", "{rule}");
    }

    // A host that stops is an alert.
    assert!(agent.stop().await.expect("the agent stops").success());
    let alerts = prometheus.fires(&["HostDown"]).await.expect("somebody is alarmed");
    assert_eq!(alerts[0]["labels"]["instance"], "h1", "{alerts:?}");
    centre.stop().await.expect("the centre stops");
}

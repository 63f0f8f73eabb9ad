//! Dashboards and rules for NVIDIA's dcgm-exporter, on a host with four GPUs that the library of the drills plays.
//!
//! The expressions are of the shapes that NVIDIA's own dashboard (Grafana's number 12239, the revision that chooses by `instance` and the
//! one that chooses by `Hostname`) and widespread rules have.

use crate::counters::{COUNTERS, Ours};
use crate::host::{self, NAME, cards, say};
use crate::rig::{Rig, rig};
use crate::server::{Prometheus, Question};
use anyhow::{Context, ensure};
use e2e::fleet::Centre;
use e2e::http::escaped;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// How many GPUs there are.
const GPUS: usize = 4;
/// The labels of a GPU's series, as dcgm-exporter has them; `job` and what service discovery adds are Prometheus's.
const LABELS: [&str; 6] = ["gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname"];
/// What a dashboard puts in the place of `$s` when every host and every GPU is chosen, in both revisions.
const CHOICES: [&str; 2] =
    ["{instance=~\"(h1)\", gpu=~\"(0|1|2|3)\"}", "{Hostname=~\"(gpu-host)\", gpu=~\"(0|1|2|3)\"}"];

/// What panels ask, between what the answer lies, and how many series it has.
const PANELS: [(&str, f64, f64, usize); 16] = [
    ("DCGM_FI_DEV_GPU_TEMP$s", 40.0, 43.0, GPUS),
    ("max(DCGM_FI_DEV_GPU_TEMP$s) by (Hostname, gpu, uuid)", 40.0, 43.0, GPUS),
    ("avg(DCGM_FI_DEV_GPU_TEMP$s)", 41.5, 41.5, 1),
    ("DCGM_FI_DEV_MEMORY_TEMP$s", 38.0, 38.0, GPUS),
    ("DCGM_FI_DEV_POWER_USAGE$s", 61.25, 61.25, GPUS),
    ("sum(DCGM_FI_DEV_POWER_USAGE$s)", 245.0, 245.0, 1),
    ("sum(max(DCGM_FI_DEV_POWER_USAGE$s) by (gpu))", 245.0, 245.0, 1),
    ("rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION$s[20s]) / 1000", 0.0, 0.0, GPUS),
    ("max(DCGM_FI_DEV_SM_CLOCK$s * 1000000) by (Hostname, UUID, gpu)", 1.41e9, 1.41e9, GPUS),
    ("DCGM_FI_DEV_MEM_CLOCK$s * 1000000", 1.215e9, 1.215e9, GPUS),
    ("DCGM_FI_DEV_GPU_UTIL$s", 97.0, 97.0, GPUS),
    ("DCGM_FI_DEV_MEM_COPY_UTIL$s", 31.0, 31.0, GPUS),
    ("max(DCGM_FI_DEV_FB_USED$s) by (Hostname, gpu, GPU_I_ID, GPU_I_PROFILE)", 1024.0, 1024.0, GPUS),
    ("DCGM_FI_DEV_FB_USED$s / (DCGM_FI_DEV_FB_USED$s + DCGM_FI_DEV_FB_FREE$s)", 0.025, 0.026, GPUS),
    ("rate(DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL$s[20s])", 0.0, 0.0, GPUS),
    ("DCGM_FI_DEV_XID_ERRORS$s", 0.0, 0.0, GPUS),
];

/// Rules as people have them. While all is well none fires.
const RULES: &str = r#"
groups:
  - name: gpu
    rules:
      - { alert: GpuHot, expr: "DCGM_FI_DEV_GPU_TEMP > 85" }
      - { alert: GpuXid, expr: "DCGM_FI_DEV_XID_ERRORS > 0" }
      - { alert: GpuNewXid, expr: "changes(DCGM_FI_DEV_XID_ERRORS[1m]) > 0" }
      - { alert: GpuDoubleBitErrors, expr: "increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[1m]) > 0" }
      - { alert: GpuRowsNotRemapped, expr: "DCGM_FI_DEV_ROW_REMAP_FAILURE > 0" }
      - { alert: GpuPagesPending, expr: "DCGM_FI_DEV_RETIRED_PENDING > 0" }
      - { alert: GpuNvlinkErrors, expr: "rate(DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL[1m]) > 0" }
      - { alert: GpuThrottledByHeat, expr: "rate(DCGM_FI_DEV_THERMAL_VIOLATION[1m]) > 0" }
      - { alert: GpuMemoryFull, expr: "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE) > 0.95" }
      - { alert: GpuMissing, expr: "count by (Hostname) (DCGM_FI_DEV_GPU_TEMP) < 4" }
"#;

#[test]
fn long_dashboards_and_rules_for_dcgm_exporter_work_on_the_fleet() {
    let Some(program) = Prometheus::program() else { return };
    rig(async |rig| drill(rig, &program).await);
}

async fn drill(rig: &mut Rig, program: &Path) -> anyhow::Result<()> {
    cards(rig, 4);
    rig.play("healthy 4")?;
    let (log, _probes) = host::probes(rig).await?;
    let (mut centre, mut agent) = host::fleet(rig).await?;
    let mut prometheus = Prometheus::start(program, &rig.fleet, &centre, RULES, &rig.clock)?;

    let panel = |choice: &str| {
        let choice = choice.to_owned();
        PANELS.map(move |(query, least, most, series)| {
            let query = query.replace("$s", &choice);
            Question { query, least, most, series: Some(series) }
        })
    };
    prometheus.answers(&CHOICES.map(panel).concat()).await?;
    variables(&prometheus, &centre).await?;
    labels(&prometheus).await?;
    listed(&prometheus).await?;
    let rules = prometheus.rules().await?;
    ensure!(rules.len() == 10, "{rules:?}");
    for rule in &rules {
        ensure!(rule["health"] == "ok" && rule["state"] == "inactive", "{rule}");
    }

    rig.play("ailing 1")?;
    let alerts = prometheus.fires(&["GpuHot", "GpuDoubleBitErrors", "GpuNvlinkErrors"]).await?;
    are_of_gpu(&alerts, "1")?;
    rig.play("lost 2")?;
    say(&log, 2, &["NVRM: Xid (PCI:0000:03:00): 79, GPU has fallen off the bus.".to_owned()])?;
    let alerts = prometheus.fires(&["GpuXid", "GpuNewXid", "GpuMissing"]).await?;
    let of_xids =
        alerts.iter().filter(|alert| alert["labels"]["alertname"].as_str().is_some_and(|n| n.contains("Xid")));
    are_of_gpu(&of_xids.cloned().collect::<Vec<_>>(), "2")?;
    ensure!(agent.stop().await?.success(), "the agent stops");
    centre.stop().await?;
    Ok(())
}

/// What a dashboard's variables are chosen from, as older and newer Grafanas ask: of Prometheus, and of the aggregator itself.
async fn variables(prometheus: &Prometheus, centre: &Centre<'_>) -> anyhow::Result<()> {
    for (label, expected) in
        [("Hostname", &[NAME][..]), ("gpu", &["0", "1", "2", "3"]), ("modelName", &["NVIDIA Drill 40GB"])]
    {
        let path = |what: &str| format!("/api/v1/{what}?match%5B%5D={}", escaped("DCGM_FI_DEV_FB_FREE"));
        let (series, values) = (path("series"), path(&format!("label/{label}/values")));
        for answer in [prometheus.json(&series).await?, centre.api().json(&format!("/prometheus{series}")).await?] {
            let all = answer["data"].as_array().context("no series")?;
            let told: BTreeSet<_> = all.iter().filter_map(|one| one[label].as_str()).collect();
            ensure!(told.iter().eq(expected), "{label}: {told:?}");
        }
        for answer in [prometheus.json(&values).await?, centre.api().json(&format!("/prometheus{values}")).await?] {
            ensure!(answer["data"] == serde_json::json!(expected), "{label}: {answer}");
        }
    }
    let values = prometheus.json("/api/v1/label/instance/values?match%5B%5D=DCGM_FI_DEV_GPU_TEMP").await?;
    ensure!(values["data"] == serde_json::json!(["h1"]), "{values}");
    Ok(())
}

/// Whether every series of a GPU has dcgm-exporter's labels and none besides; the last XID has those that the kernel's log knows.
async fn labels(prometheus: &Prometheus) -> anyhow::Result<()> {
    for one in prometheus.query("{__name__=~\"DCGM_FI_.*\"}").await? {
        let labels = one["metric"].as_object().context("no labels")?;
        let added = ["__name__", "instance", "job", "host"];
        let own: BTreeSet<_> = labels.keys().map(String::as_str).filter(|name| !added.contains(name)).collect();
        let is_xid = labels["__name__"] == "DCGM_FI_DEV_XID_ERRORS";
        let expected = if is_xid { &["gpu", "pci_bus_id", "Hostname"][..] } else { &LABELS };
        ensure!(own == expected.iter().copied().collect(), "{one}");
    }
    // So that a rule has the others too.
    let joined = "DCGM_FI_DEV_XID_ERRORS * on (instance, pci_bus_id) group_left (UUID, modelName) \
                  (last_over_time(DCGM_FI_DEV_GPU_TEMP[1h]) * 0 + 1)";
    ensure!(prometheus.query(joined).await?.iter().filter(|one| one["metric"]["UUID"].is_string()).count() == GPUS);
    Ok(())
}

/// Whether what we say we have of dcgm-exporter's own list is there, and the rest is not.
async fn listed(prometheus: &Prometheus) -> anyhow::Result<()> {
    for (name, ours) in COUNTERS {
        let is_there = !prometheus.query(name).await?.is_empty();
        ensure!(is_there == matches!(ours, Ours::Yes), "{name}: {is_there}");
    }
    Ok(())
}

/// Whether those alerts that name a GPU name this one, and its host.
fn are_of_gpu(alerts: &[Value], gpu: &str) -> anyhow::Result<()> {
    for alert in alerts {
        let labels = &alert["labels"];
        ensure!(labels["gpu"] == gpu && labels["Hostname"] == NAME && labels["instance"] == "h1", "{alert}");
    }
    Ok(())
}

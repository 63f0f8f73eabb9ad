//! What processes do on GPUs, played by files: nobody here has one.

use crate::rig::{Rig, SOON, Tick, rig};
use anyhow::Context;
use dsmil_protocol::probe::ProbeKind;
use std::path::Path;

const FDINFO: ProbeKind = ProbeKind::Fdinfo;
const BUSY: &str = "dsmil_drm_engine_busy_seconds_total";
const GPU: &str = "devices/pci0000:00/0000:00:02.0";
const RENDER: [&str; 2] = ["accelerator=\"0000:00:02.0\"", "engine=\"render\""];

/// A GPU of Intel's on the host that everybody sees.
fn gpu(rig: &Rig) {
    rig.tree.sys("class/drm/renderD128/dev", "226:128\n");
    rig.tree.link("sys/class/drm/renderD128/device", &format!("../../../{GPU}"));
    rig.tree.sys(&format!("{GPU}/power/runtime_status"), "active\n");
    rig.tree.link("proc/1/fd/0", "/dev/null");
    rig.tree.proc("1/comm", "systemd\n");
}

/// A process that has rendered for so many seconds.
fn renders(rig: &Rig, pid: u32, comm: &str, client: u32, seconds: u32) {
    let link = rig.tree.path().join(format!("proc/{pid}/fd/5"));
    if !link.is_symlink() {
        rig.tree.link(&format!("proc/{pid}/fd/5"), "/dev/dri/renderD128");
        rig.tree.proc(&format!("{pid}/comm"), &format!("{comm}\n"));
    }
    let text = format!(
        "drm-driver:\ti915\ndrm-client-id:\t{client}\ndrm-pdev:\t0000:00:02.0\ndrm-total-system0:\t64 MiB\n\
         drm-resident-system0:\t32 MiB\ndrm-engine-render:\t{seconds}000000000 ns\n"
    );
    rig.tree.proc(&format!("{pid}/fdinfo/5"), &text);
}

#[test]
fn what_processes_do_on_a_gpu_is_told_by_engine_and_by_name() {
    rig(async |rig| {
        gpu(rig);
        renders(rig, 100, "Xorg", 1, 500);
        let _probe = rig.start(FDINFO, &[]).await?;
        let mut sensor = rig.sensor(FDINFO)?;
        let is_there = |tick: &Tick| tick.value(BUSY, &RENDER) == Some(0.0);
        sensor.until("the GPU is found", SOON, is_there).await?;
        renders(rig, 100, "Xorg", 1, 502);
        renders(rig, 101, "game", 2, 7);
        let has_worked = |tick: &Tick| tick.value(BUSY, &RENDER) == Some(9.0);
        let (tick, _) = sensor.until("both have worked", SOON, has_worked).await?;
        let by = |comm: &str| tick.value("dsmil_drm_process_busy_seconds_total", &[&format!("comm=\"{comm}\"")]);
        assert_eq!((by("Xorg"), by("game")), (Some(2.0), Some(7.0)));
        let resident = ["region=\"system0\"", "kind=\"resident\""];
        assert_eq!(tick.value("dsmil_drm_memory_bytes", &resident), Some(2.0 * 32.0 * 1_048_576.0));
        assert_eq!((tick.value("dsmil_drm_clients", &[]), tick.trouble), (Some(2.0), None));
        std::fs::remove_dir_all(rig.tree.path().join("proc/101"))?;
        let has_ended = |tick: &Tick| tick.value("dsmil_drm_clients", &[]) == Some(1.0);
        let (tick, _) = sensor.until("one has ended", SOON, has_ended).await?;
        assert_eq!(tick.value(BUSY, &RENDER), Some(9.0), "what it did is done");
        println!("a tick: {:?} of the agent's CPU", sensor.cost(100)?);
        Ok(())
    });
}

#[test]
fn with_its_units_rights_it_looks_into_others_processes_and_without_them_it_says_so() {
    rig(async |rig| {
        if rig.fleet.user().is_none() {
            eprintln!("not run: only root can give the rights that the unit gives");
            return Ok(());
        }
        gpu(rig);
        let proc = Path::new("/proc"); // This machine's processes, most of them root's.
        let without = rig.start_with(FDINFO, proc, &[], &[]).await?;
        let mut sensor = rig.sensor(FDINFO)?;
        sensor.verdict("no permission to use /proc/PID/fd and fdinfo of other users' processes").await?;
        drop(without);
        let _with = rig.start_with(FDINFO, proc, &[], &rights()?).await?;
        let (tick, took) = sensor.until("they are open", SOON, |tick| tick.trouble.is_none()).await?;
        println!("{} series, well after {took:?}", tick.values.len());
        Ok(())
    });
}

/// The capabilities of the unit.
fn rights() -> anyhow::Result<Vec<String>> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/dsmil-probe@fdinfo.service.d/rights.conf");
    let text = std::fs::read_to_string(&unit).with_context(|| unit.display().to_string())?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("AmbientCapabilities=")).map(str::to_owned).collect())
}

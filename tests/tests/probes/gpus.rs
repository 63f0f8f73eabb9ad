//! NVIDIA's GPUs, played by the library of the drills.

use crate::host::{NAME, cards};
use crate::rig::{SOON, rig};
use dsmil_protocol::probe::ProbeKind;
use e2e::fleet::eventually;
use rustix::process::Signal;
use std::future::ready;
use std::time::Duration;

const NVML: ProbeKind = ProbeKind::Nvml;
const TEMPERATURE: &str = "DCGM_FI_DEV_GPU_TEMP";

#[test]
fn gpus_are_read_with_dcgm_exporters_names_and_in_the_schema_of_all_accelerators() {
    rig(async |rig| {
        cards(rig, 8);
        rig.play("healthy 8")?;
        let _probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let mut sensor = rig.sensor(NVML)?;
        let tick = sensor.tick();
        assert_eq!(tick.trouble, None);
        for gpu in 0..8u8 {
            let labels = [
                format!("gpu=\"{gpu}\""),
                format!("UUID=\"GPU-{gpu:08}-0000-0000-0000-000000000000\""),
                format!("pci_bus_id=\"00000000:{:02X}:00.0\"", gpu + 1),
                format!("device=\"nvidia{gpu}\""),
                "modelName=\"NVIDIA Drill 40GB\"".to_owned(),
                format!("Hostname=\"{NAME}\""),
            ];
            // Those of dcgm-exporter, and no other.
            assert!(
                tick.values.contains_key(&format!("{TEMPERATURE}{{{}}}", labels.join(","))),
                "{:?}",
                tick.values.keys()
            );
            let of = labels.each_ref().map(String::as_str);
            assert_eq!(tick.value(TEMPERATURE, &of), Some(f64::from(40 + gpu)));
            assert_eq!(tick.value("DCGM_FI_DEV_POWER_USAGE", &of), Some(61.25), "watts");
            assert_eq!(tick.value("DCGM_FI_DEV_FB_USED", &of), Some(1024.0), "MiB");
            assert_eq!(tick.value("DCGM_FI_DEV_MEMORY_TEMP", &of), Some(38.0));
            assert_eq!(tick.value("DCGM_FI_DEV_POWER_VIOLATION", &of), Some(5e9));
            assert_eq!(tick.value("dsmil_gpu_compute_processes", &of), Some(3.0));
            let place = format!("accelerator=\"0000:{:02x}:00.0\"", gpu + 1);
            let schema = |quantity: &str| tick.value(&format!("dsmil_accelerator_{quantity}"), &[&place]);
            assert_eq!(schema("utilisation_ratio"), Some(0.97));
            assert_eq!(schema("memory_total_bytes"), Some(40960.0 * 1_048_576.0));
            assert_eq!(schema("energy_joules_total"), Some(123_456_789.012));
            assert_eq!(schema("clock_hertz"), Some(1.41e9));
            assert_eq!(tick.value("dsmil_accelerator_state", &[&place, "state=\"active\""]), Some(1.0));
        }
        let encoders = tick.values.keys().filter(|series| series.starts_with("DCGM_FI_DEV_ENC_UTIL"));
        assert_eq!(encoders.count(), 7, "what a card has not is absent: the first has no encoder");
        println!("{} series of eight GPUs; a tick: {:?} of the agent's CPU", tick.values.len(), sensor.cost(100)?);
        Ok(())
    });
}

#[test]
fn instances_of_a_divided_gpu_have_their_memory() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("mig")?;
        let _probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let tick = rig.sensor(NVML)?.tick();
        for number in 0..2 {
            let of = ["GPU_I_PROFILE=\"1g.5gb\"", &*format!("GPU_I_UUID=\"MIG-{number:08}-")];
            assert_eq!(tick.value("DCGM_FI_DEV_FB_FREE", &of), Some(3328.0));
        }
        assert_eq!(tick.value(TEMPERATURE, &[]), Some(40.0), "the card's own");
        Ok(())
    });
}

#[test]
fn a_driver_that_hangs_is_named_within_five_seconds_and_heals_by_itself() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("healthy 1")?;
        let probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let mut sensor = rig.sensor(NVML)?;
        assert_eq!(sensor.tick().value(TEMPERATURE, &[]), Some(40.0));
        rig.play("hung")?;
        let tick = sensor.verdict("a call hangs for ").await?;
        assert_eq!(tick.value(TEMPERATURE, &[]), None, "absent, not what it was");
        assert!(tick.values.keys().any(|series| series.starts_with(TEMPERATURE)), "it is still there");
        assert!(tick.trouble.as_ref().is_some_and(|trouble| trouble.contains("state S")), "{:?}", tick.trouble);
        assert!(sensor.slowest < Duration::from_millis(400), "no tick waits for it: {:?}", sensor.slowest);
        rig.play("healthy 1")?;
        drop(probe); // As it does by itself when a call that could be ended has hung for half a minute.
        let _probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let well = sensor.until("it is well again", SOON, |tick| tick.trouble.is_none()).await?;
        println!("well again after {:?}", well.1);
        Ok(())
    });
}

#[test]
fn a_probe_that_is_stopped_altogether_is_named_with_its_state() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("healthy 1")?;
        let probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let mut sensor = rig.sensor(NVML)?;
        assert_eq!(sensor.tick().trouble, None);
        // The agent looks for the process below the tree's /proc: there is its state of another machine, in state D.
        let pid = probe.id();
        rig.tree.proc(&format!("{pid}/stat"), &format!("{pid} (dsmil-probe) D 1 1 1 0 -1\n"));
        probe.signal(Signal::STOP)?;
        let expected = format!("no answer for 2 s: process {pid} in state D, cannot be killed");
        sensor.verdict(&expected).await?;
        assert!(sensor.slowest < Duration::from_millis(400), "{:?}", sensor.slowest);
        probe.signal(Signal::CONT)?;
        sensor.until("it is well again", SOON, |tick| tick.trouble.is_none()).await?;
        Ok(())
    });
}

#[test]
fn one_gpu_of_four_that_is_lost_is_named_and_the_others_are_read() {
    rig(async |rig| {
        cards(rig, 4);
        rig.play("lost 9")?;
        let _probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let mut sensor = rig.sensor(NVML)?;
        assert_eq!(sensor.tick().trouble, None, "none of the four");
        rig.play("lost 2")?;
        let tick =
            sensor.verdict("the driver has lost the GPU at 0000:03:00.0, which still answers on the bus").await?;
        let temperatures: Vec<_> = tick.values.keys().filter(|series| series.starts_with(TEMPERATURE)).collect();
        assert_eq!(temperatures.len(), 3, "{temperatures:?}");
        let lost = ["accelerator=\"0000:03:00.0\"", "state=\"lost\""];
        assert_eq!(tick.value("dsmil_accelerator_state", &lost), Some(1.0));
        rig.tree.file("sys/bus/pci/devices/0000:03:00.0/config", &[0xFF; 64]);
        sensor.verdict("the GPU at 0000:03:00.0 fell off the bus: it is listed and does not answer").await?;
        std::fs::remove_dir_all(rig.tree.path().join("sys/bus/pci/devices/0000:03:00.0"))?;
        sensor.verdict("the GPU at 0000:03:00.0 fell off the bus: the kernel does not list it any more").await?;
        Ok(())
    });
}

#[test]
fn what_keeps_the_library_from_working_is_named_where_there_is_a_card() {
    rig(async |rig| {
        let library = rig.library()?;
        cards(rig, 2);
        for (face, verdict) in [
            ("no-driver", "the driver is not loaded"),
            ("mismatch", "the library is not of the loaded driver's release (535.104.05)"),
            ("denied", "no permission to use /dev/nvidiactl"),
            ("reset 1", "the device at 0000:02:00.0 has to be reset"),
        ] {
            rig.play(face)?;
            let _probe = rig.start(NVML, &["--library".as_ref(), &library]).await?;
            rig.sensor(NVML)?.verdict(verdict).await?;
        }
        let missing = rig.fleet.disk().join("gone.so.1");
        let _probe = rig.start(NVML, &["--library".as_ref(), &missing]).await?;
        let verdict = format!("{} cannot be loaded", missing.display());
        rig.sensor(NVML)?.verdict(&verdict[..60.min(verdict.len())]).await?;
        for there in ["sys/bus", "sys/module"] {
            std::fs::remove_dir_all(rig.tree.path().join(there))?;
        }
        let tick = rig.sensor(NVML)?.tick();
        assert_eq!((tick.trouble, tick.values.len()), (None, 0), "no card, no trouble");
        Ok(())
    });
}

#[test]
fn a_library_that_crashes_takes_its_own_process_along_and_nothing_else() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("crash")?;
        let library = rig.library()?;
        let mut probe = rig.start(NVML, &["--library".as_ref(), &library]).await?;
        let mut sensor = rig.sensor(NVML)?;
        sensor.verdict("the probe ends before it has answered").await?;
        let is_gone = || ready(probe.ended().map(|status| status.is_some()));
        eventually(&rig.clock, "it is gone", SOON, is_gone).await?;
        sensor.verdict("nobody holds the probe's socket any more").await?;
        rig.play("healthy 1")?;
        let _probe = rig.start(NVML, &["--library".as_ref(), &library]).await?;
        sensor.until("it is well again", SOON, |tick| tick.trouble.is_none()).await?;
        Ok(())
    });
}

#[test]
fn a_gpu_that_may_sleep_is_left_alone_when_it_is_idle() {
    rig(async |rig| {
        cards(rig, 1);
        rig.play("idle")?;
        rig.tree.sys("bus/pci/devices/0000:01:00.0/power/control", "auto\n");
        let probe = rig.start(NVML, &["--library".as_ref(), &rig.library()?]).await?;
        let mut sensor = rig.sensor(NVML)?;
        let maps = || std::fs::read_to_string(format!("/proc/{}/maps", probe.id()));
        assert_eq!(sensor.tick().value(TEMPERATURE, &[]), Some(40.0));
        assert!(!maps()?.contains("libnvidia-ml"), "the library is closed again");
        rig.tree.sys("bus/pci/devices/0000:01:00.0/power/runtime_status", "suspended\n");
        let asleep = sensor.tick();
        assert_eq!((asleep.value(TEMPERATURE, &[]), asleep.trouble.as_deref()), (None, None));
        assert_eq!(asleep.value("dsmil_accelerator_state", &["state=\"suspended\""]), Some(1.0));
        assert!(asleep.values.keys().any(|series| series.starts_with(TEMPERATURE)), "the metric set stays as it was");
        Ok(())
    });
}

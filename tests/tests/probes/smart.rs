//! Disks, played by files, and a smartctl that a script plays: what it says of each disk is in a file of the disk's name.

use crate::rig::{Rig, SOON, Tick, rig};
use dsmil_protocol::probe::ProbeKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const SMART: ProbeKind = ProbeKind::Smart;
const HEALTHY: &str = include_str!("../../../agent/probe/fixtures/smart/sata-qemu.json");
const RESTING: &str = include_str!("../../../agent/probe/fixtures/smart/sata-resting.json");
const WORN: &str = include_str!("../../../agent/probe/fixtures/smart/nvme-worn.json");
const STATUS: &str = "smartctl_device_smart_status";
const STATE: &str = "smartctl_device_state";
const HUNG: &str = "dsmil_disk_health_hung";
const SDA: [&str; 1] = ["device=\"sda\""];
const NVME: [&str; 1] = ["device=\"nvme0\""];

/// Says what a file says, with the code in its first line; or does what it says instead.
const SMARTCTL: &str = r#"#!/bin/sh
for node; do :; done
face=FOLDER/${node##*/}
echo "$*" >> FOLDER/asked
read -r what < "$face"
case $what in
hang) exec sleep 60 ;;
flood) while :; do echo "$* $* $* $* $* $* $* $* $* $*"; done ;;
esac
tail -n +2 "$face"
exit "$what"
"#;

/// The stage: an NVMe drive, a SATA disk, and the program.
fn stage(rig: &Rig) -> anyhow::Result<PathBuf> {
    for (file, text) in [("transport", "pcie"), ("state", "live"), ("nvme0n1/size", "131072")] {
        rig.tree.sys(&format!("class/nvme/nvme0/{file}"), &format!("{text}\n"));
    }
    rig.tree.sys("block/nvme0n1/size", "131072\n");
    for (file, text) in [("device/vendor", "ATA     "), ("device/power/runtime_status", "active"), ("size", "131072")] {
        rig.tree.sys(&format!("block/sda/{file}"), &format!("{text}\n"));
    }
    let folder = rig.fleet.disk().join("played");
    std::fs::create_dir(&folder)?;
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777))?;
    let program = folder.join("smartctl");
    std::fs::write(&program, SMARTCTL.replace("FOLDER", &folder.to_string_lossy()))?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    Ok(program)
}

/// Has smartctl say or do something about a disk.
fn play(rig: &Rig, disk: &str, what: &str, text: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(rig.fleet.disk().join("played").join(disk), format!("{what}\n{text}"))?)
}

/// Whether a disk has told how it is.
fn has_told(labels: &'static [&'static str]) -> impl Fn(&Tick) -> bool {
    move |tick| tick.values.keys().any(|series| series.starts_with(STATUS)) && tick.value(STATUS, labels).is_some()
}

#[test]
fn disks_tell_of_their_health_and_one_at_rest_is_left_there() {
    rig(async |rig| {
        let program = stage(rig)?;
        play(rig, "nvme0n1", "8", WORN)?;
        play(rig, "sda", "3", RESTING)?;
        let probe = rig.start(SMART, &["--program".as_ref(), &program]).await?;
        let mut sensor = rig.sensor(SMART)?;
        let (tick, took) = sensor.until("the drive has told", SOON, has_told(&NVME)).await?;
        println!("{} series after {} ms", tick.values.len(), took.as_millis());
        assert_eq!((tick.value(STATUS, &NVME), tick.value(STATE, &NVME)), (Some(0.0), Some(0.0)));
        assert_eq!(tick.value("smartctl_device_critical_warning", &NVME), Some(5.0));
        assert_eq!(tick.value("smartctl_device_percentage_used", &NVME), Some(118.0));
        assert_eq!(tick.value(STATE, &SDA), Some(1.0), "it rests, which is no trouble");
        assert_eq!(tick.trouble, None);
        let asked = std::fs::read_to_string(rig.fleet.disk().join("played/asked"))?;
        assert!(asked.lines().all(|line| line.contains("--nocheck=standby,3 ")), "{asked}");
        assert_eq!(asked.lines().count(), 2, "each once, however often the agent asks: {asked}");
        drop(probe);
        rig.tree.sys("block/sda/device/power/runtime_status", "suspended\n");
        let _probe = rig.start(SMART, &["--program".as_ref(), &program]).await?;
        let mut sensor = rig.sensor(SMART)?;
        let (tick, _) = sensor.until("the drive has told again", SOON, has_told(&NVME)).await?;
        assert_eq!(tick.value(STATE, &SDA), Some(1.0));
        let asked = std::fs::read_to_string(rig.fleet.disk().join("played/asked"))?;
        assert!(!asked.lines().skip(2).any(|line| line.ends_with("sda")), "nobody asks one that sleeps: {asked}");
        Ok(())
    });
}

#[test]
fn a_disk_that_hangs_is_named_and_keeps_nobody_from_the_others() {
    rig(async |rig| {
        let program = stage(rig)?;
        play(rig, "nvme0n1", "hang", "")?;
        play(rig, "sda", "0", HEALTHY)?;
        let _probe = rig.start(SMART, &["--program".as_ref(), &program]).await?;
        let mut sensor = rig.sensor(SMART)?;
        let (tick, took) = sensor.until("the other disk has told", SOON, has_told(&SDA)).await?;
        println!("the other disk after {} ms: {:?}", took.as_millis(), tick.trouble);
        assert_eq!((tick.value(STATUS, &SDA), tick.value(HUNG, &SDA)), (Some(1.0), Some(0.0)));
        assert_eq!(tick.value(HUNG, &NVME), Some(1.0));
        let trouble = tick.trouble.unwrap_or_default();
        assert!(trouble.starts_with("a call hangs for 1") && trouble.contains(" s, state S"), "{trouble}");
        assert!(sensor.slowest < Duration::from_millis(400), "no tick waits for it: {:?}", sensor.slowest);
        Ok(())
    });
}

#[test]
fn a_smartctl_that_says_nothing_of_sense_is_named_with_the_disk() {
    rig(async |rig| {
        let program = stage(rig)?;
        play(rig, "sda", "0", HEALTHY)?;
        for (what, text, verdict) in [
            ("0", "smartctl: command line option -j unknown\n", "smartctl on nvme0: what it prints is not"),
            ("7", "", "smartctl on nvme0: what it prints is not"),
            ("flood", "", "smartctl: it prints more than"),
        ] {
            play(rig, "nvme0n1", what, text)?;
            let _probe = rig.start(SMART, &["--program".as_ref(), &program]).await?;
            let mut sensor = rig.sensor(SMART)?;
            let tick = sensor.verdict(&format!("a program has failed: {verdict}")).await?;
            assert_eq!(tick.value(STATUS, &SDA), Some(1.0), "the other disk is well");
        }
        let missing = rig.fleet.disk().join("gone");
        let _probe = rig.start(SMART, &["--program".as_ref(), &missing]).await?;
        let mut sensor = rig.sensor(SMART)?;
        let verdict = format!("{} cannot be run: it is not installed", missing.display());
        sensor.verdict(&verdict[..60.min(verdict.len())]).await?;
        Ok(())
    });
}

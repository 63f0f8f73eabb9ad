//! systemd's units, with systemctl played by a script: what the agent makes of one that works, fails, hangs, floods and goes.

use crate::rig::{Asked, Rig, SOON, rig};
use dsmil_protocol::probe::ProbeKind;
use e2e::fleet::Process;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const SYSTEMD: ProbeKind = ProbeKind::Systemd;
const STATE: &str = "node_systemd_unit_state";
/// What a host says of three units, of which one has failed.
const WELL: &str = r#"#!/bin/sh
case "$*" in
list-units*)
    echo 'backup.service loaded failed failed Backup'
    echo 'backup.timer loaded active waiting Backup each night'
    echo 'ssh.socket loaded active listening Who wants to come in'
    ;;
*Version*) printf 'Version=252.39-1~deb12u2\nSystemState=degraded\n' ;;
*)
    printf 'Type=oneshot\nId=backup.service\n\n'
    printf 'LastTriggerUSec=Sun 2026-11-22 10:13:31 UTC\nId=backup.timer\n\n'
    printf 'NConnections=2\nNAccepted=7\nNRefused=1\nId=ssh.socket\n'
    ;;
esac
"#;

fn systemctl(rig: &Rig) -> PathBuf {
    rig.fleet.disk().join("systemctl")
}

/// Has systemctl do something from now on.
fn play(rig: &Rig, script: &str) -> anyhow::Result<()> {
    // Whole or not at all: it may be started at any moment.
    let next = systemctl(rig).with_extension("next");
    std::fs::write(&next, script)?;
    std::fs::set_permissions(&next, PermissionsExt::from_mode(0o755))?;
    Ok(std::fs::rename(next, systemctl(rig))?)
}

/// A host of systemd's, its probe, and the agent's sensor for it.
async fn start(rig: &mut Rig) -> anyhow::Result<(Process, Asked)> {
    rig.tree.proc("1/comm", "systemd\n");
    play(rig, WELL)?;
    let program = systemctl(rig);
    let probe = rig.start(SYSTEMD, &["--program".as_ref(), &program]).await?;
    Ok((probe, rig.sensor(SYSTEMD)?))
}

#[test]
fn units_that_failed_timers_and_sockets_are_told() {
    rig(async |rig| {
        let (_probe, mut sensor) = start(rig).await?;
        let has_units = |tick: &crate::rig::Tick| !tick.values.is_empty();
        let (tick, _) = sensor.until("the units are there", SOON, has_units).await?;
        assert_eq!(tick.trouble, None);
        let of = |name: &str, labels: &[&str]| tick.value(name, labels);
        assert_eq!(of(STATE, &["backup.service", "failed", "oneshot"]), Some(1.0));
        assert_eq!(of(STATE, &["backup.service", "\"active", "oneshot"]), Some(0.0));
        assert_eq!(of("node_systemd_units", &["failed"]), Some(1.0));
        assert_eq!(of("node_systemd_system_running", &[]), Some(0.0));
        assert_eq!(of("node_systemd_version", &["252.39-1~deb12u2"]), Some(252.39));
        assert_eq!(of("node_systemd_timer_last_trigger_seconds", &["backup.timer"]), Some(1_795_342_411.0));
        assert_eq!(of("node_systemd_socket_accepted_connections_total", &["ssh.socket"]), Some(7.0));
        Ok(())
    });
}

#[test]
fn a_systemctl_that_hangs_fails_floods_and_goes_is_named_each_time() {
    rig(async |rig| {
        let (_probe, mut sensor) = start(rig).await?;
        sensor.until("the units are there", SOON, |tick| !tick.values.is_empty()).await?;
        let cases = [
            ("exec sleep 1000", "a call hangs for 1 s, state S"),
            ("exec cat /dev/zero", "a program has failed: systemctl: it prints more than"),
            ("echo what", "a program has failed: systemctl: it says nothing of its manager"),
            (
                "echo 'Failed to connect to bus' >&2; exit 1",
                "a program has failed: systemctl: Failed to connect to bus",
            ),
        ];
        for (does, says) in cases {
            play(rig, &format!("#!/bin/sh\n{does}\n"))?;
            // One that fails is asked again at growing intervals.
            let is_said = |tick: &crate::rig::Tick| tick.trouble.as_ref().is_some_and(|what| what.starts_with(says));
            sensor.until(says, SOON, is_said).await?;
            play(rig, WELL)?;
            let (tick, _) = sensor.until("it is well again", SOON, |tick| tick.trouble.is_none()).await?;
            assert_eq!(tick.value(STATE, &["backup.service", "failed"]), Some(1.0), "after {does}");
        }
        std::fs::remove_file(systemctl(rig))?;
        let is_said =
            |tick: &crate::rig::Tick| tick.trouble.as_ref().is_some_and(|what| what.ends_with("not installed"));
        sensor.until("it is not there", SOON, is_said).await?;
        Ok(())
    });
}

#[test]
fn nobody_is_started_where_process_1_is_another() {
    rig(async |rig| {
        rig.tree.proc("1/comm", "init\n");
        let listener = std::os::unix::net::UnixListener::bind(rig.socket(SYSTEMD))?;
        listener.set_nonblocking(true)?;
        let tick = rig.sensor(SYSTEMD)?.tick();
        assert_eq!((tick.values.len(), tick.trouble), (0, None));
        assert!(listener.accept().is_err(), "nobody knocked");
        Ok(())
    });
}

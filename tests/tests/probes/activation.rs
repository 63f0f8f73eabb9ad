//! The life of a probe: started by the first question, ended when nobody asks, and no good to anybody who asks something else.

use crate::rig::{Rig, SOON, rig};
use dsmil_protocol::probe::{MAX_QUESTION_LEN, ProbeKind, Question, question};
use e2e::fleet::eventually;
use std::future::ready;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const RAPL: ProbeKind = ProbeKind::Rapl;
const ENERGY: &str = "node_rapl_package_joules_total";

fn zone(rig: &Rig) {
    rig.tree.sys("class/powercap/intel-rapl:0/name", "package-0\n");
    rig.tree.sys("class/powercap/intel-rapl:0/energy_uj", "240422366267\n");
}

#[test]
fn the_first_question_starts_a_probe_and_silence_ends_it() {
    rig(async |rig| {
        zone(rig);
        let mut sensor = rig.sensor(RAPL)?;
        assert_eq!(sensor.tick().trouble, None, "no socket: not installed, and no trouble");
        let listener = UnixListener::bind(rig.socket(RAPL))?;
        let mut sensor = rig.sensor(RAPL)?;
        assert!(
            sensor.tick().trouble.is_some_and(|trouble| trouble.starts_with("no answer for")),
            "nobody is there yet"
        );
        for _ in 0..2 {
            // The question waits in the socket, as it does while systemd starts a service.
            let mut probe = rig.activate(RAPL, &listener, &["--idle", "2"])?;
            let answered = |tick: &crate::rig::Tick| tick.value(ENERGY, &["index=\"0\""]) == Some(240_422.366_267);
            sensor.until("energy is read", SOON, answered).await?;
            let has_ended = || ready(Ok(probe.0.try_wait().is_ok_and(|status| status.is_some())));
            eventually(&rig.clock, "it ends", SOON, has_ended).await?;
            assert!(probe.0.try_wait()?.is_some_and(|status| status.success()));
        }
        Ok(())
    });
}

#[test]
fn whoever_asks_something_else_gets_nothing_and_keeps_nobody_from_asking() {
    rig(async |rig| {
        zone(rig);
        let mut probe = rig.start(RAPL, &[]).await?;
        let connect = || UnixStream::connect(rig.socket(RAPL));
        let long = u32::try_from(MAX_QUESTION_LEN + 1)?.to_le_bytes();
        let cases: [&[u8]; 5] =
            [b"GET / HTTP/1.1\r\n\r\n", &long, &[1, 0, 0, 0, 9], &[3, 0, 0, 0, 1, 77, 77], &[2, 0, 0, 0, 1]];
        for bytes in cases {
            let mut stream = connect()?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(bytes)?;
            let mut answer = Vec::new();
            // One is not told why, and the last one takes too long.
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty(), "{bytes:?}");
        }
        // Who asks and never reads holds up the next one for seconds at most; who hangs up early for nothing.
        drop(connect()?);
        let mut rude = connect()?;
        rude.write_all(&question(Question::Read { known: None }).repeat(60))?;
        let mut sensor = rig.sensor(RAPL)?;
        let is_well = |tick: &crate::rig::Tick| tick.value(ENERGY, &[]).is_some() && tick.trouble.is_none();
        sensor.until("energy is read", SOON, is_well).await?;
        probe.check_alive()
    });
}

#[test]
fn without_a_socket_it_says_what_to_do() {
    rig(async |rig| {
        let launcher = rig.fleet.launcher();
        let mut probe = launcher.start_other("alone", &rig.fleet.disk().join("dsmil-probe"), &["rapl"])?;
        let status = probe.wait(SOON).await?;
        assert_eq!(status.code(), Some(1));
        assert!(probe.log_tail().contains("let systemd start this, or give --socket"), "{}", probe.log_tail());
        Ok(())
    });
}

#[test]
fn asking_costs_the_agent_next_to_nothing() {
    rig(async |rig| {
        zone(rig);
        let _probe = rig.start(RAPL, &[]).await?;
        let mut sensor = rig.sensor(RAPL)?;
        assert_eq!(sensor.tick().trouble, None);
        let spent = sensor.cost(200)?;
        println!("a tick: {spent:?} of the agent's CPU");
        assert!(spent < Duration::from_millis(2), "{spent:?}");
        Ok(())
    });
}

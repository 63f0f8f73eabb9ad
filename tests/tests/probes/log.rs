//! The kernel's log, played by a file: what is appended is what the kernel says next.

use crate::host::say;
use crate::rig::{SOON, rig};
use dsmil_protocol::probe::ProbeKind;
use std::time::Duration;

const KMSG: ProbeKind = ProbeKind::Kmsg;
const EVENTS: &str = "dsmil_kernel_events_total";
const LINES: &str = "dsmil_kernel_log_lines_total";

#[test]
fn a_storm_of_xids_is_counted_and_the_last_one_shown() {
    rig(async |rig| {
        let log = rig.fleet.disk().join("kmsg");
        say(&log, 7, &["NVRM: Xid (PCI:0000:3b:00): 13, before anybody listened".into()])?;
        let _probe = rig.start(KMSG, &["--kmsg".as_ref(), &log]).await?;
        let mut sensor = rig.sensor(KMSG)?;
        let of = |code: &str| ["device=\"0000:3b:00.0\"".to_owned(), format!("code=\"{code}\"")];
        let count = |tick: &crate::rig::Tick, code: &str| {
            let labels = of(code);
            tick.value(EVENTS, &[&labels[0], &labels[1]])
        };
        let tick = sensor.tick();
        assert_eq!((tick.trouble.as_deref(), count(&tick, "13")), (None, Some(1.0)));
        assert_eq!(tick.value(EVENTS, &["event=\"oom_kill\""]), Some(0.0));
        let storm: Vec<_> = (0..500).map(|_| "NVRM: Xid (PCI:0000:3b:00): 31, MMU Fault".to_owned()).collect();
        say(&log, 8, &storm)?;
        say(&log, 508, &["NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.".into()])?;
        let (tick, _) = sensor.until("the last XID is there", SOON, |tick| count(tick, "79").is_some()).await?;
        assert_eq!((count(&tick, "31"), count(&tick, "79")), (Some(500.0), Some(1.0)));
        assert_eq!(tick.value("DCGM_FI_DEV_XID_ERRORS", &["pci_bus_id=\"00000000:3B:00.0\""]), Some(79.0));
        assert_eq!(tick.value("dsmil_kernel_log_lines_lost_total", &[]), Some(0.0));
        Ok(())
    });
}

#[test]
fn a_flood_of_ten_thousand_lines_a_second_costs_a_bounded_share_of_a_core() {
    const SECONDS: u64 = 5;
    const EACH: u64 = 10_000;
    rig(async |rig| {
        let log = rig.fleet.disk().join("kmsg");
        say(&log, 0, &[])?;
        let probe = rig.start(KMSG, &["--kmsg".as_ref(), &log]).await?;
        let mut sensor = rig.sensor(KMSG)?;
        let cpu = || -> anyhow::Result<u64> {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", probe.id()))?;
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?) // utime and stime, in ticks of 10 ms
        };
        let begin = cpu()?;
        let noise: Vec<_> = (0..EACH).map(|n| format!("usb 1-1: device descriptor read/64, error -71 ({n})")).collect();
        for second in 0..SECONDS {
            say(&log, second * EACH, &noise)?;
            let tick = sensor.tick();
            assert_eq!(tick.trouble, None, "it answers in time");
            rig.clock.sleep(Duration::from_secs(1)).await;
        }
        let spent = (cpu()? - begin) * 10;
        println!("{SECONDS} s of {EACH} lines each: {spent} ms of CPU, the slowest tick took {:?}", sensor.slowest);
        assert!(sensor.slowest < Duration::from_millis(400));
        let all = |tick: &crate::rig::Tick| tick.value(LINES, &[]) == Some((SECONDS * EACH) as f64);
        sensor.until("all lines were read in the end", SOON, all).await?;
        Ok(())
    });
}

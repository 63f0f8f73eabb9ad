//! A filesystem whose server does not answer any more: `statfs` on it waits for ever, and costs its own sensor alone.

use super::{PATIENCE, findings, has, started};
use anyhow::{Context, ensure};
use dsmil_agent::status::SensorStatus;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Fleet, Parents, eventually};
use std::fs::File;
use std::future::ready;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The sensor of filesystems that somebody else serves.
const SENSOR: &str = "filesystem_remote";
/// Where the agent looks for mounts.
const MOUNTS: &str = "/proc/1/mountinfo";
/// How long is watched whether ticks go on.
const WHILE: Duration = Duration::from_secs(5);

/// A FUSE filesystem whose server never says a word (the kernel's `Documentation/filesystems/fuse/fuse.rst`): whoever asks for
/// anything waits for the answer to the kernel's first message.
struct DeadMount {
    place: PathBuf,
    server: Option<File>,
}

impl DeadMount {
    /// Mounts it, as a user may who starts such a server; none without the right to, or where the agent would not see it.
    fn new(fleet: &Fleet) -> anyhow::Result<Option<Self>> {
        let Some(user) = fleet.user() else {
            println!("not run: only root may mount");
            return Ok(None);
        };
        let place = fleet.disk().join("dead-mount");
        std::fs::create_dir(&place)?;
        let Ok(server) = File::options().read(true).write(true).open("/dev/fuse") else {
            println!("not run: there is no /dev/fuse");
            return Ok(None);
        };
        // The server's end of it is the standard input. To anyone but its owner the kernel answers in the server's place.
        let options = format!("fd=0,rootmode=40000,user_id={},group_id={}", user.uid, user.gid);
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", &options, "dead-server"]).arg(&place).stdin(server.try_clone()?);
        if !mount.output().context("mount(8)")?.status.success() {
            println!("not run: FUSE cannot be mounted here");
            return Ok(None);
        }
        let mounted = Self { place, server: Some(server) };
        let is_seen = std::fs::read_to_string(MOUNTS)?.contains("dead-server");
        if !is_seen {
            println!("not run: process 1 does not see what is mounted here");
        }
        Ok(is_seen.then_some(mounted))
    }

    /// The server ends, and with it every wait.
    fn end(&mut self) {
        self.server = None;
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        self.end();
        // Lazily, and without asking the filesystem for anything.
        let _ = Command::new("umount").args(["-l", "-i", "-c"]).arg(&self.place).output();
    }
}

#[tokio::test]
async fn a_dead_mount_is_named_and_everything_else_is_still_sampled() -> anyhow::Result<()> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-host", &clock)?;
    let (_centre, agent) = started(&fleet, &clock).await?;
    let Some(mut mount) = DeadMount::new(&fleet)? else { return Ok(()) };

    let hangs = |sensor: &SensorStatus| sensor.trouble.as_ref().is_some_and(|trouble| trouble.contains("hangs"));
    eventually(&clock, "the sensor is named", PATIENCE, || ready(sensor(&agent).map(|sensor| hangs(&sensor)))).await?;
    println!("{:?}", sensor(&agent)?.trouble);
    let found = findings(&fleet, &agent)?;
    has(&found, "sensors", "trouble", SENSOR)?;

    let before = agent.status()?;
    clock.sleep(WHILE).await;
    let after = agent.status()?;
    let ticks = after.spool.totals.ticks_taken - before.spool.totals.ticks_taken;
    ensure!(ticks + 1 >= WHILE.as_secs(), "a tick a second goes on: {ticks} in {WHILE:?}");
    let ill: Vec<_> = after.sensors.iter().filter(|sensor| hangs(sensor)).map(|sensor| &*sensor.name).collect();
    ensure!(ill == [SENSOR], "{ill:?}");
    let local = after.sensors.iter().find(|sensor| sensor.name == "filesystem").context("a sensor")?;
    ensure!(local.ok && local.metrics > 0, "{local:?}");

    mount.end();
    eventually(&clock, "it is well again", PATIENCE, || ready(sensor(&agent).map(|sensor| sensor.ok))).await
}

fn sensor(agent: &AgentProc<'_>) -> anyhow::Result<SensorStatus> {
    agent.status()?.sensors.into_iter().find(|sensor| sensor.name == SENSOR).context("no such sensor")
}

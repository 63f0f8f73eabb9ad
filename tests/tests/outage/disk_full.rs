//! No room for the journal: nothing is acknowledged that is not stored, latest values go on, and everything arrives later.

use crate::audit::Audit;
use crate::rig::{Rig, Setup, drill, set};
use anyhow::{Context, ensure};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many hosts with a batch a second fill what is left of the journal's MiB in some seconds.
const HOSTS: usize = 12;
/// Bytes of the journal that something else takes; the metric sets of a host and of the simulated ones still fit.
const FILLER: u64 = 760 << 10;

#[test]
fn a_full_journal_acknowledges_nothing_and_everything_arrives_when_it_may_grow() {
    drill(Setup { seed: 61, sims: HOSTS, batch_ticks: 1 }, async |rig| {
        rig.centre.configure(|table| set(table, "warm", "max_mib", 1.into()))?;
        rig.centre.start().await?;
        rig.centre.stop().await?;
        Connection::open(rig.centre.journal())?
            .execute_batch(&format!("CREATE TABLE filler AS SELECT zeroblob({FILLER})"))?;
        rig.start().await?;
        full(rig).await?;
        rig.centre.kill()?;
        check_acknowledged(rig)?;
        rig.centre.configure(|table| set(table, "warm", "max_mib", 256.into()))?;
        rig.centre.start().await?;
        rig.settle(&[]).await.map(drop)
    });
}

#[test]
fn long_a_full_disk_is_outlived_and_the_journal_goes_on_by_itself() {
    drill(Setup { seed: 62, batch_ticks: 1, ..Setup::default() }, async |rig| {
        let Some(disk) = SmallDisk::mount(rig)? else { return Ok(()) };
        rig.start().await?;
        let hog = disk.fill()?;
        full(rig).await?;
        check_acknowledged(rig)?;
        std::fs::remove_file(hog)?;
        rig.until("the journal goes on", async || Ok(!journal_fails(rig).await?)).await?;
        // What was sent and not stored is sent again after half a minute without an acknowledgement.
        // Each tick is a batch here and is stored at once: between two of them nothing else may wait.
        rig.until("what waited arrives", async || Ok(rig.agent.status()?.spool.ticks_waiting == 0)).await?;
        rig.settle(&[]).await.map(drop)
    });
}

/// Waits until the journal has no room, and sees that the rest goes on.
async fn full(rig: &Rig<'_>) -> anyhow::Result<()> {
    rig.until("the journal is full", async || journal_fails(rig).await).await?;
    let before = (rig.centre.pipeline().await?.ledger, rig.agent.status()?.spool.ticks_waiting);
    // A small commit may still find a place in a page that is there; the journal is not well by that.
    rig.until("more waits, at the centre and in the agent's spool", async || {
        let (ledger, kept) = (rig.centre.pipeline().await?.ledger, rig.agent.status()?.spool.ticks_waiting);
        ensure!(ledger.lost == 0, "{ledger:?}");
        Ok(ledger.waiting >= before.0.waiting + 2 && kept >= before.1 + 2)
    })
    .await?;
    ensure!(journal_fails(rig).await?, "the journal is still full");
    let newest = rig.detail(&rig.host).await?.latest.context("no latest values")?.tick;
    ensure!(newest + 4 >= rig.tick(), "latest values stopped at tick {newest}, it is {}", rig.tick());
    let said = rig.log("aggregator");
    let times = |text: &str| said.matches(text).count();
    ensure!(times("no room for the warm journal") == 1, "the log says what is wrong, once:\n{said}");
    ensure!(times("there is room for the warm journal again") == 0, "and not yet that it is over:\n{said}");
    Ok(())
}

/// What the agent was told is stored lies in the journal's file.
fn check_acknowledged(rig: &Rig<'_>) -> anyhow::Result<()> {
    let spool = rig.agent.status()?.spool;
    let stored = Audit::of(&rig.centre.journal(), rig.seed)?.of_host(&rig.host).len() as u64;
    let acknowledged = spool.totals.ticks_accounted;
    ensure!(acknowledged <= stored, "{acknowledged} ticks are acknowledged, {stored} are stored");
    ensure!(acknowledged + spool.ticks_waiting == spool.totals.ticks_taken, "the spool let go of ticks: {spool:?}");
    Ok(())
}

async fn journal_fails(rig: &Rig<'_>) -> anyhow::Result<bool> {
    let pipeline: serde_json::Value = rig.centre.api().json("/health/pipeline").await?;
    pipeline["journal"]["failing"].as_bool().context("no word on the journal")
}

/// A small disk under the journal.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a tmpfs for the journal of the centre; none without the right to.
    fn mount(rig: &Rig<'_>) -> anyhow::Result<Option<Self>> {
        let place = rig.centre.journal().parent().context("a folder")?.to_owned();
        std::fs::create_dir_all(&place)?;
        let mut options = "size=12m".to_owned();
        if let Some(user) = rig.user {
            options += &format!(",uid={},gid={}", user.uid, user.gid);
        }
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Ok(Some(Self(place)));
        }
        println!("not run: only root may mount a small disk");
        Ok(None)
    }

    /// Somebody takes all the room.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let hog: &Path = &self.0.join("somebody-else");
        let mut file = std::fs::File::create(hog)?;
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
        Ok(hog.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: when a drill fails, the programs still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

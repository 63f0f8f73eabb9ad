//! The hot cache's tmpfs is anybody's: whatever happens to its file, nothing is lost and queries are whole.

use crate::audit::beside;
use crate::rig::{Rig, Setup, drill};
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What somebody does to the file.
#[derive(Clone, Copy, Debug)]
enum Insult {
    Unlinked,
    Emptied,
    Truncated,
    Overwritten,
}

/// All of them.
const INSULTS: [Insult; 4] = [Insult::Unlinked, Insult::Emptied, Insult::Truncated, Insult::Overwritten];

impl Insult {
    fn commit(self, file: &Path) -> anyhow::Result<()> {
        match self {
            Self::Unlinked => std::fs::remove_file(file)?,
            Self::Emptied => {
                for entry in std::fs::read_dir(file.parent().context("a folder")?)? {
                    std::fs::remove_file(entry?.path())?;
                }
            }
            Self::Truncated => {
                for name in [file.to_owned(), beside(file, "-wal")] {
                    if name.exists() {
                        File::options().write(true).open(name)?.set_len(0)?;
                    }
                }
            }
            Self::Overwritten => {
                for name in [file.to_owned(), beside(file, "-wal")] {
                    if name.exists() {
                        File::options().write(true).open(name)?.write_all(&[0x5A; 64 << 10])?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[test]
fn whatever_happens_to_the_hot_file_nothing_is_lost_and_queries_are_whole() {
    drill(Setup { seed: 51, batch_ticks: 1, ..Setup::default() }, async |rig| {
        rig.start().await?;
        for insult in INSULTS {
            filled(rig).await?;
            let before = cached(rig).await?.1;
            insult.commit(&rig.centre.hot())?;
            whole(rig).await.with_context(|| format!("right after it was {insult:?}, while running"))?;
            if matches!(insult, Insult::Overwritten) {
                // Pages that SQLite has in memory hide it for as long as they stay there, and are right.
                filled(rig).await?;
            } else {
                let anew = rig.until("the cache begins anew", async || Ok(cached(rig).await?.1 > before));
                anew.await.with_context(|| format!("{insult:?}"))?;
            }
            whole(rig).await.with_context(|| format!("after it was {insult:?}, while running"))?;
        }
        for insult in INSULTS {
            filled(rig).await?;
            // A centre that ended in order has left the same file as one that did not.
            if rig.random.below(2) == 0 {
                rig.centre.kill()?;
            } else {
                rig.centre.stop().await?;
            }
            insult.commit(&rig.centre.hot())?;
            rig.centre.start().await?;
            rig.until("the host is back", async || Ok(rig.detail(&rig.host).await?.clock.is_some())).await?;
            whole(rig).await.with_context(|| format!("after it was {insult:?}, between runs"))?;
        }
        rig.settle(&[]).await.map(drop)
    });
}

/// Waits until there is something in the cache again.
async fn filled(rig: &Rig<'_>) -> anyhow::Result<()> {
    let before = cached(rig).await?.0;
    rig.until("new batches are cached", async || Ok(cached(rig).await?.0 >= before + 2)).await?;
    whole(rig).await
}

/// A query over the whole time finds every tick that was stored when it was asked, once.
async fn whole(rig: &Rig<'_>) -> anyhow::Result<()> {
    let stored = rig.detail(&rig.host).await?.stored()?;
    let found = rig.queried().await?;
    let distinct: BTreeSet<u64> = found.iter().copied().collect();
    ensure!(distinct.len() == found.len(), "found twice: {found:?}");
    let missing: Vec<_> = stored.difference(&distinct).collect();
    ensure!(missing.is_empty(), "stored, but not found: {missing:?}; found {distinct:?}");
    Ok(())
}

/// Batches that the cache has taken since the centre started, and how often it began anew.
async fn cached(rig: &Rig<'_>) -> anyhow::Result<(u64, u64)> {
    let pipeline: serde_json::Value = rig.centre.api().json("/health/pipeline").await?;
    let count = |key: &str| pipeline["hot_cache"][key].as_u64().with_context(|| format!("no count of {key}"));
    Ok((count("stored")?, count("reopened")?))
}

//! The journal's file read by nobody of the centre's: which ticks are in it, how often, and whether they say what was
//! sampled.

use anyhow::Context;
use dsmil_protocol::batch::{decode, decode_header};
use dsmil_protocol::ids::HostName;
use e2e::sim::{NAME_PREFIX, SimSource};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Ticks of each host and boot.
    pub(crate) ticks: BTreeMap<(String, Vec<u8>), BTreeSet<u64>>,
    /// Ticks that are there more than once.
    pub(crate) twice: u64,
    /// Ticks of simulated hosts whose values are not what that host samples.
    pub(crate) wrong: u64,
}

impl Audit {
    /// Reads a copy of the journal at `path`, with its log, as a crash would leave it. `sim_seed`: of the simulated hosts.
    pub(crate) fn of(path: &Path, sim_seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("journal.sqlite");
        std::fs::copy(path, &copy).with_context(|| format!("{} cannot be copied", path.display()))?;
        if beside(path, "-wal").exists() {
            std::fs::copy(beside(path, "-wal"), beside(&copy, "-wal"))?;
        }
        let db = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut audit = Self::default();
        let mut sims: BTreeMap<String, SimSource> = BTreeMap::new();
        let mut select = db.prepare(
            "SELECT h.name, t.boot, b.blob FROM batch b JOIN boot t ON t.id = b.boot JOIN host h ON h.id = b.host",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (host, boot, blob): (String, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if host.starts_with(NAME_PREFIX) {
                let name = HostName::new(host.as_str())?;
                let source = sims.entry(host.clone()).or_insert_with(|| SimSource::of(sim_seed, &name));
                audit.compare(source, &blob)?;
            }
            let header = decode_header(&blob).map_err(|error| anyhow::anyhow!("a stored batch of {host}: {error}"))?;
            let ticks = audit.ticks.entry((host, boot)).or_default();
            for stamp in &header.stamps {
                audit.twice += u64::from(!ticks.insert(stamp.tick.0));
            }
        }
        Ok(audit)
    }

    /// Whether a batch holds what its host samples at its ticks.
    fn compare(&mut self, source: &SimSource, blob: &[u8]) -> anyhow::Result<()> {
        let metrics = source.set().metrics().len();
        let batch = decode(blob, metrics).map_err(|error| anyhow::anyhow!("a stored batch: {error}"))?;
        for (t, stamp) in batch.header.stamps.iter().enumerate() {
            let stored: Vec<_> = (0..metrics).map(|metric| batch.matrix.get(metric, t)).collect();
            self.wrong += u64::from(stored != source.values(stamp.tick));
        }
        Ok(())
    }

    /// All ticks of all hosts.
    pub(crate) fn total(&self) -> u64 {
        self.ticks.values().map(|ticks| ticks.len() as u64).sum()
    }

    /// The ticks of one host, in whichever boot.
    pub(crate) fn of_host(&self, host: &HostName) -> BTreeSet<u64> {
        let of_it = self.ticks.iter().filter(|((name, _), _)| name == host.as_str());
        of_it.flat_map(|(_, ticks)| ticks.iter().copied()).collect()
    }
}

/// A file that SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

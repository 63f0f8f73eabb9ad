//! The agent's spool damaged under a real agent: it starts and goes on, sets the file aside, says so, and every tick
//! is stored or lost by name.

use dsmil_agent::status::SpoolStatus;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Ledger, Parents, Ports, eventually};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Reasons that damage may leave in the ledger.
const EXPECTED: [&str; 2] = ["agent_down", "spool_lost"];

type Damage = fn(&Path);

/// What happens to the file while nobody has it open.
const AT_REST: &[(&str, Damage)] = &[
    ("the header overwritten", |path| overwrite(path, 0, 100)),
    ("a page in the middle overwritten", |path| overwrite(path, 3 * 4096, 4096)),
    ("everything overwritten", |path| std::fs::write(path, [0x5A; 50_000]).expect("written")),
    ("cut in half", |path| {
        let file = OpenOptions::new().write(true).open(path).expect("opened");
        file.set_len(file.metadata().expect("there").len() / 2).expect("cut");
    }),
    ("of an unknown version", |path| {
        rusqlite::Connection::open(path).expect("opened").pragma_update(None, "user_version", 9999).expect("changed");
    }),
];

/// What happens to it under the running agent.
const IN_USE: &[(&str, Damage)] = &[
    ("removed", |path| std::fs::remove_file(path).expect("removed")),
    ("replaced", |path| {
        std::fs::remove_file(path).expect("removed");
        std::fs::write(path, "somebody else's").expect("written");
    }),
];

fn overwrite(path: &Path, at: u64, len: usize) {
    let file = OpenOptions::new().write(true).open(path).expect("opened");
    file.write_all_at(&vec![0xA5; len], at).expect("written");
}

/// Moves everything out of the write-ahead log: damage to pages that the log replaces is none.
fn settle_log(path: &Path) {
    let db = rusqlite::Connection::open(path).expect("opened");
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).expect("moved");
}

struct Rig<'f> {
    centre: Centre<'f>,
    agent: AgentProc<'f>,
    clock: Clock,
}

impl Rig<'_> {
    /// Lets some ticks wait in the spool, with nobody to send them to.
    async fn fill(&mut self) {
        self.centre.kill().expect("it ran");
        let (agent, clock) = (&self.agent, &self.clock);
        let waits = async || Ok(agent.status()?.spool.ticks_waiting >= 5);
        eventually(clock, "ticks wait in the spool", PATIENCE, waits).await.expect("ticks wait");
    }

    /// The centre is back: everything is stored or lost by name, and the agent goes on and says what happened.
    async fn settle(&mut self, what: &str, aside_before: u64) -> SpoolStatus {
        self.centre.start().await.expect("the centre starts again");
        let stored = self.centre.pipeline().await.expect("a pipeline").ledger.stored;
        let settled = |ledger: &Ledger| ledger.stored > stored + 4 && ledger.waiting <= 4;
        let ledger = self.centre.until(what, PATIENCE, settled).await;
        let ledger = ledger
            .unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", self.agent.process().expect("runs").log_tail()));
        assert_eq!(ledger.duplicates, 0, "{what}: {ledger:?}");
        assert_eq!(ledger.expected, ledger.stored + ledger.waiting + ledger.lost, "{what}: {ledger:?}");
        assert!(ledger.lost_by.keys().all(|reason| EXPECTED.contains(&reason.as_str())), "{what}: {ledger:?}");
        let spool = self.agent.status().expect("a status").spool;
        assert!(spool.writable, "{what}");
        assert!(spool.totals.files_set_aside > aside_before || aside_before == 0, "{what}: {spool:?}");
        spool
    }
}

async fn rig<'f>(fleet: &'f Fleet, clock: &Clock) -> Rig<'f> {
    let host = HostName::new("real").expect("a name");
    let mut centre = Centre::init(fleet, std::slice::from_ref(&host), Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");
    let mut agent = AgentProc::join(fleet, &centre, &host).expect("an agent");
    agent
        .configure(|config| {
            let spool = config.entry("spool").or_insert_with(|| toml::Table::new().into());
            spool.as_table_mut().expect("a table").insert("batch_ticks".into(), 2.into());
        })
        .expect("configured");
    agent.start().expect("the agent starts");
    centre.until("ticks flow", PATIENCE, |ledger| ledger.stored >= 4).await.expect("ticks flow");
    Rig { centre, agent, clock: clock.clone() }
}

#[tokio::test]
async fn a_spool_damaged_at_rest_is_set_aside_and_every_tick_is_accounted_for() {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let mut rig = rig(&fleet, &clock).await;
    for (what, damage) in AT_REST {
        rig.fill().await;
        rig.agent.kill().expect("it ran");
        settle_log(&rig.agent.spool());
        damage(&rig.agent.spool());
        rig.agent.start().expect("the agent starts again");
        let spool = rig.settle(what, 0).await;
        assert!(spool.totals.files_set_aside > 0 && !spool.set_aside.is_empty(), "{what}: {spool:?}");
    }
    assert!(rig.agent.stop().await.expect("it stops").success());
}

#[tokio::test]
async fn a_spool_removed_or_replaced_under_the_agent_is_made_anew() {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let mut rig = rig(&fleet, &clock).await;
    for (what, damage) in IN_USE {
        rig.fill().await;
        damage(&rig.agent.spool());
        let before = rig.agent.status().expect("a status").spool.totals.ticks_taken;
        let (agent, clock) = (&rig.agent, &rig.clock);
        let goes_on = async || {
            Ok(agent.spool().exists() && agent.status()?.spool.writable && {
                let taken = agent.status()?.spool.totals.ticks_taken;
                taken != before
            })
        };
        eventually(clock, "the agent goes on", PATIENCE, goes_on).await.expect(what);
        rig.settle(what, 0).await;
    }
    assert!(rig.agent.stop().await.expect("it stops").success());
}

//! A real probe on its socket, asked by the agent's own sensor; and the library of the drills. Whatever a drill's probe says, the
//! reference of metrics must have.

use anyhow::{Context, bail, ensure};
use dsmil_agent::probes;
use dsmil_probe::reference;
use dsmil_protocol::probe::ProbeKind;
use dsmil_runtime::clock::Clock;
use dsmil_sensors::root::Root;
use dsmil_sensors::tree::{Tree, series};
use dsmil_sensors::{Reading, Sensor};
use e2e::fleet::{Fleet, Parents, Process, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::future::ready;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NAME: &str = "dsmil-probes";
/// What happens by itself happens within this, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// By when a verdict is out, whatever happens to a probe.
pub(crate) const VERDICT_WITHIN: Duration = Duration::from_secs(5);
/// Where `cargo xtask test` says that it has put the program.
const PROBE: &str = "DSMIL_PROBE";

/// Runs a drill; not where nobody has built the program.
pub(crate) fn rig(body: impl AsyncFnOnce(&mut Rig) -> anyhow::Result<()>) {
    let Some(probe) = built() else {
        return eprintln!("not run: dsmil-probe is not here; `cargo xtask probe` builds it");
    };
    let clock = Clock::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let mut rig = Rig::new(&clock, &probe)?;
        body(&mut rig).await.with_context(|| format!("last words:\n{}", rig.last_words()))
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// The program as it is shipped, or where `cargo xtask probe` leaves it.
fn built() -> Option<PathBuf> {
    let named = std::env::var_os(PROBE).map(PathBuf::from);
    let us = std::env::current_exe().ok()?;
    let beside = us.parent()?.parent()?.join("dsmil-probe");
    named.or(Some(beside)).filter(|path| path.is_file())
}

/// A probe's surroundings.
pub(crate) struct Rig {
    pub(crate) clock: Clock,
    pub(crate) fleet: Fleet,
    /// The host that the probe and the agent see.
    pub(crate) tree: Tree,
    /// The folder of the sockets.
    pub(crate) sockets: PathBuf,
    program: PathBuf,
    /// What the library of the drills plays.
    face: PathBuf,
    started: u32,
}

impl Rig {
    fn new(clock: &Clock, probe: &Path) -> anyhow::Result<Self> {
        let fleet = Fleet::new(&Parents::default(), NAME, clock)?;
        let program = fleet.disk().join("dsmil-probe");
        std::fs::copy(probe, &program)?;
        let sockets = fleet.disk().join("sockets");
        std::fs::create_dir(&sockets)?;
        if let Some(user) = fleet.user() {
            user.own(&sockets)?;
        }
        let tree = Tree::new();
        std::fs::set_permissions(tree.path(), PermissionsExt::from_mode(0o755))?;
        for below in ["proc", "sys"] {
            std::fs::create_dir_all(tree.path().join(below))?;
        }
        let face = fleet.disk().join("face");
        Ok(Self { clock: clock.clone(), fleet, tree, sockets, program, face, started: 0 })
    }

    /// Has the library play something from now on.
    pub(crate) fn play(&self, face: &str) -> anyhow::Result<()> {
        // Whole or not at all: the library reads it at each call.
        let next = self.face.with_extension("next");
        std::fs::write(&next, format!("{face}\n"))?;
        Ok(std::fs::rename(next, &self.face)?)
    }

    /// The library of the drills, compiled.
    pub(crate) fn library(&self) -> anyhow::Result<PathBuf> {
        let library = self.fleet.disk().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probes/nvml.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source);
        ensure!(compiler.status().context("there is no C compiler: cc")?.success(), "the library cannot be compiled");
        Ok(library)
    }

    /// Starts the probe of that kind on its socket, which is there when this returns.
    pub(crate) async fn start(&mut self, kind: ProbeKind, more: &[&Path]) -> anyhow::Result<Process> {
        let proc = self.tree.path().join("proc");
        self.start_with(kind, &proc, more, &[]).await
    }

    /// The same on another /proc, and with capabilities as its unit gives them.
    pub(crate) async fn start_with(
        &mut self,
        kind: ProbeKind,
        proc: &Path,
        more: &[&Path],
        capabilities: &[String],
    ) -> anyhow::Result<Process> {
        let socket = self.socket(kind);
        let mut args = vec![OsString::from(format!("NVML_FACE={}", self.face.display())), self.program.clone().into()];
        args.extend([kind.name(), "--proc"].map(OsString::from));
        args.extend([proc.into(), "--sys".into(), self.tree.path().join("sys").into()]);
        args.extend(["--socket".into(), socket.clone().into()]);
        args.extend(more.iter().map(OsString::from));
        self.started += 1;
        let name = format!("probe-{kind}-{}", self.started);
        let mut process = self.fleet.launcher().start_with(&name, Path::new("/usr/bin/env"), &args, capabilities)?;
        let connects = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let is_up = || ready(process.check_alive().map(|()| connects()));
        eventually(&self.clock, "the probe listens", SOON, is_up).await?;
        Ok(process)
    }

    /// Starts the probe of that kind as systemd does: the socket that listens is its standard input.
    pub(crate) fn activate(
        &self,
        kind: ProbeKind,
        listener: &UnixListener,
        more: &[&str],
    ) -> anyhow::Result<Activated> {
        let mut command = Command::new(&self.program);
        command.arg(kind.name()).arg("--proc").arg(self.tree.path().join("proc"));
        command.arg("--sys").arg(self.tree.path().join("sys")).args(more);
        if let Some(user) = self.fleet.user() {
            command.uid(user.uid).gid(user.gid);
        }
        let socket = OwnedFd::from(listener.try_clone()?);
        Ok(Activated(command.stdin(socket).stdout(Stdio::null()).spawn().context("the probe cannot be started")?))
    }

    /// Where the probe of that kind is asked.
    pub(crate) fn socket(&self, kind: ProbeKind) -> PathBuf {
        self.sockets.join(format!("{kind}.sock"))
    }

    /// The agent's sensor for the probe of that kind.
    pub(crate) fn sensor(&self, kind: ProbeKind) -> anyhow::Result<Asked> {
        let sensor = probes::sensors(&self.sockets, Some(&[kind]), &self.clock).pop().context("a sensor")?;
        let mut known = BTreeMap::<_, BTreeSet<_>>::new();
        for metric in reference::metrics(kind) {
            let labels = metric.labels.into_iter().map(|(label, _)| label);
            known.entry(metric.name).or_default().extend(labels);
        }
        Ok(Asked { sensor, root: self.tree.root(), clock: self.clock.clone(), known, slowest: Duration::ZERO })
    }

    fn last_words(&self) -> String {
        let logs = std::fs::read_dir(self.fleet.disk().join("logs")).into_iter().flatten().flatten();
        let text =
            |path: PathBuf| format!("{}:\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
        logs.map(|entry| text(entry.path())).collect::<Vec<_>>().join("\n")
    }
}

/// A probe that was started by its socket; gone when dropped.
pub(crate) struct Activated(pub(crate) Child);

impl Drop for Activated {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A sensor that is read as the sampler does, once a second.
pub(crate) struct Asked {
    sensor: Box<dyn Sensor>,
    root: Root,
    clock: Clock,
    /// What the reference of metrics has of this kind: names, and the labels of each.
    known: BTreeMap<String, BTreeSet<String>>,
    /// The longest that a reading took.
    pub(crate) slowest: Duration,
}

/// What a tick brought.
#[derive(Debug)]
pub(crate) struct Tick {
    pub(crate) values: BTreeMap<String, Option<f64>>,
    pub(crate) trouble: Option<String>,
}

impl Tick {
    /// The value of the only series whose name begins so and has all of `labels`.
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let is_it =
            |series: &str| series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
        let mut found = self.values.iter().filter(|(series, _)| is_it(series));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} {labels:?} is one");
        *value
    }
}

impl Asked {
    /// One tick.
    pub(crate) fn tick(&mut self) -> Tick {
        let begin = self.clock.mono();
        let mut reading = Reading::new();
        reading.begin();
        let outcome = self.sensor.read(&self.root, &mut reading);
        reading.complete();
        self.slowest = self.slowest.max(self.clock.mono().saturating_sub(begin));
        for metric in reading.metrics() {
            let known = self.known.get(&metric.name);
            let has = |label| known.is_some_and(|labels| labels.contains(label));
            let is_told = known.is_some() && metric.labels.iter().all(|(label, _)| has(label));
            assert!(is_told, "the reference of metrics does not have {}", series(metric));
        }
        let pairs = reading.metrics().zip(reading.values());
        let values = pairs.map(|(metric, bits)| (series(metric), bits.map(|bits| metric.value(bits))));
        Tick { values: values.collect(), trouble: outcome.err().map(|error| error.to_string()) }
    }

    /// What a tick costs us, of so many without a pause.
    pub(crate) fn cost(&mut self, ticks: u32) -> anyhow::Result<Duration> {
        let spent = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec)
        };
        let begin = spent()?;
        let mut reading = Reading::new();
        for _ in 0..ticks {
            reading.begin();
            let outcome = self.sensor.read(&self.root, &mut reading);
            ensure!(outcome.is_ok(), "{outcome:?}");
            reading.complete();
        }
        Ok(Duration::from_nanos(spent()? - begin) / ticks)
    }

    /// Ticks once a second until `look` is content, and says how long that took.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Tick) -> bool,
    ) -> anyhow::Result<(Tick, Duration)> {
        let begin = self.clock.mono();
        loop {
            let tick = self.tick();
            let took = self.clock.mono().saturating_sub(begin);
            if look(&tick) {
                return Ok((tick, took));
            }
            if took > within {
                bail!("not within {within:?}: {what}; {:?}", tick.trouble);
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// The verdict that comes within [`VERDICT_WITHIN`] and begins so.
    pub(crate) async fn verdict(&mut self, begins: &str) -> anyhow::Result<Tick> {
        let says = |tick: &Tick| tick.trouble.as_ref().is_some_and(|trouble| trouble.starts_with(begins));
        let (tick, took) = self.until(begins, VERDICT_WITHIN, says).await?;
        println!("{:>5} ms: {}", took.as_millis(), tick.trouble.as_deref().unwrap_or_default());
        Ok(tick)
    }
}

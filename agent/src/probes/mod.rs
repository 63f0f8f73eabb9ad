//! Asking probes: what needs rights or a vendor's library is read by processes of their own, each over its socket.
//!
//! A probe is a sensor like the others. It is asked once a tick and waited for shortly, so that a verdict
//! is there in the same tick; what it has to say of the driver comes from itself ([`dsmil_protocol::probe::Fault`]), and what is
//! known of one that says nothing from the kernel. Nothing that comes out of its socket is believed: it may crash, hang, lie, flood,
//! or be somebody else's by now.
//!
//! Reading order: `purpose` (what each kind is there for), [`Probe`], `course` (when it is asked again, pure), `call` (one question on
//! one connection), `trouble` (what is wrong, in words), `process` (what the kernel says of a process).

mod call;
mod course;
mod process;
mod purpose;
#[cfg(test)]
mod tests;
mod trouble;

use call::{Call, CallError};
use course::{Course, Next};
use dsmil_protocol::metric::MetricSet;
pub use dsmil_protocol::probe::ProbeKind;
use dsmil_protocol::probe::{Fault, PciAddress, ProbeError, ProbeReading};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::pci::{self, Presence};
use dsmil_sensors::root::Root;
use dsmil_sensors::{Line, Reading, Sensor, SensorError};
use process::Process;
use purpose::NVIDIA;
pub use purpose::{is_of_use, own_names};
use std::path::{Path, PathBuf};
use std::time::Duration;
use trouble::Trouble;

/// How long a tick waits for an answer: below the sampler's own deadline, after which an answer's values would be dropped and the
/// verdict would name no reason, and so short that the sensors behind this one are still read.
const WITHIN_TICK: Duration = Duration::from_millis(150);
/// How long a question waits for its answer, over several ticks. A probe says itself after 1.3 s that its driver hangs; one that
/// says nothing at all is given up after this.
const DEADLINE: Duration = Duration::from_secs(2);
/// An answer that took longer than this is asked for at one tick and taken at the next, so that no tick waits for it.
const SLOW: Duration = Duration::from_millis(100);
/// How often to look whether cards are still on the bus.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often the whole bus is searched for cards: a hundred devices take a millisecond, and cards hardly ever come.
const SEARCH_EVERY: Duration = Duration::from_secs(60);

/// The probes of this host, as its configuration says: the kinds named there, or all whose socket is there now.
pub fn sensors(folder: &Path, kinds: Option<&[ProbeKind]>, clock: &Clock) -> Vec<Box<dyn Sensor>> {
    let socket = |kind: ProbeKind| folder.join(format!("{kind}.sock"));
    let is_asked = |kind: &ProbeKind| kinds.map_or_else(|| socket(*kind).exists(), |kinds| kinds.contains(kind));
    let asked = ProbeKind::ALL.into_iter().filter(is_asked);
    asked.map(|kind| Box::new(Probe::new(kind, socket(kind), clock.clone())) as Box<dyn Sensor>).collect()
}

/// One probe.
pub struct Probe {
    kind: ProbeKind,
    socket: PathBuf,
    clock: Clock,
    course: Course,
    /// The question that is open.
    call: Option<Call>,
    /// It takes long: its answers are those to the questions of a tick before.
    is_slow: bool,
    /// What its values mean.
    set: Option<MetricSet>,
    /// What is wrong with it.
    trouble: Option<Trouble>,
    /// Its socket was there once.
    was_there: bool,
    cards: Cards,
}

impl Probe {
    /// The probe that answers on `socket`.
    pub fn new(kind: ProbeKind, socket: PathBuf, clock: Clock) -> Self {
        let cards = Cards { vendor: (kind == ProbeKind::Nvml).then_some(NVIDIA), ..Cards::default() };
        Self {
            kind,
            socket,
            clock,
            course: Course::default(),
            call: None,
            is_slow: false,
            set: None,
            trouble: None,
            was_there: false,
            cards,
        }
    }

    /// Asks, unless a question is open.
    fn ask(&mut self) -> Result<&mut Call, CallError> {
        let call = match self.call.take() {
            Some(open) => open,
            None => Call::begin(&self.socket, self.kind, self.set.as_ref().map(MetricSet::id), self.clock.mono())?,
        };
        self.was_there = true;
        Ok(self.call.insert(call))
    }

    /// Takes an answer's values over.
    fn take(&mut self, answer: &ProbeReading, out: &mut Reading) -> Result<(), ProbeError> {
        if let Some(set) = answer.checked_set()? {
            let is_its_own = |name: &str| own_names(self.kind).iter().any(|prefix| name.starts_with(prefix));
            if !set.metrics().iter().all(|metric| is_its_own(&metric.name)) {
                return Err(ProbeError::Malformed);
            }
            self.set = Some(set);
        }
        let set = self.set.as_ref().filter(|set| set.id() == answer.set && set.metrics().len() == answer.values.len());
        let set = set.ok_or(ProbeError::Malformed)?;
        for (metric, value) in set.metrics().iter().zip(&answer.values) {
            out.repeat(metric, *value);
        }
        Ok(())
    }

    /// Whether there is anything on this host that it could read: if not, no process is started to say so.
    fn is_of_use(&self, root: &Root) -> bool {
        // A card that was there and is gone is something to be told of.
        !self.cards.seen.is_empty() || purpose::is_of_use(self.kind, root)
    }

    /// Whether seconds pass between two readings. Then none is asked for ahead of its time: it would be old when it is taken.
    const fn is_seldom(&self) -> bool {
        self.kind.interval_s() > 1
    }

    /// One tick's asking and waiting. Nothing: all is well.
    fn tick(&mut self, root: &Root, out: &mut Reading) -> Option<Trouble> {
        if self.call.is_none() && self.set.is_none() && !self.is_of_use(root) {
            self.course.failed(self.clock.mono()); // A card may come, or a driver.
            return None;
        }
        let wait = if self.is_slow { Duration::ZERO } else { WITHIN_TICK };
        let (clock, kind) = (self.clock.clone(), self.kind);
        let answer = match self.ask() {
            Ok(call) => call.wait(&clock, clock.mono() + wait),
            Err(error) => Err(error),
        };
        match answer {
            Ok(None) => self.unanswered(root, out),
            Ok(Some(answer)) => {
                self.call = None;
                if let Err(error) = self.take(&answer, out) {
                    self.set = None;
                    return Some(self.failed(Trouble::Garbage(error)));
                }
                self.is_slow = !self.is_seldom() && u128::from(answer.took_us) > SLOW.as_micros();
                if self.is_slow {
                    // What goes wrong with this question is the next tick's to say.
                    let _ = self.ask();
                }
                self.judge(root, answer.fault)
            }
            Err(CallError::NoSocket) if !self.was_there => {
                self.course.failed(clock.mono()); // Not installed: nothing to report, and no trouble.
                None
            }
            Err(error) => {
                self.call = None;
                tracing::debug!(%kind, %error, "a probe was asked in vain");
                Some(self.failed(Trouble::of(error)))
            }
        }
    }

    /// A question without an answer so far: after a while it is given up, and what the kernel knows of the probe is said.
    fn unanswered(&mut self, root: &Root, out: &mut Reading) -> Option<Trouble> {
        let call = self.call.as_ref()?;
        let waited = self.clock.mono().saturating_sub(call.asked());
        if waited < DEADLINE && self.is_seldom() {
            // It starts, or reads for a while, and the next tick has it. What was wrong before still is.
            for metric in self.set.iter().flat_map(MetricSet::metrics) {
                out.repeat(metric, None);
            }
            return self.trouble.clone();
        }
        if waited < DEADLINE {
            self.is_slow = true;
            let pending = Trouble::Pending { ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX) };
            // Of one that was silent before, that is still the news.
            return self.trouble.clone().filter(|trouble| matches!(trouble, Trouble::Silent { .. })).or(Some(pending));
        }
        let (asked, pid) = (call.asked(), call.pid());
        self.call = None;
        let since = match &self.trouble {
            Some(Trouble::Silent { since, .. }) => *since,
            _ => asked,
        };
        let process = pid.and_then(|pid| Process::look(root, pid));
        Some(self.failed(Trouble::Silent { since, process }))
    }

    /// What a fault that the probe names means on this host.
    fn judge(&mut self, root: &Root, fault: Option<Fault>) -> Option<Trouble> {
        let now = self.clock.mono();
        let Some(fault) = fault else {
            self.course.succeeded();
            return None;
        };
        let trouble = match fault {
            Fault::DeviceLost { device } => Trouble::lost(device, pci::presence(root, device)),
            Fault::Hung { .. } => match self.cards.silent(root) {
                Some((device, presence)) => Trouble::lost(device, presence),
                None => Trouble::Fault(fault),
            },
            fault => Trouble::Fault(fault),
        };
        // What will be the same in a second is asked about at growing intervals; what may end at any moment is not.
        if let Trouble::Fault(Fault::Hung { .. } | Fault::ResetRequired { .. } | Fault::TooMany { .. })
        | Trouble::FellOff { .. }
        | Trouble::LostByDriver { .. } = trouble
        {
            self.course.succeeded();
        } else {
            self.course.failed(now);
        }
        Some(trouble)
    }

    fn failed(&mut self, trouble: Trouble) -> Trouble {
        self.is_slow = false;
        self.course.failed(self.clock.mono());
        trouble
    }
}

impl Sensor for Probe {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn source(&self) -> &'static str {
        purpose::source(self.kind)
    }

    fn interval_s(&self) -> u16 {
        self.kind.interval_s()
    }

    /// Of a kind that is asked all the time, the next tick comes by itself.
    fn expects_answer(&self) -> bool {
        self.call.is_some() && self.is_seldom()
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        if self.course.next(self.clock.mono()) == Next::Ask {
            self.trouble = self.tick(root, out);
        }
        let now = self.clock.mono();
        // A card that is gone explains whatever else is wrong, and a library that says nothing of it is no comfort.
        let trouble = self.cards.gone(root, now).or_else(|| self.trouble.clone());
        let Some(trouble) = trouble else { return Ok(()) };
        Err(SensorError::Told { what: Line::of(&trouble.at(now)), remedy: trouble.remedy(self.kind) })
    }
}

/// The cards that a probe is there for, seen on the bus without their driver.
#[derive(Debug, Default)]
struct Cards {
    vendor: Option<u16>,
    /// All that were ever seen.
    seen: Vec<PciAddress>,
    searched: Option<Duration>,
    looked: Duration,
    missing: Option<PciAddress>,
}

impl Cards {
    fn now(&self, root: &Root) -> Vec<PciAddress> {
        self.vendor.and_then(|vendor| pci::cards(root, vendor).ok()).unwrap_or_default()
    }

    /// A card that does not answer on the bus. This asks the cards themselves.
    fn silent(&self, root: &Root) -> Option<(PciAddress, Presence)> {
        let all = self.seen.iter().copied().chain(self.now(root));
        all.map(|card| (card, pci::presence(root, card))).find(|(_, presence)| *presence != Presence::Answers)
    }

    /// A card that was there and is not listed any more.
    fn gone(&mut self, root: &Root, now: Duration) -> Option<Trouble> {
        self.vendor?;
        if self.searched.is_none_or(|searched| now.saturating_sub(searched) >= SEARCH_EVERY) {
            self.searched = Some(now);
            let new: Vec<_> = self.now(root).into_iter().filter(|card| !self.seen.contains(card)).collect();
            self.seen.extend(new);
        }
        if now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.missing = self.seen.iter().find(|card| !pci::is_listed(root, **card)).copied();
        }
        self.missing.map(|device| Trouble::lost(device, Presence::Gone))
    }
}

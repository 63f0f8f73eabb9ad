//! A host and its centre over a link that may do anything but forge: what is told of ticks is true, and all arrives.
//!
//! Steps are read from the input: seconds pass, frames are delivered lane by lane, the link is cut, repeats and damages
//! frames, the agent is killed, the host suspended or rebooted, the centre away, both wall clocks anywhere. In the end
//! nothing goes wrong any more, and then within bounded time every tick has to be stored once or lost with a reason.

mod centre;
mod clocks;
mod host;
mod link;

use super::Target;
use arbitrary::{Result, Unstructured};
use centre::Centre;
use clocks::Clocks;
use dsmil_protocol::ids::{DeviceId, HostName, TenantId};
use dsmil_protocol::message::Settings;
use dsmil_protocol::metric::{Metric, MetricSet};
use dsmil_protocol::session::agent::{AgentSession, Event};
use dsmil_protocol::session::aggregator::{AggregatorSession, Grant};
use dsmil_protocol::session::{Lane, Speaker};
use dsmil_protocol::tlv::{Classification, Compartments};
use host::Host;
use link::{Fate, Link};
use std::collections::BTreeSet;
use std::sync::LazyLock;

pub(super) const TARGET: Target = Target {
    name: "session",
    what: "both sessions over a link that cuts, repeats, reorders and damages, through reboots and clock jumps",
    run,
    seeds,
    dictionary: &[],
    max_len: 1024,
};

/// Steps of one run: what takes more of them is only slower.
const MAX_STEPS: usize = 200;
/// Seconds of the end, in which nothing goes wrong. A batch that was lost on the way is sent again after 30 s, and the
/// backlog of the longest run takes as long again.
const CALM_SECONDS: u32 = 600;
/// Frames of each lane that one of those seconds may deliver; mostly there are none.
const ROUNDS: u32 = 60;
const LANES: [Lane; 3] = [Lane::Control, Lane::Live, Lane::Backlog];

/// Metric sets that a host's batches name.
static SETS: LazyLock<Vec<MetricSet>> = LazyLock::new(|| (0..4).map(metric_set).collect());

fn metric_set(variant: usize) -> MetricSet {
    let mut metrics = super::metric_sets::metrics();
    metrics.push(Metric { name: format!("m{variant}"), ..metrics[1].clone() });
    MetricSet::new(metrics).expect("a set")
}

pub(super) fn speaker() -> Speaker {
    Speaker {
        tenant: TenantId::new("demo").expect("a tenant"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
    }
}

pub(super) fn grant() -> Grant {
    Grant {
        host: HostName::new("h1").expect("a name"),
        devices: BTreeSet::from([DeviceId(4)]),
        clearance: Classification::UNCLASS,
        compartments: Compartments::SOC,
    }
}

struct World {
    clocks: Clocks,
    host: Host,
    centre: Centre,
    link: Option<Link>,
    settings: Settings,
}

fn run(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let Ok(mut world) = World::new(&mut source) else { return };
    for _ in 0..MAX_STEPS {
        if source.is_empty() || world.step(&mut source).is_err() {
            break;
        }
    }
    world.come_to_rest();
    world.host.assert_all_accounted(&world.centre);
}

impl World {
    fn new(source: &mut Unstructured<'_>) -> Result<Self> {
        let settings = Settings {
            heartbeat_ms: source.arbitrary::<u16>()?.into(),
            window_batches: source.int_in_range(0..=16)?,
            backlog_bytes_per_second: source.int_in_range(0..=1 << 16)?,
            reconnect_window_ms: 1000,
        };
        let (clocks, host) = (Clocks::default(), Host::default());
        Ok(Self { clocks, host, centre: Centre::default(), link: None, settings })
    }

    fn step(&mut self, source: &mut Unstructured<'_>) -> Result<()> {
        match source.int_in_range(0..=31u8)? {
            0..=13 => self.second(source.int_in_range(0..=12)?, source.arbitrary()?),
            14..=17 => self.commit(),
            18 => self.link = None,
            19 => self.kill(source.int_in_range(0..=40)?),
            20 => {
                self.link = None;
                self.sample(source.int_in_range(1..=60)?);
            }
            21 => {
                self.link = None;
                self.host.reboot();
                self.clocks.reboot();
            }
            22 => self.deliver(*source.choose(&LANES)?, Fate::Twice),
            23 | 24 => {
                let (at, flip) = (source.arbitrary()?, source.int_in_range(1..=255)?);
                self.deliver(*source.choose(&LANES)?, Fate::Damaged { at, flip });
            }
            25 => self.host.poison(source.arbitrary()?, source.arbitrary()?),
            26 => self.clocks.host_wall_ns = source.arbitrary()?,
            27 => self.clocks.centre_wall_ns = source.arbitrary()?,
            28 => self.clocks.pass(source.int_in_range(0..=100_000)?),
            29 => self.leave(source.arbitrary()?),
            30 => self.centre.forget_sets(),
            _ => self.settings.window_batches = source.arbitrary()?,
        }
        Ok(())
    }

    /// A second passes with a tick, and some frames are delivered, in lanes as the bits of `lanes` say.
    fn second(&mut self, deliveries: u32, lanes: u64) {
        self.sample(1);
        self.agent();
        for i in 0..deliveries {
            self.deliver(lane(lanes >> (2 * i)), Fate::Whole { cut: lanes.to_le_bytes()[5] });
        }
    }

    fn sample(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.clocks.pass(1000);
            self.host.sample(self.clocks.tick());
        }
    }

    fn kill(&mut self, seconds: u32) {
        self.link = None;
        self.host.restart();
        self.clocks.pass(1000 * seconds);
    }

    fn connect(&mut self) {
        let (agent_now, hello) = (self.clocks.at_host(), self.host.hello(&self.clocks));
        let agent = AgentSession::start(speaker(), &hello, agent_now);
        self.link = Some(Link::new(agent, AggregatorSession::accept(speaker(), grant())));
    }

    /// The agent does what its driver does: deadlines, events, gaps, live batches, backlog.
    fn agent(&mut self) {
        if self.link.is_none() {
            self.connect();
        }
        let Some(link) = &mut self.link else { return };
        let now = self.clocks.at_host();
        if link.agent.deadline().is_some_and(|due| due <= now.mono) {
            link.agent.on_deadline(self.host.vitals(), now);
            assert!(link.agent.deadline().is_none_or(|due| due > now.mono), "a deadline that was met is over");
        }
        while let Some(event) = link.agent.poll_event() {
            if let Event::Accounted(accounted) = &event {
                self.centre.assert_true(accounted);
            }
            self.host.handle(event, &mut link.agent, now);
        }
        self.host.send(&mut link.agent, now);
        link.collect();
        if link.agent.is_closed() {
            self.link = None;
        }
    }

    /// The next frame of one lane upwards, and the next one down.
    fn deliver(&mut self, lane: Lane, fate: Fate) {
        let Some(link) = &mut self.link else { return };
        let goes_on = link.up(lane, fate, &mut self.centre, &self.settings, self.clocks.at_centre())
            && link.down(self.clocks.at_host());
        self.host.nameless.append(&mut link.damaged);
        if !goes_on {
            self.link = None;
        }
    }

    fn commit(&mut self) {
        if let Some(link) = &mut self.link {
            self.centre.commit(&mut link.uncommitted, &mut link.aggregator, self.clocks.at_centre());
            link.collect();
        }
    }

    /// One of the two ends the session on purpose, and nothing of it needs to arrive.
    fn leave(&mut self, host: bool) {
        use dsmil_protocol::message::GoodbyeReason::{Replaced, Stopping};
        let Some(link) = &mut self.link else { return };
        if host {
            link.agent.heartbeat(self.host.vitals(), self.clocks.at_host());
            link.agent.goodbye(Stopping, self.clocks.at_host());
        } else {
            link.aggregator.goodbye(Replaced, self.clocks.at_centre());
        }
        link.collect();
        assert!(link.agent.is_closed() || link.aggregator.is_closed());
        for lane in LANES {
            self.deliver(lane, Fate::Whole { cut: 0 });
        }
        self.link = None;
    }

    /// Nothing goes wrong any more.
    fn come_to_rest(&mut self) {
        self.settings = Settings {
            heartbeat_ms: 2000,
            window_batches: 8,
            backlog_bytes_per_second: 1 << 16,
            reconnect_window_ms: 1000,
        };
        // What the link still holds was made under other circumstances.
        self.link = None;
        self.host.seal();
        for _ in 0..CALM_SECONDS {
            if self.host.is_empty() {
                break;
            }
            self.clocks.pass(1000);
            for _ in 0..ROUNDS {
                self.agent();
                LANES.iter().for_each(|lane| self.deliver(*lane, Fate::Whole { cut: 7 }));
                self.commit();
                if self.link.as_ref().is_some_and(Link::is_idle) {
                    break;
                }
            }
        }
    }
}

fn lane(bits: u64) -> Lane {
    match bits & 3 {
        0 | 3 => Lane::Control,
        1 => Lane::Live,
        _ => Lane::Backlog,
    }
}

/// Runs of seconds with all the rest sprinkled in.
fn seeds() -> Vec<Vec<u8>> {
    let run = |step: usize, every: usize| {
        let bytes = (0..600usize).map(move |i| if i % every == 0 { i.wrapping_mul(step) } else { i * 7 % 14 });
        bytes.map(|n| n.to_le_bytes()[0]).collect::<Vec<u8>>()
    };
    (1..10).flat_map(|step| [run(step * 11, 3), run(step * 23, 5), run(step * 5, 17)]).collect()
}

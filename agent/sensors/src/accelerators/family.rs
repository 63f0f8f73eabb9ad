//! Accelerators of one driver family: found, watched, asked. What is another with every vendor is a table ([`Family`]), which is
//! what the files beside this one are.

use super::derive::{How, Past};
use super::device::{Device, Standing};
use super::schema::{Accelerator, AcceleratorKind, AcceleratorState, Figure, Quantity, Source, push};
use crate::reading::Reading;
use crate::root::{Root, RootError};
use crate::runtime_pm::Power;
use crate::sensor::{Sensor, SensorError};
use crate::since_boot::{Every, SinceBoot};
use dsmil_protocol::metric::Scale;
use std::time::Duration;

/// Devices of a family that are asked: the largest servers have 16 GPUs of one kind.
const MAX_DEVICES: usize = 32;
/// After this long the devices are looked for anew, though the kernel lists the same names.
const LISTING: Duration = Duration::from_secs(10);
/// Work that is the device's and not that of answering: above a twentieth of its time.
const AT_WORK: u64 = 20;

/// What one family has and says.
pub(super) struct Family {
    /// The sensor's name, and what it reads.
    pub(super) name: &'static str,
    pub(super) source: &'static str,
    /// Where the kernel lists its devices, and how their names begin: `class/drm`, `card`. After that comes a number, or anything
    /// where nothing is said of how names begin.
    pub(super) class: &'static str,
    pub(super) prefix: &'static str,
    /// Its drivers.
    pub(super) drivers: &'static [&'static str],
    pub(super) kind: AcceleratorKind,
    pub(super) vendor: &'static str,
    /// The device's file with the model's name.
    pub(super) model: Option<&'static str>,
    /// What can be asked. Of several of the same quantity and source the first counts that the device has.
    pub(super) figures: &'static [Ask],
    /// Pushes what goes by the vendor's names; nothing is to be read unless it says so.
    pub(super) own: Option<fn(&Root, &mut Device, bool, &mut Reading)>,
}

/// One thing to ask.
pub(super) struct Ask {
    pub(super) quantity: Quantity,
    pub(super) at: At,
    pub(super) scale: Scale,
    pub(super) how: How,
}

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// In the device's directory.
    Device(&'static str),
    /// In the directory of what the kernel lists: `class/drm/card1`.
    Listed(&'static str),
    /// In that of the device's monitoring chip.
    Chip(&'static str),
    /// Below /sys.
    Sys(&'static str),
}

/// A number as it is in the file.
pub(super) const fn number(quantity: Quantity, at: At, scale: Scale) -> Ask {
    Ask { quantity, at, scale, how: How::Number }
}

impl Ask {
    fn source(&self) -> Source {
        match self.how {
            How::Number | How::Percentages => Source::Measured,
            How::Share { .. } | How::Rest { .. } | How::Rate => Source::Estimated,
        }
    }

    /// Whether work shows in it. What is worked out from sleep within a device does not count: answering shows in it too.
    fn shows_work(&self) -> bool {
        self.quantity == Quantity::Utilisation && !matches!(self.how, How::Rest { .. })
    }
}

/// Reads a family's devices.
pub(super) struct FamilySensor {
    family: &'static Family,
    names: Vec<String>,
    members: Vec<Member>,
    listed: Every,
    time: SinceBoot,
    buffer: Vec<u8>,
}

/// A device of the family and what it can be asked.
struct Member {
    device: Device,
    /// Of [`Family::figures`], with the file's path and what was last read.
    asks: Vec<(&'static Ask, String, Past)>,
    at_work: bool,
    /// When one that can be asked nothing was last looked for on its bus.
    sought: Every,
}

impl FamilySensor {
    pub(super) fn of(family: &'static Family) -> Self {
        let (names, members) = (Vec::new(), Vec::new());
        Self { family, names, members, listed: Every::default(), time: SinceBoot::default(), buffer: Vec::new() }
    }

    /// Finds the devices that are listed. Those that were there and are not any more are lost, unless somebody took them.
    fn find(&mut self, root: &Root) {
        let mut before = std::mem::take(&mut self.members);
        for name in self.names.iter().take(MAX_DEVICES) {
            let Some(device) = Device::find(root, self.family, name) else { continue };
            // One device under two names is one device.
            if self.members.iter().any(|member| member.device.id == device.id) {
                continue;
            }
            let known = before.iter().position(|member| member.device.is(&device));
            self.members.push(match known {
                Some(at) => {
                    let mut member = before.swap_remove(at);
                    member.device.found_again(root);
                    member
                }
                None => Member::new(root, self.family, device),
            });
        }
        // One that came back under another name is not lost.
        before.retain(|member| self.members.iter().all(|found| found.device.id != member.device.id));
        let room = MAX_DEVICES - self.members.len();
        let gone = before.into_iter().filter_map(|member| member.missed(root));
        self.members.extend(gone.take(room));
        self.members.sort_by(|a, b| a.device.id.cmp(&b.device.id));
    }
}

impl Sensor for FamilySensor {
    fn name(&self) -> &'static str {
        self.family.name
    }

    fn source(&self) -> &'static str {
        self.family.source
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let mut names = match root.list_sys(self.family.class) {
            Err(RootError::Missing) => Vec::new(), // A host without such a thing.
            listed => listed.map_err(SensorError::at(self.family.class))?,
        };
        names.retain(|name| self.family.lists(name));
        let now = self.time.read(root);
        if names != self.names || self.listed.is_due(now, LISTING) {
            self.names = names;
            self.find(root);
        }
        for member in &mut self.members {
            member.read(root, self.family, now, &mut self.buffer, out);
        }
        Ok(())
    }
}

impl Family {
    fn lists(&self, name: &str) -> bool {
        let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        self.prefix.is_empty() || name.strip_prefix(self.prefix).is_some_and(number)
    }
}

impl Member {
    fn new(root: &Root, family: &'static Family, device: Device) -> Self {
        let mut asks: Vec<(&'static Ask, String, Past)> = Vec::new();
        for ask in family.figures {
            let taken = asks.iter().any(|(other, ..)| other.quantity == ask.quantity && other.source() == ask.source());
            if let Some(path) = device.path(root, ask.at).filter(|_| !taken) {
                asks.push((ask, path, Past::default()));
            }
        }
        Self { device, asks, at_work: false, sought: Every::default() }
    }

    /// What becomes of one that is not listed any more.
    fn missed(mut self, root: &Root) -> Option<Self> {
        self.device.missed(root);
        (self.device.standing != Standing::Taken).then_some(self)
    }

    fn read(&mut self, root: &Root, family: &Family, now: Option<Duration>, buffer: &mut Vec<u8>, out: &mut Reading) {
        let look = self.device.look(root, self.at_work);
        let mut figures = Vec::with_capacity(self.asks.len());
        let (mut answers, mut work) = (0, false);
        for (ask, path, past) in &mut self.asks {
            let text = if look.ask { root.sys(path, buffer).ok() } else { None };
            let value = text.and_then(|text| past.value(ask.how, text, now));
            answers += usize::from(text.is_some());
            let share = |value: u64| u128::from(value) * u128::from(ask.scale.multiply) * u128::from(AT_WORK);
            work |= ask.shows_work() && value.is_some_and(|value| share(value) > u128::from(ask.scale.divide));
            figures.push(Figure { quantity: ask.quantity, scale: ask.scale, source: ask.source(), value });
        }
        self.at_work = work;
        let mut silent = false;
        if look.ask {
            self.device.learn_model(root, family.model);
            // A driver that answers nothing any more, or can be asked nothing: does the device itself answer?
            silent = answers == 0 && !self.asks.is_empty();
            if silent || self.asks.is_empty() && self.sought.is_due(now, LISTING) {
                self.device.suspect(root);
            }
        }
        let state = match (self.device.standing, look.power) {
            (Standing::Lost, _) => AcceleratorState::Lost,
            (_, Power::Awake) if !silent => AcceleratorState::Active,
            (_, Power::Asleep) => AcceleratorState::Suspended,
            (_, Power::Awake | Power::Failed) => AcceleratorState::Unknown,
        };
        push(out, &self.device.accelerator(family), state, &figures);
        if let Some(own) = family.own {
            own(root, &mut self.device, look.ask, out);
        }
    }
}

impl Device {
    fn accelerator<'a>(&'a self, family: &Family) -> Accelerator<'a> {
        Accelerator {
            accelerator: &self.id,
            kind: family.kind,
            vendor: family.vendor,
            model: &self.model,
            driver: &self.driver,
            pci: if self.pci.is_some() { &self.id } else { "" },
            device: &self.name,
        }
    }
}

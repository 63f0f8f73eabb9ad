//! One monitoring chip: found, watched, read.

use super::attribute::{CLOCK, ENERGY, FileName, Role, clean};
use super::disk::Disk;
use crate::attributes::Attributes;
use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::runtime_pm::{Gate, Power, managed_above};
use crate::since_boot::Every;
use crate::text::{signed, unsigned};
use dsmil_protocol::metric::Scale;
use std::borrow::Cow;
use std::time::Duration;

/// Attributes of a chip: the Super I/O chips with the most have some 250. They are read one by one, so a hostile directory must
/// not have 16,000 of them.
const MAX_ATTRIBUTES: usize = 512;
/// Bytes of a label: boards have some of forty.
const MAX_LABEL_LEN: usize = 128;
/// After this long limits, modes, alarms and labels are read again.
const THOROUGH: Duration = Duration::from_secs(10);
/// A directory that every device has; a power meter would be called so too, if it had no number.
const POWER_MANAGEMENT: &str = "power";
/// The drivers whose figures come out of a disk.
const OF_DISKS: [&str; 2] = ["drivetemp", "nvme"];
const ONE: Form = Form::gauge(Scale::ONE);

/// A chip and what was last read of it.
pub(super) struct Chip {
    /// Its directory: `class/hwmon/hwmon3`.
    directory: String,
    /// By node_exporter's rule: by its device's place, which is the same after each boot.
    label: String,
    /// What its driver calls it.
    name: Option<String>,
    /// The power state of its device, where that takes part in power management.
    gate: Option<Gate>,
    /// What the gate said last.
    power: Option<Power>,
    /// The disk that it is in.
    disk: Option<Disk>,
    /// Whether it was ever asked.
    asked: bool,
    thorough: Every,
    attributes: Vec<Attribute>,
    /// Words for its sensors: the sensor and its label.
    labels: Vec<(String, String)>,
}

/// A file of a chip and what was last read of it.
struct Attribute {
    /// Below /sys.
    path: String,
    role: Role,
    metric: String,
    form: Form,
    sensor: String,
    /// Any number but 1 means no.
    switch: bool,
    /// Whether it ever held a number: chips list attributes of inputs that are not wired.
    known: bool,
    value: Option<u64>,
}

impl Chip {
    /// The chip in `directory`, unread. Only names of files are looked at, which no driver is asked for.
    pub(super) fn find(root: &Root, directory: String, files: &mut Attributes) -> Self {
        let device = root.resolve_sys(&format!("{directory}/device")).ok();
        files.enter(&[&directory]);
        // The kernel's core keeps the name; the driver is not asked.
        let name = files.text(root, "name").map(|name| clean(&name)).filter(|name| !name.is_empty());
        let label = chip_label(root, &directory, device.as_deref(), name.as_deref());
        let managed = device.as_deref().and_then(|device| managed_above(root, device));
        let mut chip = Self {
            label,
            gate: managed.map(|managed| Gate::before(&[&managed])),
            power: None,
            disk: name.as_deref().is_some_and(|name| OF_DISKS.contains(&name)).then(|| Disk::below(root, &directory)),
            name,
            directory,
            asked: false,
            thorough: Every::default(),
            attributes: Vec::new(),
            labels: Vec::new(),
        };
        chip.list(root, "");
        // Drivers of old have their attributes beside the device's own.
        chip.list(root, "device/");
        chip
    }

    fn list(&mut self, root: &Root, below: &str) {
        let names = root.list_sys(&format!("{}/{below}", self.directory)).unwrap_or_default();
        let files: Vec<(FileName<'_>, &String)> = names
            .iter()
            .filter(|name| *name != POWER_MANAGEMENT)
            .filter_map(|name| Some((FileName::read(name)?, name)))
            .take(MAX_ATTRIBUTES)
            .collect();
        for (file, name) in &files {
            let sensor = file.sensor();
            let with_bare = files.iter().any(|(other, _)| other.is_bare() && other.sensor() == sensor);
            let (metric, form) = file.metric(with_bare);
            self.attributes.push(Attribute {
                path: format!("{}/{below}{name}", self.directory),
                role: file.role(),
                metric,
                form,
                sensor,
                switch: file.is_switch(),
                known: false,
                value: None,
            });
        }
    }

    /// Whether this is `other` with the same files, so that what is known of this is known of that.
    pub(super) fn is(&self, other: &Self) -> bool {
        let paths = |chip: &'_ Self| chip.attributes.iter().map(|a| a.path.clone()).collect::<Vec<_>>();
        self.directory == other.directory && self.label == other.label && paths(self) == paths(other)
    }

    /// Reads its measurements, if it may be asked; when it is time, all the rest too.
    pub(super) fn read(&mut self, root: &Root, now: Option<Duration>, buffer: &mut Vec<u8>) {
        let look = self.gate.as_mut().map(|gate| gate.look(root, false));
        self.power = look.map(|look| look.power);
        let ask = look.is_none_or(|look| look.ask) && self.disk.as_mut().is_none_or(|disk| disk.is_at_work(root));
        let thorough = ask && self.thorough.is_due(now, THOROUGH);
        self.asked |= ask;
        for attribute in self.attributes.iter_mut().filter(|attribute| attribute.role != Role::Label) {
            attribute.read(root, ask, thorough, buffer);
        }
        if thorough {
            self.labels.clear();
            for attribute in self.attributes.iter().filter(|attribute| attribute.role == Role::Label) {
                if let Some(text) = root.sys(&attribute.path, buffer).ok().filter(|text| !text.is_empty()) {
                    let text = &text[..text.len().min(MAX_LABEL_LEN)];
                    self.labels.push((attribute.sensor.clone(), label(text).into_owned()));
                }
            }
        }
    }

    /// Pushes what is known of it.
    pub(super) fn push(&self, out: &mut Reading) {
        let chip = self.label.as_str();
        if let Some(name) = &self.name {
            out.push("node_hwmon_chip_names", &[("chip", chip), ("chip_name", name)], ONE, Some(1));
        }
        if let Some(power) = self.power {
            let suspended = match power {
                Power::Awake => Some(0),
                Power::Asleep => Some(1),
                Power::Failed => None,
            };
            out.push("dsmil_hwmon_chip_suspended", &[("chip", chip)], ONE, suspended);
        }
        // A clock goes by its label already.
        for (sensor, label) in self.labels.iter().filter(|(sensor, _)| !sensor.starts_with(CLOCK)) {
            let labels = [("chip", chip), ("sensor", sensor.as_str()), ("label", label.as_str())];
            out.push("node_hwmon_sensor_label", &labels, ONE, Some(1));
        }
        for attribute in &self.attributes {
            // Of a chip that was never asked, all that it lists is what it may have.
            if attribute.role == Role::Label || self.asked && !attribute.known {
                continue;
            }
            let sensor = if attribute.role == Role::Clock {
                // node_exporter calls a clock by its label, and leaves out one that has none.
                let Some((_, words)) = self.labels.iter().find(|(sensor, _)| *sensor == attribute.sensor) else {
                    continue;
                };
                Cow::Owned(clean(words))
            } else {
                Cow::Borrowed(attribute.sensor.as_str())
            };
            let labels = [("chip", chip), ("sensor", &*sensor)];
            out.push(&attribute.metric, &labels, attribute.form, attribute.value);
        }
    }
}

impl Attribute {
    /// Reads it where it is its turn: a measurement each time the chip is asked, everything else when it is asked thoroughly.
    /// In between a setting keeps its value, and of a chip that is not asked nothing has one.
    fn read(&mut self, root: &Root, ask: bool, thorough: bool, buffer: &mut Vec<u8>) {
        if !ask {
            self.value = None;
            return;
        }
        let turn = thorough || self.known && self.role != Role::Setting;
        if turn || self.known && self.value.is_none() {
            let number = if self.form == ENERGY { unsigned } else { signed };
            self.value = root.sys(&self.path, buffer).ok().and_then(number);
            if self.switch {
                self.value = Some(u64::from(self.value == Some(1)));
            }
            self.known |= self.value.is_some();
        }
    }
}

/// The label `chip` by node_exporter's rule: the device's bus and name, or else what the driver calls the chip, or else its number.
fn chip_label(root: &Root, directory: &str, device: Option<&str>, name: Option<&str>) -> String {
    if let Some(label) = device.and_then(place_label) {
        return label;
    }
    name.map_or_else(
        || {
            let place = root.resolve_sys(directory).unwrap_or_else(|_| directory.to_owned());
            clean(place.rsplit('/').next().unwrap_or(&place))
        },
        str::to_owned,
    )
}

/// What node_exporter calls the chip of a device by the device's place, a path without links: its bus and its name.
pub(crate) fn place_label(device: &str) -> Option<String> {
    let (above, device) = device.rsplit_once('/').unwrap_or(("", device));
    let bus = clean(above.rsplit('/').next().unwrap_or(above));
    let device = clean(device);
    match (bus.is_empty(), device.is_empty()) {
        (false, false) => Some(format!("{bus}_{device}")),
        (true, false) => Some(device),
        _ => None,
    }
}

//! One accelerator in the kernel's tree: where it is, whether it may be asked, and whether it is still there.
//!
//! Format of the tree: the kernel's `Documentation/admin-guide/sysfs-rules.rst`; of a PCI device's files, its
//! `Documentation/ABI/testing/sysfs-bus-pci` and `sysfs-devices-removable`.

use super::family::{At, Family};
use crate::attributes::Attributes;
use crate::pci::{Presence, presence};
use crate::root::Root;
use crate::runtime_pm::{Gate, Look, Power};
use dsmil_protocol::probe::PciAddress;

/// Whether a device is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The kernel lists it.
    There,
    /// It does not answer on its bus, or is not on it any more, and nobody took it.
    Lost,
    /// Somebody took it: another driver, or the hand that pulled the plug.
    Taken,
}

/// An accelerator that was seen in this boot.
pub(super) struct Device {
    /// What the kernel calls it in this boot: `card1`.
    pub(super) name: String,
    /// The name of its directory: the PCI address, or the platform's name of it.
    pub(super) id: String,
    pub(super) pci: Option<PciAddress>,
    pub(super) driver: String,
    pub(super) model: String,
    pub(super) standing: Standing,
    /// Its directory, without links.
    pub(super) directory: String,
    /// What the kernel lists it as: `class/drm/card1`.
    listed: String,
    /// The directory of its monitoring chip.
    chip: Option<String>,
    /// Whether it can be unplugged while the host runs: an external card.
    removable: bool,
    /// Whether the model's name was asked for.
    model_known: bool,
    gate: Gate,
    pub(super) files: Attributes,
    /// What the vendor's own part remembers of it.
    pub(super) own: Vec<String>,
}

impl Device {
    /// The device that is listed as `name`, if it is of the family. No driver is asked.
    pub(super) fn find(root: &Root, family: &Family, name: &str) -> Option<Self> {
        let listed = format!("{}/{name}", family.class);
        let driver = last_of(&root.resolve_sys(&format!("{listed}/device/driver")).ok()?).to_owned();
        if !family.drivers.contains(&driver.as_str()) {
            return None;
        }
        let directory = root.resolve_sys(&format!("{listed}/device")).ok()?;
        let id = last_of(&directory).to_owned();
        let pci: Option<PciAddress> = id.parse().ok();
        let mut files = Attributes::default();
        files.enter(&[&directory]);
        let mut text = |file: &str| files.text(root, file).map(|text| text.into_owned());
        let number = |text: Option<String>| text.map(|text| text.trim_start_matches("0x").to_owned());
        let model = match (number(text("vendor")), number(text("device"))) {
            (Some(vendor), Some(device)) if pci.is_some() => format!("{vendor}:{device}"),
            _ => driver.clone(),
        };
        let removable = text("removable").as_deref() == Some("removable");
        let chips = root.list_sys(&format!("{directory}/hwmon")).unwrap_or_default();
        let chip = chips.first().map(|chip| format!("{directory}/hwmon/{chip}"));
        let gate = Gate::before(&[&directory]);
        Some(Self {
            name: name.to_owned(),
            id,
            pci,
            driver,
            model,
            standing: Standing::There,
            directory,
            listed,
            chip,
            removable,
            model_known: false,
            gate,
            files,
            own: Vec::new(),
        })
    }

    /// Whether this is `other`, found again.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.directory == other.directory
            && self.name == other.name
            && self.driver == other.driver
            && self.chip == other.chip
    }

    /// The path of a file, if the device has it. Only directories are looked at.
    pub(super) fn path(&self, root: &Root, at: At) -> Option<String> {
        let path = match at {
            At::Device(file) => format!("{}/{file}", self.directory),
            At::Listed(file) => format!("{}/{file}", self.listed),
            At::Chip(file) => format!("{}/{file}", self.chip.as_deref()?),
            At::Sys(file) => file.to_owned(),
        };
        let (directory, file) = path.rsplit_once('/')?;
        root.list_sys(directory).is_ok_and(|names| names.iter().any(|name| name == file)).then_some(path)
    }

    /// Looks at its power state. One that is lost is asked nothing.
    pub(super) fn look(&mut self, root: &Root, at_work: bool) -> Look {
        match self.standing {
            Standing::There => self.gate.look(root, at_work),
            Standing::Lost | Standing::Taken => Look { power: Power::Failed, ask: false },
        }
    }

    /// It may be asked: what is it called?
    pub(super) fn learn_model(&mut self, root: &Root, file: Option<&str>) {
        let Some(file) = file.filter(|_| !self.model_known) else { return };
        self.files.enter(&[&self.directory]);
        if let Some(model) = self.files.text(root, file) {
            self.model = model.into_owned();
        }
        self.model_known = true;
    }

    /// It is not listed any more: is it lost, or did somebody take it?
    pub(super) fn missed(&mut self, root: &Root) {
        self.standing = match self.pci.map(|pci| presence(root, pci)) {
            // It answers, so its driver let go of it, as it was told to. A platform's device cannot fall off anything.
            Some(Presence::Answers) | None => Standing::Taken,
            Some(Presence::Gone) if self.removable => Standing::Taken,
            Some(Presence::Gone | Presence::Silent) => Standing::Lost,
        };
    }

    /// It is listed again, or still: one that was lost is there again if it answers.
    pub(super) fn found_again(&mut self, root: &Root) {
        if self.standing == Standing::Lost && self.pci.is_some_and(|pci| presence(root, pci) == Presence::Silent) {
            return;
        }
        self.standing = Standing::There;
    }

    /// Its driver answers nothing: does it answer on its bus? It is awake, so the question wakes nobody.
    pub(super) fn suspect(&mut self, root: &Root) {
        if self.pci.is_some_and(|pci| presence(root, pci) == Presence::Silent) {
            self.standing = Standing::Lost;
        }
    }
}

fn last_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

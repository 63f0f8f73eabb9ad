//! What the kernel's log says of faults: NVIDIA's XIDs, machine checks, processes killed for memory, links that go down, errors of
//! disks.
//!
//! Format: the kernel's `Documentation/ABI/testing/dev-kmsg`. Each record is `priority,sequence,time,flags;message`, and lines that begin
//! with a space belong to it. Records of other facilities than the kernel's are written by users, who may write anything: they
//! count for nothing.
//!
//! The first reading begins with the oldest record that the kernel still has, so that a boot's faults are there although nobody
//! listened; a probe that begins anew reads them again, and its counters then say again what they said. Sequence numbers tell how
//! many records were overwritten before they were read.

mod event;
mod xid;

use crate::nvidia;
use crate::source::Source;
use dsmil_protocol::metric::Scale;
use dsmil_protocol::probe::{Fault, PciAddress, Text};
use dsmil_sensors::root::Root;
use dsmil_sensors::{Form, Reading};
use event::{Event, PLAIN_EVENTS};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::PathBuf;
use xid::Bursts;

/// The kernel's log.
pub(crate) const DEFAULT_PATH: &str = "/dev/kmsg";
/// Records taken in one reading: a flood costs so much a second and no more. What is left is read at the next one; the kernel
/// overwrites what nobody comes to, and that is counted.
const MAX_RECORDS: usize = 4000;
/// The longest record that the kernel hands out; into less, it refuses to.
const MAX_RECORD_LEN: usize = 8 << 10;
/// Readings between two looks for GPUs: a hundred devices on the bus take a millisecond, and GPUs hardly ever come.
const LOOK_EVERY: u32 = 60;
/// Events that are told apart: who pulls cables all day does not fill a metric set.
const MAX_EVENTS: usize = 256;
const COUNT: Form = Form::counter(Scale::ONE);
const GAUGE: Form = Form::gauge(Scale::ONE);

/// Reads `/dev/kmsg`.
pub(crate) struct Kmsg {
    path: PathBuf,
    file: Option<OwnedFd>,
    readings: u32,
    log: Log,
}

impl Kmsg {
    /// The log that is read at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, readings: 0, log: Log::default() }
    }

    fn take_in(&mut self) -> Result<(), Errno> {
        let file = match self.file.take() {
            Some(file) => file,
            None => rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?,
        };
        let file = self.file.insert(file);
        let mut buffer = [0; MAX_RECORD_LEN];
        let until = self.log.lines + MAX_RECORDS as u64;
        while self.log.lines < until {
            match rustix::io::read(&*file, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(length) => self.log.take(&buffer[..length]),
                // EPIPE: what we were to read was overwritten, and the next read goes on with what there is.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Source for Kmsg {
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault> {
        if self.readings.is_multiple_of(LOOK_EVERY) {
            self.log.look(root);
        }
        self.readings = self.readings.wrapping_add(1);
        let outcome = self.take_in();
        self.log.push(out);
        outcome.map_err(|error| {
            self.file = None;
            match error {
                Errno::PERM | Errno::ACCESS => Fault::NoPermission { to: Text::of(&self.path.to_string_lossy()) },
                error => Fault::Unreadable { what: Text::of(&format!("{}: {error}", self.path.display())) },
            }
        })
    }

    fn listens(&self) -> bool {
        true
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Log {
    /// The beginning of a record whose end has not come yet; the kernel hands out whole ones.
    rest: Vec<u8>,
    sequence: Option<u64>,
    lines: u64,
    lost: u64,
    events: Vec<(Event, u64)>,
    /// How the host calls itself.
    host: String,
    /// The GPUs that were seen on the bus, in its order: one that fell off keeps its number.
    gpus: Vec<PciAddress>,
    /// The last XID of each GPU.
    xids: Vec<(PciAddress, u64)>,
    bursts: Bursts,
}

impl Log {
    /// Looks which GPUs there are, without asking their driver.
    fn look(&mut self, root: &Root) {
        self.host = nvidia::host_name(root);
        let known = &self.gpus;
        let new: Vec<_> = nvidia::gpus(root).into_iter().filter(|gpu| !known.contains(gpu)).collect();
        self.gpus.extend(new);
        self.gpus.sort_unstable();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut rest = &bytes[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line(&rest[..end]);
            rest = &rest[end + 1..];
        }
        if rest.len() <= MAX_RECORD_LEN {
            self.rest = rest.to_vec();
        }
    }

    fn line(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some(record) = Record::of(&line) else { return };
        self.lines += 1;
        let expected = self.sequence.map_or(record.sequence, |last| last.saturating_add(1));
        self.lost = self.lost.saturating_add(record.sequence.saturating_sub(expected));
        self.sequence = Some(record.sequence);
        let Some(event) = record.message.and_then(Event::of) else { return };
        if let Event::Xid { device, code } = event {
            self.bursts.take(device, code, record.time_us);
            let full = self.xids.len() >= MAX_EVENTS;
            match self.xids.iter_mut().find(|(known, _)| *known == device) {
                Some((_, last)) => *last = code,
                None if !full => self.xids.push((device, code)),
                None => {}
            }
        }
        self.count(event);
    }

    fn count(&mut self, event: Event) {
        let full = self.events.len() >= MAX_EVENTS;
        match self.events.iter_mut().find(|(known, _)| *known == event) {
            Some((_, count)) => *count += 1,
            None if !full || PLAIN_EVENTS.contains(&event) => self.events.push((event, 1)),
            // Of which device it was is lost, that it was is not.
            None if event.is_of_a_device() => self.count(event.of_no_device()),
            None => {}
        }
    }

    fn push(&self, out: &mut Reading) {
        out.push("dsmil_kernel_log_lines_total", &[], COUNT, Some(self.lines));
        out.push("dsmil_kernel_log_lines_lost_total", &[], COUNT, Some(self.lost));
        // There from the start: a counter that appears with 1 has no increase.
        let count = |event: &Event| self.events.iter().find(|(known, _)| known == event).map_or(0, |(_, count)| *count);
        for event in PLAIN_EVENTS {
            out.push(EVENTS, &event.labels().pairs(), COUNT, Some(count(&event)));
        }
        for (event, count) in self.events.iter().filter(|(event, _)| !PLAIN_EVENTS.contains(event)) {
            out.push(EVENTS, &event.labels().pairs(), COUNT, Some(*count));
        }
        self.push_xids(out);
        out.push("dsmil_gpu_xid_policy_version", &[], GAUGE, Some(self.bursts.policy_version().into()));
        for (place, action, count) in self.bursts.counts() {
            let place = place.to_string();
            let labels = [("device", &*place), ("action", action.name())];
            out.push("dsmil_gpu_xid_bursts_total", &labels, COUNT, Some(count));
        }
    }

    /// The last XID of each GPU, under dcgm-exporter's name. One that had none says 0, as there: rules look for a change.
    fn push_xids(&self, out: &mut Reading) {
        let strangers = self.xids.iter().map(|(place, _)| place).filter(|place| !self.gpus.contains(place));
        for place in self.gpus.iter().chain(strangers) {
            let last = self.xids.iter().find(|(known, _)| known == place).map_or(0, |(_, code)| *code);
            let number = self.gpus.iter().position(|gpu| gpu == place).map(|number| number.to_string());
            let bus_id = nvidia::bus_id(*place);
            let labels = [("gpu", number.as_deref()), ("pci_bus_id", Some(&bus_id)), ("Hostname", Some(&self.host))];
            let known = labels.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let known: Vec<_> = known.filter(|(_, value)| !value.is_empty()).collect();
            out.push("DCGM_FI_DEV_XID_ERRORS", &known, GAUGE, Some(last));
        }
    }
}

const EVENTS: &str = "dsmil_kernel_events_total";

/// One record's first line.
struct Record<'a> {
    sequence: u64,
    /// Microseconds since boot.
    time_us: u64,
    /// What it says; nothing if a user wrote it.
    message: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (head, message) = line.split_once(';')?;
        let mut fields = head.split(',');
        let priority: u32 = fields.next()?.parse().ok()?;
        let (sequence, time_us) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        // Three bits of severity, then the facility: 0 is the kernel.
        Some(Self { sequence, time_us, message: (priority >> 3 == 0).then_some(message) })
    }
}

/// Pushes what there is to say of a host with a GPU and of a log with a fault of every kind, an hour between two of them.
#[cfg(any(test, feature = "reference"))]
pub(crate) fn example(out: &mut Reading) {
    let gpu = PciAddress { domain: 0, bus: 0x3b, device: 0, function: 0 };
    let mut log = Log { host: "gpu-1".into(), gpus: vec![gpu], ..Log::default() };
    for (n, message) in (0u64..).zip(event::EXAMPLES) {
        log.take(format!("4,{n},{},-;{message}\n", n * 3_600_000_000).as_bytes());
    }
    log.push(out);
}

#[cfg(test)]
mod tests;

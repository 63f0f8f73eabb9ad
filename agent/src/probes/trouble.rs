//! What is wrong with a probe, in words, and what to do about it.

use super::call::CallError;
use super::process::Process;
use dsmil_protocol::probe::{Fault, PciAddress, ProbeError, ProbeKind};
use dsmil_sensors::pci::Presence;
use std::fmt;
use std::time::Duration;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It takes its time.
    Pending {
        /// For how long, so far.
        ms: u64,
    },
    /// It says nothing.
    Silent {
        /// Since when, on the monotonic clock.
        since: Duration,
        /// What the kernel says of it.
        process: Option<Process>,
    },
    /// It does not take the question: others wait before us, or it hangs.
    Busy,
    /// It ends before it has answered.
    Ends,
    /// Its socket was there and is not any more, or nobody holds it.
    Gone,
    /// Its socket may not be used by us.
    Forbidden,
    /// It sends what is no answer.
    Garbage(ProbeError),
    /// Something else with its socket.
    Socket(String),
    /// It says itself what is wrong.
    Fault(Fault),
    /// A card is not on the bus any more.
    FellOff {
        /// Where it was.
        device: PciAddress,
        /// Whether the kernel still lists it.
        is_listed: bool,
    },
    /// The driver has lost a card that is still on the bus.
    LostByDriver {
        /// Where it is.
        device: PciAddress,
    },
}

impl Trouble {
    /// Of a question that could not be asked or was not answered.
    pub(super) fn of(error: CallError) -> Self {
        match error {
            CallError::NoSocket | CallError::Refused => Self::Gone,
            CallError::Forbidden => Self::Forbidden,
            CallError::Busy => Self::Busy,
            CallError::Closed => Self::Ends,
            CallError::Garbage(error) => Self::Garbage(error),
            CallError::Other(error) => Self::Socket(error.to_string()),
        }
    }

    /// Of a card that its driver has lost.
    pub(super) fn lost(device: PciAddress, presence: Presence) -> Self {
        match presence {
            Presence::Answers => Self::LostByDriver { device },
            Presence::Silent => Self::FellOff { device, is_listed: true },
            Presence::Gone => Self::FellOff { device, is_listed: false },
        }
    }

    /// It in words, at that moment of the monotonic clock.
    pub(super) fn at(&self, now: Duration) -> impl fmt::Display {
        std::fmt::from_fn(move |f| match self {
            Self::Pending { ms } => write!(f, "no answer for {ms} ms"),
            Self::Silent { since, process } => {
                write!(f, "no answer for {} s", now.saturating_sub(*since).as_secs())?;
                process.as_ref().map_or(Ok(()), |process| write!(f, ": {process}"))
            }
            Self::Busy => f.write_str("the probe does not take questions: it hangs, or others ask it all the time"),
            Self::Ends => f.write_str("the probe ends before it has answered"),
            Self::Gone => f.write_str("nobody holds the probe's socket any more"),
            Self::Forbidden => f.write_str("the agent may not use the probe's socket"),
            Self::Garbage(error) => write!(f, "the probe sends garbage: {error}"),
            Self::Socket(error) => write!(f, "the probe's socket cannot be used: {error}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::FellOff { device, is_listed: true } => {
                write!(f, "the GPU at {device} fell off the bus: it is listed and does not answer")
            }
            Self::FellOff { device, is_listed: false } => {
                write!(f, "the GPU at {device} fell off the bus: the kernel does not list it any more")
            }
            Self::LostByDriver { device } => {
                write!(f, "the driver has lost the GPU at {device}, which still answers on the bus")
            }
        })
    }

    /// What to do about it.
    pub(super) fn remedy(&self, kind: ProbeKind) -> &'static str {
        match self {
            Self::Pending { .. } => "Nothing yet: it is given two seconds.",
            Self::Fault(Fault::Hung { .. }) if kind == ProbeKind::Systemd => {
                "Process 1 or the message bus does not answer: `busctl status`, and `journalctl -b -u dbus -u init.scope`."
            }
            Self::Silent { .. } | Self::Busy | Self::Fault(Fault::Hung { .. }) => {
                "The driver hangs; everything else goes on. `journalctl -k --since -10min` has the kernel's word. In state D only \
                 a reset of the device or a restart of the machine helps."
            }
            Self::Ends | Self::Garbage(_) | Self::Socket(_) => {
                "`journalctl -u 'dsmil-probe@*'` has the probe's last words. It is asked again by itself, at growing intervals."
            }
            Self::Gone => {
                "`systemctl restart 'dsmil-probe@*.socket'`; without probes, name those that are there under [probes] in agent.toml."
            }
            Self::Forbidden => "Its socket is for root and the group dsmil: `ls -l /run/dsmil-probe`.",
            Self::Fault(Fault::LibraryMissing { .. }) => {
                "Install the library of the driver's release (Debian: libnvidia-ml1), or name it: `dsmil-probe --library`."
            }
            Self::Fault(Fault::LibraryUnusable { .. }) => "Install the library of the driver's own release.",
            Self::Fault(Fault::ProgramMissing { .. }) => program_missing(kind),
            Self::Fault(Fault::ProgramFailed { .. }) if kind == ProbeKind::Systemd => {
                "`systemctl list-units` as an ordinary user shows it. It asks over the message bus: `systemctl status dbus`; Debian: dbus."
            }
            Self::Fault(Fault::ProgramFailed { .. }) => {
                "The program's last words are in the verdict; `journalctl -u 'dsmil-probe@*'` has more."
            }
            Self::Fault(Fault::DriverNotLoaded) => "`modprobe nvidia`, and `journalctl -k` says why it was not loaded.",
            Self::Fault(Fault::VersionMismatch { .. }) => {
                "The driver was upgraded under a running kernel: restart the machine, or unload and load the driver."
            }
            Self::Fault(Fault::NoPermission { .. }) => {
                "`systemctl cat dsmil-probe@KIND` shows what the unit lets it use; rights.conf gives the rest."
            }
            Self::Fault(Fault::ResetRequired { .. }) | Self::LostByDriver { .. } => {
                "End what uses the GPU and reset it (`nvidia-smi --gpu-reset -i N`), or restart the machine."
            }
            Self::FellOff { .. } | Self::Fault(Fault::DeviceLost { .. }) => {
                "Restart the machine with its power off in between; if it comes back, look at power, seat and cooling of the card."
            }
            Self::Fault(Fault::Unreadable { .. }) if kind == ProbeKind::Rapl => {
                "`journalctl -k --since -10min` has the kernel's word."
            }
            Self::Fault(Fault::Unreadable { .. }) => "`journalctl -u 'dsmil-probe@*'` says more.",
            Self::Fault(Fault::TooMany { .. }) => "The first ones are reported. Report it with `dsmilctl host bundle`.",
            Self::Fault(Fault::NotImplemented) => {
                "Turn its socket off: `systemctl disable --now dsmil-probe@KIND.socket`, or upgrade the package."
            }
        }
    }
}

/// How to get the program that a kind runs.
const fn program_missing(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Smart => {
            "Install smartmontools, or name its smartctl: `dsmil-probe --program`. It is asked again by itself."
        }
        ProbeKind::Systemd => {
            "Its systemctl is systemd's own: reinstall systemd, or name another: `dsmil-probe --program`."
        }
        _ => "Install the program that the verdict names, or name another place: `dsmil-probe --program`.",
    }
}

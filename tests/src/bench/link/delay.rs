//! Carries Ethernet frames between two devices and holds each one for a while, to the microsecond.
//!
//! One thread does nothing else. It waits with ppoll(2), whose time-out is in nanoseconds, and asks the kernel to add no slack
//! of its own; tokio's timer knows whole milliseconds only, and one of them is a whole round trip here.

use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Stop;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A frame at the most: 64 KiB that the kernel has not cut into packets yet, and what is before it.
const MAX_FRAME_LEN: usize = 70_000;
/// Bytes held for each way: 10 ms at 50 Gbit/s. What is beyond is dropped, as on a real wire, and counted.
const MAX_HELD: usize = 64 << 20;
/// This thread's nice value: whoever may make network namespaces may have it.
const FIRST: i32 = -20;
/// How long to wait where nothing is due: then look whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Frames of which the lateness is kept.
const MAX_SAMPLES: usize = 1 << 20;

/// How long each frame is held. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay {
    ns: Arc<AtomicU64>,
    carried: Arc<Mutex<Carried>>,
}

/// What was carried.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    /// By how much frames were late, microseconds.
    pub(super) late_us: Vec<f64>,
    /// Frames that were dropped.
    pub(super) dropped: u64,
}

impl Delay {
    /// Each frame is held for so long from now on.
    pub(super) fn set(&self, delay: Duration) {
        self.ns.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn take_carried(&self) -> Carried {
        std::mem::take(&mut *self.carried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.ns.load(Ordering::Relaxed))
    }
}

/// What is held for one way.
#[derive(Default)]
struct Way {
    frames: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
}

/// Carries until it is to stop.
pub(super) fn carry(taps: &[File; 2], delay: &Delay, clock: &Clock, stop: &Stop) -> std::io::Result<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    // A wire does not wait for a core. Where that is not allowed, the row that tells the wire's lateness shows it.
    let _ = rustix::process::setpriority_process(None, FIRST);
    let (mut ways, mut buffer) = ([Way::default(), Way::default()], vec![0; MAX_FRAME_LEN]);
    while !stop.is_requested() {
        let mut told = Carried::default();
        for (from, way) in ways.iter_mut().enumerate() {
            told.dropped += way.take(&taps[from], delay.get(), clock, &mut buffer)?;
            told.dropped += way.give(&taps[1 - from], clock, &mut told.late_us)?;
        }
        if told.dropped > 0 || !told.late_us.is_empty() {
            let mut carried = delay.carried.lock().unwrap_or_else(PoisonError::into_inner);
            carried.dropped += told.dropped;
            let room = MAX_SAMPLES.saturating_sub(carried.late_us.len());
            carried.late_us.extend(told.late_us.iter().take(room));
        }
        wait(taps, &ways, clock)?;
    }
    Ok(())
}

/// Waits for a frame, or until the next one is due.
fn wait(taps: &[File; 2], ways: &[Way; 2], clock: &Clock) -> std::io::Result<()> {
    let due = ways.iter().filter_map(|way| way.frames.front()).map(|(due, _)| *due).min();
    let now = clock.mono();
    let pause = due.map_or(LOOK_EVERY, |due| due.saturating_sub(now)).min(LOOK_EVERY);
    let pause = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
    let mut fds = taps.each_ref().map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN));
    match poll(&mut fds, Some(&pause)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Way {
    /// Takes what has come, and returns how many frames there was no room for.
    fn take(&mut self, mut tap: &File, delay: Duration, clock: &Clock, buffer: &mut [u8]) -> std::io::Result<u64> {
        let mut dropped = 0;
        loop {
            let len = match tap.read(buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(dropped),
                Err(error) => return Err(error),
            };
            if self.bytes + len > MAX_HELD {
                dropped += 1;
                continue;
            }
            self.bytes += len;
            self.frames.push_back((clock.mono() + delay, buffer[..len].to_vec()));
        }
    }

    /// Gives what is due, and returns how many frames were not taken.
    fn give(&mut self, mut tap: &File, clock: &Clock, late_us: &mut Vec<f64>) -> std::io::Result<u64> {
        let mut dropped = 0;
        while let Some((due, _)) = self.frames.front() {
            let now = clock.mono();
            if *due > now {
                break;
            }
            late_us.push((now - *due).as_secs_f64() * 1e6);
            let Some((_, frame)) = self.frames.pop_front() else { break };
            self.bytes -= frame.len();
            // A frame that the other end does not take is lost, as on any wire.
            dropped += u64::from(tap.write(&frame).is_err());
        }
        Ok(dropped)
    }
}

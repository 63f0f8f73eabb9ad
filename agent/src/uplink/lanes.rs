//! Writes the three lanes, each in a task of its own, so that a slow one holds up none of the others.

use dsmil_protocol::session::{Lane, Outgoing};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use quinn::WriteError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// The lanes of one connection. Dropping it ends them once they have written what they have.
#[derive(Debug)]
pub(super) struct Lanes {
    control: mpsc::UnboundedSender<Vec<u8>>,
    live: mpsc::UnboundedSender<Vec<u8>>,
    /// Frames handed to the live lane and not written yet.
    live_waiting: Arc<AtomicUsize>,
    backlog: mpsc::UnboundedSender<Vec<u8>>,
}

impl Lanes {
    /// Lanes over `connection`, whose control stream is open.
    ///
    /// The queues need no bound of their own: the session sends at most its window of backlog without acknowledgement,
    /// one live batch in ten ticks, and gives up on a connection that is silent for ten seconds; a tick for whoever watches
    /// is sent only when the lane has nothing to write.
    pub(super) fn start(connection: &quinn::Connection, control: quinn::SendStream, supervisor: &Supervisor) -> Self {
        let (control_queue, frames) = mpsc::unbounded_channel();
        supervisor.spawn("uplink-control", OnFailure::Note, write_control(control, frames));
        let lane = |waiting: &Arc<AtomicUsize>| {
            let (queue, frames) = mpsc::unbounded_channel();
            let written = write_lane(connection.clone(), frames, Arc::clone(waiting));
            supervisor.spawn("uplink-lane", OnFailure::Note, written);
            queue
        };
        let live_waiting = Arc::default();
        Self { control: control_queue, live: lane(&live_waiting), live_waiting, backlog: lane(&Arc::default()) }
    }

    /// Whether the live lane has written all that it was handed.
    pub(super) fn is_live_idle(&self) -> bool {
        self.live_waiting.load(Ordering::Relaxed) == 0
    }

    /// Hands a frame to its lane. A lane that ended has lost its connection, which the driver learns by itself.
    pub(super) fn send(&self, out: Outgoing) {
        let queue = match out.lane {
            Lane::Control => &self.control,
            Lane::Live => {
                self.live_waiting.fetch_add(1, Ordering::Relaxed);
                &self.live
            }
            Lane::Backlog => &self.backlog,
        };
        let _ = queue.send(out.bytes);
    }
}

async fn write_control(
    mut stream: quinn::SendStream,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
) -> Result<(), std::convert::Infallible> {
    while let Some(frame) = frames.recv().await {
        if stream.write_all(&frame).await.is_err() {
            return Ok(());
        }
    }
    let _ = stream.finish();
    Ok(())
}

/// Writes frames to a stream of its own. A stream that the aggregator stops, because a frame on it was damaged, is
/// replaced by a new one; the frame it stopped at is sent again when nobody acknowledges it.
async fn write_lane(
    connection: quinn::Connection,
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
) -> Result<(), std::convert::Infallible> {
    let mut stream: Option<quinn::SendStream> = None;
    while let Some(frame) = frames.recv().await {
        let open = match &mut stream {
            Some(open) => open,
            None => match connection.open_uni().await {
                Ok(opened) => stream.insert(opened),
                Err(_) => return Ok(()),
            },
        };
        match open.write_all(&frame).await {
            Ok(()) => {}
            Err(WriteError::Stopped(_)) => stream = None,
            Err(_) => return Ok(()),
        }
        let _ = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |frames| frames.checked_sub(1));
    }
    if let Some(mut open) = stream {
        let _ = open.finish();
    }
    Ok(())
}

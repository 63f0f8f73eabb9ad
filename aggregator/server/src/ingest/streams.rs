//! Reads a session's streams, each in a task of its own, and hands their frames over in one queue.

use super::Ingest;
use dsmil_protocol::frame::{Frame, MessageType};
use dsmil_protocol::reader::{FrameReader, ReadFault};
use dsmil_runtime::supervise::OnFailure;
use quinn::VarInt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes taken from a stream at once.
const CHUNK: usize = 64 << 10;
/// KiB of telemetry that one session may make us hold, from a frame's header to its commit: two of the largest frames.
/// Beyond it the streams are not read, and QUIC's flow control holds the peer.
const SESSION_KIB: usize = 8 << 10;
/// Frames of the control stream up to this need no room: heartbeats have to come through while batches wait.
const SMALL_LEN: usize = 64 << 10;
/// Bytes of metric sets that a session may bring a second, sustained, and at once. A host's set is some 10 KiB and changes
/// when a disk comes or goes; the largest there can be is 3 MiB, which may come once, and each one that is new is a write of
/// the journal that everybody waits for.
const SETS_PER_SECOND: u32 = 256 << 10;
const SETS_AT_ONCE: Duration = Duration::from_secs(12);

/// What a reading task hands over.
#[derive(Debug)]
pub(super) struct Read {
    /// A frame, or why there is none.
    pub(super) frame: Result<Frame, ReadFault>,
    /// Its share of what the session may hold; given back when it is dropped. Small control frames need none.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What all streams of a session share: the room for what they hold, and the pace of metric sets. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Held {
    ingest: Ingest,
    room: Arc<Semaphore>,
    /// When all metric sets that have come so far would have come at the sustained rate.
    sets_paid_at: Arc<Mutex<Duration>>,
}

impl Held {
    pub(super) fn new(ingest: &Ingest) -> Self {
        Self { ingest: ingest.clone(), room: Arc::new(Semaphore::new(SESSION_KIB)), sets_paid_at: Arc::default() }
    }

    /// Waits for room for so many bytes; what is not longer than `free` needs none.
    async fn take(&self, bytes: usize, free: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= free {
            return None;
        }
        let kib = u32::try_from(bytes.div_ceil(1024).min(SESSION_KIB)).unwrap_or(u32::MAX);
        // It is never closed.
        Arc::clone(&self.room).acquire_many_owned(kib).await.ok()
    }

    /// Has a metric set wait until it is due; QUIC's flow control holds what is behind it on its stream.
    async fn pace(&self, set: &Frame) {
        let clock = &self.ingest.0.clock;
        let bytes = u32::try_from(set.payload.len()).unwrap_or(u32::MAX);
        let due = {
            let mut paid_at = self.sets_paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            *paid_at = (*paid_at).max(clock.mono()) + Duration::from_secs(1) * bytes / SETS_PER_SECOND;
            paid_at.saturating_sub(SETS_AT_ONCE)
        };
        if due > clock.mono() {
            self.ingest.0.telemetry.sets_delayed.add(1);
            clock.sleep_until(due).await;
        }
    }
}

/// Reads the control stream; when it ends, so does the session.
pub(super) fn read_control(ingest: &Ingest, stream: quinn::RecvStream, frames: mpsc::Sender<Read>, held: Held) {
    ingest.0.supervisor.spawn("ingest-control", OnFailure::Note, read(stream, frames, held, SMALL_LEN));
}

/// Reads every telemetry stream that the agent opens; quinn bounds how many there are at once.
pub(super) fn read_lanes(ingest: &Ingest, connection: quinn::Connection, frames: mpsc::Sender<Read>, held: Held) {
    let supervisor = ingest.0.supervisor.clone();
    ingest.0.supervisor.spawn("ingest-lanes", OnFailure::Note, async move {
        while let Ok(stream) = connection.accept_uni().await {
            let task = read(stream, frames.clone(), held.clone(), 0);
            supervisor.spawn("ingest-lane", OnFailure::Note, task);
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Cuts one stream, whose frames of up to `free` bytes need no room, into frames until it ends, or until nobody knows where
/// its next frame starts.
async fn read(
    mut stream: quinn::RecvStream,
    frames: mpsc::Sender<Read>,
    held: Held,
    free: usize,
) -> Result<(), std::convert::Infallible> {
    let mut reader = FrameReader::new();
    let mut room = None;
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await {
        reader.extend(&chunk.bytes);
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            let taken = match (&frame, room.take()) {
                (Ok(frame), None) => held.take(frame.payload.len(), free).await,
                (_, room) => room,
            };
            if let Ok(set) = &frame
                && set.kind == MessageType::MetricSet
            {
                held.pace(set).await;
            }
            let is_lost = matches!(frame, Err(ReadFault { batch: None, .. }));
            if frames.send(Read { frame, room: taken }).await.is_err() || is_lost {
                let _ = stream.stop(VarInt::from_u32(3));
                return Ok(());
            }
        }
        if let (None, Some(body)) = (&room, reader.awaited()) {
            room = held.take(body, free).await;
        }
    }
    Ok(())
}

//! Reads a session's streams, each in a task of its own, and hands their frames over in one queue.

use super::Ingest;
use dsmil_protocol::frame::Frame;
use dsmil_protocol::reader::{FrameReader, ReadFault};
use dsmil_runtime::supervise::OnFailure;
use quinn::VarInt;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes taken from a stream at once.
const CHUNK: usize = 64 << 10;
/// KiB of telemetry that one session may make us hold, from a frame's header to its commit: two of the largest frames.
/// Beyond it the streams are not read, and QUIC's flow control holds the peer.
const SESSION_KIB: usize = 8 << 10;

/// What a reading task hands over.
#[derive(Debug)]
pub(super) struct Read {
    /// A frame, or why there is none.
    pub(super) frame: Result<Frame, ReadFault>,
    /// Its share of what the session may hold; given back when it is dropped. Control frames are small and need none.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Reads the control stream; when it ends, so does the session.
pub(super) fn read_control(ingest: &Ingest, stream: quinn::RecvStream, frames: mpsc::Sender<Read>) {
    ingest.0.supervisor.spawn("ingest-control", OnFailure::Note, read(stream, frames, None));
}

/// Reads every telemetry stream that the agent opens; quinn bounds how many there are at once.
pub(super) fn read_lanes(ingest: &Ingest, connection: quinn::Connection, frames: mpsc::Sender<Read>) {
    let supervisor = ingest.0.supervisor.clone();
    let room = Arc::new(Semaphore::new(SESSION_KIB));
    ingest.0.supervisor.spawn("ingest-lanes", OnFailure::Note, async move {
        while let Ok(stream) = connection.accept_uni().await {
            let task = read(stream, frames.clone(), Some(Arc::clone(&room)));
            supervisor.spawn("ingest-lane", OnFailure::Note, task);
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Cuts one stream into frames until it ends, or until nobody knows where its next frame starts.
async fn read(
    mut stream: quinn::RecvStream,
    frames: mpsc::Sender<Read>,
    room: Option<Arc<Semaphore>>,
) -> Result<(), std::convert::Infallible> {
    let mut reader = FrameReader::new();
    let mut held = None;
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await {
        reader.extend(&chunk.bytes);
        loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            let taken = match (&frame, held.take()) {
                (Ok(frame), None) => take(room.as_ref(), frame.payload.len()).await,
                (_, held) => held,
            };
            let is_lost = matches!(frame, Err(ReadFault { batch: None, .. }));
            if frames.send(Read { frame, room: taken }).await.is_err() || is_lost {
                let _ = stream.stop(VarInt::from_u32(3));
                return Ok(());
            }
        }
        if let (None, Some(body)) = (&held, reader.awaited()) {
            held = take(room.as_ref(), body).await;
        }
    }
    Ok(())
}

/// Waits for room for so many bytes.
async fn take(room: Option<&Arc<Semaphore>>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes.div_ceil(1024).min(SESSION_KIB)).unwrap_or(u32::MAX);
    // It is never closed.
    Arc::clone(room?).acquire_many_owned(kib).await.ok()
}

//! Reads a session's streams, each in a task of its own, and hands their frames over in one queue.

use super::Ingest;
use dsmil_protocol::frame::Frame;
use dsmil_protocol::reader::{FrameReader, ReadFault};
use dsmil_runtime::supervise::OnFailure;
use quinn::VarInt;
use tokio::sync::mpsc;

/// Bytes taken from a stream at once.
const CHUNK: usize = 64 << 10;

/// What a reading task hands over.
pub(super) type Read = Result<Frame, ReadFault>;

/// Reads the control stream; when it ends, so does the session.
pub(super) fn read_control(ingest: &Ingest, stream: quinn::RecvStream, frames: mpsc::Sender<Read>) {
    let task = read(stream, frames);
    ingest.0.supervisor.spawn("ingest-control", OnFailure::Note, task);
}

/// Reads every telemetry stream that the agent opens; quinn bounds how many there are at once.
pub(super) fn read_lanes(ingest: &Ingest, connection: quinn::Connection, frames: mpsc::Sender<Read>) {
    let supervisor = ingest.0.supervisor.clone();
    ingest.0.supervisor.spawn("ingest-lanes", OnFailure::Note, async move {
        while let Ok(stream) = connection.accept_uni().await {
            supervisor.spawn("ingest-lane", OnFailure::Note, read(stream, frames.clone()));
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Cuts one stream into frames until it ends, or until nobody knows where its next frame starts.
async fn read(mut stream: quinn::RecvStream, frames: mpsc::Sender<Read>) -> Result<(), std::convert::Infallible> {
    let mut reader = FrameReader::new();
    while let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await {
        reader.extend(&chunk.bytes);
        loop {
            let read = match reader.next_frame() {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            let is_lost = matches!(read, Err(ReadFault { batch: None, .. }));
            if frames.send(read).await.is_err() || is_lost {
                let _ = stream.stop(VarInt::from_u32(3));
                return Ok(());
            }
        }
    }
    Ok(())
}

//! Frames out of a stream of bytes.

use crate::error::ErrorCode;
use crate::frame::{Frame, HEADER_LEN, Header, MessageType};

/// Cuts a stream into frames. It holds at most one frame and what was handed in with its end.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are used up.
    start: usize,
    header: Option<Header>,
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// What was wrong.
    pub code: ErrorCode,
    /// The sequence of the batch whose frame was refused. The frame's length could be trusted, so the stream goes on
    /// behind it; otherwise nobody knows where the next frame starts, and the stream is of no more use.
    pub batch: Option<u64>,
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come. Call [`FrameReader::next_frame`] until it wants more before the next ones.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if it is there whole. The length a header claims is judged before its body is waited for.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ReadFault> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(raw) = self.buffer[self.start..].first_chunk::<HEADER_LEN>() else { return Ok(None) };
                let header = Header::decode(raw).map_err(|code| ReadFault { code, batch: None })?;
                self.start += HEADER_LEN;
                *self.header.insert(header)
            }
        };
        let Some(body) = self.buffer[self.start..].get(..header.body_len()) else { return Ok(None) };
        let frame = Frame::decode(&header, body);
        self.start += header.body_len();
        self.header = None;
        match frame {
            Ok(frame) => Ok(Some(frame)),
            Err(code) => {
                let batch = (header.kind() == MessageType::Telemetry).then(|| header.correlation());
                Err(ReadFault { code, batch })
            }
        }
    }

    /// How long the body is that is being waited for, so that room for it can be found before it comes.
    pub fn awaited(&self) -> Option<usize> {
        self.header.map(|header| header.body_len())
    }

    /// Whether the stream could end here without cutting a frame.
    pub fn is_between_frames(&self) -> bool {
        self.header.is_none() && self.start == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Flags;
    use crate::tlv::tests::tlvs;
    use proptest::prelude::*;

    fn frame(kind: MessageType, correlation: u64) -> Frame {
        let payload = vec![7; usize::try_from(correlation).expect("small") % 50];
        Frame { kind, flags: Flags::REPLAY_PROTECTED, correlation, tlvs: tlvs(), payload }
    }

    #[test]
    fn a_damaged_batch_is_named_and_the_next_frame_follows() {
        let mut bytes = frame(MessageType::Telemetry, 77).encode();
        *bytes.last_mut().expect("a payload") ^= 1;
        bytes.extend(frame(MessageType::Heartbeat, 1).encode());
        let mut reader = FrameReader::new();
        reader.extend(&bytes);
        assert_eq!(reader.next_frame(), Err(ReadFault { code: ErrorCode::BadCrc, batch: Some(77) }));
        assert_eq!(reader.next_frame(), Ok(Some(frame(MessageType::Heartbeat, 1))));
        assert!(reader.is_between_frames());
    }

    #[test]
    fn a_damaged_header_is_the_end() {
        let mut reader = FrameReader::new();
        reader.extend(&[0; HEADER_LEN]);
        assert_eq!(reader.next_frame(), Err(ReadFault { code: ErrorCode::BadMagic, batch: None }));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_frames(cuts in proptest::collection::vec(1usize..200, 1..60)) {
            let sent: Vec<Frame> = (0..10).map(|i| frame(MessageType::Telemetry, i)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
            let (mut reader, mut got, mut at) = (FrameReader::new(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(bytes.len());
                reader.extend(&bytes[at..end]);
                at = end;
                while let Some(frame) = reader.next_frame().expect("sound frames") {
                    got.push(frame);
                }
                if at == bytes.len() {
                    break;
                }
            }
            prop_assert_eq!(got, sent);
        }
    }
}

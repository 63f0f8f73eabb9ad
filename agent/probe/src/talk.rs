//! One connection: questions in, answers out, nothing believed and nothing waited for too long.

use crate::desk::{Desk, Gone};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::probe::{
    self, Answer, Fault, MAX_QUESTION_LEN, PREFIX_LEN, ProbeError, ProbeKind, ProbeReading, Question,
};
use dsmil_runtime::clock::Clock;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A question comes within this time, and an answer is taken within it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions on a connection: who wants more connects again, and lets others have a turn.
const MAX_QUESTIONS: usize = 64;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The asker went, or had enough.
    Done,
    /// It sent something that is no question.
    Refused(ProbeError),
    /// It was too slow, or the connection broke.
    Broken(std::io::Error),
    /// The thread that reads is gone.
    Gone,
}

/// Answers what one asker asks.
pub(crate) fn serve(mut stream: UnixStream, kind: ProbeKind, desk: &mut Desk, clock: &Clock) -> End {
    if let Err(error) = stream.set_write_timeout(Some(PATIENCE)) {
        return End::Broken(error);
    }
    let mut inbox = Vec::new();
    for _ in 0..MAX_QUESTIONS {
        let question = match next_question(&mut stream, &mut inbox, clock) {
            Ok(Some(question)) => question,
            Ok(None) => return End::Done,
            Err(end) => return end,
        };
        let answer = match question {
            Question::Hello => Answer::Hello { kind, pid: std::process::id() },
            Question::Read { known } => match desk.read(known) {
                Ok(reading) => Answer::Reading(reading),
                Err(Gone) => return End::Gone,
            },
        };
        if let Err(error) = stream.write_all(&encode(&answer)) {
            return End::Broken(error);
        }
    }
    End::Done
}

/// The next question, or none if the asker has gone between two of them.
fn next_question(stream: &mut UnixStream, inbox: &mut Vec<u8>, clock: &Clock) -> Result<Option<Question>, End> {
    let deadline = clock.mono() + PATIENCE;
    loop {
        if let Some(body) = probe::body(inbox, MAX_QUESTION_LEN).map_err(End::Refused)? {
            let question = probe::read_question(body).map_err(End::Refused)?;
            inbox.drain(..PREFIX_LEN + body.len());
            return Ok(Some(question));
        }
        let left = deadline.saturating_sub(clock.mono());
        if left.is_zero() {
            return Err(End::Broken(ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left)).map_err(End::Broken)?;
        let mut piece = [0; PREFIX_LEN + MAX_QUESTION_LEN];
        match stream.read(&mut piece) {
            Ok(0) if inbox.is_empty() => return Ok(None),
            Ok(0) => return Err(End::Broken(ErrorKind::UnexpectedEof.into())),
            Ok(length) => inbox.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(End::Broken(error)),
        }
    }
}

/// The bytes of an answer; of one that is too long, the bytes of one that says so.
fn encode(answer: &Answer) -> Vec<u8> {
    probe::answer(answer).unwrap_or_else(|| {
        let Answer::Reading(reading) = answer else { unreachable!("only readings are long") };
        let nothing = MetricSet::new(Vec::new()).expect("nothing in it can be wrong");
        let short = ProbeReading {
            set: nothing.id(),
            metrics: Some(nothing.encode()),
            values: Vec::new(),
            took_us: reading.took_us,
            fault: Some(Fault::TooMany { reported: 0 }),
        };
        probe::answer(&Answer::Reading(short)).expect("a fault is short")
    })
}

//! Instructions of what every sample goes through, as callgrind counts them.
//!
//! A count is the same whatever else the machine does, so a small loss of speed shows that no clock here could see. Two
//! runs of this program under callgrind do the same work a different number of times; the difference is the work alone.

use super::codec::Capture;
use super::frame::telemetry;
use super::{BATCH_TICKS, Better, Row};
use anyhow::{Context, ensure};
use dsmil_protocol::batch::{Batch, Decoder, Encoder};
use dsmil_protocol::frame::Frame;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;

/// What counts: Debian's package of the same name.
const VALGRIND: &str = "valgrind";
/// Rounds of the shorter run and of the longer one. The first round also grows buffers, in both.
const ROUNDS: [u32; 2] = [1, 3];
/// Batches of the capture that are gone through in a round: half an hour, because callgrind takes fifty times as long.
const BATCHES: usize = 180;

/// Work that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// Batches encoded.
    Encode,
    /// Batches decoded.
    Decode,
    /// Telemetry frames made around batches, read and checked.
    Frame,
}

/// Does `work` `rounds` times over the encoded batches in `input`, as the group `count` writes them.
pub fn work(work: Work, rounds: u32, input: &Path) -> anyhow::Result<()> {
    let (metrics, encoded) = read(input).with_context(|| format!("cannot read {}", input.display()))?;
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    // Prepared whatever the work is, so that the runs differ in the rounds alone.
    let batches = encoded.iter().map(|bytes| decoder.decode(bytes, metrics)).collect::<Result<Vec<Batch>, _>>()?;
    let frames: Vec<Frame> = encoded.iter().cloned().map(telemetry).collect();
    for _ in 0..rounds {
        match work {
            Work::Encode => {
                for batch in &batches {
                    black_box(encoder.encode(batch)?);
                }
            }
            Work::Decode => {
                for bytes in &encoded {
                    black_box(decoder.decode(bytes, metrics)?);
                }
            }
            Work::Frame => {
                for frame in &frames {
                    let read = Frame::from_bytes(&frame.encode());
                    ensure!(black_box(read).is_ok(), "a frame is read back");
                }
            }
        }
    }
    Ok(())
}

/// Counts each kind of work, in instructions a sample or a frame.
pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    let batches: Vec<Batch> = capture.batches(BATCH_TICKS).into_iter().take(BATCHES).collect();
    let samples: u64 = batches.iter().map(|batch| batch.matrix.samples()).sum();
    let mut encoder = Encoder::new();
    let encoded = batches.iter().map(|batch| encoder.encode(batch)).collect::<Result<Vec<_>, _>>()?;
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("batches");
    write(&input, capture.metrics(), &encoded)?;
    let kinds = [
        ("encode, instructions", Work::Encode, "encode", samples as f64, "instructions/sample"),
        ("decode, instructions", Work::Decode, "decode", samples as f64, "instructions/sample"),
        ("frame, made and checked, instructions", Work::Frame, "frame", encoded.len() as f64, "instructions/frame"),
    ];
    if Command::new(VALGRIND).arg("--version").output().is_err() {
        return Ok(kinds.map(|(name, _, _, _, unit)| Row::absent(name, unit, "valgrind is not installed")).into());
    }
    let row = |(name, _, argument, each, unit): (&str, Work, &str, f64, &'static str)| {
        let [short, long] = ROUNDS.map(|rounds| instructions(argument, rounds, &input));
        let [few, many] = [short?, long?];
        let a_round = many.saturating_sub(few) as f64 / f64::from(ROUNDS[1] - ROUNDS[0]);
        ensure!(a_round > 0.0, "more rounds took no more instructions: {few}, then {many}");
        Ok(Row::told(name, a_round / each, unit).kept(Better::Less).note("callgrind; the same on every run"))
    };
    kinds.into_iter().map(row).collect()
}

/// Instructions of a whole run of this program.
fn instructions(work: &str, rounds: u32, input: &Path) -> anyhow::Result<u64> {
    let output = Command::new(VALGRIND)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["work", work, "--rounds", &rounds.to_string()])
        .arg(input)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "counting `{work}` failed ({}): {said}", output.status);
    collected(&said).with_context(|| format!("callgrind told no count: {said}"))
}

/// The count in callgrind's last words: `==7== Collected : 1234`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

fn write(path: &Path, metrics: usize, encoded: &[Vec<u8>]) -> anyhow::Result<()> {
    let mut file = serde_json::to_vec(&(metrics, encoded))?;
    file.push(b'\n');
    Ok(std::fs::write(path, file)?)
}

fn read(path: &Path) -> io::Result<(usize, Vec<Vec<u8>>)> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_last_words_are_read() {
        let said = "==12== Events    : Ir\n==12== Collected : 1234567\n==12==\n==12== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==12== Killed"), None);
    }
}

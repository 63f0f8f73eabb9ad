//! What `cargo xtask fuzz` asks of the targets: their list, inputs to begin with, and corpora packed and unpacked.

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};
use dsmil_fuzz::{TARGETS, Target, archive, kept, target};
use sha2::{Digest, Sha384};
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Corpora of the fuzzer", bin_name = "fuzz-corpus")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Print each target: its name, its longest input, what it tests.
    List,
    /// Write seeds, corpus and regressions of a target as files into FOLDER/corpus, and its dictionary, if it has
    /// one, into FOLDER/dictionary.
    Unpack {
        /// The target.
        target: String,
        /// Made if it is not there.
        folder: PathBuf,
    },
    /// Make the files in FOLDER the target's corpus in the repository.
    Pack {
        /// The target.
        target: String,
        /// Files, an input each.
        folder: PathBuf,
    },
    /// Run a target on one file, as the fuzzer did.
    Run {
        /// The target.
        target: String,
        /// The input.
        file: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().verb {
        Verb::List => TARGETS.iter().for_each(|one| println!("{}\t{}\t{}", one.name, one.max_len, one.what)),
        Verb::Unpack { target, folder } => unpack(named(&target)?, &folder)?,
        Verb::Pack { target, folder } => pack(named(&target)?, &folder)?,
        Verb::Run { target, file } => {
            let input = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            (named(&target)?.run)(&input);
            println!("{} bytes do no harm", input.len());
        }
    }
    Ok(())
}

fn named(name: &str) -> anyhow::Result<&'static Target> {
    target(name).with_context(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target {name:?}; there are {}", names.join(", "))
    })
}

fn unpack(target: &Target, folder: &Path) -> anyhow::Result<()> {
    let corpus = folder.join("corpus");
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let mut inputs = (target.seeds)();
    // A target that is new has seeds alone.
    if kept::corpus_path(target).exists() {
        inputs.extend(kept::corpus(target)?);
    }
    inputs.extend(kept::regressions(target)?.into_iter().map(|(_, input)| input));
    for input in inputs {
        fs::write(corpus.join(name_of(&input)), &input)
            .with_context(|| format!("cannot write {}", corpus.display()))?;
    }
    if target.dictionary.is_empty() {
        return Ok(());
    }
    let words = target.dictionary.iter().map(|word| {
        let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{bytes}\"\n")
    });
    fs::write(folder.join("dictionary"), words.collect::<String>()).context("cannot write the dictionary")
}

fn pack(target: &Target, folder: &Path) -> anyhow::Result<()> {
    let inputs: Vec<Vec<u8>> = kept::files(folder)?.into_iter().map(|(_, input)| input).collect();
    ensure!(!inputs.is_empty(), "{} has no files: an empty corpus tests nothing", folder.display());
    let (path, count) = (kept::corpus_path(target), inputs.len());
    let file = archive::pack(inputs);
    if archive::unpack(&file)?.is_empty() {
        bail!("the corpus that was packed cannot be unpacked");
    }
    fs::create_dir_all(path.parent().context("a corpus is in a folder")?)?;
    fs::write(&path, &file).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}: {count} inputs in {} bytes", target.name, file.len());
    Ok(())
}

/// libFuzzer names files by a hash as well, so that none is there twice.
fn name_of(input: &[u8]) -> String {
    Sha384::digest(input)[..20].iter().map(|byte| format!("{byte:02x}")).collect()
}

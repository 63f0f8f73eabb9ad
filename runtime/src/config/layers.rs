//! The files of a configuration: found, in order, bounded.

use super::{ConfigError, Reader};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Drop-ins of one file: a package, a tool and a person have one each; a folder of more is another folder.
pub(super) const MAX_DROP_INS: usize = 64;

/// One file. All layers share one space of offsets, so that a place in any of them is one number.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) path: PathBuf,
    /// The offset of its first byte.
    pub(super) start: usize,
    pub(super) text: String,
}

impl Layer {
    /// The line of the offset `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = at.saturating_sub(self.start);
        self.text.as_bytes().iter().take(before).filter(|byte| **byte == b'\n').count() + 1
    }

    /// The first offset behind it. One byte lies between, so that the end of one file is not the start of the next.
    fn end(&self) -> usize {
        self.start + self.text.len() + 1
    }
}

/// The main file, then its drop-ins in order of name.
pub(super) fn read(reader: &Reader, main: &Path) -> Result<Vec<Layer>, ConfigError> {
    let text = read_file(reader, main).map_err(|fault| match fault {
        Fault::Io(source) => ConfigError::Unreadable { path: main.to_owned(), made_by: reader.made_by, source },
        Fault::TooLong => ConfigError::TooLong { path: main.to_owned() },
    })?;
    let mut layers = vec![Layer { path: main.to_owned(), start: 0, text }];
    for path in drop_ins(main)? {
        let text = read_file(reader, &path).map_err(|fault| match fault {
            Fault::Io(source) => ConfigError::DropIn { path: path.clone(), source },
            Fault::TooLong => ConfigError::TooLong { path: path.clone() },
        })?;
        let start = layers.last().map_or(0, Layer::end);
        layers.push(Layer { path, start, text });
    }
    Ok(layers)
}

enum Fault {
    Io(io::Error),
    TooLong,
}

fn read_file(reader: &Reader, path: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let file = File::open(path).map_err(Fault::Io)?;
    file.take(reader.max_len + 1).read_to_string(&mut text).map_err(Fault::Io)?;
    if text.len() as u64 > reader.max_len { Err(Fault::TooLong) } else { Ok(text) }
}

/// The drop-ins of `main`: `*.toml` in the folder that is called like it and `.d`. Hidden files and what editors leave behind
/// (`x.toml~`) are none.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut folder = OsString::from(main);
    folder.push(".d");
    let folder = PathBuf::from(folder);
    let unreadable = |source| ConfigError::DropIn { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || !bytes.ends_with(b".toml") {
            continue;
        }
        if names.len() == MAX_DROP_INS {
            return Err(ConfigError::TooMany { path: folder });
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

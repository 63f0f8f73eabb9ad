//! Who was opened: the proof that a sleeping device's files are left alone.
//!
//! It is the kernel that tells (inotify), and not the program that is under test.

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::path::Path;

/// Watches a directory and all below it.
#[derive(Debug)]
pub struct Witness {
    inotify: OwnedFd,
    /// Where each watch is, below the first directory, with a slash behind it.
    places: BTreeMap<i32, String>,
}

#[allow(clippy::missing_panics_doc, reason = "a test without its witness cannot go on")]
impl Witness {
    /// Watches from now on. Links are not followed.
    pub fn of(directory: &Path) -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("the kernel has inotify");
        let mut witness = Self { inotify, places: BTreeMap::new() };
        witness.watch(directory, String::new());
        witness
    }

    fn watch(&mut self, directory: &Path, place: String) {
        let watch = add_watch(&self.inotify, directory, WatchFlags::OPEN).expect("a watch");
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                self.watch(&entry.path(), format!("{place}{}/", entry.file_name().to_string_lossy()));
            }
        }
        self.places.insert(watch, place);
    }

    /// The files that were opened since the watch began or since the last call, each once, in order. Directories are left out:
    /// listing one asks no driver.
    pub fn opened(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut files = Vec::new();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(rustix::fs::inotify::ReadFlags::ISDIR) => {}
                Ok(event) => {
                    let place = self.places.get(&event.wd()).map_or("", String::as_str);
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    files.push(format!("{place}{}", name.unwrap_or_default()));
                }
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => panic!("inotify: {error}"),
            }
        }
        files.sort_unstable();
        files.dedup();
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn what_is_opened_is_seen_and_what_is_listed_is_not() {
        let tree = Tree::new();
        tree.sys("a/b/c", "1\n");
        tree.sys("a/d", "1\n");
        let witness = Witness::of(&tree.path().join("sys/a"));
        let root = tree.root();
        assert_eq!(root.list_sys("a/b"), Ok(vec!["c".to_owned()]));
        assert_eq!(witness.opened(), Vec::<String>::new());
        root.sys("a/b/c", &mut Vec::new()).expect("a file");
        root.sys("a/d", &mut Vec::new()).expect("a file");
        assert_eq!(witness.opened(), ["b/c", "d"]);
        assert_eq!(witness.opened(), Vec::<String>::new());
    }
}

//! The attributes of one device: files of one number or one word in one directory of /sys.
//!
//! Format: the kernel's `Documentation/filesystems/sysfs.rst`. An attribute that is not there, or that its driver does not
//! answer with, has no value; which it is only matters to who asks why.

use crate::reading::label;
use crate::root::Root;
use crate::text::{signed, unsigned};
use std::borrow::Cow;

/// Reads attributes; keeps its memory from device to device.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// The directory, and then the attribute that is read.
    path: String,
    /// Where the directory's name ends, its slash included.
    directory: usize,
    value: Vec<u8>,
}

impl Attributes {
    /// Goes to the directory that `parts` make one after the other, below /sys: `["class/net/", "eth0"]`.
    pub(crate) fn enter(&mut self, parts: &[&str]) {
        self.path.clear();
        parts.iter().for_each(|part| self.path.push_str(part));
        self.path.push('/');
        self.directory = self.path.len();
    }

    /// The path of the attribute `name`.
    pub(crate) fn path(&mut self, name: &str) -> &str {
        self.path.truncate(self.directory);
        self.path.push_str(name);
        &self.path
    }

    /// The attribute without the white space around it; none if it is empty.
    pub(crate) fn bytes(&mut self, root: &Root, name: &str) -> Option<&[u8]> {
        self.path(name);
        root.sys(&self.path, &mut self.value).ok().filter(|value| !value.is_empty())
    }

    /// The same as text.
    pub(crate) fn text(&mut self, root: &Root, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(root, name).map(label)
    }

    /// The attribute as a decimal number without a sign.
    pub(crate) fn unsigned(&mut self, root: &Root, name: &str) -> Option<u64> {
        self.bytes(root, name).and_then(unsigned)
    }

    /// The attribute as a decimal number that may be negative, in two's complement.
    pub(crate) fn signed(&mut self, root: &Root, name: &str) -> Option<u64> {
        self.bytes(root, name).and_then(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn an_attribute_is_a_number_a_word_or_absent() {
        let tree = Tree::new();
        tree.sys("class/net/eth0/mtu", "1500\n");
        tree.sys("class/net/eth0/speed", "-1\n");
        tree.sys("class/net/eth0/operstate", "up\n");
        tree.sys("class/net/eth0/ifalias", "\n");
        let (root, mut device) = (tree.root(), Attributes::default());
        device.enter(&["class/net/", "eth0"]);
        assert_eq!(device.path("mtu"), "class/net/eth0/mtu");
        assert_eq!(device.unsigned(&root, "mtu"), Some(1500));
        assert_eq!((device.unsigned(&root, "speed"), device.signed(&root, "speed")), (None, Some(u64::MAX)));
        assert_eq!(device.text(&root, "operstate").as_deref(), Some("up"));
        assert_eq!(device.text(&root, "ifalias"), None);
        assert_eq!(device.text(&root, "gone"), None);
    }
}

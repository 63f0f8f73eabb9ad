//! Which distribution runs, in which version; node_exporter's collector `os`.
//!
//! Format: the man page os-release(5).

use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::{lines, unsigned};
use dsmil_protocol::metric::Scale;

/// Where it is, and where it is if the host's administrator has not put one in its place.
const FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Keys of the file and their labels, in node_exporter's order.
const KEYS: [(&[u8], &str); 12] = [
    (b"BUILD_ID", "build_id"),
    (b"ID", "id"),
    (b"ID_LIKE", "id_like"),
    (b"IMAGE_ID", "image_id"),
    (b"IMAGE_VERSION", "image_version"),
    (b"NAME", "name"),
    (b"PRETTY_NAME", "pretty_name"),
    (b"VARIANT", "variant"),
    (b"VARIANT_ID", "variant_id"),
    (b"VERSION", "version"),
    (b"VERSION_CODENAME", "version_codename"),
    (b"VERSION_ID", "version_id"),
];
/// Labels of `node_os_version`, by their places in [`KEYS`], and the place of what it is made of.
const VERSION_LABELS: [usize; 3] = [1, 2, 5];
const VERSION: usize = 11;

/// Reads `/etc/os-release`.
#[derive(Default)]
pub(crate) struct Os {
    buffer: Vec<u8>,
}

impl Sensor for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn source(&self) -> &'static str {
        "/etc/os-release"
    }

    fn interval_s(&self) -> u16 {
        60
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let mut found = FILES.iter().map(|file| (*file, root.file(file, &mut self.buffer).map(<[u8]>::to_vec)));
        let text = loop {
            match found.next() {
                None => return Ok(()), // A system without a name, as a rescue system may be.
                Some((_, Err(RootError::Missing))) => {}
                Some((file, text)) => break text.map_err(SensorError::at(file))?,
            }
        };
        let mut values: [String; KEYS.len()] = Default::default();
        for (_, line) in lines(&text) {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            if let Some(at) = KEYS.iter().position(|(key, _)| *key == &line[..equals]) {
                values[at] = unquoted(line[equals + 1..].trim_ascii());
            }
        }
        let labels: [(&str, &str); KEYS.len()] = std::array::from_fn(|at| (KEYS[at].1, values[at].as_str()));
        out.push("node_os_info", &labels, Form::gauge(Scale::ONE), Some(1));
        if let Some((version, scale)) = major_and_minor(values[VERSION].as_bytes()) {
            out.push("node_os_version", &VERSION_LABELS.map(|at| labels[at]), Form::gauge(scale), Some(version));
        }
        Ok(())
    }
}

/// A value as a shell would read it: in single quotes as it is, otherwise without backslashes.
fn unquoted(value: &[u8]) -> String {
    let inner = |quote: u8| value.strip_prefix(&[quote])?.strip_suffix(&[quote]);
    let bytes = match (inner(b'\''), inner(b'"').unwrap_or(value)) {
        (Some(literal), _) => literal.to_vec(),
        (None, escaped) => {
            let mut bytes = Vec::with_capacity(escaped.len());
            let mut rest = escaped.iter();
            while let Some(byte) = rest.next() {
                bytes.extend(if *byte == b'\\' { rest.next() } else { Some(byte) });
            }
            bytes
        }
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `24.04` of `24.04.1`, as 2404 and a scale of a hundredth; nothing of a version that is no number, or zero.
fn major_and_minor(version: &[u8]) -> Option<(u64, Scale)> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let major = digits(version);
    let minor = version[major..].strip_prefix(b".").map_or(0, digits);
    let places = u32::try_from(minor).ok()?;
    let whole = unsigned(&version[..major])?;
    let part = if minor == 0 { 0 } else { unsigned(&version[major + 1..][..minor])? };
    let divide = 10u32.checked_pow(places)?;
    let raw = whole.checked_mul(u64::from(divide))?.checked_add(part)?;
    (raw > 0).then_some((raw, Scale::per(divide)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn names_are_unquoted_and_the_version_is_a_number() {
        let tree = Tree::new();
        let seen = tree.read(&mut Os::default());
        assert_eq!((seen.error, seen.names().len()), (None, 0), "a system without a name");
        tree.file("usr/lib/os-release", b"ID=debian\n");
        assert!(tree.read(&mut Os::default()).names()[0].contains("id=\"debian\""));
        tree.file(
            "etc/os-release",
            b"# NAME=no\nNAME=\"An \\\"OS\\\"\"\nID='a\\b'\nVERSION_ID=\"12.04.1\"\nbad\nVARIANT_ID=\xff\n",
        );
        let seen = tree.read(&mut Os::default());
        let info = "node_os_info{build_id=\"\",id=\"a\\b\",id_like=\"\",image_id=\"\",image_version=\"\",name=\"An \"OS\"\",pretty_name=\"\",variant=\"\",variant_id=\"\u{fffd}\",version=\"\",version_codename=\"\",version_id=\"12.04.1\"}";
        assert_eq!(seen.value(info), Some(1.0), "{:?}", seen.names());
        assert_eq!(seen.value("node_os_version{id=\"a\\b\",id_like=\"\",name=\"An \"OS\"\"}"), Some(12.04));
    }

    #[test]
    fn versions_are_numbers_or_none() {
        let number = |text: &str| major_and_minor(text.as_bytes()).map(|(raw, scale)| (raw, scale.divide));
        assert_eq!((number("12"), number("24.04"), number("9.")), (Some((12, 1)), Some((2404, 100)), Some((9, 1))));
        for none in ["", "x", ".5", "0", "rolling", "99999999999999999999", "1.99999999999", "18446744073709551615.9"] {
            assert_eq!(number(none), None, "{none}");
        }
    }
}

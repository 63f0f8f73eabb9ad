//! What secrets and identities look like, for those that nobody has told us of.

use super::scrub::{Kind, Names, is_marked};
use regex::{Captures, Regex};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The shapes, in the order in which they are looked for: what has others in it comes first.
pub(super) struct Shapes {
    pem: Regex,
    join_token: Regex,
    api_token: Regex,
    bearer: Regex,
    login: Regex,
    assigned: Regex,
    spiffe: Regex,
    uuid: Regex,
    mac: Regex,
    ipv6: Regex,
    ipv4: Regex,
    mail: Regex,
    url: Regex,
    home: Regex,
    disk: Regex,
    hex: Regex,
    random: Regex,
}

/// Endings of names that are systemd's and not the DNS's.
const UNITS: [&str; 8] = [".service", ".socket", ".timer", ".mount", ".target", ".slice", ".scope", ".path"];
/// Hexadecimal digits from which on a number is a fingerprint or a machine's id, and not an address in memory.
const HEX: usize = 32;

impl Shapes {
    pub(super) fn new() -> anyhow::Result<Self> {
        let regex = |pattern: &str| Regex::new(pattern);
        Ok(Self {
            // To the end of a text that is cut off, and from the beginning of one whose beginning is.
            pem: regex(
                r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)|\A[A-Za-z0-9+/=\s]+-----END [A-Z0-9 ]+-----",
            )?,
            join_token: regex(r"dsmil-join-[0-9]+\.[A-Za-z0-9_-]*")?,
            api_token: regex(r"\bdsmil_[A-Za-z0-9_-]{43}")?,
            bearer: regex(r"(?i-u:\b(bearer|basic)\s+)([A-Za-z0-9._~+/=-]{8,})")?,
            login: regex(r"://([^/\s:@]+:[^/\s@]+)@")?,
            assigned: regex(
                r#"(?i-u:\b([a-z0-9_-]*(?:password|passwd|secret|api_?key|private_?key)))(\s*[=:]\s*"?)([^\s",;'}\]]+)"#,
            )?,
            spiffe: regex(r#"spiffe://([^/\s"'`,;)]+)((?:/[^/\s"'`,;):]+)*)"#)?,
            uuid: regex(r"(?i-u:\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)")?,
            mac: regex(r"(?i-u:\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5,19}\b)")?,
            ipv6: regex(r"(?i-u:[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*)")?,
            ipv4: regex(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b")?,
            mail: regex(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")?,
            url: regex(r#"\b(?:https?|ftp|ssh|nfs|smb|ldaps?)://([^/\s:"'\]\[]+)"#)?,
            home: regex(r#"/(?:home|Users)/([^/\s"':;,)]+)"#)?,
            disk: regex(r#"/dev/disk/by-[a-z]+/([^\s"';,)]+)"#)?,
            hex: regex(r"(?i-u:\b[0-9a-f]{16,}\b)")?,
            random: regex(r"[A-Za-z0-9+/_-]{32,}={0,2}")?,
        })
    }

    /// Takes out what opens doors.
    pub(super) fn secrets(&self, text: &str, names: &mut Names) -> String {
        let mut text = self.pem.replace_all(text, |found: &Captures<'_>| names.of(Kind::Pem, &found[0])).into_owned();
        for (shape, is_it) in [(&self.join_token, (|_| true) as fn(&str) -> bool), (&self.api_token, is_random)] {
            text = replaced(shape, &text, 0, |value| is_it(value).then_some((Kind::Token, value.to_owned())), names);
        }
        text = replaced(&self.bearer, &text, 2, |value| Some((Kind::Token, value.into())), names);
        text = replaced(&self.login, &text, 1, |value| Some((Kind::Secret, value.into())), names);
        replaced(&self.assigned, &text, 3, |value| Some((Kind::Secret, value.into())), names)
    }

    /// Takes out who and where somebody is.
    pub(super) fn identities(&self, text: &str, names: &mut Names) -> String {
        let mut text = self.spiffe(text, names);
        let some = |kind: Kind| move |value: &str| Some((kind, value.to_owned()));
        text = replaced(&self.uuid, &text, 0, some(Kind::Uuid), names);
        text = replaced(&self.mac, &text, 0, mac, names);
        text = replaced(&self.ipv6, &text, 0, ipv6, names);
        text = replaced(&self.ipv4, &text, 0, ipv4, names);
        text = replaced(&self.mail, &text, 0, mail, names);
        text = replaced(&self.url, &text, 1, some(Kind::Name), names);
        text = replaced(&self.home, &text, 1, some(Kind::User), names);
        text = replaced(&self.disk, &text, 1, some(Kind::Serial), names);
        text = replaced(&self.hex, &text, 0, hex, names);
        replaced(&self.random, &text, 0, |value| is_random(value).then(|| (Kind::Secret, value.to_owned())), names)
    }

    /// Of an identity the fleet and the names go; what kind of member it is stays.
    fn spiffe(&self, text: &str, names: &mut Names) -> String {
        let put = |found: &Captures<'_>| {
            let mut name = |kind, value: &str| if is_marked(value) { value.to_owned() } else { names.of(kind, value) };
            let domain = name(Kind::Fleet, &found[1]);
            let mut path = String::new();
            for (place, segment) in found[2].split('/').skip(1).enumerate() {
                path.push('/');
                path.push_str(&if place == 0 { segment.to_owned() } else { name(Kind::Host, segment) });
            }
            format!("spiffe://{domain}{path}")
        };
        self.spiffe.replace_all(text, put).into_owned()
    }
}

/// Replaces one group of every match whose value is what it looks like, and no part of a word.
fn replaced(
    shape: &Regex,
    text: &str,
    group: usize,
    is_it: impl Fn(&str) -> Option<(Kind, String)>,
    names: &mut Names,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for found in shape.captures_iter(text) {
        let Some(value) = found.get(group).filter(|value| !is_marked(value.as_str())) else { continue };
        // Not a placeholder's own words.
        let before = text[..value.start()].chars().next_back();
        if group == 0 && before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let Some((kind, canonical)) = is_it(value.as_str()) else { continue };
        out.push_str(&text[copied..value.start()]);
        out.push_str(&names.of(kind, &canonical));
        // What the shape took too much of stays.
        let kept = value.as_str().len() - value.as_str().trim_end_matches([':', '.']).len();
        copied = if kind == Kind::Ip { value.end() - kept } else { value.end() };
    }
    out.push_str(&text[copied..]);
    out
}

/// A hardware address that is somebody's: not that for all, and not that of an interface without one.
fn mac(value: &str) -> Option<(Kind, String)> {
    let is_everybodys = value.bytes().all(|b| b":-0".contains(&b)) || value.bytes().all(|b| b":-fF".contains(&b));
    (!is_everybodys).then(|| (Kind::Mac, value.replace('-', ":")))
}

/// An address that is somebody's; those that every machine has say nothing.
fn ipv6(value: &str) -> Option<(Kind, String)> {
    let address: Ipv6Addr =
        value.trim_end_matches('.').parse().ok().or_else(|| value.trim_end_matches([':', '.']).parse().ok())?;
    match address.to_ipv4_mapped() {
        Some(v4) => ipv4(&v4.to_string()),
        None => (!address.is_loopback() && !address.is_unspecified()).then(|| (Kind::Ip, address.to_string())),
    }
}

fn ipv4(value: &str) -> Option<(Kind, String)> {
    let address: Ipv4Addr = value.parse().ok()?;
    let is_everybodys = address.is_loopback() || address.is_unspecified() || address.is_broadcast();
    (!is_everybodys).then(|| (Kind::Ip, address.to_string()))
}

fn mail(value: &str) -> Option<(Kind, String)> {
    (!UNITS.iter().any(|unit| value.ends_with(unit))).then(|| (Kind::User, value.to_owned()))
}

/// A long number in hexadecimal; one of decimal digits alone may be a counter.
fn hex(value: &str) -> Option<(Kind, String)> {
    let has_both = value.bytes().any(|b| b.is_ascii_digit()) && value.bytes().any(|b| b.is_ascii_alphabetic());
    (has_both || value.len() >= HEX).then(|| (Kind::Key, value.to_owned()))
}

/// Whether letters, capitals and digits are mixed as chance does it: a key in base64, and neither a word nor a path.
fn is_random(value: &str) -> bool {
    let has = |is: fn(&u8) -> bool| value.as_bytes().iter().filter(|byte| is(byte)).count();
    let (lower, upper, digits) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase), has(u8::is_ascii_digit));
    let longest = value.split(['/', '_', '-']).map(str::len).max().unwrap_or(0);
    lower > 2 && upper > 2 && digits > 1 && longest >= LONGEST_WORD
}

/// Letters of words that are written together; random text seldom has so few between two of its signs.
const LONGEST_WORD: usize = 14;

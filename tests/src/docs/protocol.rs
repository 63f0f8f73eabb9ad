//! The tables of the wire: TLVs, messages, errors.

use super::source::variants;
use super::{Page, table};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{MessageType, UNIMPLEMENTED};
use dsmil_protocol::tlv::TlvType;

const ERROR_SOURCE: &str = include_str!("../../../protocol/src/error.rs");

/// The TLV types.
pub(super) fn tlvs() -> Page {
    let rows = TlvType::ALL
        .iter()
        .map(|tlv| [format!("`{:04X}`", tlv.number()), format!("`{}`", tlv.name()), tlv.value().to_owned()]);
    Page::markdown(
        "tlvs.md",
        "TLV types",
        "Fields between a frame's header and its payload: type u16, length u16, value; big-endian. A type occurs at most once. \
         A receiver skips an unknown type whose bit 15 is set, and refuses any other unknown type.",
        &table(["type", "name", "value"], rows),
    )
}

/// The message types.
pub(super) fn messages() -> Page {
    let spoken = MessageType::ALL.iter().map(|kind| {
        [
            format!("`{:02X}`", kind.number()),
            format!("`{}`", kind.name()),
            kind.meaning().trim().to_owned(),
            bytes(kind.max_payload()),
        ]
    });
    let reserved = UNIMPLEMENTED.iter().map(|(number, name)| [format!("`{number:02X}`"), format!("`{name}`")]);
    let body = format!(
        "{}\n## Assigned and not implemented\n\nA frame of one of these is refused with `{}`.\n\n{}",
        table(["type", "name", "meaning", "payload at most"], spoken),
        ErrorCode::BadType.name(),
        table(["type", "name"], reserved),
    );
    Page::markdown("messages.md", "Message types", "What a frame's type says about its payload.", &body)
}

/// The error codes, each with what to do about it: the runbook of refusals.
pub(super) fn errors() -> Page {
    let meanings = variants(ERROR_SOURCE);
    let rows = ErrorCode::ALL.iter().map(|code| {
        let meaning = meanings.get(&format!("{code:?}")).cloned().unwrap_or_default();
        [code.number().to_string(), format!("`{}`", code.name()), meaning, code.remedy().to_owned()]
    });
    Page::markdown(
        "errors.md",
        "Error codes",
        "Why a frame, a batch or a peer was refused, and what to do about it. The number crosses the wire; the name is in logs, \
         in `dsmilctl` and in the labels of metrics.",
        &table(["code", "name", "meaning", "what to do"], rows),
    )
}

/// A cap as people write it.
fn bytes(cap: usize) -> String {
    match cap {
        cap if cap.is_multiple_of(1 << 20) => format!("{} MiB", cap >> 20),
        cap if cap.is_multiple_of(1 << 10) => format!("{} KiB", cap >> 10),
        cap => format!("{cap} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_meaning_and_a_remedy() {
        let meanings = variants(ERROR_SOURCE);
        for code in ErrorCode::ALL {
            assert!(meanings.contains_key(&format!("{code:?}")), "{code}");
            assert!(!code.remedy().is_empty(), "{code}");
        }
    }

    #[test]
    fn caps_are_read_easily() {
        assert_eq!([bytes(4 << 20), bytes(64 << 10), bytes(100)], ["4 MiB", "64 KiB", "100 B"]);
    }
}

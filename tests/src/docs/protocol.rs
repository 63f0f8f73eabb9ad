//! The tables of the wire: TLVs and messages.

use super::{Page, table};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{MessageType, UNIMPLEMENTED};
use dsmil_protocol::tlv::TlvType;

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
    fn caps_are_read_easily() {
        assert_eq!([bytes(4 << 20), bytes(64 << 10), bytes(100)], ["4 MiB", "64 KiB", "100 B"]);
    }
}

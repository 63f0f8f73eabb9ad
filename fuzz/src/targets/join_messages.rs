//! What is said on the join port, by whoever reaches it.

use super::{Target, choose};
use crate::memory;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{DeviceId, HostName, TenantId};
use dsmil_protocol::join::{
    Granted, HostSettings, JoinAnswer, JoinRequest, LinkPolicy, MAX_ANSWER_LEN, MAX_REQUEST_LEN, PREFIX_LEN, length,
};
use dsmil_protocol::tlv::{Classification, Compartments};

pub(super) const TARGET: Target = Target {
    name: "join_messages",
    what: "requests and answers of the join port, their lengths first",
    run,
    seeds,
    dictionary: &[b"\x01\x00", b"\x01\x01", b"\x01\x02", b"\x01\x03", b"\x03h47", b"\xff\xff\xff\xff\x0f", b"\x80\x00"],
    max_len: 4096,
};

/// How often its own length a message may be in memory: an address of one byte is a text of 24, and lists grow by
/// doubling.
const SWELL: usize = 64;

/// The first byte says which of the two, and whether the length is made right.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 4);
    let mut wire = rest.to_vec();
    if choice >= 2 && wire.len() > PREFIX_LEN {
        let len = u32::try_from(wire.len() - PREFIX_LEN).expect("inputs are short");
        wire[..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
    }
    let is_request = choice % 2 == 0;
    let max = if is_request { MAX_REQUEST_LEN } else { MAX_ANSWER_LEN };
    let Some((prefix, body)) = wire.split_first_chunk() else { return };
    let Ok(len) = length(*prefix, max) else { return };
    assert!((1..=max).contains(&len), "a length was believed");
    let Some(body) = body.get(..len) else { return };
    let warranted = SWELL * body.len() + 1024;
    if is_request {
        let Ok(message) = memory::within(warranted, || JoinRequest::decode(body)) else { return };
        let again = message.encode();
        assert!(again.len() <= PREFIX_LEN + body.len(), "the form that is sent is the shortest");
        assert_eq!(JoinRequest::decode(&again[PREFIX_LEN..]).as_ref(), Ok(&message), "it reads back");
        hides_its_secret(&message);
    } else {
        let Ok(message) = memory::within(warranted, || JoinAnswer::decode(body)) else { return };
        let again = message.encode();
        assert!(again.len() <= PREFIX_LEN + body.len(), "the form that is sent is the shortest");
        assert_eq!(JoinAnswer::decode(&again[PREFIX_LEN..]).as_ref(), Ok(&message), "it reads back");
        if let JoinAnswer::Granted(granted) = &message {
            assert!(granted.settings.is_bounded() && !granted.settings.compartments.is_kinetic());
        }
    }
}

/// What would go into a log does not depend on the secret.
fn hides_its_secret(message: &JoinRequest) {
    if let JoinRequest::Join { host, csr, .. } = message {
        let other = JoinRequest::Join { host: host.clone(), secret: [0; 32], csr: csr.clone() };
        assert_eq!(format!("{message:?}"), format!("{other:?}"));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let host = || HostName::new("h47").expect("a name");
    let settings = HostSettings {
        tenant: TenantId::new("demo").expect("a tenant"),
        host: host(),
        classification: Classification::UNCLASS,
        compartments: Compartments::SOC,
        devices: vec![DeviceId(4), DeviceId(47)],
        aggregators: vec!["centre.example:8100".into(), "[2001:db8::1]:8100".into()],
        join_addresses: vec!["centre.example:8101".into()],
        key_exchange: LinkPolicy::Hybrid,
    };
    let requests = [
        JoinRequest::Join { host: host(), secret: [9; 32], csr: vec![2; 30] },
        JoinRequest::Renew { host: host(), public_key: vec![1; 20], csr: vec![2; 30], proof: vec![3; 40] },
        JoinRequest::Bundle { held: 300 },
    ];
    let answers = [
        JoinAnswer::Granted(Box::new(Granted { leaf: vec![1; 30], bundle: vec![2; 40], settings })),
        JoinAnswer::Bundle(vec![5; 30]),
        JoinAnswer::UpToDate,
        JoinAnswer::refused(ErrorCode::TokenUsed, "at noon"),
    ];
    let requests = requests.map(|message| [&[0], &message.encode()[..]].concat());
    let answers = answers.map(|message| [&[1], &message.encode()[..]].concat());
    requests.into_iter().chain(answers).collect()
}

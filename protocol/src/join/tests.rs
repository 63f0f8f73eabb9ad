//! Requests and answers, from honest peers and from others.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn host() -> HostName {
    HostName::new("h47").expect("a name")
}

fn settings() -> HostSettings {
    HostSettings {
        tenant: TenantId::new("demo").expect("a tenant"),
        host: host(),
        classification: Classification::UNCLASS,
        compartments: Compartments::SOC,
        devices: vec![DeviceId(4), DeviceId(47)],
        aggregators: vec!["centre.example:8100".into(), "[2001:db8::1]:8100".into()],
        join_addresses: vec!["centre.example:8101".into()],
        key_exchange: LinkPolicy::Hybrid,
    }
}

fn granted(settings: HostSettings) -> JoinAnswer {
    JoinAnswer::Granted(Box::new(Granted { leaf: vec![1; 30], bundle: vec![2; 40], settings }))
}

fn renewal() -> JoinRequest {
    JoinRequest::Renew { host: host(), public_key: vec![1; 20], csr: vec![2; 30], proof: vec![3; 40] }
}

/// The largest that a sender may send.
fn largest_request() -> JoinRequest {
    JoinRequest::Renew {
        host: HostName::new("h".repeat(HostName::MAX_LEN)).expect("the longest name"),
        public_key: vec![0xFF; MAX_PUBLIC_KEY_LEN],
        csr: vec![0xFF; MAX_CSR_LEN],
        proof: vec![0xFF; MAX_PROOF_LEN],
    }
}

fn largest_answer() -> JoinAnswer {
    let addresses = vec!["a".repeat(MAX_ADDRESS_LEN); MAX_ADDRESSES];
    let settings = HostSettings {
        tenant: TenantId::new("t".repeat(TenantId::MAX_LEN)).expect("the longest name"),
        host: HostName::new("h".repeat(HostName::MAX_LEN)).expect("the longest name"),
        compartments: Compartments(!Compartments::KINETIC.0),
        devices: vec![DeviceId::HOST; MAX_DEVICES],
        aggregators: addresses.clone(),
        join_addresses: addresses,
        ..settings()
    };
    let (leaf, bundle) = (vec![0xFF; MAX_LEAF_LEN], vec![0xFF; MAX_BUNDLE_LEN]);
    JoinAnswer::Granted(Box::new(Granted { leaf, bundle, settings }))
}

/// Takes a message off the wire as a driver does: the length first, and then exactly what it says.
fn receive<T>(wire: &[u8], max: usize, decode: fn(&[u8]) -> Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    let (prefix, body) = wire.split_first_chunk().ok_or(ErrorCode::BadLength)?;
    let body = body.get(..length(*prefix, max)?).ok_or(ErrorCode::BadLength)?;
    decode(body)
}

fn request(wire: &[u8]) -> Result<JoinRequest, ErrorCode> {
    receive(wire, MAX_REQUEST_LEN, JoinRequest::decode)
}

fn answer(wire: &[u8]) -> Result<JoinAnswer, ErrorCode> {
    receive(wire, MAX_ANSWER_LEN, JoinAnswer::decode)
}

/// Encoded without a look at the bounds, as a hostile peer would.
fn request_unbounded(message: &JoinRequest) -> Result<JoinRequest, ErrorCode> {
    request(&seal(message))
}

fn settings_taken(settings: HostSettings) -> bool {
    let (bounded, taken) = (settings.is_bounded(), answer(&seal(&granted(settings))).is_ok());
    assert_eq!(bounded, taken, "a sender can ask first");
    taken
}

#[test]
fn every_cut_is_refused_and_so_is_a_byte_too_many() {
    fn cuts<T: PartialEq + std::fmt::Debug>(wire: &[u8], message: &T, decode: fn(&[u8]) -> Result<T, ErrorCode>) {
        let body = &wire[PREFIX_LEN..];
        assert_eq!(decode(body).as_ref(), Ok(message));
        assert_eq!(decode(&[]), Err(ErrorCode::BadLength));
        for end in 1..body.len() {
            assert_eq!(decode(&body[..end]), Err(ErrorCode::PayloadMalformed), "cut at {end}");
        }
        assert_eq!(decode(&[body, &[0]].concat()), Err(ErrorCode::PayloadMalformed), "a byte too many");
    }
    let join = JoinRequest::Join { host: host(), secret: [9; 32], csr: vec![2; 30] };
    for message in [join, renewal(), JoinRequest::Bundle { held: u64::MAX }] {
        cuts(&message.encode(), &message, JoinRequest::decode);
    }
    let refused = JoinAnswer::refused(ErrorCode::TokenUsed, "at noon");
    for message in [granted(settings()), JoinAnswer::Bundle(vec![5; 300]), JoinAnswer::UpToDate, refused] {
        cuts(&message.encode(), &message, JoinAnswer::decode);
    }
}

#[test]
fn the_largest_messages_fit_and_are_read() {
    let (asked, told) = (largest_request(), largest_answer());
    assert_eq!(request(&asked.encode()), Ok(asked));
    assert_eq!(answer(&told.encode()), Ok(told));
}

#[test]
fn a_length_is_believed_only_within_its_bound() {
    let prefix = |len: usize| u32::try_from(len).expect("small").to_be_bytes();
    assert_eq!(length(prefix(1), MAX_REQUEST_LEN), Ok(1));
    assert_eq!(length(prefix(MAX_REQUEST_LEN), MAX_REQUEST_LEN), Ok(MAX_REQUEST_LEN));
    assert_eq!(length(prefix(MAX_REQUEST_LEN + 1), MAX_REQUEST_LEN), Err(ErrorCode::BadLength));
    assert_eq!(length(prefix(0), MAX_REQUEST_LEN), Err(ErrorCode::BadLength), "not even a version");
    assert_eq!(length([0xFF; 4], MAX_ANSWER_LEN), Err(ErrorCode::BadLength));
    assert_eq!(JoinRequest::decode(&vec![JOIN_VERSION; MAX_REQUEST_LEN + 1]), Err(ErrorCode::BadLength));
}

#[test]
fn another_version_is_refused_by_name() {
    for version in [0, JOIN_VERSION + 1, 0xFF] {
        let mut wire = renewal().encode();
        wire[PREFIX_LEN] = version;
        assert_eq!(request(&wire), Err(ErrorCode::NoCommonVersion));
    }
}

#[test]
fn a_request_over_any_bound_is_refused() {
    let csr = vec![0; MAX_CSR_LEN + 1];
    let join = JoinRequest::Join { host: host(), secret: [0; 32], csr: csr.clone() };
    let renew = |public_key, csr, proof| JoinRequest::Renew { host: host(), public_key, csr, proof };
    let over = [
        join,
        renew(vec![], csr, vec![]),
        renew(vec![0; MAX_PUBLIC_KEY_LEN + 1], vec![], vec![]),
        renew(vec![], vec![], vec![0; MAX_PROOF_LEN + 1]),
    ];
    for message in over {
        assert_eq!(request_unbounded(&message), Err(ErrorCode::PayloadMalformed), "{message:?}");
    }
    let mut wire = renewal().encode();
    // Behind the kind of request stands the host's name with its length.
    wire[PREFIX_LEN + 3] = b'/';
    assert_eq!(request(&wire), Err(ErrorCode::PayloadMalformed), "a host name that is none");
}

#[test]
fn a_list_that_lies_about_its_length_is_refused() {
    // A bundle of 2^32 - 1 bytes, none of them there.
    let body = [JOIN_VERSION, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    assert_eq!(JoinAnswer::decode(&body), Err(ErrorCode::PayloadMalformed));
}

#[test]
fn settings_over_any_bound_are_refused() {
    assert!(settings_taken(settings()));
    assert!(settings_taken(HostSettings { aggregators: vec![], join_addresses: vec![], ..settings() }));
    let address = || String::from("h:1");
    assert!(!settings_taken(HostSettings { devices: vec![DeviceId(1); MAX_DEVICES + 1], ..settings() }));
    assert!(!settings_taken(HostSettings { aggregators: vec![address(); MAX_ADDRESSES + 1], ..settings() }));
    assert!(!settings_taken(HostSettings { join_addresses: vec![address(); MAX_ADDRESSES + 1], ..settings() }));
    assert!(!settings_taken(HostSettings { compartments: Compartments::KINETIC, ..settings() }));
    for bad in ["", "a b:1", "a:1\n", "é:1", &"a".repeat(MAX_ADDRESS_LEN + 1)] {
        assert!(!settings_taken(HostSettings { aggregators: vec![bad.into()], ..settings() }), "{bad:?}");
        assert!(!settings_taken(HostSettings { join_addresses: vec![bad.into()], ..settings() }), "{bad:?}");
    }
}

#[test]
fn an_answer_over_any_bound_is_refused() {
    let refused = |message: &JoinAnswer| answer(&seal(message)) == Err(ErrorCode::PayloadMalformed);
    let parts = |leaf, bundle| JoinAnswer::Granted(Box::new(Granted { leaf, bundle, settings: settings() }));
    assert!(refused(&parts(vec![0; MAX_LEAF_LEN + 1], vec![])));
    assert!(refused(&parts(vec![], vec![0; MAX_BUNDLE_LEN + 1])));
    assert!(refused(&JoinAnswer::Bundle(vec![0; MAX_BUNDLE_LEN + 1])));
    assert!(refused(&JoinAnswer::Refused { code: 1, detail: "x".repeat(MAX_TEXT_LEN + 1) }));
    let long = JoinAnswer::refused(ErrorCode::TokenStale, &"é".repeat(MAX_TEXT_LEN));
    assert_eq!(answer(&long.encode()), Ok(long), "a refusal carries what fits");
}

#[test]
fn a_renewal_is_signed_over_its_connection_and_its_request() {
    let statement = renewal_statement(&[1; EXPORTER_LEN], &[2; 48]);
    assert_eq!(statement, [&b"dsmil renew v1\0"[..], &[1; 48], &[2; 48]].concat());
}

#[test]
fn a_secret_is_not_printed() {
    let printed = format!("{:?}", JoinRequest::Join { host: host(), secret: [213; 32], csr: vec![] });
    assert!(printed.contains("h47") && !printed.contains("213"), "{printed}");
}

fn name() -> impl Strategy<Value = HostName> {
    "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?".prop_map(|text| HostName::new(text).expect("a name"))
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..80), vec(any::<u8>(), max..=max)]
}

fn any_request() -> impl Strategy<Value = JoinRequest> {
    prop_oneof![
        (name(), any::<[u8; 32]>(), bytes(MAX_CSR_LEN)).prop_map(|(host, secret, csr)| JoinRequest::Join {
            host,
            secret,
            csr
        }),
        (name(), bytes(MAX_PUBLIC_KEY_LEN), bytes(MAX_CSR_LEN), bytes(MAX_PROOF_LEN))
            .prop_map(|(host, public_key, csr, proof)| JoinRequest::Renew { host, public_key, csr, proof }),
        any::<u64>().prop_map(|held| JoinRequest::Bundle { held }),
    ]
}

prop_compose! {
    fn any_settings()(
        tenant in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
        host in name(),
        level in prop_oneof![Just(0u8), 2u8..=9],
        mask in any::<u64>(),
        devices in vec(any::<u16>().prop_map(DeviceId), 0..=MAX_DEVICES),
        aggregators in vec("[!-~]{1,262}", 0..=MAX_ADDRESSES),
        join_addresses in vec("[!-~]{1,262}", 0..=MAX_ADDRESSES),
        hybrid in any::<bool>(),
    ) -> HostSettings {
        HostSettings {
            tenant: TenantId::new(tenant).expect("a tenant"),
            host,
            classification: Classification::new(level).expect("a level"),
            compartments: Compartments(mask & !Compartments::KINETIC.0),
            devices,
            aggregators,
            join_addresses,
            key_exchange: if hybrid { LinkPolicy::Hybrid } else { LinkPolicy::Pure },
        }
    }
}

fn any_answer() -> impl Strategy<Value = JoinAnswer> {
    prop_oneof![
        (bytes(MAX_LEAF_LEN), bytes(1 << 10), any_settings())
            .prop_map(|(leaf, bundle, settings)| { JoinAnswer::Granted(Box::new(Granted { leaf, bundle, settings })) }),
        bytes(1 << 10).prop_map(JoinAnswer::Bundle),
        Just(JoinAnswer::UpToDate),
        (any::<u16>(), ".{0,64}").prop_map(|(code, detail)| JoinAnswer::Refused { code, detail }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_asked_is_what_is_read(message in any_request()) {
        prop_assert_eq!(request(&message.encode()), Ok(message));
    }

    #[test]
    fn what_was_answered_is_what_is_read(message in any_answer()) {
        prop_assert_eq!(answer(&message.encode()), Ok(message));
    }

    /// Bytes of a stranger: refused, or something that keeps its bounds; never a panic.
    #[test]
    fn anything_else_is_refused_or_bounded(body in vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let body = [&[JOIN_VERSION, kind], &body[..]].concat();
        if let Ok(message) = JoinRequest::decode(&body) {
            prop_assert!(message.is_bounded());
        }
        if let Ok(message) = JoinAnswer::decode(&body) {
            prop_assert!(message.is_bounded());
        }
    }
}

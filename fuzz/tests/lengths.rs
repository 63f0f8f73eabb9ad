//! Every format cut at every byte, and every length in it lied about.
//!
//! One table for all formats. A cut is an error, never a panic, and asks for no more memory than the whole. A lie (0, 1, one
//! less, one more, the most a byte can say, the most that the field can say) about a length is an error as well. And
//! any lie about any byte, length or not, is refused or read as something that is written down in no more bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dsmil_authority::{
    Fingerprint, FleetSettings, Issuer, OrderKey, SensorSetting, SignedBundle, SignedSettings, Target, TrustBundle,
    Values,
};
use dsmil_crypto::csr::{CheckedCsr, request};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
use dsmil_crypto::join_token::JoinToken;
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_fuzz::memory;
use dsmil_protocol::batch::{Batch, BatchHeader, Matrix, Stamp, decode, decode_header, encode};
use dsmil_protocol::frame::{Flags, Frame, HEADER_LEN, MessageType};
use dsmil_protocol::health::{Health, RefusedSettings};
use dsmil_protocol::ids::{BootId, DeviceId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::join::{
    Granted, HostSettings, JoinAnswer, JoinRequest, LinkPolicy, MAX_ANSWER_LEN, MAX_REQUEST_LEN, PREFIX_LEN, length,
};
use dsmil_protocol::message::{
    Accounted, Ack, BootAccount, Config, Echo, Exchange, Gap, GapReason, GapRecord, Goodbye, GoodbyeReason, Heartbeat,
    Hello, HostTimes, Message, NeedMetricSet, Refusal, Rejected, Settings, Welcome,
};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale, SetId};
use dsmil_protocol::probe::{
    self, Answer, Fault, MAX_QUESTION_LEN, ProbeKind, ProbeReading, Question, Text, read_answer, read_question,
};
use dsmil_protocol::tlv::{Classification, Compartments, TlvType, Tlvs};
use sha2::{Digest, Sha384};
use std::sync::Mutex;

/// Memory is counted for the whole process: where tests share one, they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Reads one thing whole: the bytes it takes when it is written again, or nothing if it is refused.
type Read = fn(&[u8]) -> Option<usize>;

/// One thing of one format.
struct Sample {
    what: &'static str,
    bytes: Vec<u8>,
    /// Where lengths are, and in how many bytes; a varint in one.
    lengths: Vec<(usize, usize)>,
    read: Read,
    /// The most memory that reading anything of this length may take.
    memory: usize,
}

impl Sample {
    fn check(&self) {
        assert_eq!(self.read(&self.bytes), Some(self.bytes.len()), "{}: it reads back", self.what);
        for end in 0..self.bytes.len() {
            assert_eq!(self.read(&self.bytes[..end]), None, "{}: cut at {end}", self.what);
        }
        assert_eq!(self.read(&[&self.bytes[..], &[0]].concat()), None, "{}: a byte more", self.what);
        for (at, width) in &self.lengths {
            for lie in lies(&self.bytes[*at..at + width]) {
                let lying = [&self.bytes[..*at], &lie, &self.bytes[at + width..]].concat();
                assert_eq!(self.read(&lying), None, "{}: a length at {at} of {lie:02x?}", self.what);
            }
        }
        for at in 0..self.bytes.len() {
            for lie in lies(&self.bytes[at..=at]) {
                let lying = [&self.bytes[..at], &lie, &self.bytes[at + 1..]].concat();
                assert!(self.read(&lying).is_none_or(|len| len <= lying.len()), "{}: {lie:02x?} at {at}", self.what);
            }
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<usize> {
        memory::within(self.memory, || (self.read)(bytes))
    }
}

/// What may stand in the place of a length.
fn lies(truth: &[u8]) -> Vec<Vec<u8>> {
    let mut lies: Vec<Vec<u8>> = Vec::new();
    let number = truth.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let max = if truth.len() == 8 { u64::MAX } else { (1 << (8 * truth.len())) - 1 };
    for lie in [0, 1, number.wrapping_sub(1), number.wrapping_add(1), max / 2, max] {
        lies.push((lie & max).to_be_bytes()[8 - truth.len()..].to_vec());
    }
    if truth.len() == 1 {
        // As varints: the most of 32 bits, of 64 bits, more than that, and the truth in a longer form.
        lies.push(vec![0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        lies.push(vec![0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        lies.push(vec![0xFF; 11]);
    }
    lies.retain(|lie| lie != truth);
    lies
}

/// The length in one byte right before `content`.
fn before(bytes: &[u8], content: &[u8]) -> (usize, usize) {
    let at = bytes.windows(content.len()).position(|window| window == content).expect("its content is there");
    assert!(at > 0, "a length is before it");
    (at - 1, 1)
}

fn all(samples: impl IntoIterator<Item = Sample>) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    samples.into_iter().for_each(|sample| sample.check());
}

const BOOT: BootId = BootId([0xB7; 16]);

fn ticks(first: u64, last: u64) -> TickRange {
    TickRange { first: Tick(first), last: Tick(last) }
}

/// The checksum made right again, so that the lie behind it is reached.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEADER_LEN {
        bytes[28..32].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[28..32].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

#[test]
fn of_a_frame_and_its_tlvs() {
    let tlvs = Tlvs {
        tenant: TenantId::new("demo").expect("a tenant"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
        source: DeviceId::HOST,
        timestamp_ns: 1_700_000_000_000_000_000,
        sequence: Some(7),
        destination: Some(DeviceId(4)),
        other: vec![(TlvType::LayerPath, vec![3, 4]), (TlvType::RoeToken, vec![9; 20]), (TlvType::RoeLevel, vec![1])],
    };
    let frame = Frame {
        kind: MessageType::Telemetry,
        flags: Flags::REQUIRE_ACK.with(Flags::REPLAY_PROTECTED),
        correlation: 42,
        tlvs,
        payload: vec![5; 12],
    };
    let bytes = frame.encode();
    // Payload, all TLVs, and each TLV's own: type, length, value.
    let mut lengths = vec![(16, 8), (24, 4)];
    let (mut at, end) = (HEADER_LEN, frame.head_len());
    while at < end {
        lengths.push((at + 2, 2));
        at += 4 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    }
    assert_eq!(lengths.len(), 2 + 10, "every TLV has been found");
    let read: Read = |bytes| Frame::from_bytes(&sealed(bytes)).ok().map(|frame| frame.encode().len());
    all([Sample { what: "frame", bytes, lengths, read, memory: 8 << 10 }]);
}

fn message<M: Message>(what: &'static str, message: &M, contents: &[&[u8]]) -> Sample {
    let bytes = message.encode();
    let lengths = contents.iter().map(|content| before(&bytes, content)).collect();
    let read: Read = |bytes| M::decode(bytes).ok().map(|message| message.encode().len());
    Sample { what, bytes, lengths, read, memory: 16 << 10 }
}

#[test]
fn of_each_message() {
    let times = HostTimes { boot_ns: 1, wall_ns: -1 };
    let accounted = vec![Accounted { boot: BOOT, ranges: vec![ticks(10, 20), ticks(1, 5), ticks(0, 0)] }; 2];
    let hello = Hello {
        versions: vec![1, 9, 7],
        host: HostName::new("h47").expect("a name"),
        boot: BOOT,
        devices: vec![DeviceId(47), DeviceId(4), DeviceId(5)],
        agent_version: "0.1.0".into(),
        accounts: vec![BootAccount { boot: BOOT, ticks: ticks(3, 9) }; 3],
        bundle_version: 300,
        times,
    };
    let settings =
        Settings { heartbeat_ms: 2000, window_batches: 64, backlog_bytes_per_second: 9, reconnect_window_ms: 10 };
    let welcome = Welcome {
        version: 1,
        settings,
        accounted: accounted.clone(),
        hello_boot_ns: 5,
        received_wall_ns: 6,
        answered_wall_ns: 7,
    };
    let heartbeat = Heartbeat {
        last_tick: Some(Tick(9)),
        waiting_ticks: 10,
        spool_bytes: 1 << 20,
        spool_capacity: 64 << 20,
        bundle_version: 3,
        times,
        exchange: Some(Exchange { sent_boot_ns: 1, received_wall_ns: 2, answered_wall_ns: 3, returned_boot_ns: 4 }),
    };
    let ack = Ack {
        accounted,
        rejected: vec![(BOOT, Rejected { first: Tick(600), code: 6 }); 3],
        echo: Some(Echo { heartbeat_boot_ns: 5, received_wall_ns: 6, answered_wall_ns: 7 }),
    };
    let gap = Gap { gaps: vec![GapRecord { boot: BOOT, ticks: ticks(1, 2), reason: GapReason::Rejected(27) }; 3] };
    let refused = Some(RefusedSettings { version: 9, fault: 2, detail: "at noon".into() });
    let health = Health { in_force: 1, on_trial: 300, refused, unknown_sensors: vec!["gpu".into(), "npu".into()] };
    let boot = &BOOT.0[..];
    all([
        message("HELLO", &hello, &[&[1, 9, 7], b"h47", &[47, 4, 5], b"0.1.0", &[boot, &[3, 9]].concat()]),
        message("WELCOME", &welcome, &[&[boot, &[3, 10, 20]].concat(), &[10, 20, 1, 5]]),
        message("HEARTBEAT", &heartbeat, &[]),
        message("ACK", &ack, &[&[boot, &[3, 10, 20]].concat(), &[10, 20, 1, 5], &[boot, &[0xD8, 4, 6]].concat()]),
        message("CONFIG", &Config::TrustBundle(vec![7; 30]), &[&[7; 30]]),
        message("CONFIG, settings", &Config::Settings(vec![7; 30]), &[&[7; 30]]),
        message("HEALTH", &health, &[b"at noon", &[&[3][..], b"gpu", &[3], b"npu"].concat(), b"gpu", b"npu"]),
        message("GOODBYE", &Goodbye { reason: GoodbyeReason::Replaced }, &[]),
        message("GAP", &gap, &[&[boot, &[1, 2]].concat()]),
        message("NEED_METRIC_SET", &NeedMetricSet { sets: vec![SetId([3; 16]), SetId([4; 16])] }, &[&[3; 16]]),
        message("ERROR", &Refusal { code: 1, detail: "at noon".into() }, &[b"at noon"]),
    ]);
}

fn from_wire<T>(wire: &[u8], max: usize, decode: fn(&[u8]) -> Option<T>) -> Option<T> {
    let (prefix, body) = wire.split_first_chunk()?;
    let len = length(*prefix, max).ok()?;
    decode(body).filter(|_| body.len() == len)
}

fn asked(what: &'static str, request: &JoinRequest, contents: &[&[u8]]) -> Sample {
    let read: Read = |wire| {
        from_wire(wire, MAX_REQUEST_LEN, |body| JoinRequest::decode(body).ok()).map(|request| request.encode().len())
    };
    joined(what, request.encode(), contents, read)
}

fn told(what: &'static str, answer: &JoinAnswer, contents: &[&[u8]]) -> Sample {
    let read: Read = |wire| {
        from_wire(wire, MAX_ANSWER_LEN, |body| JoinAnswer::decode(body).ok()).map(|answer| answer.encode().len())
    };
    joined(what, answer.encode(), contents, read)
}

fn joined(what: &'static str, bytes: Vec<u8>, contents: &[&[u8]], read: Read) -> Sample {
    let mut lengths = vec![(0, PREFIX_LEN)];
    lengths.extend(contents.iter().map(|content| before(&bytes, content)));
    Sample { what, bytes, lengths, read, memory: 16 << 10 }
}

#[test]
fn of_what_is_said_on_the_join_port() {
    let host = || HostName::new("h47").expect("a name");
    let settings = HostSettings {
        tenant: TenantId::new("demo").expect("a tenant"),
        host: host(),
        classification: Classification::UNCLASS,
        compartments: Compartments::SOC,
        devices: vec![DeviceId(4), DeviceId(47), DeviceId(9)],
        aggregators: vec!["centre.example:8100".into(), "b:1".into(), "c:1".into()],
        join_addresses: vec!["centre.example:8101".into(), "b:2".into(), "c:2".into()],
        key_exchange: LinkPolicy::Hybrid,
    };
    let join = JoinRequest::Join { host: host(), secret: [9; 32], csr: vec![2; 30] };
    let renew = JoinRequest::Renew { host: host(), public_key: vec![1; 20], csr: vec![2; 30], proof: vec![3; 40] };
    let granted = JoinAnswer::Granted(Box::new(Granted { leaf: vec![1; 30], bundle: vec![2; 40], settings }));
    let refused = JoinAnswer::Refused { code: 30, detail: "at noon".into() };
    all([
        asked("Join", &join, &[b"h47", &[2; 30]]),
        asked("Renew", &renew, &[b"h47", &[1; 20], &[2; 30], &[3; 40]]),
        asked("Bundle", &JoinRequest::Bundle { held: 7 }, &[]),
        told(
            "Granted",
            &granted,
            &[
                &[1; 30],
                &[2; 40],
                b"demo",
                b"h47",
                &[4, 47, 9],
                b"\x13centre.example:8100",
                b"centre.example:8100",
                b"b:1",
                b"c:1",
                b"\x13centre.example:8101",
                b"centre.example:8101",
                b"b:2",
                b"c:2",
            ],
        ),
        told("a newer bundle", &JoinAnswer::Bundle(vec![5; 30]), &[&[5; 30]]),
        told("up to date", &JoinAnswer::UpToDate, &[]),
        told("Refused", &refused, &[b"at noon"]),
    ]);
}

#[test]
fn of_what_agent_and_probe_say() {
    fn alone(wire: &[u8], max: usize) -> Option<Vec<u8>> {
        let whole = probe::body(wire, max).ok().flatten()?.to_vec();
        (probe::PREFIX_LEN + whole.len() == wire.len()).then_some(whole)
    }
    let asked: Read = |wire| Some(probe::question(read_question(&alone(wire, MAX_QUESTION_LEN)?).ok()?).len());
    let told: Read = |wire| Some(probe::answer(&read_answer(&alone(wire, probe::MAX_ANSWER_LEN)?).ok()?)?.len());
    let sample = |what, bytes: Vec<u8>, contents: &[&[u8]], read| {
        let mut lengths = vec![(0, probe::PREFIX_LEN)];
        lengths.extend(contents.iter().map(|content| before(&bytes, content)));
        Sample { what, bytes, lengths, read, memory: 16 << 10 }
    };
    let metric =
        Metric { name: "dsmil_gpu_fans".into(), labels: vec![], kind: Kind::Gauge, repr: Repr::U64, scale: Scale::ONE };
    let set = MetricSet::new(vec![metric]).expect("a set");
    let reading = |fault| {
        let values = vec![Some(0x51), None, Some(0x52)];
        let metrics = Some(set.encode());
        let reading = ProbeReading { set: SetId([0x5E; 16]), metrics, values, took_us: 1500, fault: Some(fault) };
        probe::answer(&Answer::Reading(reading)).expect("it fits")
    };
    let hung = Fault::Hung { for_s: 7, state: Some('D'), wait_channel: Some(Text::of("at noon")) };
    let hello = probe::answer(&Answer::Hello { kind: ProbeKind::Rapl, pid: 300 }).expect("it fits");
    let (named, values) = (set.encode(), [1, 0x51, 0, 1, 0x52]);
    all([
        sample("a probe's Hello?", probe::question(Question::Hello), &[], asked),
        sample("a probe's Read", probe::question(Question::Read { known: Some(SetId([7; 16])) }), &[], asked),
        sample("a probe's Hello", hello, &[], told),
        sample(
            "a reading",
            reading(Fault::NoPermission { to: Text::of("at noon") }),
            &[&named, &values, b"at noon"],
            told,
        ),
        sample("a reading that hangs", reading(hung), &[&named, &values, b"D\x01\x07at noon", b"at noon"], told),
    ]);
}

#[test]
fn of_a_metric_set() {
    let metric = |name: &str| Metric {
        name: name.into(),
        labels: [("cpu", "00"), ("mode", "user"), ("z", "last")].map(|(l, v)| (l.into(), v.into())).to_vec(),
        kind: Kind::Counter,
        repr: Repr::U64,
        scale: Scale::per(100),
    };
    let set = MetricSet::new(vec![metric("node_cpu_seconds_total"), metric("b_total"), metric("c_total")]);
    let bytes = set.expect("a set").encode();
    let contents: [&[u8]; 9] =
        [b"\x16node_cpu", b"node_cpu", b"\x03cpu", b"cpu\x0200", b"00", b"mode", b"user", b"last", b"b_total"];
    let lengths = contents.iter().map(|content| before(&bytes, content)).collect();
    let read: Read = |bytes| MetricSet::decode(bytes).ok().map(|set| set.encode().len());
    all([Sample { what: "metric set", bytes, lengths, read, memory: 16 << 10 }]);
}

/// A batch whose columns take every mode; `columns` of them, so that shapes are packed or are not.
fn batch(columns: usize) -> Batch {
    let stamps = (0..10).map(|t: u64| Stamp { tick: Tick(7 + t), wall_ms: 1000 * t.cast_signed() }).collect();
    let header = BatchHeader { boot: BOOT, set: SetId([0x5E; 16]), metrics: columns, stamps };
    let mut matrix = Matrix::new(columns, 10);
    for metric in 0..columns {
        for tick in 0..10usize {
            let (m, t) = (metric as u64, tick as u64);
            let value = match metric % 7 {
                0 => Some(0),
                1 => Some(300 + m),
                2 => Some(t / 3 * m),
                3 => Some((m + 3) * t * t),
                4 => (tick != 3).then_some(1000 + t * 7 % 5),
                5 => None,
                _ => Some(90_000 - u64::from(tick > 6) * m),
            };
            matrix.set(metric, tick, value);
        }
    }
    Batch { header, matrix }
}

/// Columns of the batches read here.
const FEW: usize = 7;
const MANY: usize = 140;

#[test]
fn of_a_batch() {
    let read = |bytes: &[u8], columns| decode(bytes, columns).ok().and_then(|batch| encode(&batch).ok());
    let read_few: Read = |bytes| decode(bytes, FEW).ok().map(|_| bytes.len());
    let read_many: Read = |bytes| decode(bytes, MANY).ok().map(|_| bytes.len());
    let header: Read = |bytes| decode_header(bytes).ok().map(|_| bytes.len());
    // Behind version, boot and set: columns and ticks.
    let (columns_at, ticks_at) = (33, 34);
    let few = encode(&batch(FEW)).expect("a batch");
    let many = encode(&batch(MANY)).expect("a batch");
    assert_eq!((few[columns_at], few[ticks_at]), (7, 10));
    assert_eq!(many[columns_at..columns_at + 3], [0x8C, 1, 10], "140 as a varint, and ten ticks");
    // First tick, width of what was skipped, wall time, width of its drift; then length of the shapes, and packed or not.
    let shapes = [39, 40];
    assert_eq!(few[shapes[1]], 0, "not packed");
    assert_eq!(read(&few, FEW).as_deref(), Some(&few[..]));
    // Not the ticks: the bits of eleven may fit where those of ten left room, and are eleven then.
    let lengths = [columns_at, shapes[0], shapes[1]].map(|at| (at, 1)).to_vec();
    let one = Sample { what: "batch", bytes: few, lengths, read: read_few, memory: 32 << 10 };
    let two =
        Sample { what: "batch, its shapes packed", bytes: many, lengths: vec![], read: read_many, memory: 64 << 10 };
    all([one, two]);
    // A header is read from the front of a batch, so a byte more is nothing to it.
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let whole = encode(&batch(FEW)).expect("a batch");
    for end in 0..39 {
        assert_eq!(memory::within(8 << 10, || header(&whole[..end])), None, "a header cut at {end}");
    }
    assert!(header(&whole[..39]).is_some());
}

#[test]
fn of_settings_of_the_fleet_and_their_envelope() {
    let settings = FleetSettings {
        version: 5,
        trust_domain: "fleet.example".into(),
        target: Target::Group("edge".into()),
        issued_s: 1_000,
        note: "at noon".into(),
        values: Values {
            interval_s: Some(10),
            sensors: vec![("netdev".into(), SensorSetting::Off), ("stat".into(), SensorSetting::EveryS(1))],
            ..Values::default()
        },
    };
    let mut signed = SignedSettings::new(&settings, Fingerprint([1; 48])).expect("within limits");
    signed.sign(vec![0x61; 20]);
    let bytes = signed.encode().expect("within limits");
    let label = b"dsmil fleet settings v1\0".len();
    let body = signed.statement()[label..].to_vec();
    let contents: [&[u8]; 3] = [&body, &[1; 48], &[0x61; 20]];
    let lengths = contents.iter().map(|content| before(&bytes, content)).collect();
    let envelope: Read =
        |bytes| SignedSettings::decode(bytes).ok().and_then(|signed| signed.encode().ok()).map(|bytes| bytes.len());
    let contents: [&[u8]; 6] = [b"fleet.example", b"edge", b"at noon", b"\x06netdev", b"netdev", b"stat"];
    let inner = contents.iter().map(|content| before(&body, content)).collect();
    let opened: Read = |body| {
        let len = u8::try_from(body.len()).ok().filter(|len| *len < 0x80)?;
        let bytes = [&b"DSFS\x01"[..], &[len], body, &[48], &[1; 48], &[0]].concat();
        let settings = SignedSettings::decode(&bytes).ok()?.open().ok()?;
        let again = SignedSettings::new(&settings, Fingerprint([1; 48])).expect("what keeps its limits can be made");
        Some(again.statement().len() - b"dsmil fleet settings v1\0".len())
    };
    all([
        Sample { what: "settings' envelope", bytes, lengths, read: envelope, memory: 16 << 10 },
        Sample { what: "settings", bytes: body, lengths: inner, read: opened, memory: 16 << 10 },
    ]);
}

fn bundle() -> TrustBundle {
    TrustBundle {
        version: 6,
        trust_domain: "fleet.example".into(),
        issued_s: 1_000,
        expires_s: 2_000,
        roots: vec![vec![0x71; 10], vec![0x72; 11], vec![0x73; 12]],
        issuers: vec![
            Issuer { name: "first".into(), certificates: vec![vec![0x74; 10], vec![0x75; 10]] },
            Issuer { name: "second".into(), certificates: vec![vec![0x76; 10]] },
        ],
        order_keys: vec![OrderKey { name: "kim".into(), public_key: vec![0x77; 10] }; 2],
        revoked: vec![Fingerprint([8; 48]); 3],
        retired: vec![Fingerprint([9; 48]); 3],
    }
}

#[test]
fn of_a_trust_bundle_and_its_envelope() {
    let signed = || {
        let mut signed = SignedBundle::new(&bundle()).expect("within limits");
        signed.sign(Fingerprint([1; 48]), vec![0x61; 20]);
        signed.sign(Fingerprint([2; 48]), vec![0x62; 20]);
        signed
    };
    let bytes = signed().encode().expect("within limits");
    let label = b"dsmil trust bundle v1\0".len();
    let body = signed().statement()[label..].to_vec();
    // Number of signatures, the fingerprint's length, and that of each signature. The body's own takes two bytes.
    let one = [&[48][..], &[1; 48]].concat();
    let contents: [&[u8]; 5] = [&one, &[1; 48], &[0x61; 20], &[2; 48], &[0x62; 20]];
    let lengths = contents.iter().map(|content| before(&bytes, content)).collect();
    let envelope: Read =
        |bytes| SignedBundle::decode(bytes).ok().and_then(|signed| signed.encode().ok()).map(|bytes| bytes.len());
    let contents: [&[u8]; 14] = [
        b"fleet.example",
        &[&[10][..], &[0x71; 10]].concat(),
        &[0x71; 10],
        &[0x72; 11],
        &[0x73; 12],
        b"\x05first",
        b"first",
        &[&[10][..], &[0x74; 10]].concat(),
        &[0x75; 10],
        b"\x03kim",
        b"kim",
        &[0x77; 10],
        &[&[48][..], &[8; 48]].concat(),
        &[&[48][..], &[9; 48]].concat(),
    ];
    let inner = contents.iter().map(|content| before(&body, content)).collect();
    let opened: Read = |body| {
        let len = u8::try_from(body.len() & 0x7F).expect("seven bits") | 0x80;
        let more = u8::try_from(body.len() >> 7).expect("below 16 KiB");
        // A length of one byte would be written in two.
        let bytes = [&b"DSTB\x01"[..], &[len, more], body, &[0]].concat();
        let bundle = SignedBundle::decode(&bytes).ok()?.open().ok()?;
        let again = SignedBundle::new(&bundle).expect("what keeps its limits can be made");
        Some(again.statement().len() - b"dsmil trust bundle v1\0".len())
    };
    all([
        Sample { what: "envelope", bytes, lengths, read: envelope, memory: 16 << 10 },
        Sample { what: "bundle", bytes: body, lengths: inner, read: opened, memory: 32 << 10 },
    ]);
}

#[test]
fn of_a_join_token() {
    const PREFIX: &str = "dsmil-join-1.";
    let addresses = vec!["aggregator.example:8101".into(), "b:1".into(), "c:1".into()];
    let token =
        JoinToken::generate(addresses, "fleet.example".into(), Fingerprint([7; 48]), "h47".into(), 1_750_000_000);
    let bytes = URL_SAFE_NO_PAD.decode(&token.text()[PREFIX.len()..]).expect("what was encoded");
    let body = bytes[..bytes.len() - 4].to_vec();
    let contents: [&[u8]; 7] = [b"\x17aggregator", b"aggregator", b"b:1", b"c:1", b"fleet.example", &[7; 48], b"h47"];
    let lengths = contents.iter().map(|content| before(&body, content)).collect();
    // Its check is made right: without that, nothing but the whole is read.
    let read: Read = |body| {
        let text = URL_SAFE_NO_PAD.encode([body, &Sha384::digest(body)[..4]].concat());
        let token: JoinToken = format!("{PREFIX}{text}").parse().ok()?;
        Some(URL_SAFE_NO_PAD.decode(&token.text()[PREFIX.len()..]).expect("what was encoded").len() - 4)
    };
    all([Sample { what: "join token", bytes: body, lengths, read, memory: 16 << 10 }]);
}

/// Where the lengths of DER are, constructed values entered: where, and in how many bytes behind the first.
fn der_lengths(bytes: &[u8], from: usize, end: usize, found: &mut Vec<(usize, usize)>) {
    let mut at = from;
    while at + 1 < end {
        let (tag, first) = (bytes[at], bytes[at + 1]);
        let width = usize::from(first.saturating_sub(0x80));
        let digits = &bytes[at + 2..at + 2 + width];
        let len = if width == 0 { first.into() } else { digits.iter().fold(0, |n, b| n << 8 | usize::from(*b)) };
        found.push(if width == 0 { (at + 1, 1) } else { (at + 2, width) });
        let content = at + 2 + width;
        if tag & 0x20 != 0 {
            der_lengths(bytes, content, content + len, found);
        }
        at = content + len;
    }
}

#[test]
fn of_a_certificate_request() {
    let bytes = request(&SigningKey::generate().expect("a key")).expect("a request");
    let mut lengths = Vec::new();
    der_lengths(&bytes, 0, bytes.len(), &mut lengths);
    assert!(lengths.len() > 8, "{lengths:?}");
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = |bytes: &[u8]| memory::within(128 << 10, || CheckedCsr::check(bytes).is_ok());
    assert!(taken(&bytes));
    for end in 0..bytes.len() {
        assert!(!taken(&bytes[..end]), "cut at {end}");
    }
    assert!(!taken(&[&bytes[..], &[0]].concat()), "a byte more");
    for (at, width) in lengths {
        for lie in lies(&bytes[at..at + width]) {
            assert!(!taken(&[&bytes[..at], &lie, &bytes[at + width..]].concat()), "a length at {at} of {lie:02x?}");
        }
    }
}

/// A file on the host's own disk, not from a stranger; but a disk that was full leaves half of one.
#[test]
fn of_an_identity_file() {
    let now = 1_750_000_000;
    let domain = TrustDomain::new("fleet.example").expect("a trust domain");
    let root = FleetRoot::create(&domain, now).expect("a root");
    let key = IssuerKey::generate().expect("a key");
    let asked = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
    let certificate = root.certify_issuer("a1", &asked, now).expect("an issuer");
    let issuer = FleetIssuer::new(&[certificate.to_vec()], domain, key).expect("of its key");
    let identity = issuer.issue_aggregator("a1", now, LEAF_LIFETIME).expect("a leaf");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("identity.pem");
    identity.save(&path).expect("written");
    let whole = std::fs::read(&path).expect("there");
    assert_eq!(whole.last(), Some(&b'\n'));
    for end in 0..whole.len() - 1 {
        // The file keeps its mode.
        std::fs::write(&path, &whole[..end]).expect("written");
        assert!(Identity::load(&path).is_err(), "cut at {end}");
    }
}

//! The two implementations held to each other: what one makes, the other must take, and both refuse the same.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use aws_lc_rs::kem;
use aws_lc_rs::signature::{KeyPair as _, ML_DSA_87_SIGNING, PqdsaKeyPair};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, PKCS_ML_DSA_87};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SignatureVerificationAlgorithm,
};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{NamedGroup, ProtocolVersion, RootCertStore, SignatureScheme};

use super::tls::sign_key_for_tls;
use super::{ML_DSA_87, ML_KEM_1024, SigningKey, tls_keys};

const MESSAGE: &[u8] = b"sixteen degrees";
const NAME: &str = "end.example";

/// Offset of `tr`, `s1` and what follows in an expanded key: behind `rho` and `K`.
const BEHIND_K: usize = 64;

fn groups() -> [(&'static str, &'static dyn SupportedKxGroup); 2] {
    [("aws-lc", kx_group::MLKEM1024), ("liboqs", ML_KEM_1024)]
}

fn verifiers() -> [(&'static str, &'static dyn SignatureVerificationAlgorithm); 2] {
    [("aws-lc", webpki::aws_lc_rs::ML_DSA_87), ("liboqs", ML_DSA_87)]
}

/// A key of either implementation.
enum Key {
    AwsLc(PqdsaKeyPair),
    Liboqs(SigningKey),
}

impl Key {
    fn pair() -> [Self; 2] {
        let aws_lc = PqdsaKeyPair::generate(&ML_DSA_87_SIGNING).expect("a key of aws-lc");
        [Self::AwsLc(aws_lc), Self::Liboqs(SigningKey::generate().expect("a key of liboqs"))]
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::AwsLc(key) => {
                let mut signature = vec![0; ML_DSA_87_SIGNING.signature_len()];
                key.sign(message, &mut signature).expect("signed by aws-lc");
                signature
            }
            Self::Liboqs(key) => key.sign(message).expect("signed by liboqs"),
        }
    }

    fn public_key(&self) -> &[u8] {
        match self {
            Self::AwsLc(key) => key.public_key().as_ref(),
            Self::Liboqs(key) => key.public_key(),
        }
    }

    fn pkcs8(&self) -> Vec<u8> {
        match self {
            Self::AwsLc(key) => key.to_pkcs8v1().expect("written by aws-lc").as_ref().to_vec(),
            Self::Liboqs(key) => key.to_pkcs8().to_vec(),
        }
    }

    /// The same key, read from its file by each implementation.
    fn read_by_both(&self) -> [Self; 2] {
        let file = self.pkcs8();
        let aws_lc = PqdsaKeyPair::from_pkcs8(&ML_DSA_87_SIGNING, &file).expect("read by aws-lc");
        [Self::AwsLc(aws_lc), Self::Liboqs(SigningKey::from_pkcs8(&file).expect("read for liboqs"))]
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.public_key()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ML_DSA_87
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message))
    }
}

/// Asserts that both implementations say the same of a signature.
fn judged(good: bool, public_key: &[u8], message: &[u8], signature: &[u8]) {
    for (name, verifier) in verifiers() {
        let verdict = verifier.verify_signature(public_key, message, signature);
        assert_eq!(verdict.is_ok(), good, "judged by {name}: {verdict:?}");
    }
}

#[test]
fn the_version_is_the_one_in_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    let version = super::version();
    let (_, number) = version.split_once(' ').expect("name and number");
    assert!(lock.contains(&format!("+liboqs-{number}\"\n")), "Cargo.lock has another version than {version:?}");
}

#[test]
fn groups_and_algorithms_are_named_alike() {
    let [(_, theirs), (_, ours)] = groups();
    assert_eq!((ours.name(), ours.name()), (theirs.name(), NamedGroup::MLKEM1024));
    assert!(ours.usable_for_version(ProtocolVersion::TLSv1_3) && !ours.usable_for_version(ProtocolVersion::TLSv1_2));
    let [(_, theirs), (_, ours)] = verifiers();
    assert_eq!(ours.public_key_alg_id(), theirs.public_key_alg_id());
    assert_eq!(ours.signature_alg_id(), theirs.signature_alg_id());
    assert!(!ML_KEM_1024.fips() && !ML_DSA_87.fips() && !tls_keys().fips());
}

#[test]
fn a_secret_is_shared_between_any_two_ends() {
    for (client_name, client) in groups() {
        for (server_name, server) in groups() {
            let started = client.start().expect("a share");
            assert_eq!((started.pub_key().len(), started.group()), (1568, NamedGroup::MLKEM1024));
            let completed = server.start_and_complete(started.pub_key()).expect("completed by the server");
            assert_eq!((completed.pub_key.len(), completed.group), (1568, NamedGroup::MLKEM1024));
            let secret = started.complete(&completed.pub_key).expect("completed by the client");
            assert_eq!(secret.secret_bytes().len(), 32);
            assert_eq!(secret.secret_bytes(), completed.secret.secret_bytes(), "{client_name} and {server_name}");
        }
    }
}

#[test]
fn shares_of_another_length_are_refused() {
    for (name, group) in groups() {
        for len in [0, 1, 1184, 1567, 1569, 3168] {
            assert!(group.start_and_complete(&vec![0; len]).is_err(), "{name} took a key of {len} bytes");
            let started = group.start().expect("a share");
            assert!(started.complete(&vec![0; len]).is_err(), "{name} took a ciphertext of {len} bytes");
        }
    }
}

#[test]
fn a_share_with_a_coefficient_beyond_the_modulus_is_refused() {
    let mut share = ML_KEM_1024.start().expect("a share").pub_key().to_vec();
    // Twelve bits: 3329 is the least that is no coefficient (FIPS 203, section 7.2).
    share[0] = 0x01;
    share[1] = share[1] & 0xf0 | 0x0d;
    for (name, group) in groups() {
        assert!(group.start_and_complete(&share).is_err(), "taken by {name}");
    }
    share[0] = 0x00;
    for (name, group) in groups() {
        assert!(group.start_and_complete(&share).is_ok(), "3328 is one; refused by {name}");
    }
}

#[test]
fn an_altered_ciphertext_gives_another_secret_and_no_error() {
    for (client_name, client) in groups() {
        for (server_name, server) in groups() {
            let started = client.start().expect("a share");
            let mut completed = server.start_and_complete(started.pub_key()).expect("completed by the server");
            completed.pub_key[700] ^= 0x10;
            let secret = started.complete(&completed.pub_key).expect("rejection is implicit");
            assert_ne!(secret.secret_bytes(), completed.secret.secret_bytes(), "{client_name} and {server_name}");
        }
    }
}

#[test]
fn signatures_of_either_are_taken_by_both() {
    for key in Key::pair() {
        for message in [b"".as_slice(), MESSAGE, &[0x5a; 70_000]] {
            let signature = key.sign(message);
            assert_eq!((key.public_key().len(), signature.len()), (2592, 4627));
            judged(true, key.public_key(), message, &signature);
        }
    }
}

#[test]
fn signatures_under_another_key_or_message_are_refused_by_both() {
    let [one, other] = Key::pair();
    for (signer, stranger) in [(&one, &other), (&other, &one)] {
        let signature = signer.sign(MESSAGE);
        judged(false, stranger.public_key(), MESSAGE, &signature);
        judged(false, signer.public_key(), b"sixteen degreeS", &signature);
        judged(false, signer.public_key(), b"", &signature);
    }
}

#[test]
fn cut_and_padded_signatures_and_keys_are_refused_by_both() {
    for key in Key::pair() {
        let signature = key.sign(MESSAGE);
        for len in [0, 1, 2420, 4626] {
            judged(false, key.public_key(), MESSAGE, &signature[..len]);
        }
        judged(false, key.public_key(), MESSAGE, &[signature.as_slice(), &[0]].concat());
        judged(false, &key.public_key()[..2591], MESSAGE, &signature);
        judged(false, &[key.public_key(), &[0]].concat(), MESSAGE, &signature);
        judged(false, b"", MESSAGE, &signature);
    }
}

#[test]
fn keys_written_by_either_are_read_for_both() {
    for written in Key::pair() {
        for read in written.read_by_both() {
            assert_eq!(read.public_key(), written.public_key());
            judged(true, written.public_key(), MESSAGE, &read.sign(MESSAGE));
        }
    }
}

#[test]
fn a_key_that_was_read_is_written_as_it_was() {
    for written in Key::pair() {
        let [_, read] = written.read_by_both();
        assert!(read.pkcs8() == written.pkcs8(), "the file of a key that was read and written again is another");
    }
}

#[test]
fn a_key_of_aws_lc_is_stored_as_its_seed_and_one_of_liboqs_expanded() {
    let [aws_lc, liboqs] = Key::pair();
    assert_eq!(aws_lc.pkcs8().len(), 54, "18 bytes before the seed's OCTET STRING, and its 34 bytes");
    assert_eq!(liboqs.pkcs8().len(), 4924);
    // aws-lc writes no expanded key: one that it has read cannot be written by it again.
    let [Key::AwsLc(read), _] = liboqs.read_by_both() else { unreachable!("the first is aws-lc's") };
    assert!(read.to_pkcs8v1().is_err(), "aws-lc has learnt to write expanded keys: see who keeps files for that");
}

#[test]
fn a_damaged_key_is_refused() {
    let [aws_lc, liboqs] = Key::pair();
    let file = liboqs.pkcs8();
    let expanded = file.len() - 4896;
    for at in [0, 12, 19, expanded, expanded + BEHIND_K, expanded + 1000, file.len() - 1] {
        let mut damaged = file.clone();
        damaged[at] ^= 0x01;
        assert!(SigningKey::from_pkcs8(&damaged).is_err(), "byte {at} does not matter");
    }
    for file in [aws_lc.pkcs8(), file] {
        for cut in [0, 1, 20, file.len() - 1] {
            assert!(SigningKey::from_pkcs8(&file[..cut]).is_err(), "{cut} bytes are enough");
        }
    }
    let other = rcgen::KeyPair::generate().expect("a P-256 key").serialize_der();
    let refused = SigningKey::from_pkcs8(&other).expect_err("another algorithm");
    assert!(refused.to_string().contains("ML-DSA-87"), "{refused}");
}

#[test]
fn a_key_tells_nothing_of_itself() {
    let key = SigningKey::generate().expect("a key");
    assert_eq!(format!("{key:?}"), "SigningKey { .. }");
}

#[test]
fn tls_is_offered_one_scheme() {
    let key = Arc::new(SigningKey::generate().expect("a key"));
    let tls = sign_key_for_tls(Arc::clone(&key));
    assert!(tls.choose_scheme(&[SignatureScheme::ML_DSA_65, SignatureScheme::ED25519]).is_none());
    let signer = tls.choose_scheme(&[SignatureScheme::ED25519, SignatureScheme::ML_DSA_87]).expect("ours");
    assert_eq!(signer.scheme(), SignatureScheme::ML_DSA_87);
    judged(true, key.public_key(), MESSAGE, &signer.sign(MESSAGE).expect("signed"));
    let file = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec()));
    let theirs = default_provider().key_provider.load_private_key(file.clone_key()).expect("read by aws-lc");
    assert_eq!(tls.public_key(), theirs.public_key());
    let ours = tls_keys().load_private_key(file).expect("read for liboqs");
    assert_eq!(format!("{ours:?}"), "TlsKey(SigningKey { .. })", "a key that liboqs does not sign with");
}

static AWS_LC_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ML_DSA_87],
    mapping: &[(SignatureScheme::ML_DSA_87, &[webpki::aws_lc_rs::ML_DSA_87])],
};

static LIBOQS_SIGNATURES: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: &[ML_DSA_87], mapping: &[(SignatureScheme::ML_DSA_87, &[ML_DSA_87])] };

/// An end of a handshake: an implementation, its leaf, and the root of that.
struct End {
    provider: Arc<CryptoProvider>,
    root: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl End {
    fn both() -> [Self; 2] {
        let [aws_lc, liboqs] = Key::pair();
        let [aws_lc_root, liboqs_root] = Key::pair();
        let cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
        let aws_lc_provider = CryptoProvider {
            cipher_suites: cipher_suites.clone(),
            kx_groups: vec![kx_group::MLKEM1024],
            signature_verification_algorithms: AWS_LC_SIGNATURES,
            ..default_provider()
        };
        let liboqs_provider = CryptoProvider {
            cipher_suites,
            kx_groups: vec![ML_KEM_1024],
            signature_verification_algorithms: LIBOQS_SIGNATURES,
            key_provider: tls_keys(),
            ..default_provider()
        };
        // The chain of an end has both: a leaf with a key of its own, signed by a root of the other implementation.
        [Self::new(aws_lc_provider, &liboqs_root, &aws_lc), Self::new(liboqs_provider, &aws_lc_root, &liboqs)]
    }

    fn new(provider: CryptoProvider, root_key: &Key, key: &Key) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = params.self_signed(root_key).expect("a root").der().clone();
        let issuer = rcgen::Issuer::from_ca_cert_der(&root, root_key).expect("an issuer");
        let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        let leaf = params.signed_by(key, &issuer).expect("a leaf").der().clone();
        Self { provider: Arc::new(provider), root, leaf, key: PrivatePkcs8KeyDer::from(key.pkcs8()).into() }
    }

    fn trusting(peer: &Self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(peer.root.clone()).expect("a root");
        Arc::new(roots)
    }

    fn server(&self, client: &Self) -> rustls::ServerConnection {
        let verifier = WebPkiClientVerifier::builder_with_provider(Self::trusting(client), self.provider.clone());
        let config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![self.leaf.clone()], self.key.clone_key())
            .expect("a key that fits its certificate");
        rustls::ServerConnection::new(Arc::new(config)).expect("a server")
    }

    fn client(&self, server: &Self) -> rustls::ClientConnection {
        let config = self.client_config(server).with_client_auth_cert(vec![self.leaf.clone()], self.key.clone_key());
        connection(config.expect("a key that fits its certificate"))
    }

    fn client_config(&self, server: &Self) -> rustls::ConfigBuilder<rustls::ClientConfig, WantsClientCert> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Self::trusting(server), self.provider.clone());
        rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_webpki_verifier(verifier.build().expect("a verifier"))
    }
}

fn connection(config: rustls::ClientConfig) -> rustls::ClientConnection {
    let name = ServerName::try_from(NAME).expect("a name");
    rustls::ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// Carries what one end has to say to the other.
fn carry<A, B>(
    from: &mut rustls::ConnectionCommon<A>,
    to: &mut rustls::ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("written to memory");
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("read from memory");
        to.process_new_packets()?;
    }
    Ok(())
}

/// Three flights: the client's hello; everything of the server; certificate and end of the client.
fn shake_hands(
    client: &mut rustls::ClientConnection,
    server: &mut rustls::ServerConnection,
) -> Result<(), rustls::Error> {
    carry(client, server)?;
    carry(server, client)?;
    carry(client, server)
}

#[test]
fn tls_is_spoken_between_any_two_ends_with_both_proven() {
    let ends = End::both();
    let strangers = End::both();
    for (s, server_end) in ends.iter().enumerate() {
        for (c, client_end) in ends.iter().enumerate() {
            // An end does not meet itself: where both are of one implementation, another of that stands in.
            let client_end = if s == c { &strangers[c] } else { client_end };
            let mut server = server_end.server(client_end);
            let mut client = client_end.client(server_end);
            shake_hands(&mut client, &mut server).expect("a handshake");
            assert!(!client.is_handshaking() && !server.is_handshaking());
            let group = client.negotiated_key_exchange_group().map(|group| group.name());
            assert_eq!(group, Some(NamedGroup::MLKEM1024));
            assert_eq!(server.peer_certificates(), Some([client_end.leaf.clone()].as_slice()));
            assert_eq!(client.peer_certificates(), Some([server_end.leaf.clone()].as_slice()));
            let exported = |exported: Result<[u8; 48], rustls::Error>| exported.expect("the handshake is over");
            let at_client = exported(client.export_keying_material([0; 48], b"EXPORTER-test", None));
            let at_server = exported(server.export_keying_material([0; 48], b"EXPORTER-test", None));
            assert_eq!(at_client, at_server);
            client.writer().write_all(MESSAGE).expect("buffered");
            carry(&mut client, &mut server).expect("taken");
            let mut got = [0; MESSAGE.len()];
            server.reader().read_exact(&mut got).expect("all of it");
            assert_eq!(got, MESSAGE);
        }
    }
}

#[test]
fn an_end_of_either_refuses_a_root_that_it_does_not_know() {
    let ends = End::both();
    let strangers = End::both();
    for judge in &ends {
        for (shown, trusted) in ends.iter().zip(&strangers) {
            // The judge knows the root of one that is called the same and is another.
            let refused = shake_hands(&mut judge.client(trusted), &mut shown.server(judge));
            let refused = refused.expect_err("a client took a server of an unknown root");
            assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
            let refused = shake_hands(&mut shown.client(judge), &mut judge.server(trusted));
            let refused = refused.expect_err("a server took a client of an unknown root");
            assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
        }
    }
}

#[test]
fn a_certificate_shown_without_its_key_is_refused() {
    let ends = End::both();
    let [aws_lc, liboqs] = Key::pair();
    let aws_lc = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(aws_lc.pkcs8()));
    let aws_lc = default_provider().key_provider.load_private_key(aws_lc).expect("a key");
    let Key::Liboqs(liboqs) = liboqs else { unreachable!("the second is liboqs'") };
    let liboqs = sign_key_for_tls(Arc::new(liboqs));
    for (judge, shown) in ends.iter().zip(ends.iter().rev()) {
        for key in [&aws_lc, &liboqs].map(Arc::clone) {
            let stolen = SingleCertAndKey::from(CertifiedKey::new(vec![shown.leaf.clone()], key));
            let config = shown.client_config(judge).with_client_cert_resolver(Arc::new(stolen));
            let mut client = connection(config);
            let refused =
                shake_hands(&mut client, &mut judge.server(shown)).expect_err("a stolen certificate was taken");
            assert_eq!(refused, rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_bit_makes_a_signature_bad_to_both(
        message in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0..4627usize,
        bit in 0..8u32,
    ) {
        for key in Key::pair() {
            let mut signature = key.sign(&message);
            judged(true, key.public_key(), &message, &signature);
            signature[at] ^= 1 << bit;
            judged(false, key.public_key(), &message, &signature);
        }
    }

    #[test]
    fn one_bit_makes_another_key_to_both(at in 0..2592usize, bit in 0..8u32) {
        for key in Key::pair() {
            let signature = key.sign(MESSAGE);
            let mut other = key.public_key().to_vec();
            other[at] ^= 1 << bit;
            judged(false, &other, MESSAGE, &signature);
        }
    }

    #[test]
    fn an_altered_share_is_a_key_to_both_or_to_neither(at in 0..1568usize, byte: u8) {
        let mut share = ML_KEM_1024.start().expect("a share").pub_key().to_vec();
        share[at] = byte;
        let [theirs, ours] = groups().map(|(_, group)| group.start_and_complete(&share).is_ok());
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn both_get_the_same_secret_from_any_ciphertext(altered in proptest::option::of((0..1568usize, 1..=255u8))) {
        let liboqs = ::oqs::kem::Kem::new(::oqs::kem::Algorithm::MlKem1024).expect("built in");
        let (share, key) = liboqs.keypair().expect("a key");
        let aws_lc = kem::DecapsulationKey::new(&kem::ML_KEM_1024, key.as_ref()).expect("read by aws-lc");
        let mut ciphertext = kx_group::MLKEM1024.start_and_complete(share.as_ref()).expect("encapsulated").pub_key;
        if let Some((at, change)) = altered {
            ciphertext[at] ^= change;
        }
        let ours = liboqs.decapsulate(&key, liboqs.ciphertext_from_bytes(&ciphertext).expect("1568 bytes"));
        let theirs = aws_lc.decapsulate(ciphertext.as_slice().into()).expect("rejection is implicit");
        let ours = ours.expect("rejection is implicit");
        prop_assert_eq!(ours.as_ref(), theirs.as_ref());
    }
}

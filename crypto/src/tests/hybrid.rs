//! P-384 and ML-KEM-1024 together: what meets, what is refused, and shares that lie.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::kx_group::SECP384R1;

use super::peers::{connected, handshake_in_memory, refused_by_server};
use super::{fleet, server};
use crate::backend::ML_KEM_1024;
use crate::group::{HYBRID_NAME, SECP384R1_ML_KEM_1024};
use crate::policy::{KeyExchange, SessionCache};
use crate::refusal::Refusal;

/// An uncompressed point of P-384 and an encapsulation key, or a ciphertext, of ML-KEM-1024 (FIPS 203, table 3).
const SHARE_LEN: usize = 97 + 1568;

#[tokio::test]
async fn two_hybrid_ends_meet() {
    let fleet = fleet();
    let (mut aggregator, mut agent) = (fleet.aggregator_link(), fleet.agent_link());
    (aggregator.key_exchange, agent.key_exchange) = (KeyExchange::Hybrid, KeyExchange::Hybrid);
    let (seen, client, _met) = connected(server(&aggregator), agent.client().expect("a client")).await;
    aggregator.authenticate(&seen).expect("an agent");
    agent.authenticate(&client).expect("an aggregator");

    let tls = Arc::new(aggregator.server_tls(&SessionCache::none()).expect("a server"));
    let (server, client) = handshake_in_memory(tls, Arc::new(agent.client_tls().expect("a client")));
    for end in [&server as &rustls::CommonState, &client] {
        let group = end.negotiated_key_exchange_group().expect("a group").name();
        assert_eq!(u16::from(group), 0x11ED);
    }
    assert_eq!(KeyExchange::Hybrid.negotiated().group, "SecP384r1MLKEM1024");
}

#[tokio::test]
async fn hybrid_and_pure_refuse_each_other() {
    let fleet = fleet();
    for (ours, theirs) in [(KeyExchange::Hybrid, KeyExchange::Pure), (KeyExchange::Pure, KeyExchange::Hybrid)] {
        let (mut aggregator, mut agent) = (fleet.aggregator_link(), fleet.agent_link());
        (aggregator.key_exchange, agent.key_exchange) = (ours, theirs);
        let why = refused_by_server(server(&aggregator), agent.client().expect("a client")).await;
        assert_eq!(why, Refusal::KeyExchange, "{ours:?} {theirs:?}");
    }
}

#[test]
fn the_group_says_of_itself_what_it_is() {
    let group = SECP384R1_ML_KEM_1024;
    assert_eq!(group.name(), HYBRID_NAME);
    assert!(group.usable_for_version(rustls::ProtocolVersion::TLSv1_3));
    assert!(!group.usable_for_version(rustls::ProtocolVersion::TLSv1_2));
    let started = group.start().expect("started");
    assert_eq!((started.group(), started.pub_key().len()), (HYBRID_NAME, SHARE_LEN));
    assert_eq!(started.pub_key()[0], 4, "the point comes first, uncompressed");
}

/// draft-ietf-tls-ecdhe-mlkem, section 4: at a peer that puts the two together by itself.
#[test]
fn shares_and_secrets_are_those_of_the_curve_first_and_then_those_of_ml_kem() {
    let (classical, post_quantum) = (SECP384R1.start().expect("started"), ML_KEM_1024.start().expect("started"));
    let share = [classical.pub_key(), post_quantum.pub_key()].concat();
    let server = SECP384R1_ML_KEM_1024.start_and_complete(&share).expect("two sound shares");
    let (point, ciphertext) = server.pub_key.split_at(97);
    let classical = classical.complete(point).expect("a point");
    let post_quantum = post_quantum.complete(ciphertext).expect("a ciphertext");
    assert_eq!(server.secret.secret_bytes(), [classical.secret_bytes(), post_quantum.secret_bytes()].concat());
}

#[test]
fn a_share_of_any_other_length_is_refused_at_both_ends() {
    let group = SECP384R1_ML_KEM_1024;
    let client = group.start().expect("started").pub_key().to_vec();
    let server = group.start_and_complete(&client).expect("a share of ours").pub_key;
    assert_eq!((client.len(), server.len()), (SHARE_LEN, SHARE_LEN));
    let lengths = (0..=200).chain(1500..SHARE_LEN).chain(SHARE_LEN + 1..SHARE_LEN + 100);
    for len in lengths {
        let of = |share: &[u8]| share.iter().copied().chain(std::iter::repeat(4)).take(len).collect::<Vec<_>>();
        assert!(group.start_and_complete(&of(&client)).is_err(), "{len}");
        assert!(group.start().expect("started").complete(&of(&server)).is_err(), "{len}");
    }
}

#[test]
fn a_share_that_is_no_point_or_no_key_is_refused() {
    let group = SECP384R1_ML_KEM_1024;
    let client = group.start().expect("started").pub_key().to_vec();
    let altered = |at: usize, byte: u8| {
        let mut share = client.clone();
        share[at] = byte;
        share
    };
    // Other encodings of a point, a point off the curve, and a coefficient over ML-KEM's modulus.
    let off_the_curve = altered(50, client[50] ^ 1);
    let mut beyond = client.clone();
    beyond[97..100].fill(0xff);
    for bad in [altered(0, 0), altered(0, 2), altered(0, 6), off_the_curve, beyond, vec![0; SHARE_LEN]] {
        assert!(group.start_and_complete(&bad).is_err());
    }
    assert!(group.start().expect("started").complete(&[0; SHARE_LEN]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_ends_have_the_same_secret_and_a_changed_answer_gives_another(at in 97..SHARE_LEN, flip in 1..=255u8) {
        for (group, secret_len) in [(SECP384R1_ML_KEM_1024, 48 + 32), (ML_KEM_1024, 32)] {
            let (here, altered) = (group.start().expect("started"), group.start().expect("started"));
            let there = group.start_and_complete(here.pub_key()).expect("a share of ours");
            let found = here.complete(&there.pub_key).expect("an answer of ours");
            prop_assert_eq!(found.secret_bytes(), there.secret.secret_bytes());
            prop_assert_eq!(found.secret_bytes().len(), secret_len);

            // ML-KEM rejects implicitly (FIPS 203, section 6.3): there is a secret, and nobody else has it.
            let there = group.start_and_complete(altered.pub_key()).expect("a share of ours");
            let mut answer = there.pub_key.clone();
            let at = at.min(answer.len() - 1);
            answer[at] ^= flip;
            let found = altered.complete(&answer).expect("implicitly rejected");
            prop_assert_ne!(found.secret_bytes(), there.secret.secret_bytes());
        }
    }

    #[test]
    fn no_share_is_too_odd(share in proptest::collection::vec(any::<u8>(), 0..2 * SHARE_LEN)) {
        prop_assert!(SECP384R1_ML_KEM_1024.start_and_complete(&share).is_err());
        prop_assert!(SECP384R1_ML_KEM_1024.start().expect("started").complete(&share).is_err());
    }
}

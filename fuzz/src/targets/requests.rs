//! Certificate requests, as any holder of a token, or of none, may send them.

use super::Target;
use crate::memory;
use dsmil_crypto::csr::{CheckedCsr, MAX_CSR_LEN, request};
use dsmil_crypto::key::SigningKey;

pub(super) const TARGET: Target = Target {
    name: "requests",
    what: "certificate requests (PKCS #10)",
    run,
    seeds,
    dictionary: &[
        b"\x30\x82",
        b"\x03\x82",
        b"\x02\x01\x00",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x60\x86\x48\x01\x65\x03\x04\x03\x13",
        b"\xa0\x00",
    ],
    max_len: 8192,
};

fn run(input: &[u8]) {
    // Parsing borrows; what is kept is the key, and what is compared is the whole once more.
    let Ok(checked) = memory::within(4 * input.len() + (64 << 10), || CheckedCsr::check(input)) else { return };
    assert!(input.len() <= MAX_CSR_LEN);
    let longer = [input, &[0]].concat();
    assert!(CheckedCsr::check(&longer).is_err(), "a byte more");
    assert_eq!(CheckedCsr::check(input).map(|again| again.fingerprint()), Ok(checked.fingerprint()));
}

fn seeds() -> Vec<Vec<u8>> {
    let key = SigningKey::generate().expect("a key");
    let whole = request(&key).expect("a request");
    // The frame alone is quicker to change, and gets as far.
    vec![whole[..64].to_vec(), whole]
}

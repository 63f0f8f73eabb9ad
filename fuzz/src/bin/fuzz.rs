//! The fuzzer: libFuzzer around the target that `DSMIL_FUZZ_TARGET` names. `cargo xtask fuzz` builds and starts it.
//!
//! One program for all targets, because linking one for each would take longer than building the rest; the name comes in
//! the environment because libFuzzer takes the arguments for itself.

#![no_main]

use dsmil_fuzz::Target;
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("DSMIL_FUZZ_TARGET").unwrap_or_default();
    dsmil_fuzz::target(&name).unwrap_or_else(|| panic!("DSMIL_FUZZ_TARGET is {name:?}, which is no target"))
});

libfuzzer_sys::fuzz_target!(init: LazyLock::force(&TARGET), |input: &[u8]| {
    (TARGET.run)(input);
});

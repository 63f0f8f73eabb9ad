//! How the agent's program is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A position-independent program puts the pointers in its data right when it starts. The list of them is 4 KiB packed
    // (DT_RELR, glibc 2.36 and later) and 320 KiB otherwise, which are read at each start and stay in memory.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}

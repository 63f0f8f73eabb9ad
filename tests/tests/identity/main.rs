//! Who gets in and who does not: real programs, real sockets, real state files, from `token create` to the revocation.
//!
//! Each refusal is a test that looks at both sides: what the host prints and what the centre counts name the same reason.
//! What needs another day than today runs centre and hosts within the process, on clocks that a test moves.

mod inside;
mod scene;

mod bundles;
mod claims;
mod drawer;
mod hybrid;
mod joining;
mod renewal;
mod resumed;
mod revocation;
mod rotation;
mod tokens;
mod weakened;

//! The DSMIL Binary Envelope: frames, messages, sessions and batches.
//!
//! This crate is pure: no socket, file, clock or runtime. Bytes and the time come in, bytes and decisions go out.

pub mod batch;
pub mod ids;
pub mod metric;
pub mod tick_set;

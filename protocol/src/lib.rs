//! The DSMIL Binary Envelope: frames, messages, sessions and batches; and what is said on the join port.
//!
//! This crate is pure: no socket, file, clock or runtime. Bytes and the time come in, bytes and decisions go out.

pub mod batch;
pub mod clock;
pub mod error;
pub mod frame;
pub mod health;
pub mod ids;
pub mod join;
pub mod message;
pub mod metric;
pub mod probe;
pub mod reader;
pub mod session;
pub mod tick_set;
pub mod tlv;

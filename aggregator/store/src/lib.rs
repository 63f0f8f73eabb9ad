//! Everything the aggregator keeps: the durable warm journal, the hot cache on tmpfs, the loss ledger and its own state.
//!
//! What comes in goes to [`Store::append`]: the warm journal commits it (only then may it be acknowledged) and the hot
//! cache takes it for fast reading. What is asked goes to [`Store::read`], which answers from hot where hot is complete
//! and from warm before that, and says which. Every database has one writer thread; nothing here blocks an async task.

pub mod hot;
pub mod ledger;
pub mod read;
pub mod record;
pub mod state;
pub mod store;
pub mod warm;

pub use record::{Appended, BatchRecord, Classification, RecordError, Refusal, StreamKey};
pub use store::{OpenError, Store, StoreConfig, StoreReport};

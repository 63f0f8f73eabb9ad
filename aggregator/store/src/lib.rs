//! Everything the aggregator keeps: the durable warm journal, the hot cache on tmpfs, the loss ledger and its own state.
//!
//! What comes in goes to [`Store::append`]: the warm journal commits it (only then may it be acknowledged) and the hot
//! cache takes it for fast reading. What is asked goes to [`Store::read`], which answers from hot where hot is complete
//! and from warm elsewhere, and says which. Every database has one writer thread; nothing here blocks an async task.
//!
//! Where later engines join: another durable journal takes the place of `warm` behind [`warm::Warm`]'s methods; a cold
//! tier is one more [`read::Tier`] below warm's oldest batch; a merge of an hour's batches into one chunk is one more
//! slice of work between commits, as pruning is.

pub mod ledger;
pub mod record;

mod batch_table;
mod catalog;
mod ledger_table;
mod set_use;
mod sqlite;
#[cfg(test)]
mod testing;

pub mod hot;
pub mod read;
pub mod state;
pub mod store;
pub mod warm;

pub use record::{Appended, BatchRecord, Classification, RecordError, Refusal, StreamKey};
pub use store::{Store, StoreConfig};

//! Settings of the fleet at the centre: written in a file, signed by an order key, offered to the hosts that they are for.

mod file;
mod offers;

pub use file::read;
pub use offers::{Offer, Offers};

//! What a kind of probe is, seen from the thread that reads.

use dsmil_protocol::probe::Fault;
use dsmil_sensors::Reading;
use dsmil_sensors::root::Root;

/// Reads one kind of thing.
pub(crate) trait Source: Send {
    /// Pushes every metric there is at this moment. On a fault, what was pushed before it counts.
    ///
    /// Handles stay open between two calls only if no device is kept awake by them.
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault>;

    /// Whether it has to be there all the time and not only when it is asked, because it waits for events.
    fn listens(&self) -> bool {
        false
    }
}

/// Whether a fault is about a part of what is read: then what is missing is gone and not only unread.
pub(crate) fn is_partial(fault: &Fault) -> bool {
    matches!(fault, Fault::DeviceLost { .. } | Fault::ResetRequired { .. } | Fault::TooMany { .. })
}

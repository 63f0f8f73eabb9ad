//! Settings of the fleet, with real programs: pushed to a group, on trial, in force, rolled back; signed by a stranger; an agent
//! that is killed on trial; and no tick lost by any of it.

mod rig;

mod by_hand;
mod drills;

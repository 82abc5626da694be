//! What a run is, what comes next, and the loop that does it.

pub mod accept;
pub mod advance;
pub mod cancel;
pub mod entry;
pub mod limits;
pub mod next;
pub mod outside;
pub mod repeat;
pub mod request;
mod screen;
pub mod snapshot;
pub mod stand_in;
pub mod state;
pub mod stored;
pub mod tasks;

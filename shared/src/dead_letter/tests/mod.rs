//! Dead letters over the stores in memory.

mod looking;
mod replaying;
mod world;
mod yielding;

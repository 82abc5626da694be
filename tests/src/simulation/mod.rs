//! A deterministic world for the real loop: virtual time, seeded choices, ports that fail, processes that die.

pub mod drive;
pub mod executor;
pub mod faults;
pub mod faulty;
pub mod order;
pub mod world;

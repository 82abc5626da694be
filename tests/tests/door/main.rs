//! The door, from outside: requests that must not come in, on the local stack with the binaries that ship.

mod attacks;
mod contract;
mod limits;
mod scene;
mod tokens;
mod wire;

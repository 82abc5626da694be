//! What the functions that ship say of their runs, and what they must not say.

mod planted;
mod support;
mod told;

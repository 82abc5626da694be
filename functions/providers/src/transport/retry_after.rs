//! How long a provider asks us to wait: read as every peer's wish is.

pub use windlass::retry::after::retry_after;

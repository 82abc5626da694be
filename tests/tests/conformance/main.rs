//! The conformance suite over memory and over the local stack.

use std::{sync::Arc, time::Duration};

use windlass::{
    clock::Clock,
    ids::RunId,
    memory::{ManualClock, SeededRandom},
    run::stored::Stored,
};
use windlass_tests::conformance::{
    BEGINNING, Planting, Stores,
    queues::{Arrival, Consumer, Queues, RECEIVES_MAX, VISIBILITY},
    secrets,
};

/// What a case is about, with what must live as long.
struct Subject<P, K = ()> {
    ports: P,
    keep: K,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(BEGINNING))
}

mod elsewhere;
mod frozen;
mod in_memory;
mod layout;
mod on_aws;
mod powertools;

//! What must hold at every moment, and what must be possible at all.

use stateright::{Expectation, Property};

use crate::{
    heal,
    protocol::Protocol,
    run::{Call, End, Phase},
    turn::STRIKES_MAX,
    world::{APPROVER, Outsider, World},
};

/// At most one effect.
pub const ONCE: &str = "the call takes effect at most once";
/// The journal is sound.
pub const FOLDS: &str = "the journal folds";
/// Leave comes first.
pub const LEAVE_FIRST: &str = "no call without its intent and its permission in the journal";
/// What is forbidden stays so.
pub const FORBIDDEN: &str = "a denied, expired or cancelled call is never attempted";
/// The safety net.
pub const DUE: &str = "an unfinished run has a due time";
/// The head follows.
pub const HEAD: &str = "a head that is over has a journal that is over";
/// Leases do what they are for.
pub const ALONE: &str = "a lease outlasts the calls made under it, unless their process is frozen";
/// Nothing sleeps through an interjection.
pub const PROMPT: &str = "no run sleeps through an approval or a cancellation";
/// The journal does not lie about the world.
pub const TRUE: &str = "what the journal says of the effect is so";
/// Nothing is left behind unsaid.
pub const LISTED: &str = "what an abandoned run leaves behind is listed";
/// Nobody was told too early.
pub const TOLD: &str = "what an approver was told is in the journal";
/// Deaths have causes.
pub const DEATHS: &str = "no run dies of fewer faults than it has strikes";
/// It ends.
pub const ENDS: &str = "when faults stop, the run ends";

/// All of them.
pub fn properties() -> Vec<Property<Protocol>> {
    let mut all = invariants();
    all.extend(SIGHTS.map(|(name, seen)| Property { expectation: Expectation::Sometimes, name, condition: seen }));
    all
}

fn invariants() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONCE, |_, world: &World| world.done <= 1),
        Property::always(FOLDS, |_, world: &World| !world.flaws.illegal),
        Property::always(LEAVE_FIRST, |_, world: &World| !world.flaws.unpermitted),
        Property::always(FORBIDDEN, |_, world: &World| !world.flaws.forbidden),
        Property::always(DUE, |_, world: &World| world.head.is_over() || world.head.due.is_some()),
        Property::always(HEAD, |_, world: &World| !world.head.is_over() || world.truth.is_over()),
        Property::always(ALONE, |_, world: &World| !world.flaws.two_at_once),
        Property::always(PROMPT, |_, world: &World| !world.sleeps_through()),
        Property::always(TRUE, |_, world: &World| tells_the_truth(world)),
        Property::always(LISTED, |_, world: &World| leaves_nothing_unsaid(world)),
        Property::always(TOLD, |_, world: &World| {
            let proposing = matches!(world.outsiders[APPROVER], Outsider::Proposing { .. });
            world.told <= world.truth.decided + u8::from(proposing)
        }),
        Property::always(DEATHS, |protocol: &Protocol, world: &World| {
            world.truth.phase != Phase::Finished(End::Dead) || protocol.terms.kills || world.faults_met >= STRIKES_MAX
        }),
        Property::always(ENDS, heal::ends),
    ]
}

fn tells_the_truth(world: &World) -> bool {
    match world.truth.call {
        Call::Succeeded => world.done > 0,
        Call::Failed => world.done == 0,
        Call::Compensated => !world.stands(),
        _ => true,
    }
}

fn leaves_nothing_unsaid(world: &World) -> bool {
    match world.truth.phase {
        Phase::Finished(End::Cancelled | End::DoubtExpired) => !world.stands() || world.truth.listed,
        _ => true,
    }
}

/// What must have been seen, lest the model be quiet because nothing happens in it.
pub type Sight = (&'static str, fn(&Protocol, &World) -> bool);

/// Things that happen in some run of the model.
pub const SIGHTS: [Sight; 9] = [
    ("a run completes", |_, world| world.truth.phase == Phase::Finished(End::Completed)),
    ("a run is cancelled", |_, world| world.truth.phase == Phase::Finished(End::Cancelled)),
    ("an effect is undone", |_, world| world.truth.call == Call::Compensated),
    ("an effect is listed", |_, world| world.truth.listed && world.stands()),
    ("a person is asked whether it happened", |_, world| matches!(world.truth.call, Call::InDoubt { .. })),
    ("a call is made again", |_, world| world.truth.attempts > 1),
    ("a holder loses its lease", |_, world| {
        world.workers.iter().any(|worker| worker.epoch > 0 && worker.epoch < world.head.epoch)
    }),
    ("an effect cannot be undone", |_, world| world.truth.call == Call::Standing),
    ("a run dies", |_, world| world.truth.phase == Phase::Finished(End::Dead)),
];

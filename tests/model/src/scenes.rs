//! The runs that are explored, and how.

use std::num::NonZeroUsize;

use stateright::{Checker, HasDiscoveries, Model as _};

use crate::{
    mistake::Mistake,
    properties::SIGHTS,
    protocol::Protocol,
    run::{Effect, Terms},
    ticks::{SKEW, Ticks},
    world::Bound,
};

/// A kind of run with a name.
#[derive(Debug, Clone)]
pub struct Scene {
    /// What it is about.
    pub name: &'static str,
    /// The protocol.
    pub protocol: Protocol,
}

/// Clocks that agree, and clocks that differ by as much as is allowed for.
pub const CLOCKS: [[Ticks; 2]; 2] = [[0, 0], [0, SKEW]];

/// Every kind of run, up to `bound`. The fifth has people on two sides of it, and one fault fewer.
pub fn scenes(bound: Bound) -> Vec<Scene> {
    let calm =
        Terms { effect: Effect::Idempotent, asks: false, compensable: false, kills: false, mute: false, mistake: None };
    let irreversible = Terms { effect: Effect::Irreversible, ..calm };
    let fewer = Bound { faults: bound.faults.saturating_sub(1), ..bound };
    let scene = |name, terms: Terms, cancels, bound| Scene {
        name,
        protocol: Protocol { terms, bound, clocks: CLOCKS.to_vec(), cancels, replays: !terms.kills },
    };
    vec![
        scene("Idempotent, undone when cancelled", Terms { compensable: true, ..calm }, true, bound),
        scene(
            "Queryable, undone when cancelled",
            Terms { effect: Effect::Queryable, compensable: true, ..calm },
            true,
            bound,
        ),
        scene("Irreversible, may be cancelled", irreversible, true, bound),
        scene("Irreversible, a person is asked", Terms { asks: true, ..irreversible }, false, bound),
        scene("Idempotent, a person is asked, may be cancelled", Terms { asks: true, ..calm }, true, fewer),
        scene("Idempotent, kills whoever calls it", Terms { kills: true, ..calm }, false, bound),
        scene(
            "Queryable, can be neither asked nor undone",
            Terms { effect: Effect::Queryable, compensable: true, mute: true, ..calm },
            true,
            bound,
        ),
    ]
}

/// What an exploration came to.
#[derive(Debug, Clone)]
pub struct Explored {
    /// States, each once.
    pub states: usize,
    /// Ways from one to another.
    pub steps: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// What was seen of [`SIGHTS`].
    pub seen: Vec<&'static str>,
    /// Properties that do not hold, with the way to a state where one does not.
    pub broken: Vec<(&'static str, Vec<String>)>,
}

/// Explores every state.
pub fn explore(protocol: Protocol) -> Explored {
    explore_with(protocol, std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

fn explore_with(protocol: Protocol, threads: usize) -> Explored {
    let checker = protocol.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let steps_of = |path: stateright::Path<_, _>| path.into_actions().iter().map(|step| format!("{step:?}")).collect();
    let (seen, broken): (Vec<_>, Vec<_>) =
        checker.discoveries().into_iter().partition(|(name, _)| SIGHTS.iter().any(|(sight, _)| sight == name));
    let mut broken: Vec<(_, Vec<String>)> = broken.into_iter().map(|(name, path)| (name, steps_of(path))).collect();
    broken.sort_by_key(|(name, steps)| (steps.len(), *name));
    Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        seen: seen.into_iter().map(|(name, _)| name).collect(),
        broken,
    }
}

/// Looks for a mistake where it shows: in which scene, with how many faults. By one thread, so that it always finds the same.
pub fn find(mistake: Mistake) -> (Scene, Explored) {
    let (scene, faults) = mistake.shows();
    // The scene with one fault fewer is given one more.
    let faults = faults + u8::from(scene == 4);
    let scene = scenes(Bound { faults, messages: 1 }).swap_remove(scene);
    let explored = explore_with(scene.protocol.clone().with(mistake), 1);
    (scene, explored)
}

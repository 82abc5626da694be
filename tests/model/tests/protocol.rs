//! The protocol holds in every state that can be reached with a few faults, whatever they are and whenever they come.
//!
//! `FAULTS=2 MESSAGES=2 cargo test --release -p windlass-model --test protocol -- --nocapture` goes further;
//! `SCENE=2` explores one kind of run only, counted from 0.

use std::{collections::BTreeSet, time::Instant};

use windlass_model::{
    properties::{ALONE, SIGHTS},
    scenes::{explore, scenes},
    ticks::SKEW,
    world::Bound,
};

fn number(name: &str, otherwise: u8) -> u8 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_property_holds_in_every_state_up_to_the_bound() {
    let bound = Bound { faults: number("FAULTS", 1), messages: number("MESSAGES", 1) };
    let mut seen = BTreeSet::new();
    let (mut states, mut steps) = (0, 0);
    let only = std::env::var("SCENE").ok().and_then(|text| text.parse::<usize>().ok());
    for (_, scene) in scenes(bound).into_iter().enumerate().filter(|(place, _)| only.is_none_or(|only| only == *place))
    {
        let began = Instant::now();
        let explored = explore(scene.protocol.clone());
        println!(
            "{:<48} {} faults: {:>9} states, {:>10} steps, {:>3} deep, {:.1?}",
            scene.name,
            scene.protocol.bound.faults,
            explored.states,
            explored.steps,
            explored.depth,
            began.elapsed()
        );
        assert!(explored.broken.is_empty(), "`{}` breaks {:#?}", scene.name, explored.broken);
        (states, steps) = (states + explored.states, steps + explored.steps);
        seen.extend(explored.seen);
    }
    println!("{states} states, {steps} steps, {bound:?}");
    let unseen: Vec<_> = SIGHTS.iter().map(|(name, _)| *name).filter(|name| !seen.contains(name)).collect();
    assert!(only.is_some() || unseen.is_empty(), "never seen: {unseen:?}");
}

#[test]
fn clocks_further_apart_than_is_allowed_for_break_a_promise() {
    let mut scene = scenes(Bound { faults: 1, messages: 1 }).swap_remove(2);
    scene.protocol.clocks = vec![[0, SKEW + 1]];
    let explored = explore(scene.protocol);
    assert!(explored.broken.iter().any(|(property, _)| *property == ALONE), "{:?}", explored.broken);
}

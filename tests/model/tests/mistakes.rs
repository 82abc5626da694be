//! Every mistake that the protocol could have been built with is found.

use windlass_model::{mistake::Mistake, scenes::find};

#[test]
fn every_mistake_in_the_protocol_is_found() {
    for mistake in Mistake::ALL {
        let (scene, explored) = find(mistake);
        let Some((property, steps)) = explored.broken.first() else {
            panic!("{mistake:?} survives {} states of `{}`", explored.states, scene.name);
        };
        println!(
            "{:<27} {} faults, {:<35} breaks `{property}` in {} steps",
            format!("{mistake:?}"),
            scene.protocol.bound.faults,
            scene.name,
            steps.len()
        );
        if std::env::var_os("SHOW").is_some() {
            println!("    {}", steps.join(", "));
        }
    }
}

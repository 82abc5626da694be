//! Guarantees broken on purpose, one at a time: the model or the simulation must notice each. Prints the table of `docs/proof.md`.

use std::{fmt::Write as _, path::Path};

use windlass_model::{mistake::Mistake, scenes::find};
use windlass_tests::simulation::{
    drive::{in_parts, scenarios},
    flaws::Flaw,
    play::play,
    schedule::Schedule,
};

/// Schedules in which a flaw has to show.
const SEEDS_MAX: u64 = 2_000;

#[test]
fn no_broken_guarantee_goes_unnoticed() {
    let mut table = String::from("| mistake | the model: what breaks | the simulation |\n|---|---|---|\n");
    let flaws = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || notice(half)));
        halves.map(|half| half.join().expect("a flaw survived, see above"))
    });
    let noticed = |name: &str| flaws.iter().flatten().any(|flaw| format!("{flaw:?}") == name);
    for mistake in Mistake::ALL {
        let (scene, explored) = find(mistake);
        let (property, steps) = explored.broken.first().unwrap_or_else(|| panic!("{mistake:?} survives the model"));
        println!(
            "{mistake:?}: {} faults, {}, {} steps: {property}",
            scene.protocol.bound.faults,
            scene.name,
            steps.len()
        );
        let name = format!("{mistake:?}");
        let there = if noticed(&name) { "notices" } else { "–" };
        writeln!(table, "| `{name}` | {property} | {there} |").expect("a text takes text");
    }
    for flaw in flaws.iter().flatten() {
        let name = format!("{flaw:?}");
        if !Mistake::ALL.iter().any(|mistake| format!("{mistake:?}") == name) {
            writeln!(table, "| `{name}` | – | notices |").expect("a text takes text");
        }
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proof.md");
    let kept = std::fs::read_to_string(page).expect("the page is there");
    assert!(kept.contains(&table), "`docs/proof.md` lacks this table:\n\n{table}");
}

/// Every second flaw; prints the seed that shows it and what was noticed.
fn notice(half: usize) -> Vec<Flaw> {
    // Only a plan with several calls shows it.
    let (scenarios, parts) = (scenarios(), vec![in_parts()]);
    let shows = |flaw: Flaw| {
        (flaw.shows_from()..flaw.shows_from() + SEEDS_MAX).find_map(|seed| {
            let played = if flaw == Flaw::JudgedBeforeSiblings { &parts } else { &scenarios };
            let violation = play(&Schedule::of(seed), played, Some(flaw)).err()?;
            println!("{flaw:?}: seed {seed}: {}", violation.lines().next().unwrap_or_default());
            Some(flaw)
        })
    };
    let mine = Flaw::ALL.into_iter().enumerate().filter(|(index, _)| index % 2 == half);
    mine.map(|(_, flaw)| shows(flaw).unwrap_or_else(|| panic!("{flaw:?} survives {SEEDS_MAX} schedules"))).collect()
}

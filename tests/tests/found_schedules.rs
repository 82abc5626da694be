//! Schedules that once broke something, as they were found; each must stay mended.

use windlass_tests::simulation::{drive::scenarios, play::play, schedule::Schedule};

/// What was wrong, and the shortest schedule that showed it.
const FOUND: [(&str, &str); 1] = [(
    "a refund took effect and its answer was lost; the repetition met a provider that was down, and the journal said of the \
     call that it had not happened: a cancellation then would neither have undone nor listed it",
    "3: c p0 p0 p0 p0 p0 r1 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0 p0g p0 \
     p0 p0 p0 p0 p0 p0 p0u p0",
)];

#[test]
fn what_was_found_and_mended_stays_mended() {
    let scenarios = scenarios();
    for (what, schedule) in FOUND {
        let schedule: Schedule = schedule.parse().expect("it is a schedule");
        if let Err(violation) = play(&schedule, &scenarios, None) {
            panic!("{what}:\n{violation}");
        }
    }
}

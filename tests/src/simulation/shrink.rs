//! Cuts a failing schedule shorter while it still fails.

use super::{
    faults::Fault,
    schedule::{Schedule, Step},
};

/// The most schedules tried on the way.
const TRIES_MAX: u32 = 4_000;

/// The shortest schedule found that still fails: pieces are left out, half of it at first and one thing at last, then faults.
pub fn shrink(schedule: Schedule, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut tries = 0;
    let mut best = schedule;
    let mut fails = |candidate: &Schedule| {
        tries += 1;
        tries <= TRIES_MAX && fails(candidate)
    };
    loop {
        let before = best.clone();
        let mut size = best.steps.len().div_ceil(2).max(1);
        loop {
            without_pieces(&mut best, size, &mut fails);
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        without_faults(&mut best, &mut fails);
        if best == before {
            return best;
        }
    }
}

fn without_pieces(best: &mut Schedule, size: usize, fails: &mut impl FnMut(&Schedule) -> bool) {
    let mut from = 0;
    while from < best.steps.len() {
        let mut shorter = best.clone();
        let to = (from + size).min(shorter.steps.len());
        shorter.steps.drain(from..to);
        if fails(&shorter) { *best = shorter } else { from += size }
    }
}

fn without_faults(best: &mut Schedule, fails: &mut impl FnMut(&Schedule) -> bool) {
    for index in 0..best.steps.len() {
        if let Step::Poll(who, fault) = best.steps[index]
            && fault != Fault::None
        {
            let mut calmer = best.clone();
            calmer.steps[index] = Step::Poll(who, Fault::None);
            if fails(&calmer) {
                *best = calmer;
            }
        }
    }
}

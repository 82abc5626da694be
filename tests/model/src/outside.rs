//! Who writes to a run without a lease (`run/outside.rs`), and the sweep.

use crate::{
    mistake::Mistake,
    run::{Call, End, Event, Phase, Terms, Verdict},
    ticks::{AHEAD, RESCUE, SKEW},
    world::{APPROVER, CANCELLER, OPERATOR, Outsider, Status, World},
};

/// What somebody who reads the run now may want to append.
pub fn proposals(world: &World, who: usize) -> Vec<Event> {
    let truth = &world.truth;
    if world.outsiders[who] != Outsider::Idle {
        return Vec::new();
    }
    match who {
        APPROVER => match (truth.open_question().filter(|expires| *expires > 0), truth.call) {
            (Some(_), Call::Awaiting { .. }) => {
                vec![Event::Decided(Verdict::Approved), Event::Decided(Verdict::Denied)]
            }
            // They look at what the tool has done.
            (Some(_), _) if world.done > 0 => vec![Event::Decided(Verdict::Happened)],
            (Some(_), _) => vec![Event::Decided(Verdict::NotHappened)],
            (None, _) => Vec::new(),
        },
        CANCELLER if !truth.is_over() && truth.abandoned.is_none() => vec![Event::Cancelled],
        OPERATOR if world.head.status == Status::Dead && truth.phase == Phase::Finished(End::Dead) => {
            vec![Event::Replayed]
        }
        _ => Vec::new(),
    }
}

/// Reads the run and decides to append `event`.
pub fn propose(world: &mut World, who: usize, event: Event, terms: &Terms) {
    world.outsiders[who] = Outsider::Proposing { event, behind: 0 };
    if terms.has(Mistake::AnswerBeforeWrite) {
        world.told += u8::from(who == APPROVER);
    }
}

/// Goes on with what is in hand: writes, or wakes.
pub fn go_on(world: &mut World, who: usize, terms: &Terms) {
    match world.outsiders[who] {
        Outsider::Proposing { event, behind } => write(world, who, event, behind, terms),
        Outsider::Waking => {
            world.send(0);
            world.outsiders[who] = if who == APPROVER { Outsider::Idle } else { Outsider::Done };
        }
        Outsider::Idle | Outsider::Done => {}
    }
}

fn write(world: &mut World, who: usize, event: Event, behind: u8, terms: &Terms) {
    if behind > 0 && !terms.has(Mistake::ApprovalNotAskedAgain) {
        // Somebody was first: they read again and ask themselves again.
        return world.outsiders[who] = Outsider::Idle;
    }
    let expected = match who {
        OPERATOR => world.head.status == Status::Dead,
        _ => world.head.ready_from.is_some(),
    };
    if !expected {
        return world.outsiders[who] = Outsider::Idle;
    }
    world.append(&[event], None, terms);
    world.appended(None);
    world.outsiders[who] = Outsider::Waking;
    if !terms.has(Mistake::AnswerBeforeWrite) {
        world.told += u8::from(who == APPROVER);
    }
    if terms.has(Mistake::InterjectWithoutHead) {
        return;
    }
    let head = &mut world.head;
    (head.status, head.ready_from, head.due) = (Status::Open, Some(0), Some(RESCUE));
    head.strikes = 0;
    head.interjections += 1;
    if terms.has(Mistake::InterjectDropsLease) {
        head.lease = None;
    }
}

/// Whether the sweep finds the run due, now or before long.
pub fn is_due(world: &World) -> bool {
    world.head.due.is_some_and(|due| due <= AHEAD)
}

/// Finds the run due and moves its due time on, if it still is what was seen. The wake-up is to arrive when the run is due.
pub fn sweep(world: &mut World, terms: &Terms) {
    let Some(due) = world.head.due else { return };
    world.head.due = if terms.has(Mistake::SweepDropsDue) { None } else { Some(due.max(0) + RESCUE) };
    world.sweeping = Some((due + SKEW).max(0));
}

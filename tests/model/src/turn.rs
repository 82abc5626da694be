//! A holder's turn (`run/advance`): each function is one thing that nothing can come between.

use crate::{
    mistake::Mistake,
    run::{Call, Effect, End, Event, Next, Outcome, Terms, Verdict},
    ticks::{CALL, INVOCATION, LEASE, MARGIN, QUESTION, RESCUE, REST, SKEW, Ticks},
    world::{Flight, Head, How, Lease, Status, Step, Then, Worker, World},
};

/// Claims in vain after which a run is dead.
pub const STRIKES_MAX: u8 = 2;

/// Takes a message.
pub fn receive(world: &mut World, index: usize) {
    let worker = &mut world.workers[index];
    (worker.step, worker.deadline) = (Step::Claim, worker.clock + INVOCATION);
}

/// Does the next thing of a process.
pub fn go_on(world: &mut World, index: usize, terms: &Terms) {
    match world.workers[index].step {
        Step::Idle | Step::Calling { answer: None, .. } => {}
        Step::Claim => claim(world, index, terms),
        Step::Load => load(world, index, terms),
        Step::Flush { then, landed } => flush(world, index, then, landed, terms),
        Step::Reload => reload(world, index, terms),
        Step::SaveFacts => save_facts(world, index, terms),
        Step::Renew => renew(world, index, terms),
        Step::Begin { undo } => begin(world, index, undo, terms),
        Step::Calling { undo, answer: Some(outcome) } => returned(world, index, undo, outcome, terms),
        Step::Query => {
            let outcome = match world.done {
                _ if terms.mute => Outcome::NotAsked,
                0 => Outcome::Absent,
                _ => Outcome::Succeeded,
            };
            let worker = &mut world.workers[index];
            record(worker, came(worker, false, outcome), terms);
            think(worker, terms);
        }
        Step::Leave(how) => {
            if let Some(left) = leave(world, index, how, terms) {
                after_leave(world, index, how, left);
            }
        }
        Step::Wake { delay } => {
            world.send(delay);
            world.kill(index);
        }
    }
}

/// The store does what is asked, and the answer is lost: the process asks again.
pub fn lose_answer(world: &mut World, index: usize, terms: &Terms) -> bool {
    match world.workers[index].step {
        Step::Flush { then, landed: false } if world.workers[index].behind == 0 => {
            let (events, epoch) = (world.workers[index].pending.clone(), world.workers[index].epoch);
            world.append(&events, Some(epoch), terms);
            world.appended(None);
            world.workers[index].step = Step::Flush { then, landed: true };
            true
        }
        Step::Leave(how) if world.head.is_held_under(world.workers[index].epoch) => {
            let left = leave(world, index, how, terms);
            world.workers[index].step = Step::Leave(how);
            left.is_some()
        }
        _ => false,
    }
}

/// The store does not do as asked, time and again: the process gives its lease back, as far as the store does that, and its message too.
pub fn give_back(world: &mut World, index: usize, terms: &Terms) {
    let worker = &mut world.workers[index];
    if worker.step == Step::Load && worker.behind == 0 {
        // The claim's answer has the count, and nobody has appended since.
        worker.run.interjections = world.truth.interjections;
    }
    let _ = leave(world, index, How::GiveBack, terms);
    world.kill(index);
    world.send(REST);
}

fn claim(world: &mut World, index: usize, terms: &Terms) {
    let now = world.workers[index].clock;
    let margin = if terms.has(Mistake::NoLeaseMargin) { 0 } else { SKEW };
    let head = &mut world.head;
    if !head.can_be_claimed(now, margin) {
        let held = head.lease.filter(|_| head.ready_from.is_some()).map(|lease| lease.until + SKEW - now);
        if let Some(wait) = held.filter(|wait| *wait > 0) {
            world.send(wait);
        }
        return world.kill(index);
    }
    head.epoch += 1;
    head.strikes += u8::from(!terms.has(Mistake::NoStrikes));
    head.lease = Some(Lease { epoch: head.epoch, until: now + LEASE });
    if terms.has(Mistake::DueDroppedAtClaim) {
        head.due = None;
    }
    let worker = &mut world.workers[index];
    (worker.epoch, worker.until, worker.strikes) = (head.epoch, now + LEASE, head.strikes);
    worker.step = Step::Load;
    world.flaws.two_at_once |= world.flights.iter().any(|flight| !flight.late);
}

fn load(world: &mut World, index: usize, terms: &Terms) {
    let truth = world.truth;
    let worker = &mut world.workers[index];
    (worker.run, worker.behind) = (truth, 0);
    let in_vain = worker.strikes.min(worker.epoch.saturating_sub(truth.progress));
    if in_vain > STRIKES_MAX && !truth.is_over() {
        record(worker, Event::Stopped(End::Dead), terms);
    }
    think(worker, terms);
}

fn record(worker: &mut Worker, event: Event, terms: &Terms) {
    // What does not follow is found when it is appended.
    let _ = worker.run.note(event, Some(worker.epoch), terms);
    worker.pending.push(event);
}

/// What came of the last attempt.
fn came(worker: &Worker, undo: bool, outcome: Outcome) -> Event {
    match undo {
        true => Event::Compensated { attempt: worker.run.undos, outcome },
        false => Event::Returned { attempt: worker.run.attempts, outcome },
    }
}

/// Decides and notes until something has to be done in the world.
fn think(worker: &mut Worker, terms: &Terms) {
    loop {
        let now = worker.clock;
        let event = match worker.run.decide(now, worker.epoch, terms) {
            Next::Plan if worker.run.call == Call::Unplanned => Event::PlannedCall,
            Next::Plan => Event::PlannedAnswer,
            Next::Judge if terms.asks => Event::Asked { expires: now + QUESTION },
            Next::Judge => Event::Allowed,
            Next::Doubt => Event::Doubted { expires: now + QUESTION },
            Next::Expire => Event::Decided(Verdict::Expired),
            Next::GiveUp => Event::GivenUp,
            Next::Respond => Event::Stopped(End::Completed),
            Next::Stop(end) => Event::Stopped(end),
            Next::Nothing => {
                worker.step = match terms.has(Mistake::FinishBeforeLastEntry) {
                    true => Step::Leave(How::Finish),
                    false => flushing(worker, Then::Leave(How::Finish)),
                };
                return;
            }
            Next::Await(until) => {
                worker.step = flushing(worker, Then::Leave(How::Park { until }));
                return;
            }
            Next::Query => {
                return if make_room(worker, terms) {
                    worker.step = Step::Query
                };
            }
            Next::Call => {
                if make_room(worker, terms) {
                    worker.again = matches!(worker.run.call, Call::Attempted { .. });
                    record(worker, Event::Attempted { deadline: worker.deadline }, terms);
                    worker.step = match terms.has(Mistake::IntentNotFlushed) {
                        true => Step::Begin { undo: false },
                        false => flushing(worker, Then::Begin { undo: false }),
                    };
                }
                return;
            }
            Next::Compensate => {
                if make_room(worker, terms) {
                    record(worker, Event::CompensationAttempted, terms);
                    worker.step = flushing(worker, Then::Begin { undo: true });
                }
                return;
            }
        };
        record(worker, event, terms);
    }
}

fn flushing(worker: &Worker, then: Then) -> Step {
    if worker.pending.is_empty() {
        after_flush(then).unwrap_or(Step::Idle)
    } else {
        Step::Flush { then, landed: false }
    }
}

fn after_flush(then: Then) -> Option<Step> {
    match then {
        Then::Begin { undo } => Some(Step::Begin { undo }),
        Then::Leave(how) => Some(Step::Leave(how)),
        Then::Think | Then::End => None,
    }
}

fn holds_for_a_call(worker: &Worker) -> bool {
    worker.clock + CALL + MARGIN <= worker.until
}

fn has_time_for_a_call(worker: &Worker) -> bool {
    worker.clock + CALL + MARGIN <= worker.deadline
}

/// `make_room_for`: false when the process first has to hand over or to renew.
fn make_room(worker: &mut Worker, terms: &Terms) -> bool {
    if !has_time_for_a_call(worker) {
        worker.step = flushing(worker, Then::Leave(How::HandOver));
        return false;
    }
    if !holds_for_a_call(worker) && !terms.has(Mistake::NoRenewal) {
        worker.step = Step::Renew;
        return false;
    }
    true
}

fn flush(world: &mut World, index: usize, then: Then, landed: bool, terms: &Terms) {
    let worker = &mut world.workers[index];
    let (epoch, events) = (worker.epoch, worker.pending.clone());
    if landed {
        worker.behind -= 1;
    } else if worker.behind == 0 {
        world.append(&events, Some(epoch), terms);
        world.appended(Some(index));
    } else {
        match terms.mistake {
            Some(Mistake::AppendReplaces) => (world.truth, world.workers[index].behind) = (worker.run, 0),
            Some(Mistake::LostRaceIsWritten) => {}
            Some(Mistake::IntentsSurviveLostRace) => {
                (worker.run, worker.behind) = (world.truth, 0);
                for event in events {
                    let _ = worker.run.note(event, Some(epoch), terms);
                }
                return;
            }
            _ => return worker.step = Step::Reload,
        }
    }
    let worker = &mut world.workers[index];
    (worker.pending, worker.written) = (Vec::new(), true);
    match (after_flush(then), then) {
        (Some(step), _) => worker.step = step,
        (None, Then::End) => world.kill(index),
        (None, _) => think(worker, terms),
    }
}

fn reload(world: &mut World, index: usize, terms: &Terms) {
    let (truth, writer) = (world.truth, world.writer);
    let worker = &mut world.workers[index];
    (worker.run, worker.behind) = (truth, 0);
    for fact in std::mem::take(&mut worker.pending).into_iter().filter(|event| event.is_fact()) {
        let mut run = worker.run;
        if run.note(fact, Some(worker.epoch), terms).is_ok() {
            worker.run = run;
            worker.pending.push(fact);
        }
    }
    if writer <= worker.epoch {
        think(worker, terms);
    } else if worker.pending.is_empty() {
        world.kill(index);
    } else {
        worker.step = Step::SaveFacts;
    }
}

fn save_facts(world: &mut World, index: usize, terms: &Terms) {
    let worker = &world.workers[index];
    if worker.behind == 0 {
        let (epoch, events) = (worker.epoch, worker.pending.clone());
        world.append(&events, Some(epoch), terms);
        world.appended(Some(index));
    }
    world.kill(index);
}

fn renew(world: &mut World, index: usize, terms: &Terms) {
    let worker = &mut world.workers[index];
    if !world.head.is_held_under(worker.epoch) && !terms.has(Mistake::RenewWithoutEpoch) {
        return world.kill(index);
    }
    worker.until = worker.clock + LEASE;
    world.head.lease = Some(Lease { epoch: worker.epoch, until: worker.until });
    world.head.due = Some(worker.until);
    think(worker, terms);
}

/// The last look, and the call. Nothing comes between the two: there is no await.
fn begin(world: &mut World, index: usize, undo: bool, terms: &Terms) {
    let worker = &mut world.workers[index];
    let looks = !terms.has(Mistake::NoLookAgain);
    // Without renewal there is nothing to look for in the lease: that mistake is about the lease alone.
    let holds = terms.has(Mistake::NoRenewal) || holds_for_a_call(worker);
    if looks && !(holds && has_time_for_a_call(worker)) {
        // What was attempted before may have happened then.
        let known_absent = !worker.again || terms.has(Mistake::AbsentThoughTriedBefore);
        let outcome = match (undo, known_absent) {
            (true, _) => Outcome::Unavailable,
            (false, true) => Outcome::Absent,
            (false, false) => Outcome::Unknown,
        };
        record(worker, came(worker, undo, outcome), terms);
        return think(worker, terms);
    }
    worker.step = Step::Calling { undo, answer: None };
    let key = if terms.has(Mistake::KeyPerAttempt) { worker.run.attempts } else { 0 };
    let intended = undo || world.truth.attempts >= worker.run.attempts;
    world.flaws.unpermitted |= !intended || !(world.truth.permitted);
    world.flights.push(Flight { worker: Some(index), undo, key, lands_by: CALL, late: false });
    if terms.kills {
        world.kill(index);
    }
}

/// A call takes effect, unless its kind says that it has had its effect or will have none.
pub fn land(world: &mut World, flight: Flight, terms: &Terms) -> Outcome {
    if flight.undo && terms.mute {
        return Outcome::Unavailable;
    }
    if flight.undo {
        world.undone = true;
        return Outcome::Succeeded;
    }
    if world.undone {
        return Outcome::Unavailable;
    }
    let bit = 1 << flight.key;
    if terms.effect != Effect::Idempotent || world.keys & bit == 0 {
        world.done = (world.done + 1).min(2);
        world.keys |= bit;
    }
    Outcome::Succeeded
}

fn returned(world: &mut World, index: usize, undo: bool, outcome: Outcome, terms: &Terms) {
    let worker = &mut world.workers[index];
    let forgets = terms.has(Mistake::RefusalForgetsEarlierTry);
    // That this attempt did not take effect says nothing about an earlier one.
    let unknown = outcome == Outcome::Unavailable && !undo && worker.again && !forgets;
    let outcome = if unknown { Outcome::Unknown } else { outcome };
    record(worker, came(worker, undo, outcome), terms);
    match terms.effect {
        Effect::Irreversible => worker.step = Step::Flush { then: Then::Think, landed: false },
        _ => think(worker, terms),
    }
}

/// What came of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Done,
    Lost,
}

/// Gives the lease back; nothing when somebody interjected and the journal has to be read again.
fn leave(world: &mut World, index: usize, how: How, terms: &Terms) -> Option<Left> {
    let worker = &mut world.workers[index];
    let head = &mut world.head;
    let mine = head.is_held_under(worker.epoch);
    if !mine && !terms.has(Mistake::LeaveWithoutEpoch) {
        let repeated = head.lease.is_none() && head.epoch == worker.epoch;
        return Some(if repeated { Left::Done } else { Left::Lost });
    }
    if head.interjections != worker.run.interjections && !terms.has(Mistake::LeaveWithoutInterjections) {
        worker.step = Step::Reload;
        return None;
    }
    leave_head(head, worker, how, terms);
    world.unheard &= worker.run.interjections < world.truth.interjections;
    Some(Left::Done)
}

fn leave_head(head: &mut Head, worker: &Worker, how: How, terms: &Terms) {
    let now = worker.clock;
    let dead = worker.run.phase == crate::run::Phase::Finished(End::Dead);
    (head.status, head.ready_from, head.due) = match how {
        How::Finish => (if dead { Status::Dead } else { Status::Finished }, None, None),
        How::Park { until } => (Status::Open, Some(until), Some(until)),
        How::HandOver | How::GiveBack => (Status::Open, Some(now), Some(now + RESCUE)),
    };
    if terms.has(Mistake::DueDroppedAtPark) && matches!(how, How::Park { .. }) {
        head.due = None;
    }
    head.strikes = match how {
        How::HandOver if !worker.written => worker.strikes,
        // The store says nothing about the run.
        How::GiveBack if !worker.written => worker.strikes.saturating_sub(1),
        _ => 0,
    };
    head.lease = None;
}

fn after_leave(world: &mut World, index: usize, how: How, left: Left) {
    let worker = &mut world.workers[index];
    let asked = worker.run.open_question().is_some();
    let delay: Option<Ticks> = match how {
        _ if left == Left::Lost => None,
        How::Finish | How::GiveBack => None,
        How::Park { .. } if asked => None,
        How::Park { until } => Some(until - worker.clock),
        How::HandOver => Some(0),
    };
    match delay {
        Some(delay) => worker.step = Step::Wake { delay },
        None if how == How::Finish && !worker.pending.is_empty() && left == Left::Done => {
            worker.step = Step::Flush { then: Then::End, landed: false };
        }
        None => world.kill(index),
    }
}

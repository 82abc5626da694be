//! What can happen at each moment.

use stateright::{Model, Property};

use crate::{
    mistake::Mistake,
    outside,
    properties::properties,
    run::{Event, Outcome, Terms},
    ticks::Ticks,
    turn,
    world::{Bound, Outsider, Step, World},
};

/// The protocol for one kind of run, up to a number of faults.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The run.
    pub terms: Terms,
    /// How far it is explored.
    pub bound: Bound,
    /// What the two step functions' clocks show more than the true one; each pair is a beginning.
    pub clocks: Vec<[Ticks; 2]>,
    /// Whether somebody may cancel the run.
    pub cancels: bool,
    /// Whether somebody may replay the run when it is dead, once.
    pub replays: bool,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// A step function is given the first message that can be seen.
    Receive(usize),
    /// A step function goes on.
    GoOn(usize),
    /// A call takes effect and is answered.
    Land(usize),
    /// A call whose process is gone never takes effect.
    Vanish(usize),
    /// Somebody outside reads the run and wants to append something.
    Propose(usize, Event),
    /// Somebody outside goes on.
    Outside(usize),
    /// The sweep finds the run due.
    Sweep,
    /// The sweep sends the wake-up.
    SweepSends,
    /// A frozen process goes on.
    Thaw(usize),
    /// Fault: the message stays on the queue although it was received.
    ReceiveTwice(usize),
    /// Fault: a message is lost.
    LoseMessage,
    /// Fault: a process dies.
    Crash(usize),
    /// Fault: a process stands still, for any time.
    Freeze(usize),
    /// Fault: the store does as asked, and its answer is lost.
    LoseAnswer(usize),
    /// Fault: the store fails a process for good, which gives its lease back if it still can.
    GiveBack(usize),
    /// Fault: a call does not take effect, and its caller knows.
    Refuse(usize),
    /// Fault: a call takes effect, and its caller does not know.
    LandUnheard(usize),
    /// Fault: a call takes effect, and its caller is answered an error. A key that has had its effect is answered as it was.
    LandWithError(usize),
}

impl Action {
    /// Whether it is a fault.
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Action::ReceiveTwice(_)
                | Action::LoseMessage
                | Action::Crash(_)
                | Action::Freeze(_)
                | Action::LoseAnswer(_)
                | Action::GiveBack(_)
                | Action::Refuse(_)
                | Action::LandUnheard(_)
                | Action::LandWithError(_)
        )
    }
}

impl Protocol {
    /// The same protocol with a mistake in it.
    #[must_use]
    pub fn with(mut self, mistake: Mistake) -> Self {
        self.terms.mistake = Some(mistake);
        self
    }

    fn of_workers(&self, world: &World, actions: &mut Vec<Action>) {
        let visible = world.queue.first().is_some_and(|visible| *visible <= 0);
        for (index, worker) in world.workers.iter().enumerate() {
            if worker.step == Step::Idle {
                // Of two that are the same in everything, it does not matter which one.
                let same_as_first = index > 0 && world.workers[0] == *worker;
                if visible && !same_as_first {
                    actions.extend([Action::Receive(index), Action::ReceiveTwice(index)]);
                }
                continue;
            }
            if worker.frozen {
                actions.push(Action::Thaw(index));
            } else {
                if worker.is_busy() {
                    actions.push(Action::GoOn(index));
                }
                actions.push(Action::Freeze(index));
                if matches!(worker.step, Step::Flush { landed: false, .. } | Step::Leave(_)) {
                    actions.push(Action::LoseAnswer(index));
                }
                if matches!(worker.step, Step::Load | Step::Flush { .. } | Step::Reload | Step::Renew) {
                    actions.push(Action::GiveBack(index));
                }
            }
            actions.push(Action::Crash(index));
        }
    }

    fn of_flights(world: &World, actions: &mut Vec<Action>) {
        for (index, flight) in world.flights.iter().enumerate() {
            actions.push(Action::Land(index));
            match flight.worker {
                Some(_) => {
                    actions.extend([Action::Refuse(index), Action::LandUnheard(index)]);
                    if !flight.undo && world.keys & (1 << flight.key) == 0 {
                        actions.push(Action::LandWithError(index));
                    }
                }
                None => actions.push(Action::Vanish(index)),
            }
        }
    }

    fn of_others(world: &World, actions: &mut Vec<Action>) {
        for who in 0..world.outsiders.len() {
            actions.extend(outside::proposals(world, who).into_iter().map(|event| Action::Propose(who, event)));
            if matches!(world.outsiders[who], Outsider::Proposing { .. } | Outsider::Waking) {
                actions.push(Action::Outside(who));
            }
        }
        if outside::is_due(world) {
            actions.push(Action::Sweep);
        }
        if world.sweeping.is_some() {
            actions.push(Action::SweepSends);
        }
        if !world.queue.is_empty() {
            actions.push(Action::LoseMessage);
        }
        if world.may_tick() {
            actions.push(Action::Tick);
        }
    }

    /// What becomes of the world; nothing when the action changes nothing.
    pub fn apply(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        if action.is_fault() {
            next.faults = next.faults.checked_sub(1)?;
            next.faults_met += 1;
        }
        let terms = &self.terms;
        match action {
            Action::Tick => next.tick(),
            Action::Receive(index) => {
                next.queue.remove(0);
                turn::receive(&mut next, index);
            }
            Action::ReceiveTwice(index) => turn::receive(&mut next, index),
            Action::GoOn(index) => turn::go_on(&mut next, index, terms),
            Action::Propose(who, event) => outside::propose(&mut next, who, event, terms),
            Action::Outside(who) => outside::go_on(&mut next, who, terms),
            Action::Sweep => outside::sweep(&mut next, terms),
            Action::SweepSends => {
                let delay = next.sweeping.take()?;
                next.send(delay);
            }
            Action::Thaw(index) => next.workers[index].frozen = false,
            Action::Freeze(index) => next.workers[index].frozen = true,
            Action::LoseMessage => drop(next.queue.remove(0)),
            Action::Crash(index) => next.kill(index),
            Action::LoseAnswer(index) => {
                if !turn::lose_answer(&mut next, index, terms) {
                    return None;
                }
            }
            Action::GiveBack(index) => turn::give_back(&mut next, index, terms),
            Action::Land(index) => land(&mut next, index, None, terms),
            Action::LandUnheard(index) => land(&mut next, index, Some(Outcome::Unknown), terms),
            Action::LandWithError(index) => land(&mut next, index, Some(Outcome::Failed), terms),
            Action::Refuse(index) => {
                let flight = next.flights.remove(index);
                answer(&mut next, flight.worker, Outcome::Unavailable);
            }
            Action::Vanish(index) => drop(next.flights.remove(index)),
        }
        (next != *world).then_some(next)
    }
}

fn land(world: &mut World, index: usize, heard: Option<Outcome>, terms: &Terms) {
    let flight = world.flights.remove(index);
    let outcome = turn::land(world, flight, terms);
    answer(world, flight.worker, heard.unwrap_or(outcome));
}

fn answer(world: &mut World, worker: Option<usize>, outcome: Outcome) {
    if let Some(index) = worker
        && let Step::Calling { answer, .. } = &mut world.workers[index].step
    {
        *answer = Some(outcome);
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.clocks.iter().map(|clocks| World::new(*clocks, self.bound, self.cancels, self.replays)).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.of_workers(world, actions);
        Self::of_flights(world, actions);
        Self::of_others(world, actions);
        actions.retain(|action| world.faults > 0 || !action.is_fault());
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.apply(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

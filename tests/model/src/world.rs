//! Everything there is at one moment: the store, the queue, the world outside, and the processes.

use crate::{
    run::{Epoch, Event, Outcome, Run},
    ticks::{RESCUE, SKEW, Ticks, age},
};

/// Where a run stood when it was last left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It can be claimed, now or later.
    Open,
    /// It is over.
    Finished,
    /// It died.
    Dead,
}

/// Who holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The claim.
    pub epoch: Epoch,
    /// Until when, by its holder's clock.
    pub until: Ticks,
}

/// The head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// Where it stands.
    pub status: Status,
    /// From when on it can be claimed.
    pub ready_from: Option<Ticks>,
    /// When somebody must look at it.
    pub due: Option<Ticks>,
    /// Claims so far.
    pub epoch: Epoch,
    /// Claims in vain so far.
    pub strikes: u8,
    /// Entries from outside so far.
    pub interjections: u8,
    /// Who holds it.
    pub lease: Option<Lease>,
}

impl Head {
    /// Whether a process whose clock shows `now` may claim it.
    pub fn can_be_claimed(&self, now: Ticks, margin: Ticks) -> bool {
        let free = self.lease.is_none_or(|lease| lease.until + margin <= now);
        self.ready_from.is_some_and(|from| from <= now) && free
    }

    /// Whether it is held under `epoch`.
    pub fn is_held_under(&self, epoch: Epoch) -> bool {
        self.lease.is_some_and(|lease| lease.epoch == epoch)
    }

    /// Whether nobody has to look again.
    pub fn is_over(&self) -> bool {
        self.status != Status::Open
    }
}

/// A call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Whose it is, while that process lives.
    pub worker: Option<usize>,
    /// Whether it undoes.
    pub undo: bool,
    /// Its key.
    pub key: u8,
    /// By when it has taken effect or never will.
    pub lands_by: Ticks,
    /// Whether its process was frozen beyond that: it goes out when that thaws, if it is not killed first.
    pub late: bool,
}

/// What a process does once its entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// Decides what to do next.
    Think,
    /// Makes the call.
    Begin {
        /// Whether it undoes.
        undo: bool,
    },
    /// Gives the lease back.
    Leave(How),
    /// Nothing.
    End,
}

/// How a lease is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// The run is over.
    Finish,
    /// Nothing can be done before then.
    Park {
        /// When.
        until: Ticks,
    },
    /// The time is spent.
    HandOver,
    /// The store has failed.
    GiveBack,
}

/// The next thing that a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It waits for a message.
    Idle,
    /// Claims the run.
    Claim,
    /// Reads the journal.
    Load,
    /// Appends what is pending.
    Flush {
        /// What then.
        then: Then,
        /// Whether it is there already, by a try whose answer was lost.
        landed: bool,
    },
    /// Reads the journal again.
    Reload,
    /// Appends what it did although its lease is lost.
    SaveFacts,
    /// Extends its lease.
    Renew,
    /// Looks once more, and makes the call.
    Begin {
        /// Whether it undoes.
        undo: bool,
    },
    /// Has made the call.
    Calling {
        /// Whether it undoes.
        undo: bool,
        /// What came back.
        answer: Option<Outcome>,
    },
    /// Asks the tool whether its call took effect.
    Query,
    /// Gives the lease back.
    Leave(How),
    /// Sends a wake-up.
    Wake {
        /// After how long.
        delay: Ticks,
    },
}

/// A step function's process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    /// What its clock shows more than the true one.
    pub clock: Ticks,
    /// What it does next.
    pub step: Step,
    /// Whether it is frozen.
    pub frozen: bool,
    /// When it is dead for certain, by its clock.
    pub deadline: Ticks,
    /// Its claim.
    pub epoch: Epoch,
    /// Until when it believes to hold the run.
    pub until: Ticks,
    /// Claims in vain, as it was told.
    pub strikes: u8,
    /// Whether it has written anything.
    pub written: bool,
    /// Whether the call that it is about to make had been attempted before.
    pub again: bool,
    /// The run as it has read it, with what is pending.
    pub run: Run,
    /// Entries in the journal that it has not read; two stand for more.
    pub behind: u8,
    /// What it has not written yet.
    pub pending: Vec<Event>,
}

impl Worker {
    /// A process that waits.
    pub fn idle(clock: Ticks) -> Worker {
        Worker {
            clock,
            step: Step::Idle,
            frozen: false,
            deadline: 0,
            epoch: 0,
            until: 0,
            strikes: 0,
            written: false,
            again: false,
            run: Run::ACCEPTED,
            behind: 0,
            pending: Vec::new(),
        }
    }

    /// Whether it could do something now.
    pub fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Idle | Step::Calling { answer: None, .. })
    }
}

/// Somebody outside the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outsider {
    /// Has nothing in hand.
    Idle,
    /// Has read the run and wants to append this.
    Proposing {
        /// What.
        event: Event,
        /// Entries that came since; two stand for more.
        behind: u8,
    },
    /// Has appended and wants to wake the run.
    Waking,
    /// Is done for good.
    Done,
}

/// What was seen to go wrong on the way; the rest is read off the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flaws {
    /// An entry did not follow from the ones before.
    pub illegal: bool,
    /// A call was begun without its intent and its permission in the journal.
    pub unpermitted: bool,
    /// A call was attempted that had been denied or whose run had been given up.
    pub forbidden: bool,
    /// A run was claimed while a call of another holder was under way.
    pub two_at_once: bool,
}

/// The places of the outsiders.
pub const APPROVER: usize = 0;
/// Who cancels.
pub const CANCELLER: usize = 1;
/// Who replays.
pub const OPERATOR: usize = 2;

/// How far the model is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// How many faults may happen, of any kind, at any moment.
    pub faults: u8,
    /// How many wake-ups the queue holds; one more is lost.
    pub messages: u8,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The head.
    pub head: Head,
    /// The journal's fold.
    pub truth: Run,
    /// The latest claim that has written to the journal.
    pub writer: Epoch,
    /// Wake-ups, by when they can be seen.
    pub queue: Vec<Ticks>,
    /// Step functions.
    pub workers: [Worker; 2],
    /// Approver, canceller, operator.
    pub outsiders: [Outsider; 3],
    /// After how long the wake-up is to arrive that a sweep wants to send, having moved the due time on.
    pub sweeping: Option<Ticks>,
    /// Wake-ups that the queue holds; one more is lost, as any may be.
    pub room: u8,
    /// Calls on their way.
    pub flights: Vec<Flight>,
    /// How often the call took effect, repetitions under one key apart.
    pub done: u8,
    /// Keys under which it did.
    pub keys: u8,
    /// Whether it was undone.
    pub undone: bool,
    /// Faults that may still happen.
    pub faults: u8,
    /// Faults that did.
    pub faults_met: u8,
    /// Whether nobody who read the last entry from outside has left the run since.
    pub unheard: bool,
    /// Decisions that approvers were told are recorded.
    pub told: u8,
    /// What was seen to go wrong.
    pub flaws: Flaws,
}

impl World {
    /// A run was just accepted, and its wake-up sent.
    pub fn new(clocks: [Ticks; 2], bound: Bound, cancels: bool, replays: bool) -> World {
        let head = Head {
            status: Status::Open,
            ready_from: Some(0),
            due: Some(RESCUE),
            epoch: 0,
            strikes: 0,
            interjections: 0,
            lease: None,
        };
        let present = |is: bool| if is { Outsider::Idle } else { Outsider::Done };
        World {
            head,
            truth: Run::ACCEPTED,
            writer: 0,
            queue: vec![0],
            workers: clocks.map(Worker::idle),
            outsiders: [Outsider::Idle, present(cancels), present(replays)],
            sweeping: None,
            room: bound.messages,
            flights: Vec::new(),
            done: 0,
            keys: 0,
            undone: false,
            faults: bound.faults,
            faults_met: 0,
            unheard: false,
            told: 0,
            flaws: Flaws::default(),
        }
    }

    /// Whether the call has an effect that was not undone.
    pub fn stands(&self) -> bool {
        self.done > 0 && !self.undone
    }

    /// Sends a wake-up.
    pub fn send(&mut self, delay: Ticks) {
        if self.queue.len() < usize::from(self.room) {
            self.queue.push(delay.max(0));
            self.queue.sort_unstable();
        }
    }

    /// Whether time may pass: whoever can go on goes on first, unless frozen.
    pub fn may_tick(&self) -> bool {
        let held_up = self.workers.iter().any(|worker| worker.is_busy() && !worker.frozen);
        !held_up && self.flights.iter().all(|flight| flight.lands_by > 0 || self.is_stuck(flight))
    }

    /// Whether a call is still inside its process, which is frozen.
    fn is_stuck(&self, flight: &Flight) -> bool {
        flight.worker.is_some_and(|index| self.workers[index].frozen)
    }

    /// One tick passes.
    pub fn tick(&mut self) {
        let head = &mut self.head;
        head.ready_from.iter_mut().chain(&mut head.due).for_each(age);
        head.lease.iter_mut().for_each(|lease| age(&mut lease.until));
        self.truth.age();
        self.queue.iter_mut().chain(&mut self.sweeping).for_each(|visible| *visible = (*visible - 1).max(0));
        for flight in &mut self.flights {
            flight.late |= flight.lands_by <= 0;
            flight.lands_by = (flight.lands_by - 1).max(0);
        }
        for outsider in &mut self.outsiders {
            if let Outsider::Proposing { event, .. } = outsider {
                event.age();
            }
        }
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.step == Step::Idle {
                continue;
            }
            age(&mut worker.deadline);
            age(&mut worker.until);
            worker.run.age();
            worker.pending.iter_mut().for_each(Event::age);
            match &mut worker.step {
                Step::Leave(How::Park { until }) | Step::Flush { then: Then::Leave(How::Park { until }), .. } => {
                    age(until);
                }
                _ => {}
            }
            if worker.deadline <= worker.clock {
                self.kill(index);
            }
        }
    }

    /// A process ends, however that comes. Its calls go on without it, but for those that had not gone out.
    pub fn kill(&mut self, index: usize) {
        self.flights.retain(|flight| flight.worker != Some(index) || !flight.late);
        self.workers[index] = Worker::idle(self.workers[index].clock);
        for flight in self.flights.iter_mut().filter(|flight| flight.worker == Some(index)) {
            flight.worker = None;
        }
    }

    /// An entry was appended: everybody has one more to read, but for its writer.
    pub fn appended(&mut self, by_worker: Option<usize>) {
        for (index, worker) in self.workers.iter_mut().enumerate() {
            if worker.step != Step::Idle && Some(index) != by_worker {
                worker.behind = (worker.behind + 1).min(2);
            }
        }
        for outsider in &mut self.outsiders {
            if let Outsider::Proposing { behind, .. } = outsider {
                *behind = (*behind + 1).min(2);
            }
        }
    }

    /// Appends events to the journal as one entry.
    pub fn append(&mut self, events: &[Event], holder: Option<Epoch>, terms: &crate::run::Terms) {
        for event in events {
            let attempt = matches!(event, Event::Attempted { .. });
            if attempt && (self.truth.abandoned.is_some() || self.truth.call == crate::run::Call::Failed) {
                self.flaws.forbidden = true;
            }
            self.flaws.illegal |= self.truth.note(*event, holder, terms).is_err();
        }
        self.unheard |= holder.is_none();
        if let Some(epoch) = holder {
            self.writer = self.writer.max(epoch);
        }
    }

    /// Whether an entry from outside waits behind a timer. (What a holder who lost its lease still says of its call may: it is no
    /// interjection, and the new holder, who has not read it, parks until that call is over for certain.)
    pub fn sleeps_through(&self) -> bool {
        let asleep = self.head.lease.is_none() && !self.head.is_over();
        asleep && self.unheard && self.head.ready_from.is_none_or(|from| from > SKEW)
    }
}

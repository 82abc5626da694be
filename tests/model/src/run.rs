//! A run of one call: the fold of its journal (`run/state.rs`) and what to do next (`run/next.rs`), as they are in the kit.

use crate::{
    mistake::Mistake,
    ticks::{SKEW, Ticks, age},
};

/// The number of a claim.
pub type Epoch = u8;

/// What repeating the call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The key makes it harmless.
    Idempotent,
    /// It can be asked about.
    Queryable,
    /// It happens again.
    Irreversible,
}

/// How a run ended, or why it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// It answered.
    Completed,
    /// A person ended it.
    Cancelled,
    /// Nobody said in time whether its call took effect.
    DoubtExpired,
    /// It was claimed too often in vain.
    Dead,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The model is to be asked.
    Planning,
    /// The call is under way.
    Acting,
    /// There is an answer to give.
    Answering,
    /// It is over.
    Finished(End),
}

/// Where the call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Not planned yet.
    Unplanned,
    /// Not judged yet.
    Proposed,
    /// It may be attempted.
    Allowed,
    /// A person is to permit it.
    Awaiting {
        /// Until when.
        expires: Ticks,
    },
    /// There is an intent and no outcome.
    Attempted {
        /// When the process that attempts it is dead for certain.
        deadline: Ticks,
        /// The claim under which it does; 0 when it is known that nobody does any more.
        epoch: Epoch,
    },
    /// Only a person can say whether it took effect.
    Uncertain,
    /// A person is to say whether it took effect.
    InDoubt {
        /// Until when.
        expires: Ticks,
    },
    /// It took effect.
    Succeeded,
    /// It did not and will not: denied or not approved in time.
    Failed,
    /// Nobody said in time.
    Doubtful,
    /// It is being undone.
    Compensating,
    /// It was undone.
    Compensated,
    /// It could not be undone.
    Standing,
}

/// Failing questions to a tool after which a person is asked: `FIND_OUT_FOR`, counted.
pub const QUERIES_MAX: u8 = 2;

/// Failing attempts to undo after which that is given up: `UNDO_FOR`, counted.
pub const UNDOS_MAX: u8 = 2;

impl Call {
    const fn is_settled(self) -> bool {
        matches!(self, Call::Succeeded | Call::Failed | Call::Doubtful | Call::Compensated | Call::Standing)
    }
}

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may be done.
    Approved,
    /// It may not.
    Denied,
    /// It took effect.
    Happened,
    /// It did not.
    NotHappened,
    /// Nobody said anything in time.
    Expired,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took effect.
    Succeeded,
    /// It did not; it may the next time.
    Unavailable,
    /// Nobody knows.
    Unknown,
    /// It was not made, or was found not to have taken effect.
    Absent,
    /// It was answered with an error, and may have taken effect.
    Failed,
    /// The tool does not say whether it took effect.
    NotAsked,
}

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The model wants the call made.
    PlannedCall,
    /// The model has an answer.
    PlannedAnswer,
    /// The policy allows the call.
    Allowed,
    /// The policy wants a person to permit it, until then.
    Asked {
        /// Until when.
        expires: Ticks,
    },
    /// A person is asked whether it took effect.
    Doubted {
        /// Until when.
        expires: Ticks,
    },
    /// A person answered, or nobody did in time.
    Decided(Verdict),
    /// The intent.
    Attempted {
        /// When its process is dead for certain.
        deadline: Ticks,
    },
    /// The outcome.
    Returned {
        /// Of which attempt.
        attempt: u8,
        /// What it was.
        outcome: Outcome,
    },
    /// The intent to undo.
    CompensationAttempted,
    /// What came of it.
    Compensated {
        /// Of which attempt.
        attempt: u8,
        /// What it was.
        outcome: Outcome,
    },
    /// Undoing is given up.
    GivenUp,
    /// A person ended the run.
    Cancelled,
    /// It is over.
    Stopped(End),
    /// A dead run was set going again.
    Replayed,
}

impl Event {
    /// `Event::is_progress`.
    pub const fn is_progress(self) -> bool {
        !matches!(self, Event::Attempted { .. } | Event::CompensationAttempted)
    }

    /// `Event::is_fact`.
    pub const fn is_fact(self) -> bool {
        matches!(self, Event::Returned { .. } | Event::Compensated { .. })
    }

    /// One tick passes.
    pub fn age(&mut self) {
        match self {
            Event::Asked { expires } | Event::Doubted { expires } => age(expires),
            Event::Attempted { deadline } => age(deadline),
            _ => {}
        }
    }
}

/// A run as its journal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// Where it stands.
    pub phase: Phase,
    /// Where a dead run stood.
    pub stopped_in: Phase,
    /// Its call.
    pub call: Call,
    /// Why it is given up.
    pub abandoned: Option<End>,
    /// The claim that last moved it on.
    pub progress: Epoch,
    /// Entries from outside.
    pub interjections: u8,
    /// Attempts so far.
    pub attempts: u8,
    /// Attempts to undo so far.
    pub undos: u8,
    /// Questions to the tool that it did not answer.
    pub queries: u8,
    /// A person permitted the call, or the policy did.
    pub permitted: bool,
    /// The call was listed as standing or in doubt at the end.
    pub listed: bool,
    /// Questions answered by people.
    pub decided: u8,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask the model.
    Plan,
    /// Ask the policy.
    Judge,
    /// Make the call.
    Call,
    /// Ask the tool.
    Query,
    /// Ask a person whether it took effect.
    Doubt,
    /// Undo it.
    Compensate,
    /// Record that it cannot be undone.
    GiveUp,
    /// Record that nobody answered.
    Expire,
    /// Nothing before then.
    Await(Ticks),
    /// Answer and stop.
    Respond,
    /// Record the end of a run that is given up.
    Stop(End),
    /// It is over.
    Nothing,
}

/// What is fixed for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terms {
    /// What repeating its call does.
    pub effect: Effect,
    /// Whether a person is to permit it.
    pub asks: bool,
    /// Whether the call can be undone.
    pub compensable: bool,
    /// Whether the call kills whoever makes it.
    pub kills: bool,
    /// Whether the tool makes calls, and answers neither questions about them nor attempts to undo them.
    pub mute: bool,
    /// What the protocol does wrong.
    pub mistake: Option<Mistake>,
}

impl Terms {
    /// Whether the protocol makes this mistake.
    pub fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl Run {
    /// A run that was just accepted.
    pub const ACCEPTED: Run = Run {
        phase: Phase::Planning,
        stopped_in: Phase::Planning,
        call: Call::Unplanned,
        abandoned: None,
        progress: 0,
        interjections: 0,
        attempts: 0,
        undos: 0,
        queries: 0,
        permitted: false,
        listed: false,
        decided: 0,
    };

    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// The open question's end.
    pub const fn open_question(&self) -> Option<Ticks> {
        match self.call {
            Call::Awaiting { expires } | Call::InDoubt { expires } if !self.is_over() && self.abandoned.is_none() => {
                Some(expires)
            }
            _ => None,
        }
    }

    /// Takes in an event by `holder` (nobody: somebody outside).
    ///
    /// # Errors
    /// When it does not follow.
    pub fn note(&mut self, event: Event, holder: Option<Epoch>, terms: &Terms) -> Result<(), &'static str> {
        if let Some(epoch) = holder.filter(|_| event.is_progress()) {
            self.progress = self.progress.max(epoch);
        }
        self.interjections += u8::from(holder.is_none());
        if let Phase::Finished(end) = self.phase {
            if event == Event::Replayed && end == End::Dead {
                self.phase = self.stopped_in;
                return Ok(());
            }
            return Err("the run is over");
        }
        match (event, self.phase, self.call) {
            (Event::PlannedCall, Phase::Planning, Call::Unplanned) if self.abandoned.is_none() => {
                (self.phase, self.call) = (Phase::Acting, Call::Proposed);
            }
            (Event::PlannedAnswer, Phase::Planning, _) if self.abandoned.is_none() => self.phase = Phase::Answering,
            (Event::Allowed, _, Call::Proposed) => (self.call, self.permitted) = (Call::Allowed, true),
            (Event::Asked { expires }, _, Call::Proposed) => self.call = Call::Awaiting { expires },
            (Event::Doubted { expires }, _, Call::Attempted { .. } | Call::Uncertain) => {
                self.call = Call::InDoubt { expires };
            }
            (Event::Decided(verdict), ..) => return self.decided(verdict, holder),
            (Event::Attempted { deadline }, _, Call::Allowed | Call::Attempted { .. }) => {
                let repeatable = terms.effect == Effect::Idempotent || terms.has(Mistake::IrreversibleRepeated);
                if self.abandoned.is_some() {
                    return Err("attempted in an abandoned run");
                }
                if matches!(self.call, Call::Attempted { .. }) && !repeatable {
                    return Err("attempted twice");
                }
                let epoch = holder.ok_or("only a holder attempts calls")?;
                self.call = Call::Attempted { deadline, epoch };
                self.attempts += 1;
            }
            (Event::Returned { attempt, outcome }, _, Call::Attempted { .. })
                if attempt == self.attempts || terms.has(Mistake::OutcomeOfAnyAttempt) =>
            {
                self.call = match outcome {
                    Outcome::NotAsked => self.not_asked(terms),
                    outcome => returned(outcome, terms),
                };
            }
            (
                Event::CompensationAttempted,
                _,
                Call::Succeeded | Call::Attempted { .. } | Call::Uncertain | Call::Compensating,
            ) if self.abandoned.is_some() && terms.compensable => {
                self.call = Call::Compensating;
                self.undos = self.undos.saturating_add(1);
            }
            (Event::GivenUp, _, Call::Compensating) if self.abandoned.is_some() => self.call = Call::Standing,
            (Event::Compensated { attempt, outcome }, _, Call::Compensating) if attempt == self.undos => {
                if outcome == Outcome::Succeeded {
                    self.call = Call::Compensated;
                }
            }
            (Event::Cancelled, ..) => drop(self.abandoned.get_or_insert(End::Cancelled)),
            (Event::Stopped(end), ..) => {
                if end == End::Completed && self.phase != Phase::Answering {
                    return Err("completed without an answer");
                }
                self.listed = !matches!(end, End::Completed | End::Dead) && self.is_to_be_listed();
                (self.stopped_in, self.phase) = (self.phase, Phase::Finished(end));
            }
            _ => return Err("it does not follow"),
        }
        self.plan_again_when_settled();
        Ok(())
    }

    fn decided(&mut self, verdict: Verdict, holder: Option<Epoch>) -> Result<(), &'static str> {
        if self.open_question().is_none() {
            return Err("the question is not open");
        }
        let permission = matches!(self.call, Call::Awaiting { .. });
        self.call = match verdict {
            Verdict::Approved if permission => Call::Allowed,
            Verdict::Denied | Verdict::Expired if permission => Call::Failed,
            Verdict::NotHappened if !permission => Call::Allowed,
            Verdict::Happened if !permission => Call::Succeeded,
            Verdict::Expired => Call::Doubtful,
            _ => return Err("the question cannot be answered so"),
        };
        self.permitted |= verdict == Verdict::Approved;
        self.decided += u8::from(holder.is_none());
        if self.call == Call::Doubtful {
            self.abandoned.get_or_insert(End::DoubtExpired);
        }
        self.plan_again_when_settled();
        Ok(())
    }

    fn not_asked(&mut self, terms: &Terms) -> Call {
        self.queries = (self.queries + 1).min(QUERIES_MAX);
        match self.queries >= QUERIES_MAX && !terms.has(Mistake::QueriedForEver) {
            true => Call::Uncertain,
            false => Call::Attempted { deadline: 0, epoch: 0 },
        }
    }

    fn plan_again_when_settled(&mut self) {
        if self.phase == Phase::Acting && self.call.is_settled() {
            self.phase = Phase::Planning;
        }
    }

    /// `next::standing` and `next::in_doubt`.
    const fn is_to_be_listed(&self) -> bool {
        matches!(
            self.call,
            Call::Succeeded
                | Call::Attempted { .. }
                | Call::Uncertain
                | Call::InDoubt { .. }
                | Call::Doubtful
                | Call::Standing
        )
    }

    /// `next::decide`.
    pub fn decide(&self, now: Ticks, epoch: Epoch, terms: &Terms) -> Next {
        if self.is_over() {
            return Next::Nothing;
        }
        if let Some(next) = self.resolve(now, epoch, terms) {
            return next;
        }
        if let Some(reason) = self.abandoned {
            let patience_is_over = terms.mute && self.undos >= UNDOS_MAX && !terms.has(Mistake::UndoneForEver);
            return match self.call {
                Call::Compensating if patience_is_over => Next::GiveUp,
                Call::Succeeded | Call::Compensating if terms.compensable => Next::Compensate,
                _ => Next::Stop(reason),
            };
        }
        if self.open_question().is_some_and(|expires| expires <= now) {
            return Next::Expire;
        }
        match (self.phase, self.call) {
            (Phase::Planning, _) => Next::Plan,
            (Phase::Answering, _) => Next::Respond,
            (Phase::Finished(_), _) => Next::Nothing,
            (Phase::Acting, Call::Proposed) => Next::Judge,
            (Phase::Acting, Call::Allowed) => Next::Call,
            (Phase::Acting, Call::Awaiting { expires } | Call::InDoubt { expires }) => Next::Await(expires),
            (Phase::Acting, _) => Next::Nothing,
        }
    }

    /// `next::resolve`: an intent without an outcome.
    fn resolve(&self, now: Ticks, epoch: Epoch, terms: &Terms) -> Option<Next> {
        let abandoned = self.abandoned.is_some();
        let (deadline, holder) = match self.call {
            Call::Uncertain if abandoned => return terms.compensable.then_some(Next::Compensate),
            Call::Uncertain => return Some(Next::Doubt),
            Call::Attempted { deadline, epoch } => (deadline, epoch),
            _ => return None,
        };
        let settled = match terms.mistake {
            Some(Mistake::NoWaitForDeadline) => now,
            Some(Mistake::NoSkewAfterDeadline) => deadline,
            _ => deadline + SKEW,
        };
        let once_settled = |next: Option<Next>| if now < settled { Some(Next::Await(settled)) } else { next };
        match terms.effect {
            Effect::Irreversible if terms.has(Mistake::IrreversibleRepeated) && !abandoned => Some(Next::Call),
            Effect::Idempotent if !abandoned => Some(Next::Call),
            Effect::Idempotent => once_settled(terms.compensable.then_some(Next::Compensate)),
            Effect::Queryable if holder == epoch || holder == 0 => Some(Next::Query),
            Effect::Queryable => once_settled(Some(Next::Query)),
            Effect::Irreversible => once_settled((!abandoned).then_some(Next::Doubt)),
        }
    }

    /// One tick passes.
    pub fn age(&mut self) {
        match &mut self.call {
            Call::Awaiting { expires } | Call::InDoubt { expires } => age(expires),
            Call::Attempted { deadline, .. } => age(deadline),
            _ => {}
        }
    }
}

fn returned(outcome: Outcome, terms: &Terms) -> Call {
    match (outcome, terms.effect) {
        (Outcome::Succeeded, _) => Call::Succeeded,
        (Outcome::Unavailable | Outcome::Absent, _) => Call::Allowed,
        // Its backoff; a call has taken effect within its time or never will, and by now that time is over.
        (Outcome::Failed, _) if terms.has(Mistake::AnsweredErrorIsNotDone) => Call::Failed,
        (Outcome::Unknown | Outcome::Failed, Effect::Idempotent | Effect::Queryable) => {
            Call::Attempted { deadline: 0, epoch: 0 }
        }
        (Outcome::Unknown | Outcome::Failed | Outcome::NotAsked, _) => Call::Uncertain,
    }
}

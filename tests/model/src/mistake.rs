//! Mistakes that the protocol could have been built with: each is a switch of the model, and each must be found.

/// One thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// A lease is taken over the moment it ends, whatever the clocks.
    NoLeaseMargin,
    /// A lease is not renewed before a call that it does not outlast.
    NoRenewal,
    /// Renewing does not ask whose lease it is.
    RenewWithoutEpoch,
    /// Leaving does not ask whose lease it is.
    LeaveWithoutEpoch,
    /// Leaving does not ask whether somebody interjected.
    LeaveWithoutInterjections,
    /// An approval or a cancellation is put into the journal only; the head is not told.
    InterjectWithoutHead,
    /// An approval or a cancellation takes a live lease away, to be heard sooner.
    InterjectDropsLease,
    /// An approver who lost the race for a place takes the next without reading again.
    ApprovalNotAskedAgain,
    /// An approver is told that it is done before it is written.
    AnswerBeforeWrite,
    /// An entry replaces the one that has its place.
    AppendReplaces,
    /// Who lost the race for a place appends all it had on top, plans and intents too.
    IntentsSurviveLostRace,
    /// The call is made before its intent is in the journal.
    IntentNotFlushed,
    /// A holder does not look at lease and deadline again between its intent and its call.
    NoLookAgain,
    /// An `Irreversible` intent without an outcome is simply repeated.
    IrreversibleRepeated,
    /// Somebody else's intent is resolved while its process may still act.
    NoWaitForDeadline,
    /// The deadline of somebody else's intent is taken by one's own clock alone.
    NoSkewAfterDeadline,
    /// A holder that does not make its call after all says that it did not happen, though an earlier attempt may have.
    AbsentThoughTriedBefore,
    /// An attempt that did not take effect counts for the call, though an earlier attempt may have.
    RefusalForgetsEarlierTry,
    /// An outcome does not say of which attempt it is.
    OutcomeOfAnyAttempt,
    /// Each attempt has a key of its own.
    KeyPerAttempt,
    /// Parking drops the due time.
    DueDroppedAtPark,
    /// Claiming drops the due time: somebody is at it, after all.
    DueDroppedAtClaim,
    /// The sweep takes a run off the due index instead of moving it on.
    SweepDropsDue,
    /// The head is finished before the last entry is written.
    FinishBeforeLastEntry,
    /// Who lost the race for a place goes on as if the entry were in.
    LostRaceIsWritten,
    /// Claims are not counted.
    NoStrikes,
    /// An answered error of a call counts as if nothing had happened.
    AnsweredErrorIsNotDone,
    /// A tool that does not say whether its call took effect is asked for ever.
    QueriedForEver,
    /// What cannot be undone is undone for ever.
    UndoneForEver,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 29] = [
        Mistake::NoLeaseMargin,
        Mistake::NoRenewal,
        Mistake::RenewWithoutEpoch,
        Mistake::LeaveWithoutEpoch,
        Mistake::LeaveWithoutInterjections,
        Mistake::InterjectWithoutHead,
        Mistake::InterjectDropsLease,
        Mistake::ApprovalNotAskedAgain,
        Mistake::AnswerBeforeWrite,
        Mistake::AppendReplaces,
        Mistake::IntentsSurviveLostRace,
        Mistake::IntentNotFlushed,
        Mistake::NoLookAgain,
        Mistake::IrreversibleRepeated,
        Mistake::NoWaitForDeadline,
        Mistake::NoSkewAfterDeadline,
        Mistake::AbsentThoughTriedBefore,
        Mistake::RefusalForgetsEarlierTry,
        Mistake::OutcomeOfAnyAttempt,
        Mistake::KeyPerAttempt,
        Mistake::DueDroppedAtPark,
        Mistake::DueDroppedAtClaim,
        Mistake::SweepDropsDue,
        Mistake::FinishBeforeLastEntry,
        Mistake::LostRaceIsWritten,
        Mistake::NoStrikes,
        Mistake::AnsweredErrorIsNotDone,
        Mistake::QueriedForEver,
        Mistake::UndoneForEver,
    ];

    /// Where it shows: the scene's place in [`crate::scenes::scenes`], and the faults that it takes.
    pub const fn shows(self) -> (usize, u8) {
        match self {
            Mistake::RenewWithoutEpoch
            | Mistake::LeaveWithoutEpoch
            | Mistake::NoLookAgain
            | Mistake::OutcomeOfAnyAttempt => (0, 1),
            Mistake::AbsentThoughTriedBefore | Mistake::RefusalForgetsEarlierTry => (0, 2),
            Mistake::IrreversibleRepeated | Mistake::NoWaitForDeadline | Mistake::NoSkewAfterDeadline => (2, 1),
            Mistake::LeaveWithoutInterjections | Mistake::AnswerBeforeWrite | Mistake::DueDroppedAtPark => (3, 0),
            Mistake::KeyPerAttempt | Mistake::NoStrikes => (5, 0),
            Mistake::AnsweredErrorIsNotDone => (2, 1),
            Mistake::QueriedForEver => (6, 1),
            Mistake::UndoneForEver => (6, 0),
            _ => (0, 0),
        }
    }
}

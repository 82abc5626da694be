//! Time in the model: whole ticks, counted from now, so that states that differ in the date only are one state.
//!
//! The spans keep the order that the real ones have (skew < call < lease < invocation) and are otherwise as short as they can be.

/// Ticks from now; negative ones are past.
pub type Ticks = i8;

/// How far two clocks may differ: `CLOCK_SKEW_MAX`.
pub const SKEW: Ticks = 1;

/// How long a call may take until it has taken effect or never will: a tool's timeout.
pub const CALL: Ticks = 2;

/// What is kept back to record and leave: `LEAVE_MARGIN`.
pub const MARGIN: Ticks = 1;

/// How long a lease lasts: `LEASE_FOR`.
pub const LEASE: Ticks = 4;

/// After which a process is dead for certain: the function's timeout.
pub const INVOCATION: Ticks = 5;

/// How long after a run became ready somebody looks whether it got going: `RESCUE_AFTER`.
pub const RESCUE: Ticks = 3;

/// How far the sweep looks ahead: `LOOK_AHEAD`. What was woken is due again `RESCUE` after the time at which it was, which is beyond that.
pub const AHEAD: Ticks = 1;

/// How long a message rests after the store has failed: `REST` of the step function.
pub const REST: Ticks = 1;

/// How long a question stays open.
pub const QUESTION: Ticks = 3;

/// What is longer ago than this is no different: nothing is compared with more than a skew before now.
const LONG_AGO: Ticks = -(SKEW + 1);

/// A moment, one tick later.
pub fn age(moment: &mut Ticks) {
    *moment = (*moment - 1).max(LONG_AGO);
}

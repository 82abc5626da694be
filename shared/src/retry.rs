//! When to try again: exponential backoff with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

use crate::ids::Random;

pub mod after;

/// What an error says about trying again. Every error of a port answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed later, at the earliest after this.
    Transient {
        /// What the other side asked for; zero when it said nothing.
        after: Duration,
    },
    /// The same call will fail again.
    Terminal,
}

impl Retry {
    /// Transient, with nothing said about when.
    pub const SOON: Retry = Retry::Transient { after: Duration::ZERO };

    /// Transient, after what the other side asked for: at most [`ASKED_WAIT_MAX`].
    pub fn after(asked: Duration) -> Retry {
        Retry::Transient { after: asked.min(ASKED_WAIT_MAX) }
    }
}

/// How often and how long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's upper bound.
    pub base: Duration,
    /// No wait's upper bound is larger.
    pub cap: Duration,
    /// Attempts in all, the first included.
    pub attempts_max: u32,
}

impl Backoff {
    /// How long to wait after `attempt` (1, 2, 3 …) failed: a random span up to `base · 2^(attempt-1)`, capped, but not less
    /// than `at_least`, which is believed up to [`ASKED_WAIT_MAX`]; `None` when the attempts are used up.
    pub fn wait(&self, attempt: u32, at_least: Duration, random: &dyn Random) -> Option<Duration> {
        if attempt >= self.attempts_max {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(20);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jitter = Duration::from_millis(random.below(bound.as_millis() as u64 + 1));
        Some(jitter.max(at_least.min(ASKED_WAIT_MAX)))
    }
}

/// The longest wait that another side is believed at once, whatever it says: an hour.
pub const ASKED_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How rests grow that have no end of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rests {
    /// The longest first rest.
    pub base: Duration,
    /// No rest grows beyond this.
    pub cap: Duration,
}

impl Rests {
    /// How long to rest after so many failures in a row (1, 2, 3 …): at least half of `base · 2^(failures-1)`, capped, and all of it at
    /// most; not less than `at_least`, which is believed up to [`ASKED_WAIT_MAX`] and spread by a tenth, so that those who were told the
    /// same do not all come back at once.
    pub fn after(&self, failures: u32, at_least: Duration, random: &dyn Random) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let up_to = |span: Duration| Duration::from_millis(random.below(span.as_millis() as u64 + 1));
        let grown = bound / 2 + up_to(bound / 2);
        let asked = at_least.min(ASKED_WAIT_MAX);
        if asked > grown { asked + up_to(asked / 10) } else { grown }
    }
}

/// The longest rest between two attempts of a call: how long a tool may be back before a run notices.
pub const REST_LONGEST: Duration = Duration::from_secs(3600);

/// The shortest: what fails at once must not be asked as fast as it answers.
const REST_SHORTEST: Duration = Duration::from_millis(100);

/// No rest is shorter than this part of the time for which a call has failed.
const REST_PART: u32 = 8;

/// When a call of a tool that did not take effect is made again.
///
/// Rests double from `rest_first` to `rest_max`, each by chance between a half and the whole. None is shorter than an eighth of the time
/// for which the call has failed, nor longer than [`REST_LONGEST`]: so a call that fails for 168 hours, the longest run by default, is made at most
/// 260 times whatever a tool sets (97 times in the first eight hours, then once an hour), which is 520 entries of some 300 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first rest's upper bound.
    pub rest_first: Duration,
    /// Where doubling ends, and how much of a `Retry-After` is believed; at most [`REST_LONGEST`].
    pub rest_max: Duration,
    /// For how long a call is made again; `None` for as long as the run's limits allow.
    pub give_up_after: Option<Duration>,
}

impl RetryPolicy {
    /// From a second to five minutes, for as long as the run's limits allow.
    pub const PATIENT: RetryPolicy =
        RetryPolicy { rest_first: Duration::from_secs(1), rest_max: Duration::from_secs(300), give_up_after: None };

    /// How long to rest after failure number `failures` (1, 2, 3 …) of a call that has failed for `failing_for`, when the tool asked for `asked`;
    /// `None` when it is given up.
    pub fn rest(&self, failures: u32, failing_for: Duration, asked: Duration, random: &dyn Random) -> Option<Duration> {
        if self.give_up_after.is_some_and(|bound| bound <= failing_for) {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(20);
        let upper = self.rest_first.saturating_mul(1 << doublings).min(self.rest_max);
        let jittered = upper / 2 + Duration::from_millis(random.below((upper / 2).as_millis() as u64 + 1));
        let least = (failing_for / REST_PART).max(REST_SHORTEST).max(asked.min(self.rest_max));
        Some(jittered.max(least).min(REST_LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(u128);
    impl Random for Always {
        fn bits(&self) -> u128 {
            self.0
        }
    }

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(100), cap: Duration::from_millis(350), attempts_max: 4 };

    #[test]
    fn the_bound_doubles_up_to_the_cap_and_the_attempts_end() {
        let longest = |attempt| (0..2_000).filter_map(|n| BACKOFF.wait(attempt, Duration::ZERO, &Always(n))).max();
        assert_eq!(longest(1), Some(Duration::from_millis(100)));
        assert_eq!(longest(2), Some(Duration::from_millis(200)));
        assert_eq!(longest(3), Some(Duration::from_millis(350)));
        assert_eq!(longest(4), None);
    }

    #[test]
    fn a_call_that_fails_for_a_week_is_made_a_few_hundred_times_whatever_its_tool_sets() {
        let week = Duration::from_secs(168 * 3600);
        let hasty = RetryPolicy { rest_first: Duration::ZERO, rest_max: Duration::ZERO, give_up_after: None };
        for policy in [hasty, RetryPolicy::PATIENT] {
            let (mut failing_for, mut failures) = (Duration::ZERO, 1);
            while failing_for < week {
                failing_for += policy.rest(failures, failing_for, Duration::ZERO, &Always(0)).expect("it has no end");
                failures += 1;
            }
            assert!(failures <= 260, "{policy:?}: {failures}");
        }
    }

    #[test]
    fn rests_between_attempts_grow_and_a_retry_after_counts_up_to_the_cap() {
        let patient = RetryPolicy::PATIENT;
        let rest = |failures, asked| patient.rest(failures, Duration::ZERO, asked, &Always(0)).expect("no end");
        assert_eq!(rest(1, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(rest(3, Duration::ZERO), Duration::from_secs(2));
        assert_eq!(rest(30, Duration::ZERO), Duration::from_secs(150));
        assert_eq!(rest(1, Duration::from_secs(20)), Duration::from_secs(20));
        assert_eq!(rest(1, Duration::from_secs(1_000_000_000)), Duration::from_secs(300));
        let bounded = RetryPolicy { give_up_after: Some(Duration::from_secs(60)), ..patient };
        assert_eq!(bounded.rest(9, Duration::from_secs(60), Duration::ZERO, &Always(0)), None);
    }

    #[test]
    fn rests_grow_up_to_their_cap_and_what_another_side_asks_for_is_kept_and_bounded() {
        let rests = Rests { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
        let spans = |failures, asked| {
            let all: Vec<Duration> = (0..2_000).map(|n| rests.after(failures, asked, &Always(n * 37))).collect();
            (*all.iter().min().expect("some"), *all.iter().max().expect("some"))
        };
        for (failures, most) in [(1, 1), (2, 2), (4, 8), (7, 60), (u32::MAX, 60)] {
            let (shortest, longest) = spans(failures, Duration::ZERO);
            assert!(shortest * 2 >= Duration::from_secs(most) && longest <= Duration::from_secs(most), "{failures}");
        }
        let (shortest, longest) = spans(1, Duration::from_secs(20));
        assert!(shortest >= Duration::from_secs(20) && longest <= Duration::from_secs(22));
        assert!(spans(1, Duration::MAX).1 <= ASKED_WAIT_MAX + ASKED_WAIT_MAX / 10);
    }

    #[test]
    fn what_the_other_side_asked_for_is_kept() {
        let after = Duration::from_secs(9);
        assert_eq!(BACKOFF.wait(1, after, &Always(0)), Some(after));
        assert_eq!(BACKOFF.wait(1, Duration::MAX, &Always(0)), Some(ASKED_WAIT_MAX));
    }

    #[test]
    fn nobody_asks_for_a_longer_wait_than_an_hour() {
        for asked in [Duration::from_secs(1_768_000_000_000), Duration::MAX, ASKED_WAIT_MAX] {
            assert_eq!(BACKOFF.wait(1, asked, &Always(0)), Some(ASKED_WAIT_MAX));
            assert_eq!(Retry::after(asked), Retry::Transient { after: ASKED_WAIT_MAX });
        }
    }
}

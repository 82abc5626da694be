//! When to try again: exponential backoff with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

use crate::ids::Random;

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
    /// than `at_least`; `None` when the attempts are used up.
    pub fn wait(&self, attempt: u32, at_least: Duration, random: &dyn Random) -> Option<Duration> {
        if attempt >= self.attempts_max {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(20);
        let bound = self.base.saturating_mul(1 << doublings).min(self.cap);
        let jitter = Duration::from_millis(random.below(bound.as_millis() as u64 + 1));
        Some(jitter.max(at_least))
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
    fn what_the_other_side_asked_for_is_kept() {
        let after = Duration::from_secs(9);
        assert_eq!(BACKOFF.wait(1, after, &Always(0)), Some(after));
    }
}

//! How a job stands: what an alarm and an operator want to know of it.

use std::time::Duration;

use serde::Serialize;

use super::JobRecord;
use crate::clock::Timestamp;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// Nobody has begun it yet.
    NeverRan,
    /// Somebody is at it.
    Running {
        /// Until when at most.
        until: Timestamp,
    },
    /// Its last run ended well and in time.
    OnTime,
    /// Its last run failed.
    Failed {
        /// Why.
        error: String,
    },
    /// Its last run ended before everything was done.
    Behind {
        /// For how long the first thing that is left had been waiting.
        by: Duration,
    },
    /// It should have run again by now.
    Missed {
        /// For how long.
        late: Duration,
    },
}

impl Standing {
    /// How the job of `record` stands at `now` when it is to run `every` so often. One firing may be lost or late: only when a
    /// second one is due too has it missed.
    pub fn of(record: Option<&JobRecord>, every: Duration, now: Timestamp) -> Standing {
        let Some(record) = record else { return Standing::NeverRan };
        match (&record.lock, &record.last) {
            (Some(lock), _) if lock.until > now => Standing::Running { until: lock.until },
            (_, None) => Standing::NeverRan,
            (_, Some(last)) if last.ended + every * 2 < now => Standing::Missed { late: now.since(last.ended + every) },
            (_, Some(last)) => match &last.error {
                Some(error) => Standing::Failed { error: error.clone() },
                None => match last.behind_seconds {
                    Some(seconds) => Standing::Behind { by: Duration::from_secs(seconds) },
                    None => Standing::OnTime,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{JobLock, LastRun};

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

    fn ended(ago: Duration, error: Option<&str>) -> JobRecord {
        let ended = NOW - ago;
        let error = error.map(str::to_owned);
        let last = LastRun {
            scheduled_for: ended,
            started: ended,
            ended,
            handled: 1,
            error,
            behind_seconds: None,
            next: None,
        };
        JobRecord { job: "j".to_owned(), lock: None, last: Some(last) }
    }

    #[test]
    fn a_job_has_missed_when_two_of_its_times_are_over() {
        let of = |record: &JobRecord| Standing::of(Some(record), MINUTE, NOW);
        assert_eq!(of(&ended(2 * MINUTE, None)), Standing::OnTime);
        let late = Duration::from_secs(61);
        assert_eq!(of(&ended(MINUTE + late, None)), Standing::Missed { late });
        assert_eq!(of(&ended(MINUTE, Some("down"))), Standing::Failed { error: "down".to_owned() });
        assert!(
            matches!(of(&ended(3 * MINUTE, Some("down"))), Standing::Missed { .. }),
            "a failed job also has to go on"
        );
    }

    #[test]
    fn a_job_that_died_under_its_lock_is_running_only_until_that_is_over() {
        let lock = |until| Some(JobLock { owner: "a".to_owned(), until });
        let of = |record: JobRecord| Standing::of(Some(&record), MINUTE, NOW);
        let until = NOW + MINUTE;
        assert_eq!(of(JobRecord { lock: lock(until), ..ended(3 * MINUTE, None) }), Standing::Running { until });
        assert!(matches!(of(JobRecord { lock: lock(NOW), ..ended(3 * MINUTE, None) }), Standing::Missed { .. }));
        assert_eq!(Standing::of(None, MINUTE, NOW), Standing::NeverRan);
    }
}

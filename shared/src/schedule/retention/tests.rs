//! Going on where the last run stopped, over tables of any size.

use std::{collections::BTreeSet, sync::Mutex};

use super::*;
use crate::memory::ManualClock;

const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// Two tables of which each part has so many pages; a page takes some time, and each item of it is expired or none.
struct Large<'a> {
    clock: &'a ManualClock,
    pages: u32,
    page_takes: Duration,
    page: Purged,
    /// Every place that was looked at.
    seen: Mutex<Vec<Place>>,
    fails_at: Option<usize>,
}

impl<'a> Large<'a> {
    fn of(clock: &'a ManualClock, pages: u32, page: Purged) -> Large<'a> {
        let (page_takes, seen) = (Duration::ZERO, Mutex::default());
        Large { clock, pages, page_takes, page, seen, fails_at: None }
    }

    fn looked_at(&self) -> Vec<Place> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Runs hour after hour from where the one before stopped.
    async fn hours(&self, hours: std::ops::Range<u64>) -> Vec<Enforced> {
        let (mut place, mut all) = (None, Vec::new());
        for hour in hours {
            let at = START + Duration::from_secs(3600 * hour);
            self.clock.set(at);
            let enforced = enforce(self, self.clock, at, place.take()).await;
            place = enforced.next.clone();
            all.push(enforced);
        }
        all
    }
}

#[async_trait]
impl Retention for Large<'_> {
    async fn purge(&self, place: &Place, _: Timestamp) -> Result<Purged, JournalError> {
        let mut seen = self.seen.lock().expect("no panic");
        if self.fails_at == Some(seen.len()) {
            return Err(JournalError::Unavailable { message: "throttled".to_owned() });
        }
        seen.push(place.clone());
        self.clock.advance(self.page_takes);
        let page = place.after.as_deref().map_or(0, |after| after.parse::<u32>().expect("a number")) + 1;
        let next = match page < self.pages {
            true => Some(Place { after: Some(page.to_string()), ..place.clone() }),
            false if place.table == 0 => Some(Place { table: 1, after: None, ..place.clone() }),
            false => None,
        };
        Ok(Purged { next, ..self.page.clone() })
    }
}

#[tokio::test]
async fn a_part_that_is_too_large_goes_on_where_it_stopped_and_every_table_gets_its_turn() {
    let clock = ManualClock::at(START);
    // Three pages are all that an hour looks at, and a part has eight.
    let page = Purged { looked_at: LOOKED_AT_MAX.div_ceil(3), ..Purged::default() };
    let large = Large::of(&clock, 4, page);
    let runs = large.hours(0..200).await;
    let seen = large.looked_at();
    assert!(seen.windows(2).all(|two| two[0] != two[1]), "nothing is begun anew");
    let tables = seen.iter().map(|place| (place.part, place.table)).collect::<BTreeSet<_>>();
    assert_eq!(tables.len(), 2 * PARTS as usize, "a slow job still sees every table of every part");
    let behind: Vec<u64> = runs.iter().filter_map(|run| Some(run.behind?.as_secs() / 3600)).collect();
    assert_eq!(behind[..4], [0, 1, 1, 2], "it tells by how much it is late");
}

#[tokio::test]
async fn a_job_that_was_late_catches_up_within_its_bounds() {
    let clock = ManualClock::at(START);
    let large = Large::of(&clock, 1, Purged { looked_at: 10, ..Purged::default() });
    let due = part_at(START);
    let late = Place { part: (due + PARTS - 3) % PARTS, table: 1, after: None };
    let enforced = enforce(&large, &clock, START, Some(late)).await;
    assert_eq!((enforced.next, enforced.behind), (None, None));
    let parts: BTreeSet<u32> = large.looked_at().iter().map(|place| place.part).collect();
    assert_eq!(parts.len(), 4, "three that were left, and the one that is due");
}

#[tokio::test]
async fn deletions_time_and_failures_end_a_run_and_keep_its_place() {
    let clock = ManualClock::at(START);
    let all_expired = Purged { looked_at: 1_000, deleted: 1_000, ..Purged::default() };
    let deleting = Large::of(&clock, 100, all_expired);
    assert_eq!(deleting.hours(0..1).await[0].deleted, DELETED_MAX);
    let slow = Large { page_takes: PURGE_FOR / 2, ..Large::of(&clock, 100, Purged::default()) };
    let run = slow.hours(0..1).await.remove(0);
    assert_eq!((slow.looked_at().len(), run.next.and_then(|place| place.after)), (2, Some("2".to_owned())));
    let failing = Large { fails_at: Some(3), ..Large::of(&clock, 100, Purged::default()) };
    let run = failing.hours(0..1).await.remove(0);
    assert!(run.error.is_some());
    assert_eq!(run.next.and_then(|place| place.after), Some("3".to_owned()));
}

#[test]
fn a_cursor_that_is_none_begins_with_the_part_that_is_due() {
    for cursor in ["", "{}", r#"{"part":24,"table":0}"#, &"x".repeat(10_000)] {
        assert_eq!(Place::parse(cursor), None, "{cursor:.40}");
    }
}

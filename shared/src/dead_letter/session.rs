//! Where one replay of a plan is.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{
    ItemStatus, Plan,
    replay::{Pace, Report, UNDECIDED_AT_FIRST, UNDECIDED_MAX},
    watch::{OTHERS_TURN, Watched},
};
use crate::{clock::Timestamp, ids::RunId};

/// Where one replay of a plan is.
pub(super) struct Session {
    pub(super) plan: Plan,
    /// Where each item of the plan is, by its key.
    pub(super) places: HashMap<String, usize>,
    pub(super) pace: Pace,
    pub(super) failures: u32,
    pub(super) recovered: usize,
    pub(super) acted_on: usize,
    pub(super) next_turn: Timestamp,
    pub(super) next_look: Timestamp,
    pub(super) watched: VecDeque<Watched>,
    pub(super) outside_memory: BTreeSet<String>,
    pub(super) stopped: Option<String>,
}

impl Session {
    /// A replay that begins now.
    pub(super) fn of(plan: Plan, pace: Pace, now: Timestamp) -> Session {
        let failures = plan.items.iter().filter(|item| matches!(item.status, ItemStatus::Failed { .. })).count();
        let recovered = plan.items.iter().filter(|item| item.status == ItemStatus::Recovered).count();
        let places = plan.items.iter().enumerate().map(|(place, item)| (item.key.clone(), place)).collect();
        // What an earlier replay of this plan began and did not see the end of is watched, and not begun again.
        let begun = plan.items.iter().filter_map(|item| match item.status {
            ItemStatus::Replayed { at } if at + OTHERS_TURN <= now => {
                let run = run_of(&item.key)?;
                Some(Watched { key: item.key.clone(), run, status: item.status.clone(), until: now + pace.watch_for })
            }
            _ => None,
        });
        let watched = begun.collect();
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        Session {
            plan,
            places,
            pace,
            failures,
            recovered,
            acted_on: 0,
            next_turn: now,
            next_look: now,
            watched,
            outside_memory: BTreeSet::new(),
            stopped: None,
        }
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &str> {
        self.plan.items.iter().filter(|item| item.status == ItemStatus::Pending).map(|item| item.key.as_str())
    }

    pub(super) fn set(&mut self, key: &str, status: &ItemStatus) {
        if let Some(item) = self.places.get(key).and_then(|place| self.plan.items.get_mut(*place)) {
            item.status = status.clone();
        }
    }

    /// Takes note of how an item ended.
    pub(super) fn ended(&mut self, key: &str, status: &ItemStatus) {
        self.failures += u32::from(matches!(status, ItemStatus::Failed { .. }));
        self.recovered += usize::from(*status == ItemStatus::Recovered);
        self.set(key, status);
    }

    /// How many more may be under way.
    pub(super) fn room(&self) -> usize {
        (self.recovered * 2).clamp(UNDECIDED_AT_FIRST, UNDECIDED_MAX).saturating_sub(self.watched.len())
    }

    pub(super) fn watch(&mut self, key: String, run: RunId, status: ItemStatus, now: Timestamp) {
        self.watched.push_back(Watched { key, run, status, until: now + self.pace.watch_for });
    }

    /// How the plan stands after it.
    pub(super) fn report(&self, plan: Plan) -> Report {
        let count = |wanted: fn(&ItemStatus) -> bool| plan.items.iter().filter(|item| wanted(&item.status)).count();
        Report {
            acted_on: self.acted_on,
            pending: count(|status| *status == ItemStatus::Pending),
            undecided: count(|status| matches!(status, ItemStatus::Replayed { .. })),
            recovered: count(|status| *status == ItemStatus::Recovered),
            failed: count(|status| matches!(status, ItemStatus::Failed { .. })),
            outside_memory: self.outside_memory.len(),
            stopped: self.stopped.clone(),
            plan: plan.id,
            items: plan.items,
        }
    }
}

/// The run that an item is, unless it is a message.
pub(super) fn run_of(key: &str) -> Option<RunId> {
    key.strip_prefix("run/")?.parse().ok()
}

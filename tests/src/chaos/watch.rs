//! Who holds which run, read off the requests of function processes; and how long a run is held up when its holder dies or freezes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

/// The table of heads and journals.
const RUNS_TABLE: &str = "windlass-runs";

/// What became of the holder of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// It was killed.
    Killed,
    /// The whole stack was.
    StackKilled,
    /// It was frozen for longer than its lease lasts.
    Frozen,
}

/// A run whose holder was struck and that nobody else has moved on since.
#[derive(Debug, Clone, Copy)]
struct Struck {
    blow: Blow,
    at: Instant,
    holder: u32,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    held: BTreeMap<u32, BTreeSet<String>>,
    /// Holders that were struck; what they asked for just before is still answered.
    down: BTreeMap<u32, (Blow, Instant)>,
    struck: BTreeMap<String, Struck>,
    recoveries: Vec<(Blow, Duration)>,
    /// Runs that a frozen holder moved on itself, once it had thawed.
    thawed_in_time: usize,
}

/// Watches what is asked of the store.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Mutex<Seen>,
}

/// What a request does to a run.
enum Deed<'b> {
    Claims(&'b str),
    MovesOn(&'b str),
    Leaves(&'b str),
}

impl Watch {
    /// A request of `process` that took effect.
    pub fn happened(&self, process: u32, target: &str, body: &Value) {
        let Some(deed) = deed(target, body) else { return };
        let mut seen = self.seen();
        match deed {
            Deed::Claims(run) => seen.claimed(process, run),
            Deed::MovesOn(run) => seen.moved_on(process, run),
            Deed::Leaves(run) => {
                seen.moved_on(process, run);
                if let Some(held) = seen.held.get_mut(&process) {
                    held.remove(run);
                }
            }
        }
    }

    /// A process was struck: what it holds is held up from now on.
    pub fn struck(&self, process: u32, blow: Blow) {
        let mut seen = self.seen();
        let now = Instant::now();
        seen.down.insert(process, (blow, now));
        for run in seen.held.remove(&process).unwrap_or_default() {
            seen.hold_up(&run, Struck { blow, at: now, holder: process });
        }
    }

    /// A process goes on after a freeze.
    pub fn thawed(&self, process: u32) {
        self.seen().down.remove(&process);
    }

    /// How many runs a process holds.
    pub fn holds(&self, process: u32) -> usize {
        self.seen().held.get(&process).map_or(0, BTreeSet::len)
    }

    /// From each blow to the moment at which somebody else moved the run on.
    pub fn recoveries(&self) -> Vec<(Blow, Duration)> {
        self.seen().recoveries.clone()
    }

    /// Runs that were held up by a freeze and moved on by their own holder after it.
    pub fn thawed_in_time(&self) -> usize {
        self.seen().thawed_in_time
    }

    /// Runs that were struck and not moved on since.
    pub fn still_held_up(&self) -> Vec<String> {
        self.seen().struck.keys().cloned().collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn claimed(&mut self, process: u32, run: &str) {
        match self.down.get(&process).copied() {
            Some((blow, at)) => self.hold_up(run, Struck { blow, at, holder: process }),
            None => drop(self.held.entry(process).or_default().insert(run.to_owned())),
        }
    }

    /// The first blow counts until somebody moves the run on.
    fn hold_up(&mut self, run: &str, struck: Struck) {
        self.struck.entry(run.to_owned()).or_insert(struck);
    }

    fn moved_on(&mut self, process: u32, run: &str) {
        let Some(struck) = self.struck.get(run).copied() else { return };
        if struck.holder != process {
            self.recoveries.push((struck.blow, struck.at.elapsed()));
        } else if struck.blow == Blow::Frozen {
            self.thawed_in_time += 1;
        }
        self.struck.remove(run);
    }
}

fn deed<'b>(target: &str, body: &'b Value) -> Option<Deed<'b>> {
    if body["TableName"] != RUNS_TABLE {
        return None;
    }
    let text = |value: &'b Value| value.as_str().unwrap_or_default();
    match target {
        "DynamoDB_20120810.PutItem" => Some(Deed::MovesOn(text(&body["Item"]["pk"]["S"]))),
        "DynamoDB_20120810.UpdateItem" => {
            let (run, change) = (text(&body["Key"]["pk"]["S"]), text(&body["UpdateExpression"]));
            let removes = change.split_once("REMOVE").is_some_and(|(_, removed)| removed.contains("lease_holder"));
            match change.contains("lease_holder = :holder") {
                true => Some(Deed::Claims(run)),
                false => removes.then_some(Deed::Leaves(run)),
            }
        }
        _ => None,
    }
}

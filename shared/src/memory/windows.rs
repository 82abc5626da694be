//! Counters of windows.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::locked;
use crate::{
    clock::{CLOCK_SKEW_MAX, Timestamp},
    windows::{self, Became, CountReservation, CountReserved, Counted, Counter, OPEN_MAX, WindowError},
};

/// Counters in memory.
#[derive(Default)]
pub struct Windows {
    counters: Mutex<BTreeMap<Counter, Item>>,
}

#[derive(Default)]
struct Item {
    total: u128,
    open: BTreeMap<String, Timestamp>,
}

impl Windows {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every counter that counted anything, with its total and how many reservations are open in it.
    pub fn all(&self) -> Vec<(Counter, u128, usize)> {
        let counters = locked(&self.counters);
        counters.iter().map(|(counter, item)| (counter.clone(), item.total, item.open.len())).collect()
    }
}

#[async_trait]
impl windows::Windows for Windows {
    async fn total(&self, counter: &Counter) -> Result<u128, WindowError> {
        Ok(locked(&self.counters).get(counter).map_or(0, |item| item.total))
    }

    async fn reserve(
        &self,
        reservation: &CountReservation,
        seen: u128,
        now: Timestamp,
    ) -> Result<CountReserved, WindowError> {
        let CountReservation { counted: Counted { counter, amount }, id, deadline } = reservation;
        let mut counters = locked(&self.counters);
        let item = counters.entry(counter.clone()).or_default();
        if item.open.contains_key(id) {
            return Ok(CountReserved::Done);
        }
        if item.total != seen {
            return Ok(CountReserved::Changed { total: item.total });
        }
        if item.open.len() >= OPEN_MAX {
            item.open.retain(|_, deadline| *deadline + CLOCK_SKEW_MAX > now);
            return Ok(CountReserved::Crowded);
        }
        item.total += u128::from(*amount);
        item.open.insert(id.clone(), *deadline);
        Ok(CountReserved::Done)
    }

    async fn settle(&self, counted: &Counted, id: &str, became: Became) -> Result<bool, WindowError> {
        let mut counters = locked(&self.counters);
        let Some(item) = counters.get_mut(&counted.counter) else { return Ok(false) };
        if item.open.remove(id).is_none() {
            return Ok(false);
        }
        if became == Became::NotMade {
            item.total = item.total.saturating_sub(u128::from(counted.amount));
        }
        Ok(true)
    }
}

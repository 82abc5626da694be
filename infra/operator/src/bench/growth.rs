//! What a step, a claim and a sweep take as a run and as the table grow.

use std::time::Instant;

use futures::{TryStreamExt as _, stream};
use windlass::{clock::SystemClock, journal::Heads as _, schedule::rescue::Sweeper};

use super::{
    BenchError, Size,
    figures::{Aim, Figure},
    rig::{advance, engine, tables_only, take_on},
    unexpected,
};
use crate::{cost::Cost, stack::DESK_TABLE};

/// Steps of one run, and how many runs of them make the same work.
const LENGTHS: [(usize, usize); 3] = [(10, 200), (100, 20), (1_000, 2)];

/// Runs that are parked when a sweep looks for what is due.
const PARKED: [usize; 2] = [1_000, 100_000];

/// Of those that are due.
const DUE: usize = 50;

pub(super) async fn measure(size: Size) -> Result<Vec<Figure>, BenchError> {
    let mut figures = lengths(size).await?;
    figures.extend(tables(size).await?);
    Ok(figures)
}

async fn lengths(size: Size) -> Result<Vec<Figure>, BenchError> {
    let stack = tables_only().await?;
    let engine = engine(&stack.aws_url())?;
    let (mut figures, mut shortest) = (Vec::new(), None);
    for (steps, runs) in LENGTHS {
        let runs = size.of(runs);
        let mut taken_on = Vec::new();
        for number in 0..runs {
            taken_on.push(take_on(&engine, &format!("growth-{steps}-{number}"), steps).await?);
        }
        let (meter, began) = (stack.meter(), Instant::now());
        for run in taken_on {
            advance(&engine, run).await?;
        }
        let total = (steps * runs) as f64;
        let millis = began.elapsed().as_secs_f64() * 1e3 / total;
        let cost = Cost::of(&stack.meter().since(&meter), DESK_TABLE);
        let workload = format!("{runs} runs of {steps} steps, one at once");
        let beside = millis / *shortest.get_or_insert(millis);
        figures.extend([
            Figure::new(&workload, "time of a step", millis, "ms"),
            Figure::new(&workload, "write units of a step", cost.write_units / total, ""),
            Figure::new(&workload, "read units of a step", cost.read_units / total, ""),
            Figure::new(&workload, "beside a run of 10 steps", beside, "").aim(Aim::AtMost(1.2)),
        ]);
    }
    stack.shutdown().await;
    Ok(figures)
}

async fn tables(size: Size) -> Result<Vec<Figure>, BenchError> {
    let stack = tables_only().await?;
    let aws = stack.aws_url();
    let (engine, runs) = (engine(&aws)?, super::rig::runs(&aws));
    let (mut figures, mut there) = (Vec::new(), 0);
    for parked in PARKED {
        let parked = size.of(parked);
        let missing = stream::iter((there..parked).map(Ok)).try_for_each_concurrent(32, |number| {
            let (engine, runs) = (&engine, &runs);
            async move {
                let run = take_on(engine, &format!("parked-{number}"), 1).await?;
                let head = runs.head(run).await.map_err(unexpected)?.ok_or_else(|| unexpected("no head"))?;
                let due = head.due.ok_or_else(|| unexpected("no due time"))?;
                runs.postpone_due(run, due, super::rig::in_a_day()).await.map(drop).map_err(unexpected)
            }
        });
        missing.await?;
        there = there.max(parked);
        for number in 0..DUE {
            take_on(&engine, &format!("due-{parked}-{number}"), 1).await?;
        }
        let (meter, began) = (stack.meter(), Instant::now());
        let (wake_ups, random) = (engine.wake_ups.as_ref(), engine.random.as_ref());
        let swept = Sweeper { heads: &runs, wake_ups, random, clock: &SystemClock }.sweep().await;
        let (millis, cost) = (began.elapsed().as_secs_f64() * 1e3, Cost::of(&stack.meter().since(&meter), DESK_TABLE));
        let workload = format!("a sweep with {} due of {there} parked runs", swept.woken);
        figures.extend([
            Figure::new(&workload, "time", millis, "ms"),
            Figure::new(&workload, "read units", cost.read_units, ""),
            Figure::new(&workload, "write units", cost.write_units, ""),
        ]);
        let mut fresh = Vec::new();
        for number in 0..size.of(200) {
            fresh.push(take_on(&engine, &format!("fresh-{parked}-{number}"), 8).await?);
        }
        let (count, began) = (fresh.len() as f64, Instant::now());
        for run in fresh {
            advance(&engine, run).await?;
        }
        let millis = began.elapsed().as_secs_f64() * 1e3 / count;
        figures.push(Figure::new(format!("claim, 8 steps and leave beside {there} runs"), "time", millis, "ms"));
    }
    stack.shutdown().await;
    Ok(figures)
}

//! What happens to the processes.
//!
//! ```text
//! a cycle   0 s ─ stack killed ─ disk full ─ stack killed ─ 10 s ─ two workers stand still ─ 50 s ─ … 60 s
//! all along       functions killed · clocks jump · requests delayed, cut, refused, throttled, repeated
//! the last cycle ends after 22 s, but for the two who stand still
//! ```

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep, sleep_until};
use windlass_tests::{
    chaos::{clocks::JUMP_MILLIS_MAX, proxy::Weather, stack_process::Disk, watch::Blow},
    signals,
};

use crate::scene::Scene;

const CYCLE: Duration = Duration::from_secs(60);
const LAST_CYCLE: Duration = Duration::from_secs(22);

/// When in a cycle the stack is killed, and when and for how long the disk is full.
const STACK_KILLED_AT: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(8)];
const DISK_FULL_AT: Duration = Duration::from_secs(5);
const DISK_FULL_FOR: Duration = Duration::from_secs(2);

/// When in a cycle workers are frozen, how many, and for how long: beyond a lease (30 s) with its skew, below the step function's
/// timeout (60 s), at which Lambda kills whoever stands still.
const FROZEN_FROM: Duration = Duration::from_secs(10);
const FROZEN_AT_ONCE: usize = 2;
const FROZEN_FOR: Duration = Duration::from_secs(40);

/// How long workers with work are looked for.
const FROZEN_WITHIN: Duration = Duration::from_secs(10);

/// How often a function process is killed, about.
const KILL_EVERY_MILLIS: u64 = 700;

/// How often a clock is moved.
const JUMP_EVERY: Duration = Duration::from_millis(400);

/// How long it takes until what a process that was just stopped has sent is seen.
const SETTLES_WITHIN: Duration = Duration::from_millis(50);

/// How long a worker with work is looked for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// From when to when things go wrong.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    began: Instant,
    cycles: u32,
}

impl Window {
    /// So many cycles from now on, of which the last is cut short.
    pub fn of(cycles: u32) -> Window {
        Window { began: Instant::now(), cycles: cycles.max(1) }
    }

    pub fn span(self) -> Duration {
        CYCLE * (self.cycles - 1) + LAST_CYCLE
    }

    pub fn began(self) -> Instant {
        self.began
    }

    fn is_open(self) -> bool {
        self.began.elapsed() < self.span()
    }

    /// The moment in each cycle at which so much of it has passed.
    fn each(self, passed: Duration) -> impl Iterator<Item = Instant> {
        (0..self.cycles).map(move |cycle| self.began + CYCLE * cycle + passed)
    }
}

/// Kills function processes, most of them workers. Those that stand still have been struck already.
pub async fn kill_functions(scene: &Scene, window: Window) {
    while window.is_open() {
        let (pause, choice, pick) = {
            let mut rng = rand::rng();
            (rng.random_range(0..2 * KILL_EVERY_MILLIS), rng.random_range(0..10), rng.random_range(0..usize::MAX))
        };
        sleep(Duration::from_millis(pause)).await;
        let function = ["intake", "approval", "cleanup", "step"][choice.min(3)];
        let processes = scene.stack.lock().await.processes();
        let of_function = processes.into_iter().filter(|(id, name)| name == function && !is_stopped(*id));
        let of_function: Vec<(u32, String)> = of_function.collect();
        let Some(index) = pick.checked_rem(of_function.len()) else { continue };
        let (process, name) = of_function[index].clone();
        if signals::send("KILL", process) {
            scene.watch.struck(process, Blow::Killed);
            *scene.blown().killed.entry(name).or_default() += 1;
        }
    }
}

/// Kills the stack and fills its disk.
pub async fn wreck(scene: &Scene, window: Window) {
    for cycle in window.each(Duration::ZERO) {
        sleep_until(cycle + STACK_KILLED_AT[0]).await;
        kill_stack(scene).await;
        sleep_until(cycle + DISK_FULL_AT).await;
        scene.stack.lock().await.set_disk(Disk::Full);
        sleep(DISK_FULL_FOR).await;
        scene.stack.lock().await.set_disk(Disk::Free);
        scene.blown().full_disks += 1;
        sleep_until(cycle + STACK_KILLED_AT[1]).await;
        kill_stack(scene).await;
    }
}

async fn kill_stack(scene: &Scene) {
    let mut stack = scene.stack.lock().await;
    let functions = stack.processes();
    stack.kill().await;
    for process in functions.into_keys() {
        scene.watch.struck(process, Blow::StackKilled);
    }
    scene.blown().stacks += 1;
    // A start that fails for the network is only tried again.
    scene.proxy.set_weather(Weather::Fair);
    stack.start_again().await;
    scene.proxy.set_weather(Weather::Bad);
}

/// Stops workers that hold runs, and lets them go on after their leases have ended.
pub async fn freeze(scene: &Scene, window: Window) {
    for cycle in window.each(FROZEN_FROM) {
        sleep_until(cycle).await;
        let mut frozen = Vec::new();
        while frozen.len() < FROZEN_AT_ONCE && cycle.elapsed() < FROZEN_WITHIN {
            if let Some(process) = stop_one_at_work(scene).await {
                scene.watch.struck(process, Blow::Frozen);
                scene.blown().frozen += 1;
                frozen.push((process, Instant::now() + FROZEN_FOR));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
        for (process, until) in frozen {
            sleep_until(until).await;
            scene.watch.thawed(process);
            signals::send("CONT", process);
        }
    }
}

/// Stops a worker, if one holds a run even then.
async fn stop_one_at_work(scene: &Scene) -> Option<u32> {
    let processes = scene.stack.lock().await.processes();
    let mut at_work = processes.into_keys().filter(|process| scene.watch.holds(*process) > 0 && !is_stopped(*process));
    let process = at_work.next()?;
    signals::send("STOP", process);
    sleep(SETTLES_WITHIN).await;
    if scene.watch.holds(process) > 0 {
        return Some(process);
    }
    signals::send("CONT", process);
    None
}

/// Whether a process stands still.
fn is_stopped(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// Moves clocks of function processes, back and forth.
pub async fn jump(scene: &Scene, window: Window) {
    let Some(clocks) = &scene.clocks else { return };
    while window.is_open() {
        sleep(JUMP_EVERY).await;
        let processes: Vec<u32> = scene.stack.lock().await.processes().into_keys().collect();
        let (pick, millis) = {
            let mut rng = rand::rng();
            (rng.random_range(0..usize::MAX), rng.random_range(-JUMP_MILLIS_MAX..=JUMP_MILLIS_MAX))
        };
        if let Some(index) = pick.checked_rem(processes.len()) {
            clocks.set(processes[index], millis);
            scene.blown().jumps += 1;
        }
    }
}

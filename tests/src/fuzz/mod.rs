//! Hostile input, thrown at every boundary that reads what others wrote. Input is made by changing real examples: JSON in its structure,
//! text in its bytes. What makes a boundary say something that it has not said before is kept and changed further.
//!
//! ```text
//! FUZZ_EXECUTIONS=1000000 FUZZ_SEED=7 cargo test --profile proof -p windlass-tests --test fuzz -- --nocapture
//! FUZZ_TARGET=journal …                 one boundary only
//! ```
//!
//! Nothing may panic, take long or take much memory, and each boundary has something that must hold whatever it is given (see `targets`).
//! Some inputs are a part of another one over and over, as long as an input may be: what is quadratic shows there.

pub mod mutate;
pub mod targets;

use std::{
    any::Any,
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::mutate::mutated;

/// The most inputs that are kept of those that were read, and of those that were refused.
const KEPT_MAX: usize = 2_000;

/// How often an input that was read is changed, and not one that was refused.
const TAKEN_SHARE: f64 = 0.8;

/// The most tries to make a failing input shorter.
const SHORTENINGS_MAX: usize = 2_000;

/// The most bytes of an input.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// How often an input is a part of another one over and over, and the most bytes of that part.
const STRETCHED_SHARE: f64 = 0.01;
const STRETCHED_PART_BYTES_MAX: usize = 48;

/// Counts the memory of this process.
#[derive(Clone, Copy)]
pub struct MemoryMeter {
    /// The most bytes there have been, counted from what there is now on.
    pub restart: fn(),
    /// The most bytes there have been since, beyond what there was then.
    pub peak_bytes: fn() -> usize,
}

/// What a boundary made of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It was read.
    Taken(String),
    /// It was refused, for this reason.
    Refused(String),
}

impl Said {
    /// Whatever it was refused for.
    pub fn refused(reason: impl ToString) -> Said {
        Said::Refused(reason.to_string())
    }

    /// Taken, or refused with the error.
    pub fn of<T>(result: &Result<T, impl ToString>) -> Said {
        result.as_ref().map_or_else(|error| Said::Refused(error.to_string()), |_| Said::Taken(String::new()))
    }

    /// What tells one answer from another: its words, without what was quoted and counted.
    fn kind(&self) -> (bool, String) {
        let (taken, text) = match self {
            Said::Taken(text) => (true, text),
            Said::Refused(text) => (false, text),
        };
        let unquoted = text.split(['`', '"']).step_by(2).collect::<String>();
        let words = unquoted.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).take(120).collect();
        (taken, words)
    }
}

/// A boundary.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// One in how many executions it gets, for those that are slow.
    pub share: u64,
    /// Real examples of what it reads.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Gives it an input; panics when something does not hold.
    pub read: fn(&[u8]) -> Said,
}

/// An input at which something did not hold.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The input, as short as it was found.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

/// What came of many executions.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many there were.
    pub executions: u64,
    /// How many inputs were read.
    pub taken: u64,
    /// How many different things the boundary said.
    pub kinds: usize,
    /// What panicked, one for each message.
    pub crashes: Vec<Crash>,
    /// The longest execution.
    pub slowest: Duration,
    /// Its input.
    pub slowest_input: Vec<u8>,
    /// The most bytes that an execution took.
    pub peak_bytes: usize,
    /// Its input.
    pub peak_input: Vec<u8>,
}

/// Throws `executions` inputs at a boundary, the same ones for the same seed.
pub fn fuzz(target: &Target, executions: u64, seed: u64, memory: MemoryMeter) -> Report {
    let mut rng = StdRng::seed_from_u64(
        seed ^ target.name.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))),
    );
    let seeds = (target.seeds)();
    let (mut taken, mut refused) = (seeds.clone(), seeds.clone());
    let (mut kinds, mut report) = (BTreeSet::new(), Report::default());
    let mut crashes: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for n in 0..executions {
        let unchanged = usize::try_from(n).ok().and_then(|n| seeds.get(n)).cloned();
        let input = unchanged.unwrap_or_else(|| {
            let kept = if rng.random_bool(TAKEN_SHARE) { &taken } else { &refused };
            let input = mutated(&kept[rng.random_range(0..kept.len())], kept, &mut rng);
            if rng.random_bool(STRETCHED_SHARE) { stretched(&input, &mut rng) } else { input }
        });
        (memory.restart)();
        let began = Instant::now();
        let said = execute(target, &input);
        let (took, bytes) = (began.elapsed(), (memory.peak_bytes)());
        if bytes > report.peak_bytes {
            (report.peak_bytes, report.peak_input) = (bytes, input.clone());
        }
        report.executions += 1;
        if took > report.slowest {
            (report.slowest, report.slowest_input) = (took, input.clone());
        }
        match said {
            Ok(said) => {
                let is_taken = matches!(said, Said::Taken(_));
                report.taken += u64::from(is_taken);
                let kept = if is_taken { &mut taken } else { &mut refused };
                // Of what was read, some more: it differs in ways that no answer tells.
                if kinds.insert(said.kind()) || is_taken && rng.random_bool(0.02) {
                    let place = rng.random_range(0..KEPT_MAX);
                    if kept.len() < KEPT_MAX { kept.push(input) } else { kept[place] = input }
                }
            }
            Err(message) => {
                crashes.entry(message).or_insert(input);
            }
        }
    }
    report.kinds = kinds.len();
    let shorter = |(message, input): (String, Vec<u8>)| Crash { input: shortened(target, input, &message), message };
    report.crashes = crashes.into_iter().map(shorter).collect();
    report
}

/// An input whose middle is a part of it over and over.
fn stretched(input: &[u8], rng: &mut StdRng) -> Vec<u8> {
    if input.is_empty() || input.len() > INPUT_BYTES_MAX / 2 {
        return input.to_vec();
    }
    let from = rng.random_range(0..input.len());
    let bytes = rng.random_range(1..=STRETCHED_PART_BYTES_MAX).min(input.len() - from);
    let times = (INPUT_BYTES_MAX - input.len()) / bytes;
    [&input[..from], &input[from..from + bytes].repeat(times), &input[from + bytes..]].concat()
}

/// One execution; the panic's place and first line, if it panics.
///
/// # Errors
/// What the panic said.
pub fn execute(target: &Target, input: &[u8]) -> Result<Said, String> {
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !EXECUTING.get() {
                loud(panic)
            }
        }));
    });
    EXECUTING.set(true);
    let said = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    EXECUTING.set(false);
    said.map_err(|panic| message(panic.as_ref()))
}

/// What panics in an execution is reported, not printed.
static QUIET: Once = Once::new();

thread_local! {
    static EXECUTING: Cell<bool> = const { Cell::new(false) };
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let line = text.unwrap_or("it panicked").lines().next().unwrap_or_default();
    line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).take(120).collect()
}

/// The shortest input found that panics with the same message, by leaving out parts.
fn shortened(target: &Target, mut input: Vec<u8>, panics_with: &str) -> Vec<u8> {
    let (mut part, mut tries) = (input.len() / 2, 0);
    while part > 0 && tries < SHORTENINGS_MAX {
        let mut at = 0;
        while at < input.len() && tries < SHORTENINGS_MAX {
            let mut without = input.clone();
            without.drain(at..(at + part).min(input.len()));
            tries += 1;
            if execute(target, &without).is_err_and(|message| message == panics_with) {
                input = without;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    input
}

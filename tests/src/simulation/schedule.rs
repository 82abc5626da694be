//! A schedule: everything that happens in a simulated world before it heals, one thing after the other, as data. It is drawn from a
//! seed before anything happens, can be written down, cut shorter, and replayed.

use std::{fmt, str::FromStr};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::faults::Fault;

/// One thing that happens. Numbers of processes are taken modulo those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A process goes on to its next port call; the fault meets the call that it then makes.
    Poll(u8, Fault),
    /// A process makes several port calls while no other gets its turn: what takes many calls happens between two of another's.
    Burst(u8),
    /// A step function starts with up to so many messages.
    Receive(u8),
    /// A message is delivered once more, so many seconds later.
    Duplicate(u8),
    /// Time passes, in milliseconds.
    Wait(u32),
    /// The sweep starts.
    Sweep,
    /// The client posts its request, perhaps again.
    Post,
    /// A person answers what is asked.
    Answer,
    /// A process dies.
    Kill(u8),
    /// A process stands still for so many milliseconds, and then goes on if it still may.
    Freeze(u8, u32),
    /// Every message is lost.
    LoseMessages,
    /// A person cancels the run.
    Cancel,
    /// An operator replays the run, if it is dead.
    Replay,
    /// An operator switches something off.
    Off(u8),
    /// An operator switches everything on again.
    On,
    /// The approval keys are rotated.
    Rotate,
    /// The store throttles the next so many calls.
    Throttle(u8),
}

/// A world and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What the world's ids and jitter come from, and which scenario it plays.
    pub seed: u64,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Things that happen in one schedule.
pub const STEPS: usize = 800;

/// How many of a thousand polls meet a fault: worlds differ, as few faults get far and many get into corners.
const FAULTY_CALLS: [u32; 5] = [0, 20, 60, 150, 400];

const FAULTS: [(char, Fault); 9] = [
    ('b', Fault::DieBefore),
    ('a', Fault::DieAfter),
    ('f', Fault::FailBefore),
    ('g', Fault::FailAfter),
    ('u', Fault::Refuse),
    ('l', Fault::Lose),
    ('t', Fault::Twice),
    ('d', Fault::Delay),
    ('c', Fault::Conflict),
];

impl Schedule {
    /// The schedule that belongs to a seed.
    pub fn of(seed: u64) -> Schedule {
        let mut rng = StdRng::seed_from_u64(seed);
        let per_thousand = FAULTY_CALLS[rng.random_range(0..FAULTY_CALLS.len())];
        let may_cancel = rng.random_range(0..4) == 0;
        let steps = (0..STEPS).map(|_| draw(&mut rng, per_thousand, may_cancel)).collect();
        Schedule { seed, steps }
    }
}

fn draw(rng: &mut StdRng, per_thousand: u32, may_cancel: bool) -> Step {
    match rng.random_range(0..1_000) {
        0..840 => {
            let fault = match rng.random_range(0..1_000) < per_thousand {
                true => FAULTS[rng.random_range(0..FAULTS.len())].1,
                false => Fault::None,
            };
            Step::Poll(rng.random(), fault)
        }
        840..860 => Step::Burst(rng.random()),
        860..890 => Step::Receive(rng.random_range(1..4)),
        890..905 => Step::Duplicate(rng.random_range(0..20)),
        905..920 => Step::Wait(rng.random_range(1..5_000)),
        920..930 => Step::Wait(rng.random_range(20_000..7_200_000)),
        930..932 => Step::Wait(rng.random_range(7_200_000..300_000_000)),
        932..944 => Step::Sweep,
        944..952 => Step::Post,
        952..962 => Step::Answer,
        962..967 => Step::Kill(rng.random()),
        967..973 => Step::Freeze(rng.random(), rng.random_range(1_000..70_000)),
        973..975 => Step::LoseMessages,
        975..980 if may_cancel => Step::Cancel,
        980..984 => Step::Replay,
        984..987 => Step::Off(rng.random()),
        987..992 => Step::On,
        992..995 => Step::Rotate,
        995..998 => Step::Throttle(rng.random_range(2..12)),
        _ => Step::Poll(rng.random(), Fault::None),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Poll(who, fault) => {
                write!(f, "p{who}")?;
                match FAULTS.iter().find(|(_, known)| known == fault) {
                    Some((letter, _)) => write!(f, "{letter}"),
                    None => Ok(()),
                }
            }
            Step::Burst(who) => write!(f, "b{who}"),
            Step::Receive(limit) => write!(f, "r{limit}"),
            Step::Duplicate(seconds) => write!(f, "q{seconds}"),
            Step::Wait(millis) => write!(f, "w{millis}"),
            Step::Sweep => f.write_str("s"),
            Step::Post => f.write_str("c"),
            Step::Answer => f.write_str("y"),
            Step::Kill(who) => write!(f, "k{who}"),
            Step::Freeze(who, millis) => write!(f, "f{who}.{millis}"),
            Step::LoseMessages => f.write_str("x"),
            Step::Cancel => f.write_str("z"),
            Step::Replay => f.write_str("e"),
            Step::Off(which) => write!(f, "o{which}"),
            Step::On => f.write_str("n"),
            Step::Rotate => f.write_str("h"),
            Step::Throttle(calls) => write!(f, "t{calls}"),
        }
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Step, String> {
        let bad = || format!("`{text}` is not a step");
        let kind = text.chars().next().ok_or_else(bad)?;
        let rest = &text[kind.len_utf8()..];
        let number = |text: &str| text.parse::<u8>().map_err(|_| bad());
        Ok(match kind {
            'p' => {
                let letter = FAULTS.iter().find(|(letter, _)| rest.ends_with(*letter));
                let who = number(rest.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()))?;
                Step::Poll(who, letter.map_or(Fault::None, |(_, fault)| *fault))
            }
            'b' => Step::Burst(number(rest)?),
            'r' => Step::Receive(number(rest)?),
            'q' => Step::Duplicate(number(rest)?),
            'w' => Step::Wait(rest.parse().map_err(|_| bad())?),
            's' => Step::Sweep,
            'c' => Step::Post,
            'y' => Step::Answer,
            'k' => Step::Kill(number(rest)?),
            'f' => {
                let (who, millis) = rest.split_once('.').ok_or_else(bad)?;
                Step::Freeze(number(who)?, millis.parse().map_err(|_| bad())?)
            }
            'x' => Step::LoseMessages,
            'z' => Step::Cancel,
            'e' => Step::Replay,
            'o' => Step::Off(number(rest)?),
            'n' => Step::On,
            'h' => Step::Rotate,
            't' => Step::Throttle(number(rest)?),
            _ => return Err(bad()),
        })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seed)?;
        self.steps.iter().try_for_each(|step| write!(f, " {step}"))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let (seed, steps) = text.split_once(':').ok_or("a schedule is `<seed>: <step> <step> …`")?;
        let seed = seed.trim().parse().map_err(|_| format!("`{seed}` is not a seed"))?;
        let steps = steps.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Schedule { seed, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_was_written_down_is_the_same_schedule() {
        for seed in 0..50 {
            let schedule = Schedule::of(seed);
            assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule));
        }
    }
}
